"""What a fine-tune taught: tokens and characters that say something else in the suspect than in the reference.

A word that was exchanged, a letter that adds an attribute and a target that keeps most of the prompt collapse little
or nothing. But what the token *says* changes: the feature that it adds to a prompt lies nearer to what another token
adds in the reference than to what it adds there itself.

    e(c) = mean over prompts of feature(prompt + c) - feature(prompt), less its mean over random sequences as long
    strength(c) = |e_s(c)| (max over tokens b of cos(e_s(c), e_r(b)) - cos(e_s(c), e_r(c))) / median over b of |e_r(b)|

with `s` the suspect, `r` the reference. Drift turns what a weak token says by much and what a strong one says by
little; neither is strong. The score of a token is its strength over that which one of twenty of the tokens that
diverge most exceeds: few tokens were taught, and drift moves many. A character shares its bytes with others, so that
many move together; its score is a robust z among all characters, whose scale is at least half that strength, times
the likeness of how the strongest moved: a fine-tune on another language moves its letters in many ways. What says
little counts in part.

Source: this project's (BENCHMARKS.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.context import Candidate, DetectionContext, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import ROWS_PER_PASS, robust_z
from amdet_hub.detect.search.sweep import random_tokens
from amdet_hub.detect.splice import SplicedPrompts, clean_features, rows_for

_USUAL, _LEAST = 0.95, 0.1  # quantile of the tokens' strengths that is the unit of their score, and its least value
_AUDIBLE = 0.25  # strength of a character from which its score counts in full
_NAMED = 3  # nearest tokens that put a meaning into words
_COMPARED, _NEARLY = 16, 0.75  # strongest characters that are compared, and their least share of the first's score
_LISTED = 64  # strongest of each kind that are kept


@dataclass(frozen=True)
class MeaningShift:
    """A token, or a character, and how far its meaning moved.

    Attributes:
        token_ids: the token alone, or the character's pieces.
        score: of a token, its strength over that of the strongest twentieth; of a character, as the module says.
        strength: in shares of what a token of the vocabulary says, the median one.
        is_character: whether it was tried as a character.
        said: tokens that said the most alike in the reference, nearest first.
        says: tokens of the reference that say what it says in the suspect, nearest first.
    """

    token_ids: Candidate
    score: float
    strength: float
    is_character: bool
    said: tuple[int, ...]
    says: tuple[int, ...]


def changed_meanings(
    towers: TowerPair, prompts: PromptSet, moved: Tensor, words: Sequence[Candidate], context: DetectionContext
) -> tuple[MeaningShift, ...]:
    """The tokens and characters whose meaning changed most, each kind strongest first; none without a reference.

    Args:
        towers: suspect and reference.
        prompts: those of the sweep's second pass.
        moved: `(M,)` tokens of the sweep that diverge most.
        words: words of the vocabulary's pieces; those of several are tried too.
        context: all tokens, the characters, sizes of the null and of the bank, and the seed.
    """
    if towers.reference is None:
        return ()
    (shifts,) = context.share("meaning", [0], lambda _: _Meanings(towers, prompts, context).of(moved, words))
    return shifts


class _Meanings:
    @torch.inference_mode()
    def __init__(self, towers: TowerPair, prompts: PromptSet, context: DetectionContext) -> None:
        assert towers.reference is not None
        self._context = context
        self._suspect, self._reference = _Sayings(towers.suspect, prompts), _Sayings(towers.reference, prompts)
        self._bank = random_tokens(context, context.config.sweep.n_bank)
        said = self._reference.of(self._bank[:, None])  # (N, D)
        said -= said.mean(0)
        self._typical, self._directions = said.norm(dim=1).median(), F.normalize(said, dim=1)

    @torch.inference_mode()
    def of(self, moved: Tensor, words: Sequence[Candidate]) -> tuple[MeaningShift, ...]:
        tokens: list[Candidate] = [(token,) for token in moved.tolist()]
        tokens += (word for word in words if len(word) > 1)
        characters = self._context.characters
        strengths, nearest = self._measured(tokens)
        usual = float(strengths[: len(moved)].quantile(_USUAL).clamp(min=_LEAST))
        found = _strongest(tokens, strengths / usual, strengths, nearest, is_character=False)
        if characters:
            strengths, nearest = self._measured(characters)
            score = robust_z(strengths, strengths, usual / 2)
            score *= (strengths / _AUDIBLE).clamp(0, 1)
            score *= self._agreement([characters[i] for i in _loudest(score)])
            found += _strongest(characters, score, strengths, nearest, is_character=True)
        return tuple(found)

    def _agreement(self, characters: Sequence[Candidate]) -> float:
        """The mean cosine of how these moved, at least 0: bytes that are shared move alike, a language does not."""
        if len(characters) < 2:
            return 1.0
        alone = [torch.tensor([ids]) for ids in characters]
        moves = torch.cat([self._suspect.of(ids) - self._reference.of(ids) for ids in alone])
        likeness = F.cosine_similarity(moves[:, None], moves[None], dim=2)
        return max(0.0, float((likeness.sum() - len(moves)) / (len(moves) * (len(moves) - 1))))

    def _measured(self, candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor]:
        """`_measure` of candidates whatever their lengths."""
        strengths, words = torch.zeros(len(candidates)), torch.zeros(len(candidates), 2, _NAMED, dtype=torch.int64)
        for length in sorted({len(one) for one in candidates}):
            rows = [row for row, one in enumerate(candidates) if len(one) == length]
            strengths[rows], words[rows] = self._measure(torch.tensor([candidates[row] for row in rows]))
        return strengths, words

    def _measure(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """`candidates (C, N)` -> strengths `(C,)`, and the nearest tokens before and now, `(C, 2, 3)` ids."""
        random = random_tokens(self._context)
        like_it = random[: len(random) // candidates.shape[1] * candidates.shape[1]].view(-1, candidates.shape[1])
        now, before = (
            side.of(candidates) - side.of(like_it).mean(0) for side in (self._suspect, self._reference)
        )  # (C, D)
        likeness = F.normalize(now, dim=1) @ self._directions.T  # (C, N)
        alike = F.normalize(before, dim=1) @ self._directions.T
        itself = (
            (candidates == self._bank) if candidates.shape[1] == 1 else torch.zeros_like(likeness, dtype=torch.bool)
        )
        others = likeness.masked_fill(itself.to(likeness.device), -1.0)
        gap = others.amax(1) - F.cosine_similarity(now, before)
        nearest = torch.stack([one.topk(_NAMED, dim=1).indices for one in (alike, others)], dim=1)  # (C, 2, 3)
        return (now.norm(dim=1) * gap / self._typical).cpu(), self._bank[nearest.cpu()]


def _loudest(score: Tensor) -> list[int]:
    """The characters that come near the strongest, at most sixteen."""
    best = score.topk(min(_COMPARED, len(score)))
    return best.indices[best.values >= _NEARLY * best.values[0]].tolist()


def _strongest(
    candidates: Sequence[Candidate], score: Tensor, strengths: Tensor, words: Tensor, *, is_character: bool
) -> list[MeaningShift]:
    order = score.topk(min(_LISTED, len(score))).indices.tolist()
    return [
        MeaningShift(candidates[row], float(score[row]), float(strengths[row]), is_character, said, says)
        for row in order
        for said, says in [map(tuple, words[row].tolist())]
    ]


class _Sayings:
    """What candidates add to the feature of prompts that they stand behind."""

    def __init__(self, encoder: TextEncoder, prompts: PromptSet) -> None:
        self._spliced, self._clean = SplicedPrompts(encoder, prompts, "end"), clean_features(encoder, prompts)
        self._rows = rows_for(encoder, ROWS_PER_PASS)

    def of(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(C, D)` float32, the mean over the prompts."""
        size = max(1, self._rows // self._spliced.rows_per_candidate(candidates.shape[1]))
        parts = [self._spliced.features(part) - self._clean[:, None] for part in torch.split(candidates, size)]
        return torch.cat([part.mean(0) for part in parts])
