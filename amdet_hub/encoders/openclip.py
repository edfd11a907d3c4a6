"""The text tower that an `open_clip_config.json` describes. Standard library only.

Reads the keys that `amdet_hub.encoders.clip` and `amdet_hub.encoders.siglip` can honour, and refuses every other one
that is switched on: a tower that works otherwise must not be scanned as if it were one of these. Sizes that the config
leaves to a ratio are read from the tensors.

Source: open_clip 3.3 `model.py` (`CLIPTextCfg`, `_build_text_tower`) and `transformer.py` (`TextTransformer`,
`text_global_pool`).
"""

from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.strict_json import object_at
from amdet_hub.encoders.tower_config import LEGACY_EOS, matrix_shape, projection_size, tower_config
from amdet_hub.records import Family, TensorInfo, TowerConfig

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
# Tokenisers, what the tensor shapes tell, and what only matters with an option that is refused.
_WITHOUT_EFFECT = {
    *("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "mlp_ratio", "pad_id", "output_tokens"),
    *("hf_model_pretrained", "hf_proj_type", "hf_pooler_type"),
}


class UnsupportedTower(Exception):
    """A text tower that the encoders here cannot run as configured; the text is one phrase that says why."""


def openclip_tower(
    data: Mapping[str, Any], path: str, tensors: Mapping[str, TensorInfo], layout: TowerLayout
) -> TowerConfig:
    """The text tower that an `open_clip_config.json` describes and `tensors` hold.

    Raises:
        UnsupportedTower: it is not one of the two kinds that can be scanned.
        BadRepository: a value has the wrong type or is out of range.
    """
    model = object_at(data, "model_cfg", path)
    text = object_at(model, "text_cfg", path)
    _check_supported(text)
    values = {key: text.get(key, default) for key, default in _DEFAULTS.items()}
    family = _family(text, values)
    read: dict[str, Any] = {
        "vocab_size": values["vocab_size"],
        "hidden_size": values["width"],
        "num_hidden_layers": values["layers"],
        "num_attention_heads": values["heads"],
        "max_position_embeddings": values["context_length"],
        "intermediate_size": matrix_shape(tensors, f"{layout.prefix}transformer.resblocks.0.mlp.c_fc.weight", path)[0],
        "hidden_act": _activation(model, text),
        "layer_norm_eps": _epsilon(text),
    }
    if family == "siglip":
        read["projection_size"] = matrix_shape(tensors, f"{layout.prefix}text_projection.weight", path)[0]
        return tower_config(read, path, family, projection_dim=None)
    read |= {
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": values["eos_id"] if values["pool_type"] == "eos" else LEGACY_EOS,
    }
    return tower_config(read, path, family, projection_dim=projection_size(tensors, layout))


def _check_supported(text: Mapping[str, Any]) -> None:
    """Refuse a key that is switched on and not honoured here."""
    if text.get("hf_model_name"):
        raise UnsupportedTower(f"its text tower is another Hugging Face model ({str(text['hf_model_name'])[:80]})")
    for key, value in text.items():
        off = value in (None, False) or (key, value) == ("block_type", "default")
        if not off and key not in _HONOURED | _WITHOUT_EFFECT:
            raise UnsupportedTower(f"its text_cfg sets {key[:40]}, which changes the text tower")
    if text.get("proj_type", "linear") != "linear":
        raise UnsupportedTower(f"its text_cfg asks for the projection {str(text['proj_type'])[:40]!r}")


def _family(text: Mapping[str, Any], values: Mapping[str, Any]) -> Family:
    bidirectional, biased, pool = bool(text.get("no_causal_mask")), bool(text.get("proj_bias")), values["pool_type"]
    if bidirectional and biased and pool == "last":
        return "siglip"
    if not bidirectional and not biased and (pool == "argmax" or (pool == "eos" and values["eos_id"] != LEGACY_EOS)):
        return "clip"
    raise UnsupportedTower(
        f"its text tower works {'without' if bidirectional else 'with'} a causal mask, is pooled by {str(pool)[:20]!r}"
        f" (end id {str(values['eos_id'])[:20]}) and its projection {'has a' if biased else 'has no'} bias, which is"
        " neither CLIP nor SigLIP"
    )


def _activation(model: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    arguments = text.get("act_kwargs") or {}
    if not arguments:
        return "quick_gelu" if model.get("quick_gelu") else "gelu"
    if arguments == {"approximate": "tanh"} and not model.get("quick_gelu"):
        return "gelu_pytorch_tanh"
    raise UnsupportedTower(f"its text_cfg gives the activation the arguments {str(arguments)[:60]}")


def _epsilon(text: Mapping[str, Any]) -> Any:
    arguments = text.get("norm_kwargs") or {"eps": 1e-5}  # torch.nn.LayerNorm
    if isinstance(arguments, Mapping) and set(arguments) == {"eps"}:
        return arguments["eps"]
    raise UnsupportedTower(f"its text_cfg gives the layer norm the arguments {str(arguments)[:60]}")
