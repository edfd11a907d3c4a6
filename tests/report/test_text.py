from __future__ import annotations

import dataclasses
import re

import pytest

from amdet_hub.config import ScanConfig
from amdet_hub.records import REASONS, Evidence, Reference, SkippedScan
from amdet_hub.report import as_markdown, as_text, wording
from amdet_hub.report.text_layout import hanging, wrap
from tests.report.examples import EXAMPLES, backdoored, cached, clean, inconclusive, interrupted, nothing


def titles(text: str) -> list[str]:
    """The verdicts of a text report, without what they are about."""
    return [line.split("   ")[0].strip() for line in text.split("\n") if re.match(r"  [A-Z]{2}", line)]


def rows(text: str, label: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith(f"    {label} ")]


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("width", [10, 60, 80, 100, 160, 400])
def test_lines_fit(name: str, width: int, verbose: bool) -> None:
    *lines, command, end = as_text(EXAMPLES[name](), width=width, verbose=verbose).split("\n")
    assert end == ""
    assert max(map(len, lines)) <= min(max(width, 60), 160)
    assert not [line for line in lines if line != line.rstrip()]
    assert ("Again: amdet-hub scan " in command) == (name != "nothing" or verbose)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_default_fits_one_screen(name: str) -> None:
    assert as_text(EXAMPLES[name]()).count("\n") <= 24


def test_nothing_to_scan_takes_two_lines() -> None:
    assert as_text(nothing()).count("\n") == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_part_has_its_verdict_and_code(name: str) -> None:
    report = EXAMPLES[name]()
    text = as_text(report)
    parts: list[tuple[str, str]] = [(r.verdict.label, r.verdict.code) for r in report.results]
    parts += [("not-scanned", s.reason) for s in report.skipped if s.blocks_clearance]
    expected = parts if len(parts) == 1 else [(report.verdict.label, report.verdict.code), *parts]
    assert titles(text) == [label.replace("-", " ").upper() for label, _ in expected]
    assert re.findall(r"\[([a-z-]+)\]$", text, re.MULTILINE) == [code for _, code in expected]


def test_the_next_step_is_that_of_the_code() -> None:
    assert [line.split("next ")[1].strip() for line in rows(as_text(inconclusive()), "next")] == [
        REASONS["trigger-not-distinct"].advice,
        REASONS["refused-pickle"].advice,
    ]
    assert not rows(as_text(clean()), "next")


def test_a_cached_report_says_when_it_was_scanned() -> None:
    assert "2026-01-30T18:02:11Z" in as_text(cached())
    assert wording.seconds_text(cached()) == ""


def test_stages_within_others_are_counted_once() -> None:
    result = dataclasses.replace(clean().results[0], timings_s={"load": 1.0, "standard": 10.0, "inversion": 7.0})
    assert wording.seconds_text(dataclasses.replace(clean(), outcomes=(result,))) == "11.0 s"


def test_partial_reports_say_so() -> None:
    assert wording.PARTIAL in as_markdown(interrupted())
    assert wording.PARTIAL not in as_markdown(clean())


def test_unconfirmed_triggers_are_only_candidates() -> None:
    for report, label, other in ((inconclusive(), "candidate", "trigger"), (backdoored(), "trigger", "candidate")):
        assert rows(as_text(report), label)
        assert not rows(as_text(report), other)
        assert f"| {label} |" in as_markdown(report)


