"""Hostile repositories, one row each: its name, the rule it attacks, and the change of a clean repository's files.

A row's scan must end in an error or without a verdict (exit code 2 or 3). `IGNORED` rows hold something that must have
no effect at all: they have the reference's own weights, and the scan says so (exit code 0).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.hostile.forge import (
    CARD,
    CONFIG,
    INDEX,
    LAST_NORM,
    POSITION_IDS,
    TOKEN_EMBEDDING,
    TOKENIZER,
    WEIGHTS,
    Files,
    added,
    broken_lora,
    framed,
    indexed,
    one_value,
    raw,
    reheaded,
    repeated_key,
    replaced,
    reset,
    reweighed,
)

Change = Callable[[Files], Files]


class _Pwned:
    """Unpickling this makes a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


PICKLE = pickle.dumps(_Pwned())


def zipped_pickle() -> bytes:
    """What `torch.save` writes, with the pickle above in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def only(files: Files, *names: str) -> Files:
    return {name: files[name] for name in names}


def beside(**more: bytes) -> Change:
    """The clean files and more; `__` in a name stands for `/`, `_dot_` for a dot."""
    named = {name.replace("__", "/").replace("_dot_", "."): data for name, data in more.items()}
    return lambda files: {**files, **named}


def listed(path: str) -> Change:
    """The clean files and one with this path."""
    return lambda files: {**files, path: b"{}"}


def offsets(name: str, start: int, stop: int) -> Change:
    """The weights with the offsets of one tensor moved by so many bytes."""

    def change(header: dict[str, Any]) -> None:
        header[name]["data_offsets"][0] += start
        header[name]["data_offsets"][1] += stop

    return reheaded(change)


def described(**values: Any) -> Change:
    """The weights with another description of one tensor."""
    return reheaded(lambda header: header[LAST_NORM].update(values))


def renamed(name: str) -> Change:
    return reheaded(lambda header: header.update({name: header.pop(LAST_NORM)}))


def flat_twin(tensors: dict[str, Tensor]) -> None:
    """A second tower in the same file, under the names that other versions of transformers read."""
    tensors.update({name.removeprefix("text_model."): tensor + 1 for name, tensor in list(tensors.items())})


def pipeline(index: Any) -> Change:
    """The clean encoder as `text_encoder` of a pipeline with this `model_index.json`."""

    def make(files: Files) -> Files:
        moved = {f"text_encoder/{name}": data for name, data in files.items() if name != CARD}
        return {**moved, "model_index.json": index if isinstance(index, bytes) else json.dumps(index).encode()}

    return make


TEXT_ENCODER = {
    "_class_name": "StableDiffusionPipeline",
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
}

HEADERS: dict[str, Change] = {
    "header of 8 exabytes": raw(lambda b: (2**63).to_bytes(8, "little") + b[8:]),
    "header over the cap": raw(lambda b: ((25 << 20) + 1).to_bytes(8, "little") + b[8:]),
    "header of no bytes": raw(lambda b: bytes(8) + b[8:]),
    "header longer than the file": raw(lambda b: (24 << 20).to_bytes(8, "little") + b[8:]),
    "empty file": replaced(WEIGHTS, b""),
    "seven bytes": replaced(WEIGHTS, b"\2" + bytes(6)),
    "cut short": raw(lambda b: b[:-1]),
    "one byte more": raw(lambda b: b + b"\0"),
    "offsets overlap": offsets(LAST_NORM, -4, -4),
    "offsets leave a hole": offsets(LAST_NORM, 4, 4),
    "offsets swapped": described(data_offsets=[128, 0]),
    "offsets beyond the file": offsets(LAST_NORM, 1 << 40, 1 << 40),
    "three offsets": described(data_offsets=[0, 1, 2]),
    "a tensor described twice": repeated_key,
    "nested deep": replaced(WEIGHTS, framed(b'{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}")),
    "shape overflows": described(shape=[1 << 47, 1 << 47, 1 << 47]),
    "shape beyond 64 bits": described(shape=[1 << 64]),
    "negative shape": described(shape=[-32]),
    "fractional shape": described(shape=[32.0]),
    "boolean shape": described(shape=[True, 32]),
    "a thousand dimensions": described(shape=[1] * 1000 + [32]),
    "shape as text": described(shape="32"),
    "dtype of another size": described(dtype="F64"),
    "dtype of the same size": described(dtype="I32"),
    "dtype unknown": described(dtype="F31"),
    "dtype as list": described(dtype=["F32"]),
    "extra key": described(sparse=True),
    "metadata as list": reheaded(lambda header: header.update(__metadata__=["pt"])),
    "metadata holds objects": reheaded(lambda header: header.update(__metadata__={"a": {"b": 1}})),
    "name with a newline": renamed("text_model.final_layer_norm.bias\n::error::x"),
    "name with NUL": renamed(LAST_NORM + "\0"),
    "name with a lone surrogate": renamed(LAST_NORM + "\ud800"),
    "name of a megabyte": renamed("a" * (1 << 20)),
    "empty name": renamed(""),
    "not JSON": replaced(WEIGHTS, framed(b"x" * 64)),
    "JSON list": replaced(WEIGHTS, framed(b"[" * 10 + b"]" * 10)),
    "UTF-16": replaced(WEIGHTS, framed("{}".encode("utf-16"))),
    "NaN in the header": replaced(WEIGHTS, framed(b'{"a": NaN}')),
    "a number of 5,000 digits": replaced(WEIGHTS, framed(b'{"a": ' + b"9" * 5000 + b"}")),
    "150,000 tensors": replaced(
        WEIGHTS,
        framed(
            b"{"
            + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(150_000))
            + b"}"
        ),
    ),
    "two million empty lists": replaced(WEIGHTS, framed(b'{"a":[' + b"[]," * 2_000_000 + b"0]}")),
}

TENSORS: dict[str, Change] = {
    "NaN": one_value(float("nan")),
    "infinity": one_value(float("inf"), LAST_NORM),
    "minus infinity": one_value(float("-inf")),
    "values that overflow": one_value(1e30),
    "every weight zero": reweighed(lambda tensors: [tensor.zero_() for tensor in tensors.values()]),
    "a tensor is missing": reweighed(lambda tensors: tensors.pop(LAST_NORM)),
    "a tensor too many": reweighed(
        lambda tensors: tensors.update({"text_model.encoder.layers.2.mlp.fc1.bias": torch.ones(128)})
    ),
    "a tensor transposed": reweighed(lambda t: t.update({TOKEN_EMBEDDING: t[TOKEN_EMBEDDING].T})),
    "a tensor as scalar": reweighed(lambda t: t.update({LAST_NORM: torch.tensor(1.0)})),
    "no tensors": reweighed(lambda tensors: tensors.clear()),
    "8-bit weights": reweighed(lambda tensors: tensors.update({n: t.to(torch.int8) for n, t in tensors.items()})),
    "8-bit floats": reweighed(
        lambda tensors: tensors.update({n: t.to(torch.float8_e4m3fn) for n, t in tensors.items()})
    ),
    "two towers in one file": reweighed(flat_twin),
    "a projection of no rows": reweighed(lambda t: t.update({"text_projection.weight": torch.ones(0, 32)})),
    "a projection of three dimensions": reweighed(
        lambda t: t.update({"text_projection.weight": torch.ones(1, 24, 32)})
    ),
    "position ids out of order": reweighed(lambda t: t.update({POSITION_IDS: torch.arange(77).flip(0)})),
    "position ids without end": added(POSITION_IDS, "I64", [1, 1 << 17], 8 << 17),
    "position ids as complex numbers": added(POSITION_IDS, "C64", [77], 77 * 8),
    "position ids in 4 bits": added(POSITION_IDS, "F4", [78], 39),
    "position ids in 6 bits": added(POSITION_IDS, "F6_E2M3", [4], 3),
    "position ids as truth values": added(POSITION_IDS, "BOOL", [77], 77),
}

INDEXES: dict[str, Change] = {
    "shard above the folder": indexed("../evil.safetensors"),
    "shard by absolute path": indexed("/etc/passwd.safetensors"),
    "shard by Windows path": indexed("C:\\evil.safetensors"),
    "shard in a subfolder": indexed("text_encoder/model.safetensors"),
    "shard with NUL": indexed("model\0.safetensors"),
    "shard as URL": indexed("https://evil.example/model.safetensors"),
    "shard that is the index": indexed(INDEX),
    "shard that is a pickle": lambda files: indexed("pytorch_model.bin")({**files, "pytorch_model.bin": PICKLE}),
    "shard that is not there": indexed("model-00001-of-00002.safetensors"),
    "shard as number": indexed(1),
    "shard as list": indexed([WEIGHTS]),
    "no shards": replaced(INDEX, b'{"weight_map": {}}'),
    "map as list": replaced(INDEX, b'{"weight_map": ["model.safetensors"]}'),
    "a tensor that is elsewhere": indexed(WEIGHTS, name="nothing"),
    "a thousand shards": replaced(
        INDEX, json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1000)}}).encode()
    ),
    "shards that differ in case": replaced(INDEX, b'{"weight_map": {"a": "A.safetensors", "b": "a.safetensors"}}'),
    "an index of its own": replaced(INDEX, json.dumps({"weight_map": {"a": INDEX}}).encode()),
    "40 variants": lambda files: {**files, **{f"model.v{i}.safetensors": files[WEIGHTS] for i in range(40)}},
}

CONFIGS: dict[str, Change] = {
    "not JSON": replaced(CONFIG, b"{'a': 1}"),
    "empty": replaced(CONFIG, b""),
    "a list": replaced(CONFIG, b"[]"),
    "a key twice": raw(lambda b: b.replace(b"{", b'{"hidden_size": 32,', 1), CONFIG),
    "UTF-16": raw(lambda b: b.decode().encode("utf-16"), CONFIG),
    "5 MB": raw(lambda b: b + b" " * (5 << 20), CONFIG),
    "nested deep": raw(lambda b: b'{"x":' + b"[" * 99_999 + b"]" * 99_999 + b"," + b.lstrip()[1:], CONFIG),
    "a number of 5,000 digits": raw(lambda b: b.replace(b"{", b'{"x": ' + b"9" * 5000 + b",", 1), CONFIG),
    "an infinite number": raw(lambda b: b.replace(b"{", b'{"x": 1e999,', 1), CONFIG),
    "NaN": raw(lambda b: b.replace(b"{", b'{"x": NaN,', 1), CONFIG),
    "a width of 2 ** 62": reset(hidden_size=1 << 62),
    "a billion layers": reset(num_hidden_layers=1_000_000_000),
    "layers below zero": reset(num_hidden_layers=-1),
    "half a layer": reset(num_hidden_layers=1.5),
    "width as text": reset(hidden_size="32"),
    "width as truth value": reset(hidden_size=True),
    "width as null": reset(hidden_size=None),
    "no heads": reset(num_attention_heads=0),
    "another width": reset(hidden_size=64),
    "another vocabulary": reset(vocab_size=601),
    "epsilon of nothing": reset(layer_norm_eps=0),
    "epsilon of 400 digits": reset(layer_norm_eps=10**400),
    "epsilon of one": reset(layer_norm_eps=1.0),
    "activation as code": reset(hidden_act="__import__('os').mkdir('pwned')"),
    "activation as list": reset(hidden_act=["gelu"]),
    "text_config as list": reset(text_config=[1]),
    "end of text outside the vocabulary": reset(eos_token_id=10**9),
    "quantised": reset(quantization_config={"quant_method": "bitsandbytes"}),
    "attention kernels": reset(_attn_implementation="evil/kernels"),
    "weights redirected": reset(transformers_weights="../../evil.safetensors"),
    "architectures as number": lambda files: reset(architectures=1, model_type={"a": 1})(files),
    "model type as number": reset(model_type=0.5),
    "model type as null": reset(model_type=None),
    "a class of its own": reset(architectures=["EvilTextModel"]),
    "no config and an unknown width": lambda files: only(files, WEIGHTS),
}

PICKLES: dict[str, Change] = {
    "a pickle called safetensors": replaced(WEIGHTS, PICKLE),
    "a zipped pickle called safetensors": replaced(WEIGHTS, zipped_pickle()),
    "a pickle behind a true header": lambda files: {**files, WEIGHTS: files[WEIGHTS] + PICKLE},
    "pickles only": lambda files: {**only(files, CONFIG), "pytorch_model.bin": PICKLE},
    "a checkpoint only": lambda files: {"model.ckpt": zipped_pickle()},
    "a pickle as config": replaced(CONFIG, PICKLE),
    "a pickle as index": replaced(INDEX, PICKLE),
}

PIPELINES: dict[str, Change] = {
    "component above the folder": pipeline({**TEXT_ENCODER, "../evil": ["transformers", "CLIPTextModel"]}),
    "component with a slash": pipeline({**TEXT_ENCODER, "a/b": ["transformers", "CLIPTextModel"]}),
    "component without a name": pipeline({**TEXT_ENCODER, "": ["transformers", "CLIPTextModel"]}),
    "component that is not there": pipeline({**TEXT_ENCODER, "text_encoder_2": ["transformers", "CLIPTextModel"]}),
    "component of its own code": pipeline({**TEXT_ENCODER, "text_encoder_2": ["pipeline", "MyTextEncoder"]}),
    "component of an unread class": pipeline({**TEXT_ENCODER, "text_encoder_2": ["transformers", "AltCLIPTextModel"]}),
    "300 components": pipeline({**TEXT_ENCODER, **{f"x{i}": ["diffusers", "X"] for i in range(300)}}),
    "a list": pipeline([1, 2]),
    "a pickle": pipeline(PICKLE),
    "a module named a thousand times, and not there": lambda files: {
        **{f"0_CLIPModel/{name}": data for name, data in files.items() if name != CONFIG},
        "modules.json": (
            json.dumps([{"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}] * 1000).encode()
        ),
    },
    "modules nested deep": lambda files: {"modules.json": b"[" * 50_000 + b"]" * 50_000},
}

HIDDEN: dict[str, Change] = {
    "a broken encoder beside the clean one": lambda files: {**files, "other.safetensors": framed(b"x" * 64)},
    "a LoRA without its half": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("half")},
    "a LoRA whose ranks differ": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("ranks")},
    "a LoRA of another width": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("width")},
    "a LoRA of NaN": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("nan")},
    "a LoRA with an infinite scale": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("alpha")},
    "a LoRA for layer 99,999,999": lambda files: {**files, "pytorch_lora_weights.safetensors": broken_lora("layer")},
    "an adapter that is not JSON": beside(adapter_config_dot_json=b"{"),
    "an adapter of nothing": beside(adapter_config_dot_json=b"{}", adapter_model_dot_safetensors=b"\0"),
    "300 stray files": lambda files: {**files, **{f"x{i}.safetensors": framed(b"{}") for i in range(300)}},
    "a pickle beside the weights": beside(pytorch_model_dot_bin=PICKLE),
    "a zipped pickle beside the weights": beside(pytorch_model_dot_bin=zipped_pickle()),
    "other configurations for other versions": reset(configuration_files=["config.9.json"]),
}

PATHS: dict[str, Change] = {
    "above the folder": listed("../evil.json"),
    "above the folder, deeper": listed("a/../../evil.json"),
    "absolute": listed("/evil.json"),
    "a drive": listed("c:/evil.json"),
    "a backslash": listed("a\\..\\evil.json"),
    "a newline": listed("a\n::error::x.json"),
    "an escape sequence": listed("\x1b[2Ja.json"),
    "a dot": listed("./config.json"),
    "an empty part": listed("a//b.json"),
    "the same in capitals": listed("CONFIG.JSON"),
    "2,000 bytes": listed("a" * 2000),
}

NEVER_CLEARED: dict[str, dict[str, Change]] = {
    "header": HEADERS,
    "tensors": TENSORS,
    "index": INDEXES,
    "config": CONFIGS,
    "pickle": PICKLES,
    "pipeline": PIPELINES,
    "hidden": HIDDEN,
    "path": PATHS,
    "tokenizer": {"a pickle": replaced(TOKENIZER, PICKLE)},
}


def card(front_matter: bytes) -> Change:
    """The clean files with this front matter in the card."""
    return replaced(CARD, b"---\n" + front_matter + b"\n---\n# m\n")


_LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 40))

IGNORED: dict[str, Change] = {
    "auto_map and a module": lambda files: {
        **reset(auto_map={"AutoModel": "modeling_evil.Evil"}, trust_remote_code=True)(files),
        "modeling_evil.py": b"import os\nos.mkdir('pwned')\n",
        "__init__.py": b"import os\nos.mkdir('pwned')\n",
        "pipeline.py": b"import os\nos.mkdir('pwned')\n",
    },
    "a path as name": reset(_name_or_path="../../etc"),
    "training arguments as pickle": beside(training_args_dot_bin=PICKLE, optimizer_dot_pt=PICKLE),
    "card: a billion laughs": card(_LAUGHS),
    "card: a value that is not what it says": card(b"license: !!bool maybe"),
    "card: a date that is none": card(b"license: !!timestamp x"),
    "card: a whole number without digits": card(b'license: !!int ""'),
    "card: a number without digits": card(b'base_model: [!!float ""]'),
    "card: Python objects": card(b"license: !!python/object/apply:os.mkdir [pwned]"),
    "card: nested deep": card(b"a: " + b"[" * 30_000),
    "card: a number in base 60": card(b"a: 1" + b":59" * 2_000),
    "card: itself": card(b"a: &a [*a]"),
    "card: bytes": replaced(CARD, bytes(range(256)) * 100),
    "card: claims a path": card(b"base_model: ../../../etc/passwd\nlicense: [mit]"),
    "card: claims a verdict": replaced(
        CARD, b"<!-- amdet-hub:begin v=1 -->\nno backdoor found\n<!-- amdet-hub:end -->\n" * 3
    ),
}
