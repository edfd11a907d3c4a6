"""Token sequences as candidate triggers: what they remove and move, and how far they stand out of random sequences of the same shape.

The sweep's null is made of single tokens. A longer candidate removes more of a prompt merely because it is longer, so
it is held against random sequences of its own *pattern*: as long, and repeating at the same places. `(7, 9, 7)` has
the pattern `(0, 1, 0)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.config import SweepConfig
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.sweep import measure_candidates, robust_z
from amdet_hub.detect.splice import SplicedPrompts, rows_for

_ROWS = 8192  # positions per forward pass
_GROUP = 1024  # sequences between two words of progress


def pattern_of(candidate: tuple[int, ...]) -> tuple[int, ...]:
    """Which places hold the same token: every token replaced by the order of its first appearance."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(token, len(first)) for token in candidate)


def repeating_unit(candidate: tuple[int, ...]) -> tuple[int, ...]:
    """The shortest sequence that gives `candidate` when repeated: `(7, 9, 7, 9)` -> `(7, 9)`."""
    n = len(candidate)
    return next(candidate[:k] for k in range(1, n + 1) if n % k == 0 and candidate[:k] * (n // k) == candidate)


def by_length(candidates: Sequence[tuple[int, ...]], measure: Callable[[Tensor], Tensor]) -> list[float]:
    """Numbers of candidates, whatever their lengths, in their order.

    Args:
        candidates: ids of each.
        measure: `(C, N)` candidates of one length -> `(C,)`.
    """
    found: dict[tuple[int, ...], float] = {}
    for length in {len(one) for one in candidates}:
        same = [one for one in candidates if len(one) == length]
        found |= zip(same, measure(torch.tensor(same)).tolist(), strict=True)
    return [found[one] for one in candidates]


def best_sequences(
    null: SequenceNull, sequences: Tensor, n: int, *, progress: Callable[[int], None] = lambda done: None
) -> list[tuple[int, ...]]:
    """The sequences that stand out most of their own group: the sweep of a group of sequences of one length.

    Args:
        null: measures them.
        sequences: `(S, N)` ids; the group is its own null, as the vocabulary is the sweep's.
        n: how many.
        progress: called with the sequences done.
    """
    parts = []
    for part in torch.split(sequences, _GROUP):
        parts.append(null.raw(part))
        progress(sum(p.shape[1] for p in parts))
    raw = torch.cat(parts, dim=1)  # (2, S)
    score = null.score(raw, raw)
    found = sequences[score.topk(min(n, len(sequences))).indices.cpu()]
    return [tuple(row) for row in found.tolist()]


class SequenceNull:
    """Measures candidates at the end of the search prompts, and random sequences of each pattern once.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None.
        prompts: the search prompts.
        token_ids: `(V',)` what random sequences are drawn from.
        config: floors of the z, size of the null sample.
        seed: of the random sequences; the same pattern gets the same ones, whatever was asked before.
    """

    def __init__(
        self,
        suspect: TextEncoder,
        reference: TextEncoder | None,
        prompts: PromptSet,
        token_ids: Tensor,
        config: SweepConfig,
        *,
        seed: int,
    ) -> None:
        with torch.inference_mode():
            self._ours = SplicedPrompts(suspect, prompts, "end")
            self._theirs = SplicedPrompts(reference, prompts, "end") if reference is not None else None
        self._rows = rows_for(suspect, _ROWS)
        self._ids, self._config, self._seed = token_ids.tolist(), config, seed
        self._nulls: dict[tuple[int, ...], Tensor] = {}

    def raw(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(2, C)` on the CPU: raw collapse and raw divergence, in natural-log units."""
        size = max(1, self._rows // self._ours.rows_per_candidate(candidates.shape[1]))
        return torch.cat(
            [measure_candidates(self._ours, self._theirs, part) for part in torch.split(candidates, size)], dim=1
        )

    def collapse(self, candidates: Sequence[tuple[int, ...]]) -> list[float]:
        """Raw collapse of candidates, whatever their lengths, in their order."""
        return by_length(candidates, lambda same: self.raw(same)[0])

    def score(self, raw: Tensor, null: Tensor) -> Tensor:
        """`raw (2, C)` under `null (2, S)` -> `(C,)`: the smaller of the two robust z, of the collapse alone without a reference."""
        collapse = robust_z(raw[0], null[0], self._config.collapse_floor)
        return (
            collapse
            if self._theirs is None
            else torch.minimum(collapse, robust_z(raw[1], null[1], self._config.divergence_floor))
        )

    def standing(self, candidate: tuple[int, ...]) -> float:
        """The score of a candidate among random sequences of its pattern."""
        return float(self.score(self.raw(torch.tensor([candidate])), self._null(pattern_of(candidate))))

    def _null(self, pattern: tuple[int, ...]) -> Tensor:
        if pattern not in self._nulls:
            rng = random.Random(f"{self._seed} {pattern}")
            n_different = min(max(pattern) + 1, len(self._ids))
            drawn = [rng.sample(self._ids, n_different) for _ in range(self._config.n_sequences)]
            self._nulls[pattern] = self.raw(
                torch.tensor([[tokens[i % n_different] for i in pattern] for tokens in drawn])
            )
        return self._nulls[pattern]
