"""Every hostile repository, published on a Hub that speaks the real protocol and scanned with the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from amdet_hub.report import parse_report
from tests.hostile.conftest import Attack
from tests.hostile.forge import Files
from tests.hostile.repositories import IGNORED, NEVER_CLEARED

CASES = [
    pytest.param(change, id=f"{kind}: {name}") for kind, rows in NEVER_CLEARED.items() for name, change in rows.items()
]


@pytest.mark.parametrize("change", CASES)
def test_a_hostile_repository_is_never_cleared(attack: Attack, clean: Files, change: object) -> None:
    assert callable(change)
    result = attack(change(clean))
    assert result.exit_code in (2, 3), result.output
    if result.exit_code == 2:
        assert result.stdout == ""
        assert result.stderr.count("Error: ") == 1
    if result.stdout:
        assert parse_report(result.stdout).verdict.label == "inconclusive"


@pytest.mark.parametrize("name", IGNORED)
def test_what_must_have_no_effect_has_none(attack: Attack, clean: Files, tmp_path: Path, name: str) -> None:
    result = attack(IGNORED[name](clean))
    assert result.exit_code == 0, result.output
    report = parse_report(result.stdout)
    assert [evidence.kind for evidence in report.results[0].evidence] == ["identity", "tokenizer-difference"]
    assert not list(tmp_path.rglob("pwned"))


def test_the_clean_repository_itself_is_cleared(attack: Attack, clean: Files) -> None:
    """Otherwise the cases above would pass for any reason."""
    assert attack(clean).exit_code == 0
