from __future__ import annotations

import dataclasses
import datetime
import json

import pytest

from amdet_hub.errors import ReportError
from amdet_hub.report.baselines import (
    NO_BASELINE,
    Acceptance,
    Baseline,
    acceptances_of,
    baseline_as_json,
    parse_baseline,
    verdict_beyond,
)
from tests.report import examples

DAY = datetime.date(2026, 6, 1)
EXPIRES = "2026-06-30"


def accepted(name: str, expires: str = EXPIRES) -> Baseline:
    return NO_BASELINE.with_accepted(
        acceptances_of(examples.EXAMPLES[name](), reason="our own test model", expires=expires)
    )


def test_an_accepted_detection_no_longer_counts_until_it_expires() -> None:
    report, baseline = examples.backdoored(), accepted("backdoored")
    assert verdict_beyond(NO_BASELINE, report, DAY) == "backdoor-detected"
    assert verdict_beyond(baseline, report, DAY) == "no-backdoor-found", "the other tower was clean"
    assert verdict_beyond(baseline, report, datetime.date(2026, 6, 30)) == "no-backdoor-found", "the last day counts"
    assert verdict_beyond(baseline, report, datetime.date(2026, 7, 1)) == "backdoor-detected"


def test_another_digest_is_never_covered() -> None:
    report = examples.backdoored()
    retrained = dataclasses.replace(
        report, outcomes=(dataclasses.replace(report.results[0], tower_digest="1" * 64), *report.outcomes[1:])
    )
    assert verdict_beyond(accepted("backdoored"), retrained, DAY) == "backdoor-detected"


def test_a_second_detection_beside_an_accepted_one_counts() -> None:
    report = examples.backdoored()
    first, second = report.results
    worse = dataclasses.replace(second, verdict=first.verdict)
    assert (
        verdict_beyond(
            accepted("backdoored"), dataclasses.replace(report, outcomes=(first, worse, *report.skipped)), DAY
        )
        == "backdoor-detected"
    )


def test_accepting_doubt_is_not_accepting_a_detection() -> None:
    doubt, report = accepted("inconclusive"), examples.inconclusive()
    detected = dataclasses.replace(report.results[0], verdict=examples.backdoored().results[0].verdict)
    now = dataclasses.replace(report, outcomes=(detected, *report.skipped), verdict=detected.verdict)
    assert verdict_beyond(doubt, now, DAY) == "backdoor-detected"


def test_what_could_not_be_looked_at_cannot_be_accepted() -> None:
    report = examples.inconclusive()
    assert verdict_beyond(accepted("inconclusive"), report, DAY) == "inconclusive", "the pickle beside it still blocks"
    alone = dataclasses.replace(report, outcomes=report.results)
    assert verdict_beyond(accepted("inconclusive"), alone, DAY) == "no-backdoor-found"
    assert verdict_beyond(accepted("inconclusive"), dataclasses.replace(alone, complete=False), DAY) == "inconclusive"


def test_it_is_stored_and_read_back_and_renewed() -> None:
    baseline = accepted("backdoored")
    assert parse_baseline(baseline_as_json(baseline)) == baseline
    renewed = baseline.with_accepted(accepted("backdoored", "2027-01-01").accepted)
    assert [a.expires for a in renewed.accepted] == ["2027-01-01"]


def test_a_clean_report_has_nothing_to_accept() -> None:
    with pytest.raises(ReportError, match="nothing to accept"):
        accepted("clean")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tower_digest", "abc"),
        ("tower_digest", "A" * 64),
        ("reason", " "),
        ("reason", "x" * 501),
        ("expires", "never"),
        ("expires", "2026-02-30"),
        ("expires", "20260630"),
        ("expires", "٢٠٢٦-٠٦-٣٠"),
        ("verdict", "no-backdoor-found"),
        ("verdict", "*"),
    ],
)
def test_unusable_fields_are_refused(field: str, value: str) -> None:
    data = json.loads(baseline_as_json(accepted("backdoored")))
    data["accepted"][0][field] = value
    with pytest.raises(ReportError):
        parse_baseline(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema_version": "9"}', "[" * 100_000, '{"schema_version": "1.0", "accepted": [], "more": 1}'],
)
def test_what_is_no_baseline_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        parse_baseline(text)


def test_one_digest_twice_is_refused() -> None:
    one = accepted("backdoored").accepted[0]
    with pytest.raises(ReportError, match="twice"):
        parse_baseline(baseline_as_json(Baseline((one, dataclasses.replace(one, expires="2099-01-01")))))


def test_an_acceptance_is_valid_at_birth() -> None:
    with pytest.raises(ValueError, match="digest"):
        Acceptance("x", "inconclusive", "reason", "2030-01-01", "org/m")
