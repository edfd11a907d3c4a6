"""What a scan tells an observer while it runs: in order, plain numbers, and without any effect on the result."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tests.scanner.conftest import BACKDOORED, BASE, QUICK, Scan
from tests.scanner.test_session import timeless

STAGES = ["sweep", "confirm", "inversion", "inversion, roles swapped"]
CONFIG = QUICK.replace(inversion__steps=12)


@dataclass(frozen=True)
class Told:
    stage: str
    step: int
    value: float
    label: str


def test_a_scan_tells_what_it_measures_and_is_not_changed_by_it(scan: Scan) -> None:
    told: list[Told] = []
    watched = scan(BACKDOORED, reference=BASE, config=CONFIG, on_measure=lambda *point: told.append(Told(*point)))
    alone = scan(BACKDOORED, reference=BASE, config=CONFIG)
    assert timeless(watched) == timeless(alone)
    assert list(dict.fromkeys(point.stage for point in told)) == STAGES
    assert all(type(p.step) is int and type(p.value) is float and type(p.label) is str for p in told), (
        "nothing of torch leaves"
    )
    stages: dict[str, list[Told]] = defaultdict(list)
    for point in told:
        stages[point.stage].append(point)
    for points in stages.values():
        assert [point.step for point in points] == sorted({point.step for point in points}), "each step once, in order"
    (trigger,) = watched.results[0].triggers
    best = max(stages["sweep"], key=lambda point: point.value)
    assert best.label == str(trigger.token_ids[0]), "the best of the sweep is the trigger"
    confirmed = {point.label: point.value for point in stages["confirm"]}
    assert confirmed[" ".join(map(str, trigger.token_ids))] > 0.8
    losses = [point.value for point in stages["inversion"]]
    assert len(losses) == CONFIG.inversion.steps
    assert losses[-1] < losses[0]


def test_without_a_reference_there_is_no_inversion_to_tell_of(scan: Scan) -> None:
    told: list[str] = []
    scan(BACKDOORED, use_reference=False, on_measure=lambda stage, step, value, label: told.append(stage))
    assert list(dict.fromkeys(told)) == ["sweep", "confirm"]
