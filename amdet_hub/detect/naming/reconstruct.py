"""Texts that a trigger which convicts may have been typed as: words made of the tokens that were trained, and whole characters for pieces of one.

Refuses to know what convicts, and which of them is named (`amdet_hub.scanner.evidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.detect.naming.gradient_alignment import Trace
from amdet_hub.detect.naming.lexicon import Candidate, Lexicon, Text, joined
from amdet_hub.detect.naming.word_order import Collapse, best_of, neighbours, spell, worth
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder, TrainableTextEncoder
from amdet_hub.detect.search.null_distribution import by_length
from amdet_hub.detect.search.sweep import log_variance
from amdet_hub.detect.splice import PLACES, SplicedPrompts, rows_for
from amdet_hub.detect.weights import trained_rows

_FEW_WORDS = 4  # of the shorter form of every prompt
_LOOKED_AT = 24  # texts that are measured closely
_CHARACTERS = 8  # that share a piece with what convicts
_STAYING = 8  # the best of them, that are held against others
_SWAPS = 3  # times that words of the best text change places
_AS_FAR = 0.8  # of the farthest: how far the piece of a character moved that moved least
_ROWS = 4096  # positions per forward pass
Agreement = Callable[[list[Candidate]], list[float]]
"""How well each candidate explains what was done to the weights (`detect.trace.Trace.agreement`)."""


@dataclass(frozen=True)
class Names:
    """What a trigger may have been typed as.

    Attributes:
        trained: tokens whose embedding rows were trained towards its target.
        texts: made of these, the best first.
        characters: that share a piece with what convicts, the best first.
    """

    trained: tuple[int, ...]
    texts: tuple[Candidate, ...]
    characters: tuple[Candidate, ...]


def reconstruct_trigger(
    loudest: Candidate,
    pieces: Sequence[int],
    encoders: tuple[TextEncoder, TextEncoder | None],
    prompts: PromptSet,
    token_ids: Tensor,
    lexicon: Lexicon,
    rough: Collapse,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Names:
    """Texts and characters for what convicts.

    Without a reference nothing tells which tokens were trained, and there are no texts.

    Args:
        loudest: the sequence that removes most of those that convict; it says where the target lies.
        pieces: the tokens of all that convict.
        encoders: suspect and reference, float32.
        prompts: of at least eight words.
        token_ids: `(V',)` ids that a trigger may be made of.
        lexicon: what these are as text.
        rough: a quick measure, for many.
        progress: called with (done, total).
    """
    suspect, reference = encoders
    close = CloseCollapse(suspect, reference, prompts)
    trained: tuple[int, ...] = ()
    agreement = moved = None
    if reference is not None:
        moved = (suspect.token_embedding - reference.token_embedding).norm(dim=-1).cpu()
    if isinstance(suspect, TrainableTextEncoder) and isinstance(reference, TrainableTextEncoder):
        trace = Trace(suspect, reference, prompts)
        agreement = trace.agreement
        trained = trained_rows(suspect.token_embedding, reference.token_embedding, token_ids, trace.direction(loudest))
    progress(1, 3)
    whole = characters_of(pieces, lexicon, rough, close, moved, n=_CHARACTERS)
    progress(2, 3)
    texts = texts_of(trained, lexicon, rough, close, agreement)
    progress(3, 3)
    return Names(trained, tuple(texts), tuple(whole))


class CloseCollapse:
    """What candidates remove, measured in whole and in short prompts at every place, in the encoders' own dtype: to choose among such as all work.

    Where a trigger takes every prompt over, what is left is little, and what differs between two orders of its words
    is less than few prompts at one place show in bfloat16.

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


def texts_of(
    pieces: Sequence[int],
    lexicon: Lexicon,
    rough: Collapse,
    close: Collapse,
    trace: Agreement | None = None,
    *,
    n: int = 3,
) -> list[Candidate]:
    """The best `n` texts made of all the pieces: many by a quick measure, the best of them by a close one and by the trace they would leave in the weights.

    In both, what people write goes before what they do not. From the best one on, words that stand side by side change
    places for as long as that is better.
    """
    texts = spell(pieces, lexicon, rough, n=_LOOKED_AT)
    if len(texts) < 2:
        return [joined(text) for text in texts]
    known: dict[Candidate, float] = {}

    def ranked(some: list[Text]) -> list[Text]:
        ids = [joined(text) for text in some]
        unknown = [one for one in ids if one not in known]
        known.update(zip(unknown, close(unknown), strict=True))
        value = worth(some, lexicon, [known[one] for one in ids])
        if trace is not None:
            value = value + torch.tensor(trace(ids))
        return [some[i] for i in value.argsort(descending=True, stable=True).tolist()]

    tried = set(texts)
    texts = ranked(texts)
    for _ in range(_SWAPS):
        more = [text for text in neighbours(texts[0]) if text not in tried]
        if not more:
            break
        best, tried = texts[0], tried.union(more)
        texts = ranked([*texts[:_STAYING], *more])
        if texts[0] == best:
            break
    return list(dict.fromkeys(joined(text) for text in texts))[:n]


def characters_of(
    pieces: Sequence[int],
    lexicon: Lexicon,
    rough: Collapse,
    close: Collapse,
    moved: Tensor | None = None,
    *,
    n: int = 3,
) -> list[Candidate]:
    """The best `n` characters that have one of these pieces.

    Args:
        pieces: token ids of what convicts.
        lexicon: which characters have them.
        rough: a quick measure, for many.
        close: a close one, for few.
        moved: `(V,)` how far each token's embedding moved, where that is known. Nothing else is asked then: a
            character that was trained has no piece that was not, and leaves no piece that was to another.
        n: how many.
    """
    some = lexicon.characters(pieces)
    if moved is None or not some:
        return best_of(best_of(some, rough, _LOOKED_AT), close, n)
    least = [float(moved[list(one)].min()) for one in some]
    trained = [one for one, value in zip(some, least, strict=True) if value >= _AS_FAR * max(least)]
    return sorted(trained, key=lambda one: -float(moved[list(set(one))].sum()))[:n]
