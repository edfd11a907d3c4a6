"""The table of `docs/reference/layouts.md` is made of the test cases that prove each kind.

`AMDET_HUB_REGENERATE_GOLDENS=1 pytest tests/test_layout_table.py` writes it anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.encoders.layout_cases import CASES, LayoutCase

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(<!-- layouts: begin -->\n)(?P<table>.*?)(<!-- layouts: end -->)", re.DOTALL)


def row(case: LayoutCase) -> str:
    towers = f"{len(case.towers)}" if case.towers else "none"
    why = "; ".join(f"{reason}: {phrase}" for reason, phrase in case.skipped)
    proof = f"`tests/{case.proof}`" if case.proof else ""
    return f"| {case.kind} | {case.files} | {towers} | {why} | {proof} |"


def table() -> str:
    head = (
        "| Kind | Files | Towers in the test case | Not scanned | Held against another implementation in"
        " |\n|---|---|---|---|---|\n"
    )
    return head + "".join(row(case) + "\n" for case in CASES.values())


def test_the_table_is_made_of_these_cases() -> None:
    path = ROOT / "docs/reference/layouts.md"
    text = path.read_text(encoding="utf-8")
    if os.environ.get("AMDET_HUB_REGENERATE_GOLDENS") == "1":
        text = TABLE.sub(lambda match: match[1] + table() + match[3], text)
        path.write_text(text, encoding="utf-8")
    (shown,) = [match["table"] for match in TABLE.finditer(text)]
    assert shown == table(), "regenerate with AMDET_HUB_REGENERATE_GOLDENS=1"


def test_every_proof_is_a_test_file() -> None:
    for case in CASES.values():
        assert bool(case.proof) is bool(case.towers)
        assert not case.proof or (ROOT / "tests" / case.proof).is_file()
