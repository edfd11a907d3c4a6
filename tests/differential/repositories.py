"""One random repository from one seed: an ordinary layout, and in half of them tricks on top."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.differential.draft import Draft
from tests.differential.hostile import TRICKS
from tests.differential.ordinary import BASE_REPO, LAYOUTS

MOST_TRICKS = 3


@dataclass(frozen=True)
class Repository:
    """A repository in `folder`. `ordinary` ones are laid out as people publish them, without a trick."""

    folder: Path
    seed: int
    ordinary: bool
    notes: tuple[str, ...]


def make_repository(folder: Path, seed: int) -> Repository:
    """Write the repository of a seed; even seeds are ordinary ones."""
    draft, ordinary = Draft(folder, seed), seed % 2 == 0
    folder.mkdir(parents=True)
    layout = draft.draw.choices(list(LAYOUTS), list(LAYOUTS.values()))[0]
    draft.notes.append(f"layout {layout.__name__}")
    layout(draft)
    if not ordinary:
        for trick in draft.draw.sample(TRICKS, draft.draw.randint(1, MOST_TRICKS)):
            draft.notes.append(f"trick {trick.__name__}")
            trick(draft)
    return Repository(folder, seed, ordinary, tuple(draft.notes))


def make_base(folder: Path) -> None:
    """Write `BASE_REPO`, which the adapters name as their base."""
    draft = Draft(folder, seed=-1)
    folder.mkdir(parents=True)
    tower = draft.tower(layers=2)
    draft.config("", tower, "CLIPModel")
    draft.weights("model.safetensors", tower.named("dual"))


__all__ = ["BASE_REPO", "Repository", "make_base", "make_repository"]
