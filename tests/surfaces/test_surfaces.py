"""The table of surfaces: every entry point gives the same verdict, for the same reason, with the matching exit code.

A cell is a surface and a target. The cells of a target share one cache of results: the first of them scans, the others
are answered from what it found. Which surface comes first differs from target to target.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.surfaces.surfaces import SURFACES, Answer, Surface
from tests.surfaces.targets import TARGETS, Target
from tests.surfaces.world import Place, open_world

NO_TARGET = {
    ("staged", "empty"): "no changed file belongs to a checkpoint, so that no target is named and no line is printed",
    ("hook", "empty"): "pre-commit passes no file, so that nothing is run",
}
"""Cells that have an exit code and no verdict."""


def exists(surface: Surface, target: Target) -> bool:
    """Whether a surface can meet a target: a checkout holds files, not the name of a repository that is nowhere."""
    return surface.reads == "hub" or target.make is not None


def cells() -> Iterator[Any]:
    for number, target in enumerate(TARGETS):
        start = number % len(SURFACES)
        for surface in (*SURFACES[start:], *SURFACES[:start]):
            if exists(surface, target):
                yield pytest.param(surface, target, id=f"{target.name}-{surface.name}", marks=surface.marks)


def expected(surface: Surface, target: Target, answer: Answer) -> Answer:
    """What the surface must answer; the exit code is compared where it has one."""
    exit_code = None if answer.exit_code is None else target.exit_code
    if (surface.name, target.name) in NO_TARGET:
        return Answer(None, None, exit_code)
    if surface.judges:
        return Answer(target.verdict, target.code, exit_code)
    if target.references:
        return Answer(None, None, 0, target.references)
    return Answer(target.verdict, target.code, exit_code, ())


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("surfaces")
    with open_world(folder, shared_by_workers(tmp_path_factory)) as places:
        yield places


def shared_by_workers(factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of one run share and no other run does."""
    base = factory.getbasetemp()
    return (base.parent if base.name.startswith("popen-") else base) / "surfaces-results"


@pytest.mark.parametrize(("surface", "target"), list(cells()))
def test_every_surface_says_the_same(world: dict[str, Place], surface: Surface, target: Target) -> None:
    answer = surface.ask(world[target.name])
    assert answer == expected(surface, target, answer)


def test_the_table_is_as_large_as_it_is_meant_to_be() -> None:
    assert len(SURFACES) >= 12
    assert len(TARGETS) >= 16
    names = {(surface.name, target.name) for surface in SURFACES for target in TARGETS}
    assert len(names) == len(SURFACES) * len(TARGETS)
    assert names >= NO_TARGET.keys()
    assert [t.name for t in TARGETS if t.make is None] == ["absent"], "the one that a checkout cannot hold"
