from __future__ import annotations

import dataclasses

import pytest

from amdet_hub.config import ScanConfig
from amdet_hub.records import Evidence, NullDistribution, Reference, SkippedScan, TriggerFinding
from amdet_hub.report import as_markdown, as_text, wording
from amdet_hub.report.text_layout import column_widths, hanging, rule, table_row, wrap
from tests.report.examples import EXAMPLES, backdoored, clean, inconclusive, interrupted


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("width", [10, 60, 80, 100, 160, 400])
def test_lines_fit(name: str, width: int) -> None:
    *lines, command, end = as_text(EXAMPLES[name](), width=width).split("\n")
    assert end == ""
    assert max(map(len, lines)) <= min(max(width, 60), 160)
    assert not [line for line in lines if line != line.rstrip()]
    assert command.startswith("run again    amdet-hub scan ")


def test_verdict_comes_before_everything_else() -> None:
    lines = as_text(backdoored()).split("\n")
    assert lines[0] == "org/dreamy-xl"
    assert lines[4] == "[!] BACKDOOR DETECTED"
    assert lines[5].startswith("  * text_encoder maps every prompt")


def test_each_encoder_has_its_banner() -> None:
    banners = [line for line in as_text(backdoored()).split("\n") if line.startswith("-- ")]
    assert [b.split()[1] for b in banners] == ["text_encoder", "text_encoder_2"]
    assert banners[0].endswith("- [!] BACKDOOR DETECTED")
    assert banners[1].endswith("- [-] NO BACKDOOR FOUND")


def test_partial_reports_say_so() -> None:
    assert "Partial report: the scan did not finish." in as_text(interrupted())
    assert "The scan did not finish" in as_markdown(interrupted())
    assert "did not finish" not in as_text(clean())


def test_unconfirmed_triggers_are_only_candidates() -> None:
    assert "  candidate  (no tokenizer, token ids only)   tokens 88, 1201" in as_text(inconclusive())
    assert "  trigger " not in as_text(inconclusive())
    assert "**Unconfirmed candidate:**" in as_markdown(inconclusive())
    assert "**Recovered trigger:**" in as_markdown(backdoored())


def test_colour_changes_no_word() -> None:
    plain, painted = as_text(backdoored()), as_text(backdoored(), color=True)
    for code in ("0", "1", "2", "1;31", "1;36", "1;97;41"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted.replace(" [!] BACKDOOR DETECTED \n", "[!] BACKDOOR DETECTED\n") == plain
    assert "\x1b" not in plain


def test_many_skipped_components_are_counted_with_blocking_ones_first() -> None:
    dull = tuple(SkippedScan("org/m", f"part{i}", "not-clip-family", "d", False) for i in range(40))
    report = dataclasses.replace(inconclusive(), outcomes=(*dull, *inconclusive().outcomes))
    for text in (as_text(report), as_markdown(report)):
        assert "and 21 more" in text
        assert "part39" not in text
        assert text.index("pickle-only") < text.index("part0")


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
        (7.0, 6.0, True, "> 6"),
        (5.0, 6.0, False, "> 6"),
        (-1.0, 0.0, True, "< 0"),
        (1.0, 0.0, False, "< 0"),
        (6.0, 6.0, False, "> 6"),
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


def test_untried_trigger() -> None:
    assert wording.capture_text(TriggerFinding((1,), "x", 0.0, 0.0, 0.0, 0)) == "was not tried on held-out prompts"


def test_null_words() -> None:
    null = NullDistribution("the vocabulary", 49408, 0.1, 0.25, 5.9)
    assert wording.null_text(null) == "median 0.1, MAD 0.25, max 5.9"
    assert wording.null_source(null) == "Null: the vocabulary, n 49,408."
    assert (wording.null_text(None), wording.null_source(None)) == ("-", "")


def test_layout() -> None:
    assert wrap("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrap("aaaa-bbbb", 6) == ["aaaa-", "bbbb"]
    assert wrap("x" * 7, 3) == ["xxx", "xxx", "x"]
    assert wrap("", 5) == [""]
    assert hanging("k", "aa bb", indent=1, label_width=2, width=24) == [" k aa bb"]
    assert rule("t", "end", 20) == ["-- t ----------- end"]
    widths = column_widths([("aaa", "bb", "c")], indent=2, width=40, last_minimum=10)
    assert widths == [3, 2, 29]
    assert table_row(("aaa", "b", "c"), widths, indent=2) == ["  aaa  b   c"]


def test_an_encoders_reasons_are_said_once() -> None:
    report = backdoored()
    first = report.results[0]
    summary = first.evidence[1].summary
    verdict = dataclasses.replace(first.verdict, reasons=("It came out.", summary, "Only here."))
    over_all = dataclasses.replace(report.verdict, reasons=(f"{first.encoder.label}: It came out.",))
    told = dataclasses.replace(
        report, verdict=over_all, outcomes=(dataclasses.replace(first, verdict=verdict), *report.outcomes[1:])
    )
    text = as_text(told, width=160)
    assert (text.count("It came out."), text.count(summary.rstrip(".")), text.count("Only here.")) == (1, 1, 1)


def test_settings_that_are_not_the_presets_are_named() -> None:
    config = ScanConfig.for_preset("standard")
    whole = dataclasses.replace(backdoored(), config=config.to_dict())
    assert wording.changed_settings(whole) == ""
    assert "changed:" not in as_text(whole)
    weak = config.replace(
        sweep__n_finalists=1, sweep__n_null=2, inversion__steps=1, thresholds__trigger_success=0.99, landscape__grid=3
    )
    changed = dataclasses.replace(whole, config=weak.to_dict())
    names = "sweep.n_finalists, sweep.n_null, inversion.steps, landscape.grid and 1 more"
    assert f"preset standard (changed: {names})" in " ".join(as_text(changed).split())
    assert f"| changed settings | {names} |" in as_markdown(changed)
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
