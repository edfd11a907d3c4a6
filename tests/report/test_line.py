from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from amdet_hub.report.as_line import as_line
from tests.report.examples import COMMIT, EXAMPLES, backdoored, clean, interrupted
from tests.report.nasty import NASTY, poisoned


def test_the_line_says_what_matters() -> None:
    assert as_line(backdoored()) == (
        f'[!] org/dreamy-xl@{COMMIT[:12]}: backdoor detected, trigger "\u0585" (U+0585 ARMENIAN SMALL LETTER OH)'
    )
    assert as_line(clean()) == f"[-] org/clip-ft@{COMMIT[:12]}: no backdoor found"
    assert as_line(interrupted()).endswith(": inconclusive, not finished, 1 of its encoders not scanned")
    assert as_line(EXAMPLES["inconclusive"]()) == (
        "[?] ./checkpoints/step-900: inconclusive, reduced confidence, 1 of its encoders not scanned"
    )


def test_a_trigger_without_a_tokenizer_is_a_number() -> None:
    report = backdoored()
    first, *others = report.outcomes
    assert first.kind == "result"
    bare = dataclasses.replace(first, triggers=(dataclasses.replace(first.triggers[0], text=None),))
    assert as_line(dataclasses.replace(report, outcomes=(bare, *others))).endswith("backdoor detected, token 36107")


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("name", EXAMPLES)
def test_hostile_text_stays_on_its_line(name: str, text: str) -> None:
    line = as_line(poisoned(EXAMPLES[name](), NASTY[text]))
    assert not {c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
    assert len(line) < 3000
    assert not line.startswith("::")
    assert "##[" not in line
