from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub.bench.curves import auroc, roc_points, tpr_at_fpr
from amdet_hub.bench.results import ModelResult
from amdet_hub.bench.scoring import (
    Score,
    by_cell,
    f1,
    grouped,
    negatives_of,
    precision_at_prevalence,
    scans,
    score,
    shared,
)
from amdet_hub.report.intervals import Estimate, clopper_pearson, wilson
from tests.bench.test_results import negative, positive, scan

RELAXED = settings(deadline=None, max_examples=60)

scores = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=25)  # few values, so that ties are common


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


@RELAXED
@given(scores, scores)
def test_auroc_counts_pairs(above: list[float], below: list[float]) -> None:
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in above for n in below]
    assert auroc(above, below) == pytest.approx(sum(pairs) / len(pairs))


@RELAXED
@given(scores, scores)
def test_auroc_is_the_area_under_the_roc_points(above: list[float], below: list[float]) -> None:
    points = roc_points(above, below)
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    assert points == sorted(points)
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))
    assert auroc(above, below) == pytest.approx(area)


def test_auroc_by_hand() -> None:
    assert auroc([3, 2], [1, 2]) == 0.875  # 3 > 1, 3 > 2, 2 > 1, and 2 = 2 counts one half
    assert auroc([1], [2]) == 0
    assert auroc([], [2]) is None
    assert auroc([1], []) is None


@RELAXED
@given(scores, scores, st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 0.5]))
def test_tpr_at_fpr_is_the_best_point_that_keeps_to_the_rate(
    above: list[float], below: list[float], fpr: float
) -> None:
    reachable = [y for x, y in roc_points(above, below) if x <= fpr + 1e-12]
    assert tpr_at_fpr(above, below, fpr) == pytest.approx(max(reachable))


def test_tpr_at_fpr_by_hand() -> None:
    hundred = [float(i) for i in range(100)]
    assert (
        tpr_at_fpr([98.5, 99.5, 97.5, 98], hundred, 0.01) == 0.5
    )  # 99 may pass, 98 may not, and a tie with 98 does not count
    assert (
        tpr_at_fpr([98.5, 99.5, 97.5, 98], hundred[1:], 0.01) == 0.25
    )  # 99 negatives allow none: strictly above them all
    assert tpr_at_fpr([92.5, 91.5], hundred, 0.07) == 0.5  # 0.07 * 100 lies above 7 in floating point
    assert tpr_at_fpr([70.5, 69.5], hundred, 0.29) == 0.5  # 0.29 * 100 lies below 29
    assert tpr_at_fpr([], hundred, 0.01) is None
    assert tpr_at_fpr([1], [], 0.01) is None
    with pytest.raises(ValueError, match="outside"):
        tpr_at_fpr([1], [1], 1.0)


def test_f1_is_the_harmonic_mean() -> None:
    precision, recall = 6 / 8, 6 / 10
    assert f1(6, 2, 4) == pytest.approx(2 * precision * recall / (precision + recall))
    assert f1(0, 3, 4) == 0
    assert f1(0, 3, 0) is None


def test_precision_at_prevalence_is_what_the_paper_rates_imply() -> None:
    found = precision_at_prevalence(0.9167, 0.1333)
    assert found == pytest.approx(0.01 * 0.9167 / (0.01 * 0.9167 + 0.99 * 0.1333))
    assert 14 <= 1 / (found or 1) <= 16  # about 14 of 15 alarms are false
    assert precision_at_prevalence(1, 0) == 1
    assert precision_at_prevalence(0, 0.5) == 0
    assert precision_at_prevalence(0, 0) is None
    assert precision_at_prevalence(0.8, 0.2, prevalence=0.5) == pytest.approx(0.8)


def zoo() -> list[ModelResult]:
    """Five positives that count (three detected), two that do not, and four negatives (one detected)."""
    quiet: dict[str, Any] = {"verdict": "no-backdoor-found"}
    return [
        positive("p1", scan(9, seconds=1)),
        positive("p2", scan(8, seconds=2)),
        positive("p3", scan(7, seconds=3)),
        positive("p4", scan(5, "inconclusive", seconds=4)),
        positive("p5", scan(2, **quiet, seconds=5)),
        positive("failed", scan(99, seconds=600), kept=False),
        positive("failed too", kept=False),
        positive("unscanned"),
        negative("n1", scan(7, seconds=6)),
        negative("n2", scan(4, "inconclusive", seconds=7)),
        negative("n3", scan(1, **quiet, seconds=8)),
        negative("n4", scan(1, **quiet, seconds=90)),
    ]


def test_every_figure_by_hand() -> None:
    found = score(zoo())
    assert (found.n_positive, found.n_negative, found.n_not_kept, found.n_not_scanned) == (5, 4, 2, 1)
    assert (found.n_detected, found.n_wrong) == (3, 1)
    assert found.recall == wilson(3, 5)
    assert found.fpr == clopper_pearson(1, 4)
    assert found.precision == wilson(3, 4)
    assert value(found.f1) == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert value(found.auroc) == (4 + 4 + 3.5 + 3 + 2) / 20  # pairs won by 9, 8, 7, 5 and 2
    assert value(found.tpr_at_1) == value(found.tpr_at_5) == 2 / 5  # above 7
    assert found.inconclusive_positive == wilson(1, 5)
    assert found.inconclusive_negative == wilson(1, 4)
    assert found.seconds == 5
    assert value(found.precision_at_prevalence) == pytest.approx(0.006 / (0.006 + 0.99 * 0.25))


