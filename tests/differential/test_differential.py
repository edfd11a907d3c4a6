"""The quick profile: what the real libraries load from 300 repositories was scanned, or the scan blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.differential.repositories import make_repository

QUICK = 300
# The loaders whose rules are tried, each of which must load something.
LIBRARIES = ("transformers", "diffusers", "peft", "sentence-transformers", "open_clip")


@pytest.mark.timeout(900)
def test_each_tower_that_a_library_loads_was_scanned_or_the_scan_blocks(tmp_path: Path) -> None:
    """In a process of its own: the libraries read their environment when they are imported."""
    command = [sys.executable, "-m", "tests.differential", "--repositories", str(QUICK), "--seed", "1"]
    finished = subprocess.run(
        [*command, "--json", str(tmp_path / "counts.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "counts.json").exists(), finished.stderr[-2000:]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["ordinary"] + counts["hostile"] == QUICK
    assert not counts["ordinary nothing loaded"]
    assert counts["ordinary blocked"] <= 0.15 * counts["ordinary"]
    for library in LIBRARIES:
        assert counts.get(f"loaded by {library}") or counts.get(f"not installed: {library}"), library
    differing = counts["mismatches"] + counts["not in the model of the loaders"]
    assert (finished.returncode, differing) == (0, 0), finished.stdout[-4000:]


def test_a_seed_makes_the_same_repository_again(tmp_path: Path) -> None:
    for seed in (2, 3, 5):
        made = [make_repository(tmp_path / f"{seed} {again}", seed).folder for again in (1, 2)]
        first, second = (
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in made
        )
        assert first == second


def test_a_tower_that_the_model_of_the_loaders_does_not_give_to_a_library_is_told(tmp_path: Path) -> None:
    """The same comparison in a process of its own, for it sets the environment of the libraries."""
    code = """
from pathlib import Path
from tests.differential.compare import Comparison
from tests.differential.loaded import Identity, LoadedTower
from tests.differential.repositories import Repository

tower, other = Identity("a", None), Identity("b", None)
loaded = (LoadedTower("peft AutoPeftModel", tower), LoadedTower("open_clip hf-hub", other))
modelled = ((tower, frozenset({"transformers"})), (other, frozenset({"transformers", "ComfyUI"})))
compared = Comparison(Repository(Path(), 0, True, ()), loaded, {}, (tower, other), "", modelled)
print([t.loader for t in compared.unmodelled], len(compared.unseen))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.stdout == "['open_clip hf-hub'] 0\n", finished.stderr[-2000:]
