from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amdet_hub.bench.intervals import Estimate, binomial_cdf, bootstrap, clopper_pearson, wilson

RELAXED = settings(deadline=None, max_examples=60)


def ends(found: Estimate | None) -> tuple[float, float, float]:
    assert found is not None
    return found.value, found.low, found.high


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 200))
    return draw(st.integers(0, n)), n


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
    assert ends(wilson(successes, n)) == pytest.approx((successes / n, low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776), (0, 100, 0.0, 0.0362)],
)
def test_clopper_pearson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    # Newcombe 1998, table I, method 5; 0 of 100 is the usual table value
    assert ends(clopper_pearson(successes, n)) == pytest.approx((successes / n, low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 30, 100, 1000])
def test_clopper_pearson_at_the_ends_is_the_closed_form(n: int) -> None:
    assert ends(clopper_pearson(0, n)) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / n)))
    assert ends(clopper_pearson(n, n)) == pytest.approx((1.0, 0.025 ** (1 / n), 1.0))
    one_sided = clopper_pearson(0, n, confidence_level=0.9)
    assert one_sided is not None
    assert one_sided.high <= 3 / n  # the rule of three


@RELAXED
@given(counts())
def test_clopper_pearson_mirrors_and_covers_its_rate(case: tuple[int, int]) -> None:
    successes, n = case
    found, mirrored = clopper_pearson(successes, n), clopper_pearson(n - successes, n)
    assert found is not None
    assert mirrored is not None
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-10)
    assert found.low <= successes / n <= found.high


@RELAXED
@given(counts())
def test_wilson_ends_solve_the_score_equation(case: tuple[int, int]) -> None:
    successes, n = case
    found = wilson(successes, n)
    assert found is not None
    for end in (found.low, found.high):
        assert n * (successes / n - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end), abs=1e-9)


@RELAXED
@given(counts(), st.integers(0, 64))
@example((3, 5), 64)
@example((3, 5), 0)
def test_binomial_cdf_is_the_exact_sum(case: tuple[int, int], sixty_fourths: int) -> None:
    k, n = case
    p = Fraction(sixty_fourths, 64)
    exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_cdf(k, n, float(p)) == pytest.approx(float(exact), abs=1e-10)


def test_no_trials_give_no_interval_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) is None
    assert clopper_pearson(0, 0) is None
    for interval in (wilson, clopper_pearson):
        for successes, n in ((-1, 5), (6, 5)):
            with pytest.raises(ValueError, match="no rate"):
                interval(successes, n)


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
