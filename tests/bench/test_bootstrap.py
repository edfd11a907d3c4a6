from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from amdet_hub.bench.bootstrap import bootstrap
from amdet_hub.report.intervals import Estimate


def mean_of_positive(positive: Sequence[float], negative: Sequence[float]) -> list[float | None]:
    return [sum(positive) / len(positive), None]


def test_bootstrap_of_a_mean_is_near_its_normal_interval() -> None:
    values = [i / 200 for i in range(200)]
    found, undefined = bootstrap(values, [], mean_of_positive)
    assert undefined is None
    assert found is not None
    error = 1.96 * math.sqrt((200**2 - 1) / 12) / 200 / math.sqrt(200)  # the standard deviation of 200 equal steps
    assert found.value == pytest.approx(0.4975)
    assert found.low == pytest.approx(0.4975 - error, abs=0.006)
    assert found.high == pytest.approx(0.4975 + error, abs=0.006)


def test_bootstrap_is_seeded_and_keeps_the_sides_apart() -> None:
    sizes: set[tuple[int, int]] = set()
    mixed: list[bool] = []

    def spread(positive: Sequence[int], negative: Sequence[int]) -> list[float | None]:
        sizes.add((len(positive), len(negative)))
        mixed.append(any(p < 10 for p in positive) or any(n >= 10 for n in negative))
        return [float(sum(positive) - sum(negative))]

    positive, negative = range(10, 16), range(9)
    first = bootstrap(positive, negative, spread, resamples=200)
    assert first == bootstrap(positive, negative, spread, resamples=200)
    assert first != bootstrap(positive, negative, spread, resamples=200, seed=1)
    assert sizes == {(6, 9)}
    assert not any(mixed)


def test_bootstrap_ends_are_the_order_statistics_that_leave_a_fortieth_outside() -> None:
    drawn = iter([0.5, *(i / 2000 for i in range(1, 2001))])
    (found,) = bootstrap([1], [1], lambda _p, _n: [next(drawn)])
    assert found == Estimate(0.5, 50 / 2000, 1951 / 2000)


def test_a_figure_that_some_resample_lacks_has_no_interval_and_too_few_resamples_are_refused() -> None:
    drawn = iter([0.5, None, *[0.5] * 99])
    assert bootstrap([1], [1], lambda _p, _n: [next(drawn)], resamples=100) == [None]
    with pytest.raises(ValueError, match="39 resamples"):
        bootstrap([1], [1], lambda _p, _n: [0.5], resamples=39)
    (forty,) = bootstrap([1], [1], lambda _p, _n: [0.5], resamples=40)
    assert forty == Estimate(0.5, 0.5, 0.5)
