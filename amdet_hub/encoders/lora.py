"""Which LoRAs on CLIP-family text towers does a file hold?

Reads tensor names and shapes and `adapter_config.json`; torch-free.

Three ways of naming are known: kohya's (`lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight`), diffusers'
in its generations (`text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight`) and PEFT's
(`base_model.model....`). Parts for a U-Net, a transformer, an image tower or a T5 are not looked at. Everything else
that concerns a text tower must be understood, or the file is refused: DoRA, LoHa, LoKr and others are named, for
merging them as plain LoRA would scan a tower that nobody runs.

Source: the tensor names of kohya-ss/sd-scripts, diffusers 0.42 `loaders/lora_conversion_utils.py` and
`utils/state_dict_utils.py`, PEFT 0.21.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub.encoders.openclip import UnsupportedTower
from amdet_hub.encoders.safetensors_header import TensorInfo
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import AdapterNaming

MAX_RANK = 4096
"""Above the width of every known text tower, where a LoRA would be larger than what it changes."""
MAX_ALPHA = 1e6
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")

_KOHYA = re.compile(r"(?P<prefix>lora_te\d?_)(?P<path>[A-Za-z0-9_]+)\.(?P<rest>.+)")
_DIFFUSERS = re.compile(
    r"(?P<prefix>text_encoder(?:_\d)?\.)(?P<path>.+?)\.(?P<rest>(?:lora|to_\w+_lora|alpha|dora|hada|lokr|oft|diff).*)"
)
_PEFT = re.compile(
    r"(?P<prefix>base_model\.model\.)(?P<path>.+?)\.(?P<rest>(?:lora_|hada|lokr|oft|modules_to_save|original_module|weight|bias).*)"
)
_FOR_TEXT_ENCODER = re.compile(r"text_encoder(?:_\d)?\.")
_SIGNS = re.compile(r"lora|dora_|hada_|lokr_|oft_")
"""What some tensor name holds in every file of an adapter."""
_PATTERNS: tuple[tuple[AdapterNaming, re.Pattern[str]], ...] = (
    ("kohya", _KOHYA),
    ("diffusers", _DIFFUSERS),
    ("peft", _PEFT),
)
_MODULE = re.compile(
    r"(?:(?:base_model\.|clip\.)?text_model[._])?"
    r"(?:encoder[._]layers[._](?P<layer>\d{1,3})[._](?P<module>self_attn[._](?:[qkv]|out)_proj|self_attn|mlp[._]fc[12])|(?P<projection>text_projection))"
)
_OTHER_MODEL = re.compile(
    r"(?:text_model[._])?(?:encoder[._]block[._]|transformer[._]encoder|shared|.*vision_model|visual|down_blocks|up_blocks|mid_block|transformer_blocks|"
    r"single_transformer_blocks|model[._]layers|layers[._]\d|.*decoder)"
)
"""T5, image towers, U-Nets, diffusion transformers, language models: beside a text tower's, their names are no concern of ours."""
_OLD_ATTENTION = {"to_q_lora": "q_proj", "to_k_lora": "k_proj", "to_v_lora": "v_proj", "to_out_lora": "out_proj"}
_ENDINGS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_A.weight": "down",
    "lora_A.default.weight": "down",
    "lora_B.weight": "up",
    "lora_B.default.weight": "up",
    "alpha": "alpha",
}
_OTHER_METHODS: tuple[tuple[str, str], ...] = (
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    ("hada_", "LyCORIS LoHa"),
    ("lokr_", "LyCORIS LoKr"),
    ("lora_mid", "LyCORIS LoCon with a middle matrix"),
    ("oft_", "OFT"),
    ("diff", "whole-weight differences"),
    ("modules_to_save", "PEFT's modules_to_save"),
    ("original_module", "PEFT's modules_to_save"),
    ("lora_embedding", "a LoRA on the embedding"),
)


@dataclass(frozen=True)
class LoraMatrix:
    """One changed matrix: its canonical name in the tower, and the stored names of its factors.

    `alpha` None means a scale of 1.
    """

    target: str
    down: str
    up: str
    alpha: str | None = None


