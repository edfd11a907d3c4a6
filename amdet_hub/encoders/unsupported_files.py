"""What a weight file that no configuration declares may be, by its tensor names or its own name alone.

Standard library only.

Source: the key prefixes of diffusers 0.42 `loaders/single_file_utils.py`, kohya's and PEFT's LoRA names, open_clip
3.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_PICKLE = re.compile(r".*\.(?:bin|pt|pth|ckpt|pkl|pickle)", re.IGNORECASE)
_NOT_WEIGHTS = re.compile(
    r"(?:openvino_.*|training_args|optimizer|scheduler|rng_state.*|scaler|trainer_state)\.(?:bin|pt|pth)",
    re.IGNORECASE,
)

_KINDS: tuple[tuple[re.Pattern[str], str, bool], ...] = (
    (
        re.compile(r"lora_te\d?_|(?:.*\.)?text_(?:encoder|model).*lora"),
        "LoRA weights for a text encoder, not supported",
        True,
    ),
    (
        re.compile(
            r"(?:cond_stage_model|conditioner\.embedders|text_encoders)\.(?!(?:u?m?t5|llama|qwen|gemma|mistral)[^.]*\.)"
        ),
        "a text encoder in a single-file checkpoint, not supported",
        True,
    ),
    (
        re.compile(r"(?:text\.|.*\.)?token_embedding\.weight|positional_embedding"),
        "a text tower in OpenCLIP layout, not supported",
        True,
    ),
    (re.compile(r".*text_model\."), "a text tower under an unknown prefix, not supported", True),
    (re.compile(r".*(?:text_projection|token_embedding)"), "parts of a text tower, not supported", True),
)
"""Pattern at the start of a tensor name, what it shows, whether the file may hide a backdoored text encoder.

The first that fits decides.
"""


def classify_names(names: Collection[str]) -> tuple[str, bool]:
    """What the tensor names of a file show and whether it blocks an acquittal; `("", False)` when nothing in them concerns text encoders."""
    for pattern, kind, blocks in _KINDS:
        if any(pattern.match(name) for name in names):
            return kind, blocks
    return "", False


def pickle_names(names: Iterable[str]) -> list[str]:
    """The file names that are pickled weights (`pytorch_model.bin`, `*.ckpt`, ...), without optimiser states and OpenVINO data."""
    return [name for name in names if _PICKLE.fullmatch(name) and not _NOT_WEIGHTS.fullmatch(name)]
