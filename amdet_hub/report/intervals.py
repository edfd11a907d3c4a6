"""Intervals of rates. Pure functions, standard library only.

Knows two of them: Wilson's for a rate, and Clopper and Pearson's for a rate that must not be understated. Refuses to
know what is being estimated.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

# Of every interval.
CONFIDENCE_LEVEL = 0.95
# Of [0, 1] in a bisection: leaves 3e-14, less than the rounding of the sum it looks at.
_HALVINGS = 45


@dataclass(frozen=True)
class Estimate:
    """A figure and the two ends of its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int, confidence_level: float = CONFIDENCE_LEVEL) -> Estimate | None:
    """Wilson's score interval of a rate.

    Args:
        successes: how many of `n`, from 0 to `n`.
        n: how many in all.
        confidence_level: two-sided.

    Returns:
        The rate and its interval, None when `n` is 0.

    Raises:
        ValueError: `successes` is outside [0, n].

    Source: Wilson 1927; Brown, Cai and DasGupta 2001, equation 4.
    """
    _check_count(successes, n)
    if n == 0:
        return None
    z = statistics.NormalDist().inv_cdf((1 + confidence_level) / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)  # exact at the ends, where rounding would leave 1e-17
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(rate, low, high)


def clopper_pearson(successes: int, n: int, confidence_level: float = CONFIDENCE_LEVEL) -> Estimate | None:
    """Clopper and Pearson's exact interval of a rate: never narrower than it says.

    For 0 of n the upper end is `1 - (alpha / 2) ** (1 / n)`.

    Each end is found by bisection on the binomial distribution function.

    Args:
        successes: how many of `n`, from 0 to `n`.
        n: how many in all.
        confidence_level: two-sided.

    Returns:
        The rate and its interval, None when `n` is 0.

    Raises:
        ValueError: `successes` is outside [0, n].

    Source: Clopper and Pearson 1934.
    """
    _check_count(successes, n)
    if n == 0:
        return None
    tail = (1 - confidence_level) / 2
    low = 0.0 if successes == 0 else _falling_root(lambda p: binomial_cdf(successes - 1, n, p) - (1 - tail))
    high = 1.0 if successes == n else _falling_root(lambda p: binomial_cdf(successes, n, p) - tail)
    return Estimate(successes / n, low, high)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Chance of at most `k` successes in `n` independent trials of chance `p`.

    Args:
        k: at least 0; from `n` on the answer is 1.
        n: trials.
        p: in [0, 1].
    """
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    log_p, log_q, log_all = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    terms = (log_all - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q for i in range(k + 1))
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _falling_root(function: Callable[[float], float]) -> float:
    """Where a falling function of [0, 1] crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _check_count(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no rate")