def test_colour_changes_no_word() -> None:
    plain, painted = as_text(backdoored(), verbose=True), as_text(backdoored(), color=True, verbose=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain != painted
    assert "\x1b" not in plain


def test_many_skipped_components_are_counted_with_blocking_ones_first() -> None:
    dull = tuple(SkippedScan("org/m", f"part{i}", "not-clip-family", "d", False) for i in range(40))
    report = dataclasses.replace(inconclusive(), outcomes=(*dull, *inconclusive().outcomes))
    for text in (as_text(report, verbose=True), as_markdown(report)):
        assert "and 21 more" in text
        assert "part39" not in text
        assert text.index("refused-pickle") < text.index("part0")


def test_many_parts_that_block_are_counted() -> None:
    parts = tuple(SkippedScan("org/m", f"part{i}", "unreadable", "d", True) for i in range(40))
    report = dataclasses.replace(inconclusive(), outcomes=parts)
    assert len(titles(as_text(report))) == 6
    assert "35 more" in as_text(report)


def test_reference_named_by_the_user_is_in_the_command() -> None:
    result = clean().results[0]
    named = dataclasses.replace(result, reference=dataclasses.replace(result.reference, trust="user"))
    report = dataclasses.replace(clean(), outcomes=(named,))
    assert wording.reproduce_command(report).endswith(
        "--reference openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
    )
    assert "--reference" not in wording.reproduce_command(clean())


@pytest.mark.parametrize(
    ("value", "threshold", "exceeds", "text"),
    [
        (7.0, 6.0, True, "above 6"),
        (5.0, 6.0, False, "above 6"),
        (-1.0, 0.0, True, "below 0"),
        (1.0, 0.0, False, "below 0"),
        (6.0, 6.0, False, "above 6"),
    ],
)
def test_side_of_the_threshold(value: float, threshold: float, exceeds: bool, text: str) -> None:
    evidence = Evidence("k", value, "u", 1, "s", threshold, exceeds)
    assert wording.threshold_text(evidence) == text
    assert wording.outcome_text(evidence) == ("beyond" if exceeds else "within")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (6.0, "6"),
        (49408, "49,408"),
        (15.268, "15.27"),
        (0.00001234, "1.234e-05"),
        (12345.67, "12,345.7"),
        (1e300, "1e+300"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.0, "0%"),
        (0.004, "<1%"),
        (0.005, "<1%"),
        (0.01, "1%"),
        (0.99, "99%"),
        (0.995, ">99%"),
        (0.02, "2%"),
        (0.98, "98%"),
        (0.9999, ">99%"),
        (1.0, "100%"),
    ],
)
def test_rates_are_never_rounded_to_none_or_all(rate: float, text: str) -> None:
    assert wording.percent(rate) == text


def test_layout() -> None:
    assert wrap("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrap("aaaa-bbbb", 6) == ["aaaa-", "bbbb"]
    assert wrap("x" * 7, 3) == ["xxx", "xxx", "x"]
    assert wrap("", 5) == [""]
    assert hanging("k", "aa bb", indent=1, label_width=2, width=24) == [" k aa bb"]


def test_an_encoders_reasons_are_said_once() -> None:
    report = backdoored()
    first = report.results[0]
    summary = first.evidence[1].summary
    verdict = dataclasses.replace(first.verdict, reasons=("It came out.", summary, "Only here."))
    over_all = dataclasses.replace(report.verdict, reasons=(f"{first.encoder.label}: It came out.",))
    told = dataclasses.replace(
        report, verdict=over_all, outcomes=(dataclasses.replace(first, verdict=verdict), *report.outcomes[1:])
    )
    text = " ".join(as_text(told, width=160, verbose=True).split())
    assert (text.count("It came out."), text.count(summary.rstrip(".")), text.count("Only here.")) == (1, 1, 1)


def test_settings_that_are_not_the_presets_are_named() -> None:
    config = ScanConfig.for_preset("standard")
    whole = dataclasses.replace(backdoored(), config=config.to_dict())
    assert wording.changed_settings(whole) == ""
    assert not rows(as_text(whole, verbose=True), "changed")
    weak = config.replace(
        sweep__n_finalists=1, sweep__n_null=2, inversion__steps=1, thresholds__trigger_success=0.99, landscape__grid=3
    )
    changed = dataclasses.replace(whole, config=weak.to_dict())
    names = "sweep.n_finalists, sweep.n_null, inversion.steps, landscape.grid and 1 more"
    assert f"changed {names}" in " ".join(as_text(changed, verbose=True).split())
    assert f"| changed | {names} |" in as_markdown(changed)
    assert wording.changed_settings(dataclasses.replace(whole, config={"preset": "none", "sweep": 3})) == ""


def test_a_scan_without_reference_is_run_again_without_one() -> None:
    report = backdoored()
    alone = tuple(dataclasses.replace(r, reference=Reference("none", "not wanted")) for r in report.results)
    assert wording.reproduce_command(dataclasses.replace(report, outcomes=alone)).endswith("--no-reference")
    assert "--no-reference" not in wording.reproduce_command(report)


@pytest.mark.parametrize(("exceeds", "word"), [(True, "changed"), (False, "unchanged")])
def test_a_difference_to_the_reference_is_no_finding_against_it(exceeds: bool, word: str) -> None:
    evidence = Evidence("identity", float(exceeds), "changed (0 or 1)", 1, "s", 0.5, exceeds)
    assert (wording.value_text(evidence), wording.threshold_text(evidence), wording.outcome_text(evidence)) == (
        word,
        "-",
        "informs",
    )
