"""Where the cells take place: one Hub with every target, and a checkout and a cache of results for each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from amdet_hub.hub import HubSettings
from amdet_hub.testing import LocalHub
from tests.github_action.scratch import Scratch
from tests.surfaces.programs import Finished, run_program
from tests.surfaces.targets import BASE, TARGETS, Files, Target, changed_files, encoder

TOKEN = "hf_alicealicealice"
FOLDER = "model"
"""Of every target in its checkout."""


@dataclass
class Place:
    """One target as it lies on the Hub and in a checkout. `own` is its cache of results, which all surfaces share."""

    target: Target
    hub: LocalHub
    files: Files
    root: Path
    own: Path
    downloads: Path

    def __post_init__(self) -> None:
        self._numbers = count()

    @property
    def settings(self) -> HubSettings:
        return HubSettings(endpoint=self.hub.endpoint, token=TOKEN, cache_dir=self.downloads)

    @property
    def flags(self) -> tuple[str, ...]:
        """How every command is told to scan, and where the Hub is."""
        named = ("--reference", self.target.reference) if self.target.reference else ()
        here = ("--device", "cpu", "--endpoint", self.hub.endpoint, "--cache-dir", str(self.downloads))
        return ("--preset", "quick", "-q", *here, *named)

    @property
    def environ(self) -> dict[str, str]:
        ours = ("PATH", "HOME", "LANG", "NO_COLOR", "AMDET_HUB_SEED", "AMDET_HUB_CACHE_KEY")
        kept = {n: v for n, v in os.environ.items() if n in ours or n.startswith("HF_")}
        return {**kept, "AMDET_HUB_CACHE": str(self.own)}

    @property
    def changed(self) -> tuple[str, ...]:
        """The files of the checkout that the push or the commit is about."""
        return tuple(f"{FOLDER}/{path}" for path in changed_files(self.files))

    @cached_property
    def checkout(self) -> Checkout:
        """The target in a git repository: its weights in the last commit, everything else in the one before."""
        scratch = Scratch(self.root / "checkout")
        added = changed_files(self.files)
        for path in self.files.keys() - set(added):
            scratch.write(f"{FOLDER}/{path}", self.files[path])
        before = scratch.commit("the rest")
        for path in added:
            scratch.write(f"{FOLDER}/{path}", self.files[path])
        scratch.commit("the weights")
        return Checkout(scratch.root, before)

    def fresh(self, name: str) -> Path:
        """An empty folder for one cell."""
        folder = self.root / f"{next(self._numbers):02d}-{name}"
        folder.mkdir(parents=True)
        return folder

    def run(self, *words: str, cwd: Path | None = None) -> Finished:
        """One command line of ours, in an empty folder unless `cwd` says otherwise."""
        return run_program(words, cwd=cwd or self.fresh("cwd"), environ=self.environ)


@dataclass(frozen=True)
class Checkout:
    """A work tree, and the commit before its last one."""

    root: Path
    before: str


@contextmanager
def open_world(folder: Path, shared: Path) -> Iterator[dict[str, Place]]:
    """The place of each target, by name, while the Hub is up.

    Args:
        folder: for this process.
        shared: for the caches of results, which the processes of one test run share.
    """
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN)
        hub.add_model(BASE, encoder("base"))
        places = {}
        for target in TARGETS:
            files = target.make() if target.make is not None else {}
            if target.make is not None:
                hub.add_model(target.repo_id, files)
            slug = target.name.replace(" ", "-")
            places[target.name] = Place(target, hub, files, folder / slug, shared / slug, folder / "downloads")
        yield places
