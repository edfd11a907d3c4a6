"""From a repository's `config.json` (or tensor shapes alone) to a checked `TowerConfig`. Standard library only.

Copies allow-listed keys after checking type and range, and fills in the defaults of transformers' config classes.
Everything else is ignored (`auto_map`, ...) or refused (`quantization_config`, `transformers_weights`, ...). Where two
classes that may take the file would read two towers in it, it is refused.

Source: transformers 5.23 `CLIPTextConfig`, `CLIPConfig.__post_init__` (`text_config_dict`), `SiglipTextConfig`;
compared in tests/differential/configurations.py.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.canonical_names import POSITION_EMBEDDING, PROJECTION, TOKEN_EMBEDDING
from amdet_hub.encoders.key_layouts import TowerLayout
from amdet_hub.encoders.strict_json import object_at, real_number, require, whole_number
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, KeyLayout, TensorInfo, TowerConfig

_KINDS: dict[str, Family] = {
    "clip": "clip",
    "siglip": "siglip",
    "siglip2": "siglip",
    "clipseg": "clip",
    "xclip": "clip",
    "owlvit": "clip",
    "owlv2": "clip",
}
# `model_type` values whose text tower is supported. Fixed-resolution SigLIP 2 says "siglip"; NaFlex says "siglip2",
# with the same text tower. CLIPSeg, X-CLIP, OWL-ViT and OWLv2 have CLIP's text layers, mask and projection under
# their own names.
FAMILY_OF_MODEL_TYPE: Mapping[str, Family] = _KINDS | {f"{kind}_text_model": f for kind, f in _KINDS.items()}

# Models that pool at the largest id whatever their config says. Source: `XCLIPTextTransformer`,
# `OwlViTTextTransformer` of transformers 5.23.
_POOLED_AT_LARGEST = ("xclip", "owlvit", "owlv2")
_SHORT_QUERIES = ("owlvit", "owlv2")
# Models whose class of both towers lets `text_config_dict` win, its own defaults included.
_READ_OLDER = ("clip", "clipseg", "xclip")
# Keys that steer transformers itself, and the one value that changes nothing. `PreTrainedConfig` sets any key as an
# attribute of itself, its own `attribute_map` of names included.
_STEERING: Mapping[str, Any] = {
    "attribute_map": {},
    "configuration_files": [],
    "fusion_config": None,
    "per_layer_config": None,
    "transformers_weights": "model.safetensors",
}
# Positions of OWL-ViT's and OWLv2's text towers where the config leaves them out. Source: `OwlViTTextConfig`.
_SHORT_POSITIONS = 16

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
_DEFAULTS: Mapping[Family, Mapping[str, Any]] = {"clip": _CLIP_DEFAULTS, "siglip": _SIGLIP_DEFAULTS}
# Inclusive caps, several times the largest real tower (bigG: 1280 x 32): a config costs little before its weights.
_RANGES: Mapping[str, tuple[int, int]] = {
    "vocab_size": (2, 2_000_000),
    "hidden_size": (2, 16_384),
    "intermediate_size": (1, 131_072),
    "num_hidden_layers": (1, 256),
    "num_attention_heads": (1, 512),
    "max_position_embeddings": (2, 65_536),
}

# The end-of-text id that means "pool at the largest id of the sequence" (see `amdet_hub.encoders.clip`).
LEGACY_EOS = 2

# SigLIP 2's vocabulary size, which tells its special ids from SigLIP's.
GEMMA_VOCABULARY = 256_000
# Widths whose heads are not 64 wide. Source: google/siglip-so400m-patch14-384 (27 x 1152, 16 heads).
HEADS_BY_WIDTH = {1152: 16}


def tower_config(data: Mapping[str, Any], path: str, family: Family, *, projection_dim: int | None) -> TowerConfig:
    """The tower a `config.json` describes, flat or under `text_config`.

    Args:
        data: the parsed file.
        path: its path, for errors.
        family: decided from `model_type`.
        projection_dim: rows of the stored CLIP projection, None if none is stored; a config's own figure is often a
            meaningless default.

    Raises:
        BadRepository: a value has the wrong type or is out of range; two classes that take the file read two towers;
            a key steers transformers itself.
    """
    readings = _readings(data, path)
    found = [_tower(part, data, path, family, projection_dim) for part in readings]
    for part in (data, *readings):
        _check_steering(part, path)
    first, *others = [same_if_pooled_alike(config) for config in found]
    differing = {key for other in others for key, value in vars(other).items() if value != vars(first)[key]}
    require(not differing, path, f"two classes of transformers read two text towers in it: {sorted(differing)[:3]}")
    return found[0]


def same_if_pooled_alike(config: TowerConfig) -> TowerConfig:
    """The config without what changes no feature: the ids that frame prompts, and two names of one pooling rule."""
    return dataclasses.replace(config, bos_token_id=0, pad_token_id=0, eos_token_id=pooled_id(config))


def _readings(data: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    """What the text class, the class of both towers and AutoModel each take the text tower's values from.

    Source: `PreTrainedConfig.from_pretrained` and `CLIPConfig.__post_init__` of transformers 5.23.
    """
    model_type = str(data.get("model_type", ""))
    kind = model_type.removesuffix("_text_model")
    text, older = (_object_or_none(data, key, path) for key in ("text_config", "text_config_dict"))
    part = data if text is None else text
    own = [v for v in part.values() if isinstance(v, Mapping) and v.get("model_type") == f"{kind}_text_model"]
    redirected = bool(own) and part.get("model_type", f"{kind}_text_model") != f"{kind}_text_model"
    loadable = text is not None or "text_config" not in data
    wins = [older] if older is not None and kind in _READ_OLDER else []
    both = wins or [text or {}]
    return [
        *([own[-1] if redirected else part] if loadable else []),
        *(both if model_type in _KINDS else [*wins, data]),
    ]


def _check_steering(part: Mapping[str, Any], path: str) -> None:
    """Refuse what makes transformers load other weights or compute otherwise than its classes do by themselves."""
    steers = {key: part[key] for key in _STEERING if key in part and part[key] not in (None, _STEERING[key])}
    steers |= {key: part[key] for key in ("attn_implementation", "_attn_implementation") if "/" in str(part.get(key))}
    steers |= {"is_causal": None} if part.get("is_causal", True) is not True else {}
    require(not steers, path, f"{str(steers)[:120]} has transformers load or compute something else")


def _tower(
    part: Mapping[str, Any], data: Mapping[str, Any], path: str, family: Family, projection_dim: int | None
) -> TowerConfig:
    values = _text_values(part, str(data.get("model_type", "")), family)
    sizes = {key: whole_number(values[key], key, low, high, path) for key, (low, high) in _RANGES.items()}
    width, heads, activation = sizes["hidden_size"], sizes["num_attention_heads"], values["hidden_act"]
    require(width % heads == 0, path, f"hidden_size {width} is not a multiple of {heads} heads")
    require(activation in ACTIVATIONS, path, f"hidden_act {str(activation)[:40]!r} is not one of {ACTIVATIONS}")
    epsilon = real_number(values["layer_norm_eps"], "layer_norm_eps", 1e-12, 1e-2, path)
    if family == "siglip":
        projection_dim = width if values["projection_size"] is None else values["projection_size"]
    if projection_dim is not None:
        whole_number(projection_dim, "projection_size" if family == "siglip" else "projection_dim", 1, 16_384, path)
    bos, eos, pad = siglip_ids(sizes["vocab_size"]) if family == "siglip" else _clip_ids(values, path)
    return TowerConfig(
        family=family,
        **sizes,
        hidden_act=activation,
        layer_norm_eps=epsilon,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
        projection_dim=projection_dim,
    )


def inferred_config(tensors: Mapping[str, TensorInfo], layout: TowerLayout, path: str) -> TowerConfig:
    """The tower in a weight file that has no config: sizes from the shapes, heads and activation assumed.

    Raises:
        BadRepository: a tensor that the sizes are read from is missing or has the wrong rank, or no usual number of
            heads fits the width.
    """
    *names, norm = _SIZES[layout.key_layout]
    tokens, positions, blocks, inner, head = (layout.prefix + name for name in names)
    vocab, width = matrix_shape(tensors, tokens, path)
    family: Family = "siglip" if f"{head}.bias" in tensors else "clip"
    require(
        width >= 64 and width % 64 == 0,
        path,
        f"there is no config.json, and no usual number of attention heads fits the width {width}",
    )
    gelu = "quick_gelu" if width in (512, 768) else "gelu"
    data: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": matrix_shape(tensors, inner, path)[0],
        "num_hidden_layers": next(n for n in itertools.count() if f"{blocks}{n}.{norm}.weight" not in tensors),
        "num_attention_heads": HEADS_BY_WIDTH.get(width, width // 64),
        "max_position_embeddings": matrix_shape(tensors, positions, path)[0],
        "hidden_act": "gelu_pytorch_tanh" if family == "siglip" else gelu,
    }
    if family == "siglip":
        data["projection_size"] = matrix_shape(tensors, f"{head}.weight", path)[0]
    elif vocab != _CLIP_DEFAULTS["vocab_size"]:  # pool at the largest id, which needs no vocabulary
        data |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": LEGACY_EOS}
    return tower_config(data, path, family, projection_dim=projection_size(tensors, layout))


# Names that tell V and D, the positions, the layers, the intermediate size, SigLIP's head; a norm of each layer.
_OPENCLIP_SIZES = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.resblocks.",
    "transformer.resblocks.0.mlp.c_fc.weight",
    "text_projection",
    "ln_1",
)
_SIZES: Mapping[KeyLayout, tuple[str, ...]] = {
    "transformers": (
        TOKEN_EMBEDDING,
        POSITION_EMBEDDING,
        "encoder.layers.",
        "encoder.layers.0.mlp.fc1.weight",
        "head",
        "layer_norm1",
    ),
    "openclip": _OPENCLIP_SIZES,
    "longclip": _OPENCLIP_SIZES,
}


def matrix_shape(tensors: Mapping[str, TensorInfo], name: str, path: str) -> tuple[int, int]:
    """Rows and columns of a stored tensor. Raises: BadRepository where it is missing or no matrix."""
    info = tensors.get(name)
    if info is None or len(info.shape) != 2:
        raise BadRepository(path, f"tensor '{name}' is missing or has the wrong rank, so the sizes are unknown")
    rows, columns = info.shape
    return rows, columns


def projection_size(tensors: Mapping[str, TensorInfo], layout: TowerLayout) -> int | None:
    """The size of the pooled output of CLIP's stored projection, None where none is stored."""
    openclip = layout.key_layout != "transformers"  # stored as D x P, and applied as x @ W
    info = tensors.get(f"{layout.prefix}text_projection" if openclip else layout.root + PROJECTION)
    return info.shape[1 if openclip else 0] if info is not None and len(info.shape) == 2 else None


