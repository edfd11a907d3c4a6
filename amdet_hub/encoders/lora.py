"""The LoRAs on CLIP-family text towers in a file, by tensor names and shapes. Torch-free.

Three ways of naming are known: kohya's (`lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight`), diffusers'
in its generations (`text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight`) and PEFT's
(`base_model.model....`). Parts for a U-Net, a transformer, an image tower or a T5 are not looked at. Everything else
that concerns a text tower must be understood, or the file is refused: DoRA, LoHa, LoKr and others are named, for
merging them as plain LoRA would scan another tower than the one that runs.

Source: the tensor names of kohya-ss/sd-scripts, diffusers 0.42 `loaders/lora_conversion_utils.py` and
`utils/state_dict_utils.py`, PEFT 0.21.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from amdet_hub.encoders.openclip import UnsupportedTower
from amdet_hub.encoders.strict_json import require
from amdet_hub.encoders.weight_files import FLOAT_DTYPES
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import AdapterNaming, TensorInfo

# Above the width of every known text tower, where a LoRA would be larger than what it changes.
MAX_RANK = 4096
MAX_ALPHA = 1e6

_PATTERNS: Mapping[AdapterNaming, re.Pattern[str]] = {
    "kohya": re.compile(r"(?P<prefix>lora_te\d?_)(?P<path>[A-Za-z0-9_]+)\.(?P<rest>.+)"),
    "diffusers": re.compile(
        r"(?P<prefix>text_encoder(?:_\d)?\.)(?P<path>.+?)\."
        r"(?P<rest>(?:lora|to_\w+_lora|alpha|dora|hada|lokr|oft|diff).*)"
    ),
    "peft": re.compile(
        r"(?P<prefix>base_model\.model\.)(?P<path>.+?)\."
        r"(?P<rest>(?:lora_|hada|lokr|oft|modules_to_save|original_module|weight|bias).*)"
    ),
}
_FOR_TEXT_ENCODER = re.compile(r"text_encoder(?:_\d)?\.")
# Every file of an adapter has a tensor name with one of these.
LORA_SIGNS = re.compile(r"lora|dora_|hada_|lokr_|oft_")
_MODULE = re.compile(
    r"(?:(?:base_model\.|clip\.)?text_model[._])?(?:encoder[._]layers[._](?P<layer>\d{1,3})[._]"
    r"(?P<module>self_attn[._](?:[qkv]|out)_proj|self_attn|mlp[._]fc[12])|(?P<projection>text_projection))"
)
# What a text tower alone has, with `text_model.` or without.
_TEXT_MODULE = re.compile(
    r"(?:clip\.)?(?:text_|embeddings\.(?:token|position)_embedding|final_layer_norm|token_embedding)"
)
# T5, image towers, U-Nets, diffusion transformers, language models, whose names may lie beside a text tower's.
_OTHER_MODEL = re.compile(
    r"(?:text_model[._])?(?:encoder[._]block[._]|transformer[._]encoder|shared|.*vision_model|visual|down_blocks|"
    r"up_blocks|mid_block|transformer_blocks|single_transformer_blocks|model[._]layers|layers[._]\d|.*decoder)"
)
_OLD_ATTENTION = re.compile(r"to_(?P<kind>q|k|v|out)_lora\.")
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
_OTHER_METHODS: Mapping[str, str] = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LyCORIS LoHa",
    "lokr_": "LyCORIS LoKr",
    "lora_mid": "LyCORIS LoCon with a middle matrix",
    "oft_": "OFT",
    "diff": "whole-weight differences",
    "modules_to_save": "PEFT's modules_to_save",
    "original_module": "PEFT's modules_to_save",
    "lora_embedding": "a LoRA on the embedding",
}


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
class Lora:
    """A LoRA on one text tower.

    `width` and `intermediate` are the tower's sizes, None where the shapes do not tell; `layers` is the least number.
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


def find_loras(tensors: Mapping[str, TensorInfo], path: str) -> tuple[Lora, ...]:
    """Every LoRA on a CLIP-family text tower in a file, one for each tower.

    Raises:
        UnsupportedTower: it changes a text tower in another way than LoRA; the text names it.
        BadRepository: a name is not understood, or the shapes are no LoRA's.
    """
    if not any(LORA_SIGNS.search(name) for name in tensors):
        return ()
    found: dict[tuple[AdapterNaming, str], dict[str, dict[str, str]]] = {}
    for name in tensors:
        if (read := _read_name(name, path)) is None:
            continue
        naming, prefix, target, role = read
        first = found.setdefault((naming, prefix), {}).setdefault(target, {}).setdefault(role, name)
        require(first == name, path, f"'{name[:120]}' and '{first[:120]}' are the same factor of one matrix")
    return tuple(_lora(naming, prefix, parts, tensors, path) for (naming, prefix), parts in sorted(found.items()))


