"""Scans of a second, whatever the surface."""

from __future__ import annotations

import pytest

from amdet_hub.config import ScanConfig
from tests.demo_hub import REDUCED

SMALL = {**REDUCED, "inversion__restarts": 2, "inversion__steps": 2, "landscape__grid": 5}
"""Fewer of everything, so that a scan takes a second also where every stage is run, which the Space asks for."""


@pytest.fixture(autouse=True)
def _small_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `quick` of every surface is a smaller one; some of them take a preset and no configuration."""
    real = ScanConfig.for_preset
    monkeypatch.setattr(
        ScanConfig, "for_preset", lambda preset, *, seed=None: real(preset, seed=seed).replace(**SMALL)
    )