def pooled_id(config: TowerConfig) -> int:
    """The id at whose first place a CLIP tower pools; in the legacy form that of the vocabulary's last entry."""
    return config.vocab_size - 1 if config.eos_token_id == LEGACY_EOS else config.eos_token_id


def siglip_ids(vocab_size: int) -> tuple[int, int, int]:
    """`(bos, eos, pad)` of SigLIP's tokenizers; the config classes' defaults (49406, ...) lie outside the vocabulary.

    There is no BOS: eos stands in.

    Source: google/siglip-base-patch16-224 pads with `</s>` (1); google/siglip2-base-patch16-224 ends with `<eos>` (1)
    and pads with `<pad>` (0).
    """
    return (1, 1, 0) if vocab_size >= GEMMA_VOCABULARY else (1, 1, 1)


def _text_values(part: Mapping[str, Any], model_type: str, family: Family) -> dict[str, Any]:
    kind = model_type.removesuffix("_text_model")
    values = {key: part.get(key, default) for key, default in _DEFAULTS[family].items()}
    if kind in _SHORT_QUERIES:
        values["max_position_embeddings"] = part.get("max_position_embeddings", _SHORT_POSITIONS)
    if kind in _POOLED_AT_LARGEST:
        values["eos_token_id"] = LEGACY_EOS
    return values


def _object_or_none(data: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any] | None:
    return None if data.get(key) is None else object_at(data, key, path)


def _clip_ids(values: Mapping[str, Any], path: str) -> tuple[int, int, int]:
    """`(bos, eos, pad)`. Only eos takes part in the model; the other two fall back on it when they name no token."""
    vocab = values["vocab_size"]
    eos = whole_number(values["eos_token_id"], "eos_token_id", 0, vocab - 1, path)
    bos, pad = (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab else eos
        for value in (values["bos_token_id"], values["pad_token_id"])
    )
    return bos, eos, pad
