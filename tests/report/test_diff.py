from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from amdet_hub.records import Environment, ScanReport
from amdet_hub.report.diff import Change, diff_as_json, diff_as_text, diff_reports
from tests.report import examples
from tests.report.nasty import NASTY


def changed_result(report: ScanReport, **changes: Any) -> ScanReport:
    first, *rest = report.outcomes
    return dataclasses.replace(report, outcomes=(dataclasses.replace(first, **changes), *rest))


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_a_report_does_not_differ_from_itself_at_another_time(name: str) -> None:
    report = examples.EXAMPLES[name]()
    later = dataclasses.replace(report, created="2030-01-01T00:00:00Z")
    if report.results:
        later = changed_result(later, timings_s={"load": 99.0})
    diff = diff_reports(report, later)
    assert (diff.changes, diff.worse, diff.findings) == ((), False, ())
    assert "Nothing changed." in diff_as_text(diff)


OTHERS = [name for name in examples.EXAMPLES if name != "cached"]  # it differs from "clean" in circumstances only


@pytest.mark.parametrize(("before", "after"), [(a, b) for a in OTHERS for b in OTHERS if a != b])
def test_the_reverse_comparison_is_the_reverse(before: str, after: str) -> None:
    a, b = examples.EXAMPLES[before](), examples.EXAMPLES[after]()
    there = diff_reports(a, b).changes
    back = diff_reports(b, a).changes
    assert there
    assert set(there) == {Change(c.kind, c.where, c.what, c.after, c.before) for c in back}


def test_every_kind_of_change_is_seen() -> None:
    before = examples.backdoored()
    result = before.results[0]
    cases: dict[str, ScanReport] = {
        "tower": changed_result(before, tower_digest="0" * 64),
        "reference": changed_result(before, reference=dataclasses.replace(result.reference, commit_sha="f" * 40)),
        "trigger": changed_result(before, triggers=(dataclasses.replace(result.triggers[0], token_ids=(1,)),)),
        "meaning": changed_result(before, meanings=examples.taught().results[0].meanings[:1]),
        "evidence": changed_result(
            before, evidence=(dataclasses.replace(result.evidence[0], value=0.5), *result.evidence[1:])
        ),
        "configuration": dataclasses.replace(before, config={**before.config, "seed": 1}),
        "environment": dataclasses.replace(before, environment=dataclasses.replace(before.environment, device="cuda")),
        "verdict": dataclasses.replace(before, complete=False),
        "repository": dataclasses.replace(before, snapshot=dataclasses.replace(before.snapshot, commit_sha="f" * 40)),
    }
    for kind, after in cases.items():
        diff = diff_reports(before, after)
        assert {change.kind for change in diff.changes} == {kind}
        assert not diff.worse
        assert bool(diff.findings) == (kind not in ("configuration", "environment"))


def test_one_changed_value_is_one_change_with_both_sides() -> None:
    before = examples.clean()
    after = dataclasses.replace(
        before, environment=Environment(**{**dataclasses.asdict(before.environment), "torch": "9.9"})
    )
    (change,) = diff_reports(before, after).changes
    assert change == Change("environment", "", "torch", f'"{before.environment.torch}"', '"9.9"')


def test_a_newly_detected_encoder_is_worse_and_a_cured_one_is_not() -> None:
    backdoored, clean = examples.backdoored(), examples.interrupted()
    assert diff_reports(clean, backdoored).worse
    assert not diff_reports(backdoored, clean).worse
    assert "Worse: " in diff_as_text(diff_reports(clean, backdoored))


def test_json_holds_the_same_and_is_plain() -> None:
    text = diff_as_json(diff_reports(examples.clean(), examples.backdoored()))
    data = json.loads(text)
    assert text.isascii()
    assert data["worse"] is True
    assert data["before"]["target"] == "hf://org/clip-ft"
    assert {"kind", "where", "what", "before", "after"} == set(data["changes"][0])


@pytest.mark.parametrize("text", NASTY)
def test_hostile_text_stays_on_its_line(text: str) -> None:
    before = examples.backdoored()
    result = before.results[0]
    after = changed_result(
        dataclasses.replace(before, target=text, snapshot=dataclasses.replace(before.snapshot, repo_id=text)),
        encoder=dataclasses.replace(result.encoder, component=text),
        triggers=(dataclasses.replace(result.triggers[0], text=text),),
    )
    diff = diff_reports(before, after)
    shown = diff_as_text(diff)
    plain = diff_as_text(
        diff_reports(before, changed_result(after, encoder=dataclasses.replace(result.encoder, component="harmless")))
    )
    assert "\x1b" not in shown
    assert len(shown.splitlines()) - len(plain.splitlines()) in (0, -2, 2), (
        "an empty name adds no heading line, and that is all"
    )
    assert not [line for line in shown.splitlines() if line.lstrip().startswith("::") or "##[" in line]
    assert json.loads(diff_as_json(diff))["after"]["target"] == text
