"""The fuzzer's quick profile: the same inputs every time, some seconds.

`python -m tests.hostile.fuzz` runs for minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.forge import CONFIG, Files
from tests.hostile.fuzz import MOST_GROWTH_BYTES, clean_files, kinds, peak_bytes, probe, run

EXAMPLES = 60
MAY_ALL_BE_REFUSED = ("adapter", "LoRA")
"""An adapter beside a clean encoder is not loaded with it; of all other kinds some inputs must load."""


@pytest.fixture(scope="module")
def small() -> Files:
    return clean_files()


@pytest.mark.parametrize("kind", kinds())
def test_damage_is_refused_in_words(small: Files, kind: str) -> None:
    before = peak_bytes()
    ends = run(kind, small, examples=EXAMPLES, number=None)
    assert ends.total() >= EXAMPLES // 2
    assert set(ends) - {"loaded"} or kind in ("card", *MAY_ALL_BE_REFUSED), ends
    assert peak_bytes() - before < MOST_GROWTH_BYTES


def test_the_clean_files_load(small: Files, tmp_path: Path) -> None:
    assert probe(small, tmp_path) == "loaded"


def test_a_failure_is_noticed(small: Files, tmp_path: Path) -> None:
    """The probe itself: an error that is not ours gets out."""
    broken: Files = {**small, CONFIG: None}  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        probe(broken, tmp_path)


def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--minutes", "0.001", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "inputs" in done.stdout
    assert " 0 failures" in done.stdout
