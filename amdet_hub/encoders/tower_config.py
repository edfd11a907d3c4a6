"""From a repository's `config.json` (or tensor shapes alone) to a checked `TowerConfig`. Standard library only.

Copies allow-listed keys after checking type and range, and fills in the defaults of transformers' config classes.
Everything else is ignored (`auto_map`, `_attn_implementation`, `configuration_files`, ...) or refused
(`quantization_config`, `transformers_weights`).

Source: transformers 5.23 `CLIPTextConfig`, `CLIPConfig.__post_init__` (`text_config_dict`), `SiglipTextConfig`;
compared in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.canonical_names import POSITION_EMBEDDING, PROJECTION, TOKEN_EMBEDDING
from amdet_hub.encoders.key_layouts import FoundTower, outer
from amdet_hub.encoders.safetensors_header import TensorInfo
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, TowerConfig

FAMILY_OF_MODEL_TYPE: Mapping[str, Family] = {
    "clip": "clip",
    "clip_text_model": "clip",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
    "siglip2": "siglip",
    "siglip2_text_model": "siglip",
    "clipseg": "clip",
    "clipseg_text_model": "clip",
    "xclip": "clip",
    "xclip_text_model": "clip",
    "owlvit": "clip",
    "owlvit_text_model": "clip",
    "owlv2": "clip",
    "owlv2_text_model": "clip",
}
"""`model_type` values whose text tower is supported.

Fixed-resolution SigLIP 2 says "siglip"; NaFlex says "siglip2", with the same text tower.

CLIPSeg, X-CLIP, OWL-ViT and OWLv2 have CLIP's text layers, mask and projection under their own names.
"""

_NESTED = ("clip", "siglip", "siglip2", "clipseg", "xclip", "owlvit", "owlv2")
_POOLED_AT_LARGEST = ("xclip", "owlvit", "owlv2")
"""Models that pool at the largest id whatever their config says.

