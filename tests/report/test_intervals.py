from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amdet_hub.report.intervals import Estimate, binomial_cdf, clopper_pearson, wilson

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
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
        (0, 100, 0.0, 0.0362),
    ],
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