def test_intervals_hold_their_figure_and_are_repeatable() -> None:
    found = score(zoo())
    assert found == score(zoo())
    intervals = [v for f in dataclasses.fields(Score) if isinstance(v := getattr(found, f.name), Estimate)]
    assert len(intervals) == 10
    assert all(0 <= e.low <= e.value <= e.high <= 1 for e in intervals)
    assert all(e.low < e.high for e in intervals)
    assert score(zoo(), resamples=40).auroc != score(zoo(), resamples=40, seed=1).auroc


def test_precision_at_prevalence_takes_the_bad_ends_together() -> None:
    found = score(zoo())
    assert found.recall is not None
    assert found.fpr is not None
    assert found.precision_at_prevalence is not None
    assert found.precision_at_prevalence.low == precision_at_prevalence(found.recall.low, found.fpr.high)
    assert found.precision_at_prevalence.high == precision_at_prevalence(found.recall.high, found.fpr.low)


def test_a_failed_attack_moves_no_figure() -> None:
    without = score([r for r in zoo() if r.kept])
    assert dataclasses.replace(score(zoo()), n_not_kept=0) == without


def test_a_benign_model_counts_whatever_kept_says() -> None:
    assert score([negative("n", scan(1), kept=False)]).n_negative == 1


def test_nothing_scanned_leaves_every_figure_open() -> None:
    found = score(zoo(), "paper")
    assert found.n_not_scanned == 10
    assert [getattr(found, f.name) for f in dataclasses.fields(Score) if not f.name.startswith("n_")] == [None] * 11


def test_only_one_label_leaves_the_figures_of_both_open() -> None:
    found = score([r for r in zoo() if r.label == "benign"])
    assert found.fpr == clopper_pearson(1, 4)
    assert (
        found.recall
        is found.precision
        is found.f1
        is found.auroc
        is found.tpr_at_1
        is found.precision_at_prevalence
        is None
    )
    found = score([r for r in zoo() if r.label == "backdoored"])
    assert found.recall == wilson(3, 5)
    assert (
        found.fpr is found.precision is found.f1 is found.auroc is found.precision_at_prevalence is None
    )  # nothing could be wrong


def test_a_detector_without_verdicts_has_the_figures_of_its_scores_only() -> None:
    norm: dict[str, Any] = {"detector": "weight-norm", "verdict": "no-backdoor-found", "seconds": 0.0}
    found = score(
        [positive("p", scan(0.3, **norm)), negative("n", scan(0.1, **norm)), negative("o", scan(0.3, **norm))],
        "weight-norm",
    )
    defined = {f.name for f in dataclasses.fields(Score) if getattr(found, f.name) is not None}
    assert defined == {
        "n_positive",
        "n_negative",
        "n_not_kept",
        "n_not_scanned",
        "auroc",
        "tpr_at_1",
        "tpr_at_5",
        "seconds",
    }
    assert (value(found.auroc), value(found.tpr_at_1)) == (0.75, 0)


def test_the_detector_and_reference_asked_for_are_scored() -> None:
    model = positive("p", scan(1, "no-backdoor-found"), scan(2, reference="none"), scan(3, detector="paper"))
    assert value(score([model]).recall) == 0
    assert value(score([model], "standard", "none").recall) == 1
    assert value(score([model], "paper").recall) == 1
    assert [s.score for _, s in scans([model, positive("q")], "paper", "right")] == [3]


def test_cells_are_held_against_the_benign_models_of_their_layout() -> None:
    models = [
        positive("a", scan(5), cell="x"),
        positive("b", scan(5), cell="y", layout="siglip"),
        positive("c", scan(5), cell="x", kept=False),
        negative("m", scan(1, "no-backdoor-found")),
        negative("n", scan(9), layout="siglip"),
        negative("o", scan(9), layout="clip-248"),
    ]
    cells = by_cell(models, key=lambda r: r.cell)
    assert list(cells) == ["x", "y"]
    assert (cells["x"].n_positive, cells["x"].n_not_kept, cells["x"].n_negative, cells["x"].n_wrong) == (1, 1, 1, 0)
    assert (value(cells["x"].auroc), value(cells["y"].auroc)) == (1, 0)
    together = by_cell(models, key=lambda r: r.label, stratum=lambda r: r.suite)["backdoored"]
    assert (together.n_positive, together.n_negative, together.n_wrong) == (2, 3, 2)
    assert [r.name for r in negatives_of(models[:2], models)] == ["m", "n"]


def test_groups_and_shared_models_keep_their_order() -> None:
    both, one = (scan(1), scan(1, detector="paper")), (scan(1),)
    models = [negative("a", *both, kind="k"), negative("b", *one, kind="j"), negative("c", *both, kind="k")]
    assert {key: [r.name for r in group] for key, group in grouped(models, lambda r: r.kind).items()} == {
        "k": ["a", "c"],
        "j": ["b"],
    }
    assert [r.name for r in shared(models, [("standard", "right"), ("paper", "right")])] == ["a", "c"]


def test_a_curve_needs_both_labels() -> None:
    with pytest.raises(ValueError, match="both labels"):
        roc_points([], [1.0])
