"""The content of a weight file without a text tower that can be scanned, by its tensor names or its own name alone.

Standard library only.

A textual inversion is vectors of new words for a text encoder that lies elsewhere. Such a word acts where somebody
types it and changes nothing else, so it is no hidden trigger of the encoder. Its author trained it to change prompts:
a word may rightly take a prompt over. Telling a poisoned word from a strong one needs thresholds set on many real
ones, which have not been set; therefore it is named and not scanned.

Source: the key prefixes of diffusers 0.42 `loaders/single_file_utils.py`, kohya's and PEFT's LoRA names, open_clip
3.3; diffusers 0.42 `loaders/textual_inversion.py` (one key, or `string_to_param`), AUTOMATIC1111's `emb_params`,
SDXL's `clip_l` and `clip_g`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from amdet_hub.records import TensorInfo

# Vectors of one word; real ones have 1 to 75, what fits a prompt.
MAX_VECTORS = 256
MAX_WORDS = 16

_PICKLE = re.compile(r".*\.(?:bin|pt|pth|ckpt|pkl|pickle)", re.IGNORECASE)
_NOT_WEIGHTS = re.compile(
    r"(?:openvino_.*|training_args|optimizer|scheduler|rng_state.*|scaler|trainer_state)\.(?:bin|pt|pth)",
    re.IGNORECASE,
)
_INVERSION = re.compile(r"emb_params|clip_l|clip_g|t5xxl|string_to_param(?:\.\*)?|\*|<.*>", re.DOTALL)
# Pattern at the start of a tensor name, and what it shows. The first that fits decides.
_TEXT_PARTS = {
    r"lora_te\d?_|(?:.*\.)?text_(?:encoder|model).*lora": "LoRA weights for a text encoder",
    r"(?:cond_stage_model|conditioner\.embedders|text_encoders)\.(?!(?:u?m?t5|llama|qwen|gemma|mistral)[^.]*\.)": (
        "a text encoder in a single-file checkpoint"
    ),
    r"(?:text\.|.*\.)?token_embedding\.weight|positional_embedding": "a text tower in OpenCLIP layout",
    r".*text_model\.": "a text tower under an unknown prefix",
    r".*(?:text_projection|token_embedding)": "parts of a text tower",
}


def describe_text_parts(names: Iterable[str]) -> str:
    """Which part of a text encoder the tensor names of a file show, "" where none; it may hide a backdoored one."""
    names = list(names)
    kinds = (kind for pattern, kind in _TEXT_PARTS.items() if any(re.match(pattern, name) for name in names))
    return next((f"{kind}, not supported" for kind in kinds), "")


def pickle_names(names: Iterable[str]) -> list[str]:
    """The names of pickled weights (`pytorch_model.bin`, ...), without optimiser states and OpenVINO data."""
    return [name for name in names if _PICKLE.fullmatch(name) and not _NOT_WEIGHTS.fullmatch(name)]


def describe_inversion(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The words that a textual inversion file adds, as a phrase; None where the file is something else."""
    known = len(tensors) == 1 or all(_INVERSION.fullmatch(name) for name in tensors)
    if not known or not 1 <= len(tensors) <= MAX_WORDS:
        return None
    shapes = {name: (1, *info.shape) if len(info.shape) == 1 else info.shape for name, info in tensors.items()}
    if not all(len(s) == 2 and 1 <= s[0] <= MAX_VECTORS and 16 <= s[1] <= 16_384 for s in shapes.values()):
        return None
    words = (
        f"'{name[:40]}' ({n} vector{'s' if n > 1 else ''} of width {width})" for name, (n, width) in shapes.items()
    )
    return (
        f"a textual inversion embedding, {', '.join(words)}: it adds a word to a text encoder that lies elsewhere and"
        " changes no weights; how strong such a word may be has not been calibrated, so it is not scanned"
    )
