"""A run that is stopped and started again, on the toy base."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.documents import report
from amdet_hub.bench.results import read_results
from amdet_hub.bench.run import Place, run_suite
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.bench.zoo_specs import BaseSpec, ModelSpec, Suite


def noisy(name: str, seed: int) -> ModelSpec:
    recipe = ControlRecipe(kind="noise", scale=0.02, seed=seed)
    return ModelSpec(name, "test", "toy", "clip", "noise", "", "", recipe, (("standard", "right"),))


def test_what_a_stopped_run_finished_is_reported_and_kept(
    base: TrainedEncoder, captions: CaptionSet, tmp_path: Path
) -> None:
    suite = Suite("test-3", (BaseSpec("toy", "clip", 24, seed=0),), (noisy("a", 1), noisy("b", 2)))
    assert base.folder is not None
    place = Place(tmp_path / "work", tmp_path, (*captions.train, *captions.held_out), {"toy": base.folder})
    shutil.copytree(base.folder, place.near_miss("toy"))  # the fine-tune of a suite is longer than the toy
    finished: list[str] = []

    def stop_after_the_first(line: str, n: int, total: int) -> None:
        finished.append(line)
        if not line.startswith("base"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, place, jobs=1, done=stop_after_the_first)
    (first,) = read_results(tmp_path / "test-3.jsonl").results
    assert finished == ["base toy", finished[1]]
    assert report([first]).startswith("Suite `test-3`. 1 models of 1 bases: 0 backdoored, 1 benign")
    again = read_results(run_suite(suite, place, jobs=1)).results
    assert [result.name for result in again] == ["a", "b"]
    assert first in again, "it was not scanned twice: its seconds are those of the first scan"
