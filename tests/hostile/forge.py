"""Safetensors files and repositories taken apart and put together wrong. Bytes in, bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

Files = dict[str, bytes]
WEIGHTS, CONFIG, INDEX, CARD, TOKENIZER = (
    "model.safetensors",
    "config.json",
    "model.safetensors.index.json",
    "README.md",
    "tokenizer.json",
)
TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight"
POSITION_IDS = "text_model.embeddings.position_ids"
LAST_NORM = "text_model.final_layer_norm.bias"


def framed(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header and data; `length` is what it claims the header to be."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def split(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a file."""
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length]), blob[8 + length :]


def reheaded(change: Callable[[dict[str, Any]], object]) -> Callable[[Files], Files]:
    """The weights with another header before the same data."""

    def make(files: Files) -> Files:
        header, data = split(files[WEIGHTS])
        change(header)
        return {**files, WEIGHTS: framed(json.dumps(header).encode(), data)}

    return make


def added(name: str, dtype: str, shape: list[int], size_bytes: int) -> Callable[[Files], Files]:
    """The weights with one more tensor, of zeros."""

    def make(files: Files) -> Files:
        header, data = split(files[WEIGHTS])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size_bytes]}
        return {**files, WEIGHTS: framed(json.dumps(header).encode(), data + b"\0" * size_bytes)}

    return make


def reweighed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Files], Files]:
    """The weights with other tensors, in a file that is well made."""

    def make(files: Files) -> Files:
        tensors = load(files[WEIGHTS])
        change(tensors)
        return {
            **files,
            WEIGHTS: save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"format": "pt"}),
        }

    return make


def one_value(value: float, name: str = TOKEN_EMBEDDING) -> Callable[[Files], Files]:
    """The weights with one value replaced."""

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name].view(-1)[7] = value

    return reweighed(change)


def raw(change: Callable[[bytes], bytes], path: str = WEIGHTS) -> Callable[[Files], Files]:
    """One file with other bytes."""
    return lambda files: {**files, path: change(files[path])}


def replaced(path: str, content: bytes) -> Callable[[Files], Files]:
    """One file with this content."""
    return lambda files: {**files, path: content}


def reset(path: str = CONFIG, **values: Any) -> Callable[[Files], Files]:
    """A JSON file with these values put in."""
    return lambda files: {**files, path: json.dumps({**json.loads(files[path]), **values}).encode()}


def indexed(shard: Any, *, name: str = TOKEN_EMBEDDING) -> Callable[[Files], Files]:
    """An index beside the weights that names `shard` for one tensor."""
    return lambda files: {**files, INDEX: json.dumps({"metadata": {}, "weight_map": {name: shard}}).encode()}


def repeated_key(files: Files) -> Files:
    """The weights with one tensor described twice."""
    header, data = split(files[WEIGHTS])
    text = json.dumps(header)[:-1] + f', "{LAST_NORM}": {json.dumps(header[LAST_NORM])}}}'
    return {**files, WEIGHTS: framed(text.encode(), data)}


def lora(**tensors: Tensor) -> bytes:
    """A file of LoRA weights; `__` in a name stands for a dot."""
    return bytes(save({name.replace("__", "."): tensor for name, tensor in tensors.items()}))


def broken_lora(kind: str) -> bytes:
    """LoRA weights for a text encoder that cannot be merged, in kohya's names."""
    module = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    down, up = torch.ones(4, 32), torch.ones(32, 4)
    made: dict[str, dict[str, Tensor]] = {
        "half": {f"{module}__lora_down__weight": down},
        "ranks": {f"{module}__lora_down__weight": down, f"{module}__lora_up__weight": torch.ones(32, 5)},
        "width": {f"{module}__lora_down__weight": torch.ones(4, 31), f"{module}__lora_up__weight": up},
        "nan": {f"{module}__lora_down__weight": down * float("nan"), f"{module}__lora_up__weight": up},
        "alpha": {
            f"{module}__lora_down__weight": down,
            f"{module}__lora_up__weight": up,
            f"{module}__alpha": torch.tensor(float("inf")),
        },
        "layer": {f"{module.replace('_0_', '_99999999_')}__lora_down__weight": down},
    }
    return lora(**made[kind])
