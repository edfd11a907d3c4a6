"""The stratified percentile bootstrap, for figures whose interval has no closed form.

Standard library only; refuses to know what is being estimated.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from amdet_hub.report.intervals import CONFIDENCE_LEVEL, Estimate

# The ends of a 95 % interval then rest on 50 resamples each.
RESAMPLES = 2000

T = TypeVar("T")


def bootstrap(
    positive: Sequence[T],
    negative: Sequence[T],
    statistics_of: Callable[[Sequence[T], Sequence[T]], Sequence[float | None]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> list[Estimate | None]:
    """Percentile intervals of several statistics at once; the two sides are resampled apart, so that their sizes stay.

    Args:
        positive: one side of the sample.
        negative: the other side.
        statistics_of: `(positive, negative)` -> one figure per statistic, None where undefined. The order of its
            arguments' items is random.
        resamples: how many times to draw; the same draws serve every statistic.
        seed: of Python's own generator, which is the same on every platform.
        confidence_level: two-sided.

    Returns:
        Per statistic the figure of the sample itself and its interval, None where the sample or a resample does not
        define it.

    Raises:
        ValueError: there are fewer than `2 / (1 - confidence_level)` resamples, too few to have two ends.

    Source: Efron and Tibshirani 1993, chapter 13; each end is an order statistic of the resamples, nothing is
    interpolated.
    """
    cut = math.floor(resamples * (1 - confidence_level) / 2 + 1e-9)  # 1e-9: 1 - 0.95 is not exactly 0.05
    if cut < 1:
        raise ValueError(f"{resamples} resamples are too few for an interval")
    values = statistics_of(positive, negative)
    if all(value is None for value in values):
        return [None] * len(values)
    rng = random.Random(seed)
    draws = [
        statistics_of(rng.choices(positive, k=len(positive)), rng.choices(negative, k=len(negative)))
        for _ in range(resamples)
    ]
    return [_percentiles(value, [draw[i] for draw in draws], cut) for i, value in enumerate(values)]


def _percentiles(value: float | None, drawn: list[float | None], cut: int) -> Estimate | None:
    known = sorted(figure for figure in drawn if figure is not None)
    return None if value is None or len(known) < len(drawn) else Estimate(value, known[cut - 1], known[-cut])
