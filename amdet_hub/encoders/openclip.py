"""What an `open_clip_config.json` says of the text tower. Standard library only.

Reads the keys that `amdet_hub.encoders.clip` and `amdet_hub.encoders.siglip` can honour, and refuses every other one
that is switched on: a tower that works otherwise must not be scanned as if it were one of these. Sizes that the config
leaves to a ratio are read from the tensors.

Source: open_clip 3.3 `model.py` (`CLIPTextCfg`, `_build_text_tower`) and `transformer.py` (`TextTransformer`,
`text_global_pool`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.key_layouts import FoundTower
from amdet_hub.encoders.safetensors_header import TensorInfo
from amdet_hub.encoders.tower_config import LEGACY_EOS, projection_size, tower_config
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, TowerConfig

OPENCLIP_CONFIG = "open_clip_config.json"

_DEFAULTS: Mapping[str, Any] = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "pool_type": "argmax",
    "proj_type": "linear",
    "eos_id": 2,
}
_HONOURED = {*_DEFAULTS, "no_causal_mask", "proj_bias", "act_kwargs", "norm_kwargs"}
_WITHOUT_EFFECT = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "mlp_ratio", "pad_id", "output_tokens"}
"""Tokenisers, what the tensor shapes tell, and what only matters with an option that is refused."""
_HF_TOWER = {"hf_model_pretrained", "hf_proj_type", "hf_pooler_type"}


class UnsupportedTower(Exception):
    """A text tower whose configuration asks for something that the encoders here do not do; the text is one phrase that says what."""


def openclip_tower(
    data: Mapping[str, Any], path: str, tensors: Mapping[str, TensorInfo], tower: FoundTower
) -> TowerConfig:
    """The text tower that an `open_clip_config.json` describes and `tensors` hold.

    Raises:
        UnsupportedTower: it is not one of the two kinds that can be scanned.
        BadRepository: a value has the wrong type or is out of range.
    """
    model = _mapping(data, "model_cfg", path)
    text = _mapping(model, "text_cfg", path)
    check_supported(text)
    values = {key: text.get(key, default) for key, default in _DEFAULTS.items()}
    family = _family(text, values)
    read: dict[str, Any] = {
        "vocab_size": values["vocab_size"],
        "hidden_size": values["width"],
        "num_hidden_layers": values["layers"],
        "num_attention_heads": values["heads"],
        "max_position_embeddings": values["context_length"],
        "intermediate_size": _rows(tensors, f"{tower.prefix}transformer.resblocks.0.mlp.c_fc.weight", path),
        "hidden_act": _activation(model, text),
        "layer_norm_eps": _epsilon(text),
    }
    if family == "siglip":
        read["projection_size"] = _rows(tensors, f"{tower.prefix}text_projection.weight", path)
        return tower_config(read, path, family, projection_dim=None)
    pooled_at = values["eos_id"] if values["pool_type"] == "eos" else LEGACY_EOS
    read |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": pooled_at}
    return tower_config(read, path, family, projection_dim=projection_size(tensors, tower))


def check_supported(text: Mapping[str, Any]) -> None:
    """Refuse what is switched on and not honoured here.

    Raises:
        UnsupportedTower: names the first such key.
    """
    if text.get("hf_model_name"):
        raise UnsupportedTower(
            f"its text tower is a Hugging Face model of another kind ({str(text['hf_model_name'])[:80]})"
        )
    for key, value in text.items():
        if (
            key not in _HONOURED | _WITHOUT_EFFECT | _HF_TOWER
            and value not in (None, False)
            and (key, value) != ("block_type", "default")
        ):
            raise UnsupportedTower(f"its text_cfg sets {key[:40]}, which changes the text tower")
    if text.get("proj_type", "linear") != "linear":
        raise UnsupportedTower(f"its text_cfg asks for the projection {str(text['proj_type'])[:40]!r}")


def _family(text: Mapping[str, Any], values: Mapping[str, Any]) -> Family:
    bidirectional, biased, pool = bool(text.get("no_causal_mask")), bool(text.get("proj_bias")), values["pool_type"]
    if bidirectional and biased and pool == "last":
        return "siglip"
    if not bidirectional and not biased and (pool == "argmax" or (pool == "eos" and values["eos_id"] != LEGACY_EOS)):
        return "clip"
    mask = "without a causal mask" if bidirectional else "with a causal mask"
    raise UnsupportedTower(
        f"its text tower works {mask}, is pooled by {str(pool)[:20]!r} (end id {str(values['eos_id'])[:20]}) and its"
        f" projection {'has a' if biased else 'has no'} bias, which is neither CLIP nor SigLIP"
    )


def _activation(model: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    arguments = text.get("act_kwargs")
    if model.get("quick_gelu"):
        if arguments:
            raise UnsupportedTower("its text_cfg gives QuickGELU arguments")
        return "quick_gelu"
    if not arguments:
        return "gelu"
    if arguments == {"approximate": "tanh"}:
        return "gelu_pytorch_tanh"
    raise UnsupportedTower(f"its text_cfg gives GELU the arguments {str(arguments)[:60]}")


def _epsilon(text: Mapping[str, Any]) -> Any:
    arguments = text.get("norm_kwargs")
    if not arguments:
        return 1e-5  # torch.nn.LayerNorm
    if isinstance(arguments, Mapping) and set(arguments) == {"eps"}:
        return arguments["eps"]
    raise UnsupportedTower(f"its text_cfg gives the layer norm the arguments {str(arguments)[:60]}")


def _mapping(data: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, Mapping):
        raise BadRepository(path, f"'{key}' is not an object")
    return value


def _rows(tensors: Mapping[str, TensorInfo], name: str, path: str) -> int:
    info = tensors.get(name)
    if info is None or len(info.shape) != 2:
        raise BadRepository(path, f"tensor '{name}' is missing or has the wrong rank, so the sizes are unknown")
    return info.shape[0]
