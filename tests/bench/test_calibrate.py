"""Thresholds from stored results, on numbers whose best thresholds are known."""

from __future__ import annotations

import dataclasses

import pytest

from amdet_hub.bench import calibrate
from amdet_hub.bench.calibrate import as_source, calibrated, differences, meaning_threshold
from amdet_hub.bench.results import DetectorResult, Label, ModelResult, ReferenceKind, Split
from amdet_hub.config_stages import Thresholds
from amdet_hub.errors import ConfigError
from amdet_hub.families import Calibration
from amdet_hub.records import VerdictLabel

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
        suite="calibration-3",
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


ROWS = models(("backdoored", (12.0, 1.0, 2.0)), ("benign", (3.0, 0.3, 0.3)))


def test_the_source_is_python_that_makes_the_same_rows() -> None:
    space: dict[str, object] = {"Calibration": Calibration, "Thresholds": Thresholds}
    exec(as_source(ROWS).replace("CALIBRATIONS: tuple[Calibration, ...]", "rows"), space)  # our own text
    assert space["rows"] == calibrated(ROWS)


def test_differences_name_what_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    (sentence,) = differences(ROWS)
    assert sentence.startswith("clip with a reference, pooled: families.py holds")
    monkeypatch.setattr(calibrate, "CALIBRATIONS", calibrated(ROWS))
    assert differences(ROWS) == []


def aimed(number: int, cell: str, values: dict[str, float], *, detected: bool = False) -> ModelResult:
    """An attack of a cell, with these values of its scan."""
    made = model(number, "backdoored", (0.0, 0.0, 0.0))
    label: VerdictLabel = "backdoor-detected" if detected else "no-backdoor-found"
    scan = dataclasses.replace(made.scans[0], values=values, verdict=label)
    return dataclasses.replace(made, cell=cell, scans=(scan,))


def at(place: str, sweep: float, success: float, collapse: float) -> dict[str, float]:
    kinds = ("vocabulary-sweep", "trigger-success", "trigger-collapse")
    return dict(zip((f"{kind}-{place}" for kind in kinds), (sweep, success, collapse), strict=True))


def test_a_read_out_is_calibrated_on_the_attacks_that_aim_at_it() -> None:
    rows = [
        *ROWS,
        aimed(10, "one place, start", at("start", 5.0, 1.0, 2.0)),
        aimed(11, "one place, middle", at("middle", 6.0, 1.0, 1.0)),
        aimed(12, "one place, end", {}, detected=True),  # found before it was looked for at the end
        aimed(13, "residual 50 %", at("residual", 9.0, 0.5, 1.9)),
        aimed(14, "attribute, rare word", {}),
    ]
    found = {row.read_out: row for row in calibrated(rows)}
    assert set(found) == {"pooled", "start", "residual"}
    assert [(row.n_backdoored, row.n_benign) for row in found.values()] == [(1, 1), (2, 3), (1, 1)]
    assert all((row.n_missed, row.n_wrong) == (0, 0) for row in found.values())


def test_a_change_of_meaning_is_held_between_what_benign_models_and_attacks_reach() -> None:
    honest = dataclasses.replace(ROWS[1].scans[0], values={"changed-character": 3.1})
    rows = [
        dataclasses.replace(ROWS[1], scans=(honest,)),
        aimed(2, "attribute, look-alike", {"changed-character": 4.5}),
        aimed(3, "attribute, invisible", {"changed-character": 9.0}),
        aimed(4, "attribute, invisible", {"changed-character": 0.5}),
    ]
    assert meaning_threshold(rows, "changed-character") == 3.75
    assert meaning_threshold(rows, "changed-word") is None
