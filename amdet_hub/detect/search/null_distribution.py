"""The two statistics of a candidate, and their robust z in the null distribution of random sequences like it.

A trigger makes different prompts alike: it *collapses* the features that a clean encoder keeps apart, and it moves
them away from where the reference has them: it *diverges*. A fine-tune that drifted, or a word learned anew, moves
features without collapsing them.

The sweep's null is made of single tokens. A longer candidate removes more of a prompt merely because it is longer, so
it is held against random sequences of its own *pattern*: as long, and repeating at the same places. `(7, 9, 7)` has
the pattern `(0, 1, 0)`.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.config_stages import SweepConfig
from amdet_hub.detect.context import Candidate, DetectionContext, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.splice import SplicedPrompts, rows_for

_MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation in units of its median absolute deviation
_FLOOR = 1e-12  # keeps the logarithm of a variance finite when features coincide exactly
ROWS_PER_PASS = 8192  # positions per forward pass
_GROUP = 1024  # sequences between two reports of progress


def robust_z(values: Tensor, null: Tensor, floor: float = 0.0) -> Tensor:
    """(x - median) / max(1.4826 * MAD, floor) of `values` under the vector `null`; zeros where that scale is zero.

    The floor is an absolute effect. Where suspect and reference hardly differ, the null has almost no spread, and
    without a floor the least of differences would stand out of it.
    """
    median = null.median()
    scale = max(float((null - median).abs().median()) * _MAD_TO_SIGMA, floor)
    return (values - median) / scale if scale > 0 else torch.zeros_like(values)


def z_scores(raw: Tensor, null: Tensor, config: SweepConfig) -> Tensor:
    """Robust z of collapse and divergence: `raw (2, C)` under `null (2, S)` -> `(2, C)`."""
    floors = (config.collapse_floor, config.divergence_floor)
    return torch.stack([robust_z(raw[i], null[i], floor) for i, floor in enumerate(floors)])


def combined(z: Tensor, *, with_reference: bool) -> Tensor:
    """`z (..., 2, C)` -> `(..., C)`: the smaller of collapse and divergence; without a reference the collapse."""
    return z.amin(-2) if with_reference else z[..., 0, :]


def log_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: natural log of the cross-prompt variance, finite for features that coincide.

    The variance is the mean squared distance of the prompts to their mean, in squared feature units.
    """
    return ((features - features.mean(0)).square().sum(-1).mean(0) + _FLOOR).log()


@torch.inference_mode()
def collapse_and_divergence(suspect: Tensor, reference: Tensor | None) -> Tensor:
    """Raw statistics of C candidates from the features of B prompts, `(B, C, D)` of each encoder.

    Returns:
        `(2, C)` on the CPU. Collapse: the natural log of the cross-prompt variance reference / suspect, without a
        reference minus the log of the suspect's. Divergence: the natural log of the mean squared feature difference,
        without a reference zero.
    """
    spread = log_variance(suspect)  # (C,)
    if reference is None:
        return torch.stack([-spread, torch.zeros_like(spread)]).cpu()
    divergence = ((suspect - reference).square().sum(-1).mean(0) + _FLOOR).log()
    return torch.stack([log_variance(reference) - spread, divergence]).cpu()


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
    """Measures candidates at the context's place in the search prompts, and random sequences of each pattern once.

    Args:
        towers: suspect and reference.
        prompts: the search prompts.
        context: the ids that random sequences are drawn from, floors of the z, size of the null sample, and the seed:
            the same pattern gets the same sequences, whatever was measured before.
    """

    @torch.inference_mode()
    def __init__(self, towers: TowerPair, prompts: PromptSet, context: DetectionContext) -> None:
        self._suspect = SplicedPrompts(towers.suspect, prompts, context.inserts_at)
        clean = towers.reference
        self._reference = SplicedPrompts(clean, prompts, context.inserts_at) if clean is not None else None
        self._rows, self._config = rows_for(towers.suspect, ROWS_PER_PASS), context.config
        self._ids: list[int] = context.token_ids.tolist()
        self._nulls: dict[tuple[int, ...], Tensor] = {}

    @torch.inference_mode()
    def raw(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(2, C)` on the CPU: raw collapse and raw divergence, in natural-log units."""
        size = max(1, self._rows // self._suspect.rows_per_candidate(candidates.shape[1]))
        parts = [
            collapse_and_divergence(
                self._suspect.features(part), self._reference.features(part) if self._reference is not None else None
            )
            for part in torch.split(candidates, size)
        ]
        return torch.cat(parts, dim=1)

    def collapse(self, candidates: Sequence[Candidate]) -> list[float]:
        """Raw collapse of candidates, whatever their lengths, in their order."""
        return by_length(candidates, lambda same: self.raw(same)[0])

    def score(self, raw: Tensor, null: Tensor) -> Tensor:
        """`raw (2, C)` under `null (2, S)` -> `(C,)`: the combined robust z."""
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
        raw = torch.zeros(2, 0)  # (2, S)
        for part in torch.split(sequences, _GROUP):
            raw = torch.cat([raw, self.raw(part)], dim=1)
            progress(raw.shape[1])
        found = sequences[self.score(raw, raw).topk(min(n, len(sequences))).indices.cpu()]
        return [tuple(row) for row in found.tolist()]

    def _null(self, pattern: tuple[int, ...]) -> Tensor:
        if pattern not in self._nulls:
            rng = random.Random(f"{self._config.seed} {pattern}")
            n_different = min(max(pattern) + 1, len(self._ids))
            drawn = [rng.sample(self._ids, n_different) for _ in range(self._config.sweep.n_sequences)]
            self._nulls[pattern] = self.raw(torch.tensor(drawn)[:, [i % n_different for i in pattern]])
        return self._nulls[pattern]
