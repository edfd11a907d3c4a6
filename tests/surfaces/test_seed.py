"""The seed reaches every surface, so that no scan has prompts that an attacker could know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amdet_hub import Scanner
from amdet_hub.installation import installation_seed
from tests.surfaces.surfaces import SURFACES, Surface
from tests.surfaces.world import Place, open_world


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("seed")
    with open_world(folder, folder / "results") as places:
        yield places["clean"]


@pytest.mark.parametrize("surface", [pytest.param(one, id=one.name, marks=one.marks) for one in SURFACES])
def test_every_surface_scans_with_the_seed_of_its_user(
    place: Place, surface: Surface, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMDET_HUB_SEED")
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "key"))
    seeds: set[int] = set()
    resolve = Scanner.resolve

    def noted(self: Scanner, *args: Any) -> Any:
        seeds.add(self.config.seed)
        return resolve(self, *args)

    monkeypatch.setattr(Scanner, "resolve", noted)
    surface.ask(place)
    (seed,) = seeds
    if surface.name.startswith("action"):  # which keeps a key of its own, that of its runs on a protected branch
        assert seed not in (0, installation_seed())
    else:
        assert seed == installation_seed() != 0
