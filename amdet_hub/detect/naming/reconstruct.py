"""Texts that a trigger may have been typed as: words made of the tokens that were trained, and whole characters.

Refuses to know which candidates pass, and which text is named (`amdet_hub.scanner.trigger_choice`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.detect.context import Candidate, DetectionContext, Lexicon, TowerPair
from amdet_hub.detect.naming.gradient_alignment import GradientAlignment
from amdet_hub.detect.naming.word_order import (
    Collapse,
    Text,
    adjacent_swaps,
    concatenate,
    most_removing,
    rank_word_orders,
    text_scores,
)
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TrainableTextEncoder
from amdet_hub.detect.search.null_distribution import by_length, log_variance
from amdet_hub.detect.splice import PLACES, SplicedPrompts, rows_for
from amdet_hub.detect.weights import trained_rows

_FEW_WORDS = 4  # of the shorter form of every prompt
_LOOKED_AT = 24  # texts that are measured closely
_CHARACTERS = 8  # that share a piece with a candidate that passes
_STAYING = 8  # the best of them, that are held against others
_SWAPS = 3  # times that words of the best text change places
_AS_FAR = 0.8  # of the farthest: how far the piece of a character moved that moved least
_ROWS = 4096  # positions per forward pass
# How well each candidate explains the change of the weights (`GradientAlignment.scores`).
Alignment = Callable[[list[Candidate]], list[float]]


def reconstruct_trigger(
    loudest: Candidate,
    pieces: Sequence[int],
    towers: TowerPair,
    prompts: PromptSet,
    rough: Collapse,
    context: DetectionContext,
) -> tuple[Candidate, list[Candidate], list[Candidate]]:
    """Texts and characters for the candidates that pass.

    Without a reference nothing tells which tokens were trained, and there are no texts.

    Args:
        loudest: of the candidates that pass, the one that removes most; it says where the target lies.
        pieces: the tokens of all candidates that pass.
        towers: suspect and reference, float32.
        prompts: of at least eight words.
        rough: a quick measure, for many.
        context: the ids that a trigger may be made of, and the lexicon that says what these are as text.

    Returns:
        The tokens whose embedding rows were trained towards the target; texts made of them, and characters with a
        piece in common with a candidate that passes, the best first.
    """
    suspect, reference = towers.suspect, towers.reference
    close, progress = CloseCollapse(towers, prompts), context.monitor.progress
    trained: Candidate = ()
    alignment = None
    moved = (suspect.token_embedding - reference.token_embedding).norm(dim=-1).cpu() if reference is not None else None
    if isinstance(suspect, TrainableTextEncoder) and isinstance(reference, TrainableTextEncoder):
        gradients = GradientAlignment(suspect, reference, prompts)
        alignment, direction = gradients.scores, gradients.target_direction(loudest)
        trained = trained_rows(suspect.token_embedding, reference.token_embedding, context.token_ids, direction)
    progress("name", 1, 3)
    characters = best_characters(context.lexicon.characters(pieces), rough, close, moved, n=_CHARACTERS)
    progress("name", 2, 3)
    texts = best_texts(trained, context.lexicon, rough, close, alignment)
    progress("name", 3, 3)
    return trained, texts, characters


class CloseCollapse:
    """The collapse of candidates in whole and in short prompts at every place, to choose among such as all work.

    Where a trigger takes every prompt over, little is left, and two orders of its words differ by less than few
    prompts at one place show in bfloat16. So it is measured in the encoders' own dtype.

    Args:
        towers: suspect and reference.
        prompts: of at least four words.
    """

    @torch.inference_mode()
    def __init__(self, towers: TowerPair, prompts: PromptSet) -> None:
        short = prompts.shortened(0, _FEW_WORDS)
        self._sides = [
            [(sign, SplicedPrompts(encoder, some, place)) for some in (prompts, short) for place in PLACES]
            for sign, encoder in ((-1.0, towers.suspect), (1.0, towers.reference))
            if encoder is not None
        ]
        self._rows = rows_for(towers.suspect, _ROWS)

    @torch.inference_mode()
    def __call__(self, candidates: list[Candidate]) -> list[float]:
        """Natural log of the ratio of cross-prompt variance, reference to suspect, mean over places and lengths."""
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


def best_texts(
    pieces: Sequence[int],
    lexicon: Lexicon,
    rough: Collapse,
    close: Collapse,
    alignment: Alignment | None = None,
    *,
    n: int = 3,
) -> list[Candidate]:
    """The best `n` texts made of all the pieces.

    Many are measured quickly, the best of them closely and by their gradient alignment. In both, a text that people
    write goes before one that they do not. From the best one on, words that stand side by side change places for as
    long as that is better.
    """
    texts = rank_word_orders(pieces, lexicon, rough, n=_LOOKED_AT)
    if len(texts) < 2:
        return [concatenate(text) for text in texts]
    removed: dict[Candidate, float] = {}

    def ranked(some: list[Text]) -> list[Text]:
        ids = [concatenate(text) for text in some]
        unmeasured = [one for one in ids if one not in removed]
        removed.update(zip(unmeasured, close(unmeasured), strict=True))
        value = text_scores(some, lexicon, [removed[one] for one in ids])
        if alignment is not None:
            value = value + torch.tensor(alignment(ids))
        return [some[i] for i in value.argsort(descending=True, stable=True).tolist()]

    tried = set(texts)
    texts = ranked(texts)
    for _ in range(_SWAPS):
        best, more = texts[0], [text for text in adjacent_swaps(texts[0]) if text not in tried]
        if not more:
            break
        tried.update(more)
        texts = ranked([*texts[:_STAYING], *more])
        if texts[0] == best:
            break
    return list(dict.fromkeys(concatenate(text) for text in texts))[:n]


def best_characters(
    some: list[Candidate], rough: Collapse, close: Collapse, moved: Tensor | None = None, *, n: int = 3
) -> list[Candidate]:
    """The best `n` of some characters.

    Args:
        some: ids of each, those with a piece in common with a candidate that passes.
        rough: a quick measure, for many.
        close: a close one, for few.
        moved: `(V,)` how far each token's embedding moved, where there is a reference. Nothing is measured then: a
            character that was trained has no piece that was not, and leaves no piece that was to another.
        n: how many.
    """
    if moved is None or not some:
        return most_removing(most_removing(some, rough, _LOOKED_AT), close, n)
    least = [float(moved[list(one)].min()) for one in some]
    trained = [one for one, value in zip(some, least, strict=True) if value >= _AS_FAR * max(least)]
    return sorted(trained, key=lambda one: -float(moved[list(set(one))].sum()))[:n]
