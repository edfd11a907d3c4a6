"""Raw statistics of token sequences, and their robust z in the null distribution of random sequences of one shape.

The sweep's null is made of single tokens. A longer candidate removes more of a prompt merely because it is longer, so
it is held against random sequences of its own *pattern*: as long, and repeating at the same places. `(7, 9, 7)` has
the pattern `(0, 1, 0)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.detect.context import DetectionContext, TowerPair
from amdet_hub.detect.naming.lexicon import Candidate
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.statistics import collapse_and_divergence, combined, z_scores
from amdet_hub.detect.splice import SplicedPrompts, rows_for

_ROWS = 8192  # positions per forward pass
_GROUP = 1024  # sequences between two reports of progress


def pattern_of(candidate: Candidate) -> tuple[int, ...]:
    """The places that hold the same token: every token replaced by the order of its first appearance."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(token, len(first)) for token in candidate)


def repeating_unit(candidate: Candidate) -> Candidate:
    """The shortest sequence that gives `candidate` when repeated: `(7, 9, 7, 9)` -> `(7, 9)`."""
    n = len(candidate)
    return next(candidate[:k] for k in range(1, n + 1) if n % k == 0 and candidate[:k] * (n // k) == candidate)


def by_length(candidates: Sequence[Candidate], measure: Callable[[Tensor], Tensor]) -> list[float]:
    """One number for each candidate, whatever their lengths, in their order.

    Args:
        candidates: ids of each.
        measure: `(C, N)` candidates of one length -> `(C,)`.
    """
    found: dict[Candidate, float] = {}
    for length in {len(one) for one in candidates}:
        same = [one for one in candidates if len(one) == length]
        found |= zip(same, measure(torch.tensor(same)).tolist(), strict=True)
    return [found[one] for one in candidates]


class SequenceNull:
    """Measures candidates at the end of the search prompts, and random sequences of each pattern once.

    Args:
        towers: suspect and reference.
        prompts: the search prompts.
        context: the ids that random sequences are drawn from, floors of the z, size of the null sample, and the seed:
            the same pattern gets the same sequences, whatever was measured before.
    """

    def __init__(self, towers: TowerPair, prompts: PromptSet, context: DetectionContext) -> None:
        with torch.inference_mode():
            self._suspect, self._reference = SplicedPrompts(towers.suspect, prompts, "end"), None
            if towers.reference is not None:
                self._reference = SplicedPrompts(towers.reference, prompts, "end")
        self._rows, self._config = rows_for(towers.suspect, _ROWS), context.config
        self._ids: list[int] = context.token_ids.tolist()
        self._nulls: dict[tuple[int, ...], Tensor] = {}

    @torch.inference_mode()
    def raw(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(2, C)` on the CPU: raw collapse and raw divergence, in natural-log units."""
        size = max(1, self._rows // self._suspect.rows_per_candidate(candidates.shape[1]))
        parts = []
        for part in torch.split(candidates, size):
            clean = self._reference.features(part) if self._reference is not None else None
            parts.append(collapse_and_divergence(self._suspect.features(part), clean))
        return torch.cat(parts, dim=1)

    def collapse(self, candidates: Sequence[Candidate]) -> list[float]:
        """Raw collapse of candidates, whatever their lengths, in their order."""
        return by_length(candidates, lambda same: self.raw(same)[0])

    def score(self, raw: Tensor, null: Tensor) -> Tensor:
        """`raw (2, C)` under `null (2, S)` -> `(C,)`: the combined robust z (`statistics.combined`)."""
        return combined(z_scores(raw, null, self._config.sweep), with_reference=self._reference is not None)

    def standing(self, candidate: Candidate) -> float:
        """The score of a candidate among random sequences of its pattern."""
        return float(self.score(self.raw(torch.tensor([candidate])), self._null(pattern_of(candidate))))

    def best_of_group(self, sequences: Tensor, n: int, progress: Callable[[int], None]) -> list[Candidate]:
        """The `n` sequences that stand out most of their own group, which is their null.

        Args:
            sequences: `(S, N)` ids.
            n: how many.
            progress: called with the number of sequences done.
        """
        parts: list[Tensor] = []
        for part in torch.split(sequences, _GROUP):
            parts.append(self.raw(part))
            progress(sum(p.shape[1] for p in parts))
        raw = torch.cat(parts, dim=1)  # (2, S)
        found = sequences[self.score(raw, raw).topk(min(n, len(sequences))).indices.cpu()]
        return [tuple(row) for row in found.tolist()]

    def _null(self, pattern: tuple[int, ...]) -> Tensor:
        if pattern not in self._nulls:
            rng = random.Random(f"{self._config.seed} {pattern}")
            n_different = min(max(pattern) + 1, len(self._ids))
            drawn = [rng.sample(self._ids, n_different) for _ in range(self._config.sweep.n_sequences)]
            sequences = [[tokens[i % n_different] for i in pattern] for tokens in drawn]
            self._nulls[pattern] = self.raw(torch.tensor(sequences))
        return self._nulls[pattern]
