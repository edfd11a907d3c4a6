"""The reference's half of the sweep: what a clean encoder says of every token, the same for every suspect it is compared with.

Knows what the half depends on; refuses to know where it is kept. Features are rounded to float16 whether they come
from a store or not, so that a scan with a store and one without compute the same numbers. The rounding (relative 5e-4)
is below that of the sweep's own bfloat16 products.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import Tensor

from amdet_hub.detect.prompts import PromptSet

_FORM = "1"
"""Raise it when the numbers of a half change: kept ones are then not asked for any more."""


class HalfStore(Protocol):
    """Where halves of one reference are kept between scans. Implemented by `amdet_hub.scanner`."""

    def load(self, question: str) -> Tensor | None:
        """The half that answers `question`, `(B, V', D)` float16 on the CPU, or None."""
        ...

    def save(self, question: str, half: Tensor) -> None:
        """Keep it; a store that cannot, does not, and says nothing."""
        ...


def question_of(prompts: PromptSet, token_ids: Tensor, n_copies: int, dtype: torch.dtype) -> str:
    """What a half depends on besides the reference itself, as a sha256 in hex.

    Args:
        prompts: the prompts, whose ids count, not their text.
        token_ids: `(V',)` ids swept, in order.
        n_copies: how often each stands at the end.
        dtype: of the matrix products.
    """
    state = hashlib.sha256(f"{_FORM} {n_copies} {dtype} {tuple(prompts.tokens.shape)}".encode())
    for ids in (prompts.framed(), token_ids):
        state.update(ids.to(torch.int64).contiguous().numpy().tobytes())
    return state.hexdigest()


def rounded(features: Tensor) -> Tensor:
    """Features as a half holds them, float16."""
    return features.half()