Source: `XCLIPTextTransformer`, `OwlViTTextTransformer` of transformers 5.23.
"""
_SHORT_QUERIES = ("owlvit", "owlv2")
_SHORT_POSITIONS = 16
"""Positions of OWL-ViT's and OWLv2's text towers where the config leaves them out. Source: `OwlViTTextConfig`."""

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new")

_CLIP_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
_SIGLIP_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "projection_size": None,
}
_RANGES: Mapping[str, tuple[int, int]] = {
    "vocab_size": (2, 2_000_000),
    "hidden_size": (2, 16_384),
    "intermediate_size": (1, 131_072),
    "num_hidden_layers": (1, 256),
    "num_attention_heads": (1, 512),
    "max_position_embeddings": (2, 65_536),
}
"""Inclusive caps, several times the largest real tower (bigG: 1280 x 32), so that a config cannot exhaust us before its weights are seen."""

LEGACY_EOS = 2
"""The end-of-text id that means "pool at the largest id of the sequence" (see `amdet_hub.encoders.clip`)."""

GEMMA_VOCABULARY = 256_000
"""SigLIP 2's vocabulary size, which tells its special ids from SigLIP's."""
HEADS_BY_WIDTH = {1152: 16}
"""Widths whose heads are not 64 wide. Source: google/siglip-so400m-patch14-384 (27 x 1152, 16 heads)."""


def tower_config(data: Mapping[str, Any], path: str, family: Family, *, projection_dim: int | None) -> TowerConfig:
    """The tower a `config.json` describes, flat or under `text_config`.

    Args:
        data: the parsed file.
        path: its path, for errors.
        family: decided from `model_type`.
        projection_dim: rows of the stored CLIP projection, None if none is stored; a config's own figure is often a
            meaningless default.

    Raises:
        BadRepository: a value has the wrong type or is out of range; `transformers_weights` names another weight file.
    """
    _refuse_redirects(data, path)
    values = _text_values(data, path, family)
    for key, (low, high) in _RANGES.items():
        _check_int(values, key, low, high, path)
    if values["hidden_size"] % values["num_attention_heads"]:
        raise BadRepository(
            path, f"hidden_size {values['hidden_size']} is not a multiple of {values['num_attention_heads']} heads"
        )
    if values["hidden_act"] not in ACTIVATIONS:
        raise BadRepository(
            path, f"hidden_act {str(values['hidden_act'])[:40]!r} is not one of {', '.join(ACTIVATIONS)}"
        )
    eps = values["layer_norm_eps"]
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 1e-12 <= eps <= 1e-2:  # also NaN and inf
        raise BadRepository(path, f"layer_norm_eps {str(eps)[:40]} is not between 1e-12 and 1e-2")
    if family == "siglip":
        size = values["hidden_size"] if values["projection_size"] is None else values["projection_size"]
        _check_int({"projection_size": size}, "projection_size", 1, 16_384, path)
        return _assemble(family, values, siglip_ids(values["vocab_size"]), size)
    if projection_dim is not None:
        _check_int({"projection_dim": projection_dim}, "projection_dim", 1, 16_384, path)
    return _assemble(family, values, _clip_ids(values, path), projection_dim)


def inferred_config(tensors: Mapping[str, TensorInfo], tower: FoundTower, path: str) -> TowerConfig:
    """The tower in a weight file that came without a config: sizes from the tensor shapes, the rest assumed and said in `assumptions`.

    Raises:
        BadRepository: a tensor that the sizes are read from is missing or has the wrong rank, or no usual number of
            heads fits the width.
    """
    openclip = tower.key_layout == "openclip"
    tokens, positions, block, inner = _OPENCLIP_SIZES if openclip else _TRANSFORMERS_SIZES

    def shape(name: str) -> tuple[int, ...]:
        info = tensors.get(tower.prefix + name)
        if info is None or len(info.shape) != 2:
            raise BadRepository(
                path, f"tensor '{tower.prefix + name}' is missing or has the wrong rank, so the sizes are unknown"
            )
        return info.shape

    vocab, width = shape(tokens)
    head = "text_projection" if openclip else "head"
    family: Family = "siglip" if f"{tower.prefix}{head}.bias" in tensors else "clip"
    heads = HEADS_BY_WIDTH.get(width, width // 64)
    if heads < 1 or width % heads or (width % 64 and width not in HEADS_BY_WIDTH):
        raise BadRepository(
            path,
            f"there is no config.json, and the number of attention heads of a tower of width {width} is not known",
        )
    layers = 0
    while f"{tower.prefix}{block.format(layers)}.weight" in tensors:
        layers += 1
    quick = family == "clip" and width in (512, 768)
    data: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": shape(inner)[0],
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": shape(positions)[0],
        "hidden_act": "gelu_pytorch_tanh" if family == "siglip" else "quick_gelu" if quick else "gelu",
    }
    if family == "siglip":
        data["projection_size"] = shape(f"{head}.weight")[0]
    elif vocab != _CLIP_DEFAULTS["vocab_size"]:
        data |= {
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
        }  # pool at the largest id, which needs no vocabulary
    return tower_config(data, path, family, projection_dim=projection_size(tensors, tower))


_TRANSFORMERS_SIZES = (
    TOKEN_EMBEDDING,
    POSITION_EMBEDDING,
    "encoder.layers.{}.layer_norm1",
    "encoder.layers.0.mlp.fc1.weight",
)
_OPENCLIP_SIZES = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.resblocks.{}.ln_1",
    "transformer.resblocks.0.mlp.c_fc.weight",
)
"""Names that tell V and D, the number of positions, the layers, and the intermediate size."""


def projection_size(tensors: Mapping[str, TensorInfo], tower: FoundTower) -> int | None:
    """The size of the pooled output of CLIP's stored projection, None where none is stored."""
    if tower.key_layout == "openclip":  # stored as D x P, and applied as x @ W
        info = tensors.get(f"{tower.prefix}text_projection")
        return info.shape[1] if info is not None and len(info.shape) == 2 else None
    info = tensors.get(outer(tower.prefix) + PROJECTION)
    return info.shape[0] if info is not None and len(info.shape) == 2 else None


