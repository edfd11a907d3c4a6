"""The summary of a job: what it shows, and what hostile text can do in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amdet_hub.records import ScanReport
from amdet_hub.report.as_summary import SummaryRow, as_summary
from tests.report.examples import EXAMPLES, backdoored, clean, taught
from tests.report.nasty import NASTY, poisoned
from tests.report.test_hostile import assert_plain, structure


def summary_of(report: ScanReport, target: str = "./model", note: str = "") -> str:
    return as_summary(
        [SummaryRow(target, report, note), SummaryRow(target, None, note or "could not be read")], report.verdict.label
    )


def test_golden(golden: Callable[[str, str], None]) -> None:
    rows = [
        SummaryRow("./dreamy", backdoored()),
        SummaryRow("./ft", clean(), "This tower was judged before."),
        SummaryRow("./x", None, "Why."),
    ]
    golden("several.summary.md", as_summary(rows, "backdoor-detected"))


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("example", ["backdoored", "taught", "inconclusive"])
def test_hostile_text_adds_no_structure(example: str, name: str) -> None:
    text = summary_of(poisoned(EXAMPLES[example](), NASTY[name]), NASTY[name], NASTY[name])
    assert_plain(text)
    harmless = summary_of(poisoned(EXAMPLES[example](), "x"), "x", "x")
    assert set(structure(text)) <= set(structure(harmless)) | {"code_inline", "text"}
    assert text.count("<details>") == text.count("</details>") <= 1
    assert text.count("```") % 2 == 0


def test_the_character_of_an_attribute_trigger_stands_where_a_trigger_does() -> None:
    row, _ = [line for line in summary_of(taught()).split("\n") if line.startswith("| `./model` |")]
    assert "| `\u043e` |" in row


def test_words_of_our_own_as_a_verdict() -> None:
    assert as_summary([], "nothing-to-scan").startswith("### amdet-hub: Nothing to scan\n")
