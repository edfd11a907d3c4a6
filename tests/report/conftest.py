"""Goldens of this room: `AMDET_HUB_REGENERATE_GOLDENS=1 pytest tests/report` writes them anew.

Read the diff before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent.parent / "goldens"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with tests/goldens/<name>, or write it when regenerating."""

    def compare(name: str, text: str) -> None:
        path = GOLDENS / name
        if os.environ.get("AMDET_HUB_REGENERATE_GOLDENS") == "1":
            path.write_bytes(text.encode())
        assert path.exists(), f"{path} is missing: run with AMDET_HUB_REGENERATE_GOLDENS=1"
        assert text.encode() == path.read_bytes()

    return compare
