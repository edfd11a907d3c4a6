"""The program of each process of a launch in `test_processes.py`: several scans, each written by every process.

Run by `python -m torch.distributed.run`; the arguments are the folder for the results and the folder of the pipeline
with a broken tower.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from amdet_hub.config import ScanConfig
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import to_dict
from amdet_hub.scanner import Scanner, ScanOptions
from tests.scanner.conftest import BACKDOORED, BASE, PAPER, QUICK


def main(out: Path, broken: Path) -> None:
    torch.set_num_threads(1)
    settings = HubSettings(cache_dir=out / "cache", offline=True)

    def scan(name: str, target: Path, reference: Path, config: ScanConfig, **options: Any) -> None:
        # as on machines that each have a seed of their own: that of the first process is the scan's
        config = config.replace(seed=int(os.environ.get("RANK", "0")))
        scanner = Scanner(config, settings, parse_target(str(reference)), ScanOptions(device="cpu", **options))
        report = scanner.scan(scanner.resolve(parse_target(str(target))))
        (out / f"{name}.{os.environ.get('RANK', '0')}.json").write_text(json.dumps(to_dict(report)))

    scan("standard", BACKDOORED, BASE, QUICK.replace(inversion__restarts=6))
    scan("paper", BACKDOORED, BASE, PAPER)
    scan("no-time", BACKDOORED, BASE, QUICK, timeout_s=0.0)
    scan("little-time", BACKDOORED, BASE, QUICK.replace(inversion__steps=100_000), timeout_s=4.0)
    scan("broken", broken, broken, QUICK)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
