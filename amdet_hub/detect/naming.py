"""Texts that a trigger which convicts may have been typed as: words made of the tokens that were trained, and whole characters for pieces of one.

Refuses to know what convicts, and which of them is named (`amdet_hub.scan.findings`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.sequences import by_length
from amdet_hub.detect.spell import AsWord, Candidate, Collapse, best_of, spell
from amdet_hub.detect.splice import PLACES, SplicedPrompts, rows_for
from amdet_hub.detect.sweep import log_variance

_FEW_WORDS = 4  # of the shorter form of every prompt
_LOOKED_AT = 24  # texts that are measured closely
_ROWS = 4096  # positions per forward pass
Characters = Callable[[Sequence[int]], list[Candidate]]
"""The ids of all characters that have one of these tokens as a piece, those that share most first."""


class CloseCollapse:
    """What candidates remove, measured in whole and in short prompts at every place, in the encoders' own dtype: to choose among such as all work.

    Where a trigger takes every prompt over, what is left is little, and what differs between two orders of its words is less than few prompts at one
    place show in bfloat16.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None.
        prompts: of at least four words.
    """

    @torch.inference_mode()
    def __init__(self, suspect: TextEncoder, reference: TextEncoder | None, prompts: PromptSet) -> None:
        short = PromptSet(prompts.tokens[:, :_FEW_WORDS], prompts.special, prompts.source)
        self._sides = [
            [(sign, SplicedPrompts(encoder, some, place)) for some in (prompts, short) for place in PLACES]
            for sign, encoder in ((-1.0, suspect), (1.0, reference))
            if encoder is not None
        ]
        self._rows = rows_for(suspect, _ROWS)

    @torch.inference_mode()
    def __call__(self, candidates: list[Candidate]) -> list[float]:
        """Natural log of the ratio of cross-prompt variance, reference to suspect, mean over places and lengths; of any lengths, in their order."""
        return by_length(candidates, self._of_one_length)

    def _of_one_length(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(C,)`."""
        total = torch.zeros(len(candidates))
        for side in self._sides:
            for sign, prompts in side:
                size = max(1, self._rows // prompts.rows_per_candidate(candidates.shape[1]))
                parts = [log_variance(prompts.features(part)).cpu() for part in torch.split(candidates, size)]
                total += sign * torch.cat(parts) / len(side)
        return total


def texts_of(pieces: Sequence[int], as_word: AsWord, rough: Collapse, close: Collapse, *, n: int = 3) -> list[Candidate]:
    """The best `n` texts made of all the pieces: many by a quick measure, the best of them by a close one."""
    return best_of(spell(pieces, as_word, rough, n=_LOOKED_AT), close, n)


def characters_of(pieces: Sequence[int], characters: Characters, rough: Collapse, close: Collapse, *, n: int = 3) -> list[Candidate]:
    """The best `n` characters that have one of these pieces."""
    return best_of(best_of(characters(pieces), rough, _LOOKED_AT), close, n)