@dataclass(frozen=True)
class FoundLora:
    """A LoRA on one text tower.

    `width` and `intermediate` are what the shapes say of the tower, None where they say nothing; `layers` is the
    smallest number it can have.
    """

    naming: AdapterNaming
    prefix: str
    matrices: tuple[LoraMatrix, ...]
    rank: int
    layers: int
    width: int | None
    intermediate: int | None

    @property
    def component(self) -> str:
        """The pipeline component it is meant for, "" where its names do not say."""
        return {"lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}.get(
            self.prefix, self.prefix.rstrip(".") if self.naming == "diffusers" else ""
        )


def find_loras(tensors: Mapping[str, TensorInfo], path: str) -> tuple[FoundLora, ...]:
    """Every LoRA on a CLIP-family text tower in a file, one for each tower.

    Raises:
        UnsupportedTower: it changes a text tower in another way than LoRA; the text names it.
        BadRepository: a name is not understood, or the shapes are no LoRA's.
    """
    parts: dict[tuple[AdapterNaming, str], dict[str, dict[str, str]]] = {}
    if not any(_SIGNS.search(name) for name in tensors):
        return ()
    for name in tensors:
        read = _read_name(name, path)
        if read is not None:
            naming, prefix, target, role = read
            factors = parts.setdefault((naming, prefix), {}).setdefault(target, {})
            if role in factors:
                raise BadRepository(
                    path, f"'{name[:120]}' and '{factors[role][:120]}' are the same factor of one matrix"
                )
            factors[role] = name
    return tuple(_lora(naming, prefix, parts[naming, prefix], tensors, path) for naming, prefix in sorted(parts))


def _read_name(name: str, path: str) -> tuple[AdapterNaming, str, str, str] | None:
    """`(naming, prefix, canonical name, role)` of a stored name, None when it does not concern a text tower."""
    found = next(((naming, match) for naming, pattern in _PATTERNS if (match := pattern.fullmatch(name))), None)
    if found is None:
        if _FOR_TEXT_ENCODER.match(name) and not _OTHER_MODEL.match(name.partition(".")[2]):
            raise BadRepository(path, f"'{name[:120]}' is no part of a LoRA that is known here")
        return None
    naming, match = found
    module_path, rest = match["path"], match["rest"]
    module = _MODULE.fullmatch(module_path)
    if (
        module is None
        and (naming == "peft" or _OTHER_MODEL.match(module_path))
        and not re.match(r"(?:clip\.)?text_", module_path)
    ):
        return None
    for sign, method in _OTHER_METHODS:
        if rest.startswith(sign) or f".{sign}" in rest:
            raise UnsupportedTower(
                f"{method} on a text encoder ('{name[:80]}'), which is not merged here; only plain LoRA is"
            )
    if module is None:
        raise BadRepository(path, f"'{name[:120]}' names no matrix of a CLIP-family text tower")
    target, role = _target_and_role(module, rest)
    if role is None:
        raise BadRepository(path, f"'{name[:120]}' is no factor of a LoRA that is known here")
    return naming, match["prefix"], target, role


def _target_and_role(module: re.Match[str], rest: str) -> tuple[str, str | None]:
    """The canonical name of the matrix, and "down", "up" or "alpha"; None where the ending is not known."""
    inner = (module["module"] or "").replace("self_attn_", "self_attn.").replace("mlp_", "mlp.")
    old, _, ending = rest.partition(".")
    if old in _OLD_ATTENTION and inner == "self_attn":
        inner, rest = f"self_attn.{_OLD_ATTENTION[old]}", f"lora.{ending}"
    if module["projection"]:
        return "text_projection.weight", _ENDINGS.get(rest)
    return f"encoder.layers.{int(module['layer'])}.{inner}.weight", (
        None if inner == "self_attn" else _ENDINGS.get(rest)
    )