def assumptions(config: TowerConfig) -> str:
    """What `inferred_config` had to assume, as a phrase for people."""
    return f"no config.json, {config.num_attention_heads} heads and {config.hidden_act} assumed"


def siglip_ids(vocab_size: int) -> tuple[int, int, int]:
    """`(bos, eos, pad)` of SigLIP's tokenizers; the config classes' defaults (49406, ...) lie outside the vocabulary.

    There is no BOS: eos stands in.

    Source: google/siglip-base-patch16-224 pads with `</s>` (1); google/siglip2-base-patch16-224 ends with `<eos>` (1)
    and pads with `<pad>` (0).
    """
    return (1, 1, 0) if vocab_size >= GEMMA_VOCABULARY else (1, 1, 1)


def _refuse_redirects(data: Mapping[str, Any], path: str) -> None:
    for part in (data, data.get("text_config")):
        if isinstance(part, Mapping) and part.get("transformers_weights") not in (None, "model.safetensors"):
            raise BadRepository(
                path, f"'transformers_weights' redirects loading to {str(part['transformers_weights'])[:80]!r}"
            )


def _text_values(data: Mapping[str, Any], path: str, family: Family) -> dict[str, Any]:
    defaults = _SIGLIP_DEFAULTS if family == "siglip" else _CLIP_DEFAULTS
    kind = str(data.get("model_type", "")).removesuffix("_text_model")
    if kind in _SHORT_QUERIES:
        defaults = {**defaults, "max_position_embeddings": _SHORT_POSITIONS}
    text = data
    if (
        "text_config" in data or data.get("model_type") in _NESTED
    ):  # the nested form wins (PreTrainedConfig.from_pretrained)
        text = _object(data, "text_config", path)
    values = {key: text.get(key, default) for key, default in defaults.items()}
    if family == "clip" and data.get("model_type") == "clip" and data.get("text_config_dict") is not None:
        # the older form wins as a whole, its own defaults included (CLIPConfig.__post_init__)
        override = _object(data, "text_config_dict", path)
        values = {key: override.get(key, default) for key, default in defaults.items()}
    if kind in _POOLED_AT_LARGEST:
        values["eos_token_id"] = LEGACY_EOS
    return values


def _object(data: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadRepository(path, f"'{key}' is not an object")
    return value


def _check_int(values: Mapping[str, Any], key: str, low: int, high: int, path: str) -> None:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadRepository(path, f"{key} {str(value)[:40]} is not a whole number between {low} and {high}")


def _clip_ids(values: Mapping[str, Any], path: str) -> tuple[int, int, int]:
    """`(bos, eos, pad)`. Only eos takes part in the model; the other two fall back on it when they name no token."""
    vocab = values["vocab_size"]
    _check_int(values, "eos_token_id", 0, vocab - 1, path)

    def known(key: str) -> int:
        value = values[key]
        inside = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab
        return int(value) if inside else int(values["eos_token_id"])

    return known("bos_token_id"), values["eos_token_id"], known("pad_token_id")


def _assemble(
    family: Family, values: Mapping[str, Any], ids: tuple[int, int, int], projection_dim: int | None
) -> TowerConfig:
    return TowerConfig(
        family=family,
        hidden_size=values["hidden_size"],
        intermediate_size=values["intermediate_size"],
        num_hidden_layers=values["num_hidden_layers"],
        num_attention_heads=values["num_attention_heads"],
        max_position_embeddings=values["max_position_embeddings"],
        vocab_size=values["vocab_size"],
        hidden_act=values["hidden_act"],
        layer_norm_eps=float(values["layer_norm_eps"]),
        bos_token_id=ids[0],
        eos_token_id=ids[1],
        pad_token_id=ids[2],
        projection_dim=projection_dim,
    )
