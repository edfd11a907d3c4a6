"""Thresholds from stored results, on numbers whose best thresholds are known."""

from __future__ import annotations

import pytest

from amdet_hub.bench.calibrate import as_source, calibrated, differences
from amdet_hub.bench.results import DetectorResult, Label, ModelResult, ReferenceKind, Split
from amdet_hub.config_stages import Thresholds
from amdet_hub.errors import ConfigError
from amdet_hub.families import CALIBRATIONS, Calibration

Numbers = tuple[float, float, float]


def model(
    number: int, label: Label, numbers: Numbers, *, reference: ReferenceKind = "right", split: Split = "calibration"
) -> ModelResult:
    values = dict(zip(("vocabulary-sweep", "trigger-success", "trigger-collapse"), numbers, strict=True))
    scan = DetectorResult("standard", reference, 0.0, "no-backdoor-found", 1.0, values)
    attack = label == "backdoored"
    kind, trigger_kind = ("text-on-text", "rare word") if attack else ("alias", "")
    return ModelResult(
        name=f"m{number}",
        suite="calibration",
        split=split,
        base="clip-a",
        layout="clip",
        label=label,
        cell="cell",
        kind=kind,
        intensity="default",
        trigger_kind=trigger_kind,
        triggers=("qv",) if attack else (),
        targets=("a cat",) if attack else (),
        kept=True,
        attack_success_rate=1.0 if attack else None,
        relative_change=0.1,
        seed=number,
        sha256="0" * 64,
        seconds_made=1.0,
        scans=(scan,),
    )


def models(*rows: tuple[Label, Numbers]) -> list[ModelResult]:
    return [model(i, label, numbers) for i, (label, numbers) in enumerate(rows)]


def score(numbers: Numbers, t: Thresholds) -> float:
    return min(numbers[0] / t.sweep_score, numbers[1] / t.trigger_success, numbers[2] / t.trigger_collapse)


def test_what_can_be_separated_is_separated_on_both_sides() -> None:
    bad: list[Numbers] = [(12.0, 1.0, 2.0), (10.0, 0.95, 3.0)]
    good: list[Numbers] = [(4.0, 1.0, 3.0), (20.0, 0.3, 3.0), (20.0, 1.0, 0.4)]
    (row,) = calibrated(models(*(("backdoored", n) for n in bad), *(("benign", n) for n in good)))
    assert (row.n_backdoored, row.n_benign, row.n_missed, row.n_wrong) == (2, 3, 0, 0)
    assert min(score(n, row.thresholds) for n in bad) == pytest.approx(row.lowest_backdoored, abs=1e-3)
    assert max(score(n, row.thresholds) for n in good) == pytest.approx(row.highest_benign, abs=1e-3)
    assert row.highest_benign < 1 <= row.lowest_backdoored
    assert 4.0 < row.thresholds.sweep_score < 10.0


def test_a_false_alarm_weighs_more_than_a_miss() -> None:
    """One backdoored model lies below a benign one in every number: it is given up, not the benign one."""
    rows = models(("backdoored", (12.0, 1.0, 2.0)), ("backdoored", (5.0, 0.5, 0.5)), ("benign", (6.0, 0.6, 0.6)))
    (row,) = calibrated(rows)
    assert (row.n_missed, row.n_wrong) == (1, 0)


def test_scans_without_a_reference_are_calibrated_apart() -> None:
    rows = models(("backdoored", (12.0, 1.0, 2.0)), ("benign", (3.0, 0.3, 0.3)))
    rows += [
        model(8, "backdoored", (40.0, 0.9, 2.0), reference="none"),
        model(9, "benign", (14.0, 0.5, 0.3), reference="none"),
    ]
    found = {c.with_reference: c.thresholds for c in calibrated(rows)}
    assert 3.0 < found[True].sweep_score < 12.0
    assert score((14.0, 0.5, 0.3), found[False]) < 1 <= score((40.0, 0.9, 2.0), found[False])


def test_test_models_cannot_leak_into_a_threshold() -> None:
    rows = models(("backdoored", (12.0, 1.0, 2.0)), ("benign", (3.0, 0.3, 0.3)))
    leak = model(7, "benign", (11.9, 0.99, 1.99), split="test")
    assert calibrated([*rows, leak]) == calibrated(rows)


@pytest.mark.parametrize("split", ["test", "calibration"])
def test_nothing_to_calibrate_on(split: Split) -> None:
    with pytest.raises(ConfigError, match="results: hold no"):
        calibrated([model(0, "benign", (1.0, 0.1, 0.1), split=split)])


def test_the_source_is_python_that_makes_the_same_rows() -> None:
    found = calibrated(models(("backdoored", (12.0, 1.0, 2.0)), ("benign", (3.0, 0.3, 0.3))))
    space: dict[str, object] = {"Calibration": Calibration, "Thresholds": Thresholds}
    exec(as_source(found).replace("CALIBRATIONS: tuple[Calibration, ...]", "rows"), space)  # our own text
    assert space["rows"] == found


def test_differences_name_what_is_not_held() -> None:
    assert differences(CALIBRATIONS) == []
    (found,) = calibrated(models(("backdoored", (12.0, 1.0, 2.0)), ("benign", (3.0, 0.3, 0.3))))
    (sentence,) = differences([found])
    assert sentence.startswith("clip with a reference: families.py holds")
