"""Scans small enough to run by the dozen: the demonstration's encoders and tiny random ones, with reduced settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amdet_hub.config import ScanConfig
from amdet_hub.demo import WEIGHTS
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import ProgressCallback, ScanReport
from amdet_hub.scanner import ScanOptions, scan_target

REDUCED: dict[str, Any] = {
    "sweep__n_finalists": 64,
    "sweep__n_null": 256,
    "sweep__n_candidates": 4,
    "sweep__n_paired": 2,
    "sweep__n_pieces": 3,
    "sweep__n_accretions": 1,
    "sweep__max_pieces": 2,
    "inversion__restarts": 2,
    "inversion__steps": 2,
    "landscape__grid": 5,
}
QUICK = ScanConfig.for_preset("standard").replace(stop_when_decided=False, **REDUCED)
"""The standard preset with fewer of everything and every stage run; the demonstration's verdicts stay right."""

PAPER = ScanConfig.for_preset("paper").replace(inversion__n_prompts=20, inversion__steps=4, landscape__grid=4)

BASE, FINETUNED, BACKDOORED = (WEIGHTS / name for name in ("base", "finetuned", "backdoored"))

Scan = Callable[..., ScanReport]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def settings(tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint="http://127.0.0.1:9", cache_dir=tmp_path / "cache", offline=True)


@pytest.fixture
def scan(settings: HubSettings) -> Scan:
    """`scan(target, reference=..., config=..., progress=..., settings=..., **options)`, on the CPU."""

    def run(
        target: Path | str,
        *,
        reference: Path | str | None = None,
        config: ScanConfig = QUICK,
        progress: ProgressCallback | None = None,
        settings: HubSettings = settings,
        **options: Any,
    ) -> ScanReport:
        return scan_target(
            parse_target(str(target)),
            config=config,
            settings=settings,
            reference=parse_target(str(reference)) if reference is not None else None,
            options=ScanOptions(device="cpu", **options),
            progress=progress,
        )

    return run
