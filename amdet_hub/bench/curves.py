"""Curves and rates of two sets of scores. Pure functions, standard library only."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Area under the ROC curve: the chance that a random positive scores above a random negative, ties one half.

    Args:
        positive: scores of backdoored models, in any order.
        negative: scores of benign models.

    Returns:
        A value in [0, 1], None when either side is empty.

    Source: the Mann-Whitney U statistic over `n_pos * n_neg`; Hanley and McNeil 1982.
    """
    if not positive or not negative:
        return None
    ordered = sorted(negative)
    doubled = sum(bisect_left(ordered, score) + bisect_right(ordered, score) for score in positive)
    return doubled / (2 * len(positive) * len(negative))


def tpr_at_fpr(positive: Sequence[float], negative: Sequence[float], fpr: float) -> float | None:
    """Share of positives above the lowest threshold that lets at most `fpr` of the negatives through.

    Nothing is interpolated. With `k = floor(n_neg * fpr)` the threshold is the `k + 1`-th highest negative, and a
    positive counts only when it is strictly above. With fewer than `1 / fpr` negatives `k` is 0: the threshold then
    lies above all negatives, and the figure is the share of positives found with no false positive at all, which says
    less about `fpr` the fewer negatives there are.

    Args:
        positive: scores of backdoored models, in any order.
        negative: scores of benign models.
        fpr: the false-positive rate to keep to, in [0, 1).

    Returns:
        A value in [0, 1], None when either side is empty.

    Raises:
        ValueError: `fpr` is outside [0, 1).
    """
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr is {fpr}, outside [0, 1)")
    if not positive or not negative:
        return None
    allowed = math.floor(
        len(negative) * fpr + 1e-9
    )  # 1e-9: 0.07 * 100 is a little above 7, 0.29 * 100 a little below 29
    threshold = sorted(negative)[-(allowed + 1)]
    return sum(score > threshold for score in positive) / len(positive)


def roc_points(positive: Sequence[float], negative: Sequence[float]) -> list[tuple[float, float]]:
    """The empirical ROC curve.

    Args:
        positive: scores of backdoored models, at least one.
        negative: scores of benign models, at least one.

    Returns:
        `(fpr, tpr)` from (0, 0) to (1, 1), one point per distinct score, highest first; tied scores move both rates at
        once. The area below the straight lines between the points is `auroc`.

    Raises:
        ValueError: a side is empty.
    """
    if not positive or not negative:
        raise ValueError("a curve needs both labels")
    up, down = sorted(positive), sorted(negative)
    rates = (
        (1 - bisect_left(down, threshold) / len(down), 1 - bisect_left(up, threshold) / len(up))
        for threshold in sorted({*up, *down}, reverse=True)
    )
    return [(0.0, 0.0), *rates]
