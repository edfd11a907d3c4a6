"""The offline demonstration: three tiny encoders, a Hub on this machine, two scans and one pull request.

`run_demo` is what `amdet-hub demo` calls. `WEIGHTS` holds the encoders `base`, `finetuned` and `backdoored`, made by
`amdet_hub.demo.make`; each has a `provenance.json` with its recipe, seed, measurements and sha256. Importing this room
imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amdet_hub.records import SILENT, ProgressCallback

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the three encoders."""


def run_demo(emit: Callable[[str], None], progress: ProgressCallback = SILENT.progress) -> int:
    """Run the demonstration; see `amdet_hub.demo.run.run_demo`."""
    from amdet_hub.demo.run import run_demo as run

    return run(emit, progress)


__all__ = ["WEIGHTS", "run_demo"]