def _read_name(name: str, path: str) -> tuple[AdapterNaming, str, str, str] | None:
    """`(naming, prefix, canonical name, role)` of a stored name, None when it does not concern a text tower."""
    matches = {naming: match for naming, pattern in _PATTERNS.items() if (match := pattern.fullmatch(name))}
    if not matches:
        if _FOR_TEXT_ENCODER.match(name) and not _OTHER_MODEL.match(name.partition(".")[2]):
            raise BadRepository(path, f"'{name[:120]}' is no part of a LoRA that is known here")
        return None
    naming, match = next(iter(matches.items()))
    module_path, rest = match["path"], match["rest"]
    module = _MODULE.fullmatch(module_path)
    elsewhere = naming == "peft" or _OTHER_MODEL.match(module_path)
    if module is None and elsewhere and not _TEXT_MODULE.match(module_path):
        return None
    for sign, method in _OTHER_METHODS.items():
        if rest.startswith(sign) or f".{sign}" in rest:
            raise UnsupportedTower(
                f"{method} on a text encoder ('{name[:80]}'), which is not merged here; only plain LoRA is"
            )
    if module is None:
        raise BadRepository(path, f"'{name[:120]}' names no matrix of a CLIP-family text tower")
    target, role = _target_and_role(module, rest)
    require(role != "", path, f"'{name[:120]}' is no factor of a LoRA that is known here")
    return naming, match["prefix"], target, role


def _target_and_role(module: re.Match[str], rest: str) -> tuple[str, str]:
    """The canonical name of the matrix, and "down", "up" or "alpha"; "" where the ending is not known."""
    if module["projection"]:
        return "text_projection.weight", _ENDINGS.get(rest, "")
    inner = module["module"].replace("self_attn_", "self_attn.").replace("mlp_", "mlp.")
    if inner == "self_attn" and (old := _OLD_ATTENTION.match(rest)):
        inner, rest = f"self_attn.{old['kind']}_proj", f"lora.{rest[old.end() :]}"
    target = f"encoder.layers.{int(module['layer'])}.{inner}.weight"
    return target, "" if inner == "self_attn" else _ENDINGS.get(rest, "")


# The sizes of the tower that the columns and the rows of a matrix are, where they are not both the width.
_SIDES = {"fc1": ("width", "intermediate"), "fc2": ("intermediate", "width"), "text_projection": ("width", "pooled")}


def _lora(
    naming: AdapterNaming,
    prefix: str,
    parts: Mapping[str, Mapping[str, str]],
    tensors: Mapping[str, TensorInfo],
    path: str,
) -> Lora:
    matrices = [LoraMatrix(target, f.get("down", ""), f.get("up", ""), f.get("alpha")) for target, f in parts.items()]
    sizes: dict[str, set[int]] = {"width": set(), "intermediate": set(), "pooled": set()}
    for matrix in matrices:
        _check_matrix(matrix, tensors, path)
        column_size, row_size = _SIDES.get(matrix.target.split(".")[-2], ("width", "width"))
        sizes[column_size].add(tensors[matrix.down].shape[1])
        sizes[row_size].add(tensors[matrix.up].shape[0])
    require(
        all(len(seen) <= 1 for seen in sizes.values()),
        path,
        f"the matrices of its LoRA belong to towers of different widths ({sizes})",
    )
    in_layers = (target.split(".")[2] for target in parts if target.startswith("encoder."))
    return Lora(
        naming,
        prefix,
        matrices=tuple(sorted(matrices, key=lambda m: m.target)),
        rank=max(tensors[matrix.down].shape[0] for matrix in matrices),
        layers=1 + max(map(int, in_layers), default=0),
        width=next(iter(sizes["width"]), None),
        intermediate=next(iter(sizes["intermediate"]), None),
    )


def _check_matrix(matrix: LoraMatrix, tensors: Mapping[str, TensorInfo], path: str) -> None:
    require(bool(matrix.down and matrix.up), path, f"the LoRA of '{matrix.target}' lacks one of its two factors")
    for name in (matrix.down, matrix.up):
        info = tensors[name]
        require(
            len(info.shape) == 2 and min(info.shape) >= 1,
            path,
            f"has shape {info.shape}, a LoRA's factors are matrices",
            tensor=name[:120],
        )
        require(
            info.dtype in FLOAT_DTYPES,
            path,
            f"is stored as {info.dtype}, not as plain floating point",
            tensor=name[:120],
        )
    down, up = tensors[matrix.down].shape, tensors[matrix.up].shape
    require(
        down[0] == up[1] and down[0] <= MAX_RANK,
        path,
        f"the factors of '{matrix.target}' have the shapes {down} and {up}, no LoRA of rank {MAX_RANK} or less",
    )
    if matrix.alpha is not None and tensors[matrix.alpha].shape not in ((), (1,)):
        raise BadWeights(path, matrix.alpha[:120], f"has shape {tensors[matrix.alpha].shape}, an alpha is one number")
