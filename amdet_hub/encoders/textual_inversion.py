"""Is this file a textual inversion: vectors of new words for a text encoder that lies elsewhere?

Names and shapes only; torch-free.

Such a word acts where somebody types it and changes nothing else, so it is no hidden trigger of the encoder. What
prompts with it become is what its author trained it for: a word may rightly take a prompt over. Telling a poisoned
word from a strong one needs thresholds set on many real ones, which have not been set; therefore it is named and not
scanned.

Source: diffusers 0.42 `loaders/textual_inversion.py` (one key, or `string_to_param`), AUTOMATIC1111's `emb_params`,
SDXL's `clip_l` and `clip_g`.
"""

from __future__ import annotations

from collections.abc import Mapping

from amdet_hub.encoders.safetensors_header import TensorInfo

MAX_VECTORS = 256
"""Vectors of one word; real ones have 1 to 75, what fits a prompt."""
MAX_WORDS = 16
_KNOWN = ("emb_params", "clip_l", "clip_g", "t5xxl", "string_to_param.*", "string_to_param", "*")


def describe_inversion(tensors: Mapping[str, TensorInfo]) -> str | None:
    """What a textual inversion file adds, as a phrase; None where the file is something else."""
    if not 1 <= len(tensors) <= MAX_WORDS:
        return None
    named = all(name in _KNOWN or (name.startswith("<") and name.endswith(">")) for name in tensors)
    if not named and len(tensors) > 1:
        return None
    words = []
    for name, info in tensors.items():
        vectors, width = (1, *info.shape) if len(info.shape) == 1 else info.shape if len(info.shape) == 2 else (0, 0)
        if not 1 <= vectors <= MAX_VECTORS or not 16 <= width <= 16_384:
            return None
        words.append(f"'{name[:40]}' ({vectors} vector{'s' if vectors > 1 else ''} of width {width})")
    return (
        f"a textual inversion embedding, {', '.join(words)}: it adds a word to a text encoder that lies elsewhere and"
        " changes no weights; how strong such a word may be has not been calibrated, so it is not scanned"
    )