def _lora(
    naming: AdapterNaming,
    prefix: str,
    parts: Mapping[str, Mapping[str, str]],
    tensors: Mapping[str, TensorInfo],
    path: str,
) -> FoundLora:
    matrices, ranks = [], [0]
    widths: set[int] = set()
    intermediates: set[int] = set()
    for target, factors in sorted(parts.items()):
        if "down" not in factors or "up" not in factors:
            raise BadRepository(path, f"the LoRA of '{target}' lacks one of its two factors")
        down, up = tensors[factors["down"]], tensors[factors["up"]]
        rank = _check_factors(target, factors, down, up, path)
        if "alpha" in factors:
            _check_alpha(factors["alpha"], tensors[factors["alpha"]], path)
        ranks.append(rank)
        if ".mlp.fc1." in target:
            intermediates.add(up.shape[0])
        elif ".mlp.fc2." in target:
            intermediates.add(down.shape[1])
        widths |= (
            {up.shape[0]}
            if ".fc2." in target
            else {down.shape[1]}
            if target.startswith("text_") or ".fc1." in target
            else {down.shape[1], up.shape[0]}
        )
        matrices.append(LoraMatrix(target, factors["down"], factors["up"], factors.get("alpha")))
    if len(widths) > 1 or len(intermediates) > 1:
        raise BadRepository(
            path, f"the matrices of its LoRA belong to towers of different widths ({sorted(widths | intermediates)})"
        )
    layers = 1 + max((int(m.target.split(".")[2]) for m in matrices if m.target.startswith("encoder.")), default=0)
    return FoundLora(
        naming, prefix, tuple(matrices), max(ranks), layers, next(iter(widths), None), next(iter(intermediates), None)
    )


def _check_factors(target: str, factors: Mapping[str, str], down: TensorInfo, up: TensorInfo, path: str) -> int:
    for role, info in (("down", down), ("up", up)):
        if len(info.shape) != 2 or min(info.shape) < 1:
            raise BadWeights(path, factors[role][:120], f"has shape {info.shape}, a LoRA's factors are matrices")
        if info.dtype not in FLOAT_DTYPES:
            raise BadWeights(path, factors[role][:120], f"is stored as {info.dtype}, not as plain floating point")
    if down.shape[0] != up.shape[1] or down.shape[0] > MAX_RANK:
        raise BadRepository(
            path,
            f"the factors of '{target}' have the shapes {down.shape} and {up.shape}, which are no LoRA of rank"
            f" {MAX_RANK} or less",
        )
    return down.shape[0]


def _check_alpha(name: str, info: TensorInfo, path: str) -> None:
    if info.shape not in ((), (1,)):
        raise BadWeights(path, name[:120], f"has shape {info.shape}, an alpha is one number")


# ---------------------------------------------------------------- adapter_config.json

_PLAIN_LORA = {"use_dora": False, "lora_bias": False, "bias": "none", "fan_in_fan_out": False, "use_qalora": False}
"""Switches of PEFT's LoRA config that must be off (or left out) for the plain product to be what PEFT computes."""
_EMPTY_LORA = (
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "corda_config",
)


def peft_scale(data: Mapping[str, Any], path: str) -> float:
    """What PEFT multiplies every product with, by an `adapter_config.json`: `lora_alpha / r`, or `lora_alpha / sqrt(r)` with rsLoRA.

    Raises:
        UnsupportedTower: the adapter is not plain LoRA.
        BadRepository: a value has the wrong type or is out of range.
    """
    kind = data.get("peft_type", "LORA")
    if kind != "LORA":
        raise UnsupportedTower(
            f"a PEFT adapter of type {str(kind)[:40]!r}, which is not merged here; only plain LoRA is"
        )
    for key, plain in _PLAIN_LORA.items():
        if data.get(key) not in (None, plain):
            name = "DoRA" if key == "use_dora" else f"LoRA with {key} {str(data[key])[:40]!r}"
            raise UnsupportedTower(f"{name} on a text encoder ({path}), which is not merged here; only plain LoRA is")
    for key in _EMPTY_LORA:
        if data.get(key):
            raise UnsupportedTower(f"LoRA with {key} ({path}), which is not merged here; only plain LoRA is")
    rank, alpha = data.get("r", 8), data.get("lora_alpha", 8)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        raise BadRepository(path, f"r {str(rank)[:40]} is not a whole number between 1 and {MAX_RANK}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= MAX_ALPHA:
        raise BadRepository(path, f"lora_alpha {str(alpha)[:40]} is not a number up to {MAX_ALPHA:,.0f}")
    return alpha / (math.sqrt(rank) if data.get("use_rslora") else rank)


def claimed_base(data: Mapping[str, Any]) -> str | None:
    """The base model that an `adapter_config.json` names: a repository id, or None.

    A local path of its author's machine is none.
    """
    base = data.get("base_model_name_or_path")
    return (
        base
        if isinstance(base, str) and re.fullmatch(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", base) and ".." not in base
        else None
    )
