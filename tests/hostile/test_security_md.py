"""SECURITY.md makes claims; each names the tests that attack it, and those are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 15
    for path, name in NAMED:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)


def test_every_claim_names_a_test() -> None:
    claims = TEXT.split("## What holds\n")[1].split("\n## ")[0].split("\n- ")[1:]
    assert len(claims) > 8
    assert not [claim for claim in claims if "::test_" not in claim]


def test_every_file_of_attacks_is_named() -> None:
    here = {f"tests/hostile/{path.name}" for path in Path(__file__).parent.glob("test_*.py")} - {
        "tests/hostile/test_security_md.py"
    }
    assert here <= {path for path, _ in NAMED}


def test_links_and_addresses() -> None:
    assert "@" not in TEXT, "no address is invented"
    for target in re.findall(r"\]\(([\w.]+)(?:#[\w-]+)?\)", TEXT):
        assert (ROOT / target).is_file(), target
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n## Hostile inputs\n" in (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
