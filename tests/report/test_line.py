"""One row of a table of many targets."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from amdet_hub.report import as_table_row
from tests.report.examples import COMMIT, EXAMPLES, backdoored
from tests.report.nasty import NASTY, poisoned


@pytest.mark.parametrize("name", EXAMPLES)
def test_columns_are_fixed(name: str) -> None:
    report = EXAMPLES[name]()
    row = as_table_row(report)
    cells = row[:17].rstrip(), row[19:43].rstrip(), row[70:].rstrip("\n")
    at = f"@{COMMIT[:12]}" if report.snapshot.commit_sha else ""
    assert cells == (report.verdict.label, report.verdict.code, f"{report.snapshot.repo_id}{at}")


def test_the_trigger_of_a_detection() -> None:
    report = backdoored()
    first, *others = report.outcomes
    assert first.kind == "result"
    assert '"\u0585" U+0585' in as_table_row(report)
    bare = dataclasses.replace(first, triggers=(dataclasses.replace(first.triggers[0], text=None),))
    assert "token 36107" in as_table_row(dataclasses.replace(report, outcomes=(bare, *others)))


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("name", EXAMPLES)
def test_hostile_text_stays_on_its_line(name: str, text: str) -> None:
    row = as_table_row(poisoned(EXAMPLES[name](), NASTY[text]))
    assert row.endswith("\n")
    line = row[:-1]
    assert not {c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
    assert len(line) < 3000
    assert not line.startswith("::")
    assert "##[" not in line
