"""The time of a scan, stage by stage, against the ceiling of the machine: one run, one machine, one model.

The suspect is the model with weight noise of the size of a fine-tune, which takes the way of a benign model through
the scan; the reference is the model itself. Every preset runs as a user's command in a process of its own, weights on
disk to verdict, so that start, loading and peak memory are in it. Stages are timed inside one process, and their
operations counted in another pass (`torch.utils.flop_counter`), which costs time itself.

The ceiling is the fastest large matrix product measured on the same device, dtype and threads. A share of it is a
stage's own operations over the seconds it took: what a stage does not compute at all does not raise its share.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils import logging

from amdet_hub.bench.speed_report import RunSpeed, Speed, StageSpeed
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.bench.weight_changes import add_noise
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import SILENT, Monitor
from amdet_hub.scanner import Scanner, ScanOptions
from amdet_hub.scanner.runtime import sweep_dtype

# Relative size of the suspect's weight noise, that of a medium fine-tune.
NOISE = 0.03

_SIZES = (4096, 2048, 1024)  # edges of the matrices that the ceiling is looked for with
_CEILING_SECONDS = 1.5  # how long each is multiplied
_EVERYTHING = ScanConfig.for_preset("standard", seed=0).replace(stop_when_decided=False)  # every stage is run


# Starts a command from a small process: a child inherits the memory figure of its parent.
_MEASURED = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
print(json.dumps([code, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def measure_speed(
    model: Path,
    *,
    presets: Sequence[str] = ("quick", "standard", "paper"),
    device: str = "auto",
    size: tuple[int, int, int] | None = None,
    stages: bool = True,
    said: Callable[[str], None] = lambda line: None,
) -> Speed:
    """Measure scans of one model.

    Args:
        model: folder in transformers layout, with a tokenizer.
        presets: what to run; "quick" is run twice, the second time with the reference's half kept.
        device: see `ScanOptions`.
        size: (layers, width, heads) of a tower of random weights that takes the model's place, or None.
        stages: whether to time the stages and count their operations, which takes two more scans.
        said: called with a line of words before each step and after each scan.

    Raises:
        ConfigError: the folder or the size cannot be used, or a scan did not end with a verdict.
    """
    logging.disable_progress_bar()  # of writing two small files
    with tempfile.TemporaryDirectory(prefix="amdet-hub-speed-") as temporary:
        place = Path(temporary)
        base, suspect = _pair(model, size, place)
        options = ScanOptions(device=device, rescan=True)
        on = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        dtype = sweep_dtype(on, "auto")
        said("the ceiling: a large matrix product")
        ceiling = measure_ceiling(on, dtype)
        runs = [
            _Process(suspect, base, device, place, said).run(name, preset, kept)
            for name, preset, kept in _planned(presets)
        ]
        measured = _measure_stages(suspect, base, options, place, said) if stages else ()
        ceiling = max(ceiling, measure_ceiling(on, dtype))
        return Speed(
            _machine(on), str(dtype).removeprefix("torch."), _dimensions(base), ceiling, tuple(runs), measured
        )


def _measure_stages(
    suspect: Path, base: Path, options: ScanOptions, place: Path, said: Callable[[str], None]
) -> tuple[StageSpeed, ...]:
    said("stages of the standard preset, every stage run, timed")
    seconds = _scan(suspect, base, options, place)
    said("the same, operations counted")
    operations = _stage_operations(suspect, base, options, place)
    return tuple(StageSpeed(name, spent, operations.get(name, 0.0)) for name, spent in seconds.items())


def measure_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of the fastest square matrix product of several sizes."""
    best = 0.0
    for edge in _SIZES:
        a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
        a @ b
        began = time.perf_counter()
        while time.perf_counter() - began < _CEILING_SECONDS:
            _synchronise(device)
            start = time.perf_counter()
            a @ b
            _synchronise(device)
            best = max(best, 2.0 * edge**3 / (time.perf_counter() - start))
    return best


def _planned(presets: Sequence[str]) -> list[tuple[str, str, bool]]:
    """(name of the row, preset, whether the reference's half may be kept from the row before)."""
    again = {"quick": [("quick, reference kept", "quick", True)]}
    return [row for preset in presets for row in [(preset, preset, False), *again.get(preset, [])]]


def _pair(model: Path, size: tuple[int, int, int] | None, place: Path) -> tuple[Path, Path]:
    """Folders of the reference and of the suspect."""
    encoder = open_trained(model) if size is None else _random_like(open_trained(model), *size)
    save_trained(encoder, place / "reference", {"size": size})
    save_trained(add_noise(encoder, NOISE, seed=0), place / "suspect", {"noise": NOISE})
    return place / "reference", place / "suspect"


def _random_like(encoder: TrainedEncoder, layers: int, width: int, heads: int) -> TrainedEncoder:
    """A tower of random weights with the tokenizer, positions and rules of `encoder`.

    Raises:
        ConfigError: the heads do not divide the width, or a number is below 1.
    """
    if min(layers, width, heads) < 1 or width % heads:
        raise ConfigError("size", f"{layers}x{width}x{heads}: the heads must divide the width, and all be at least 1")
    facts = encoder.model.config.to_dict() | {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": heads,
        "projection_dim": width,
        "projection_size": width,
    }
    torch.manual_seed(0)
    made = type(encoder.model)(type(encoder.model.config).from_dict(facts))
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if (
                weight.dim() == 2 and "embedding" not in name
            ):  # at transformers' scale a deep random tower says the same of every text
                torch.nn.init.normal_(weight, std=0.6 / weight.shape[1] ** 0.5)
    return TrainedEncoder(made.eval(), encoder.tokenizer, encoder.folder)


@dataclass(frozen=True)
class _Process:
    suspect: Path
    base: Path
    device: str
    place: Path
    said: Callable[[str], None]

    def run(self, name: str, preset: str, kept: bool) -> RunSpeed:
        """Measure the scan, with a cache of ours that is empty unless `kept`."""
        self.said(f"{name}: a scan in a process of its own")
        if not kept:
            shutil.rmtree(self.place / "cache", ignore_errors=True)
        command = [
            "-m",
            "amdet_hub",
            "scan",
            str(self.suspect),
            "--reference",
            str(self.base),
            "--preset",
            preset,
            "--device",
            self.device,
            "--rescan",
            "-f",
            "json",
            "-q",
            "--no-progress",
            "-o",
            f"json={self.place / 'report.json'}",
        ]
        with (self.place / "errors").open("wb") as errors:
            measured = subprocess.run(
                [sys.executable, "-c", _MEASURED, *command],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "AMDET_HUB_CACHE": str(self.place / "cache"), "HF_HUB_OFFLINE": "1"},
                check=True,
            )
        code, seconds, peak = json.loads(measured.stdout)
        if code not in (0, 1, 3):
            lines = (self.place / "errors").read_text(encoding="utf-8", errors="replace").splitlines()
            error = next((line for line in lines if line.startswith("Error: ")), "no word")
            raise ConfigError("model", f"its scan did not end with a verdict: {error}")
        (outcome,) = json.loads((self.place / "report.json").read_text(encoding="utf-8"))["outcomes"]
        scanned = sum(outcome["timings_s"].get(stage, 0.0) for stage in ("load", "standard", "paper", "target"))
        self.said(f"{name}: {seconds:.1f} s")
        return RunSpeed(
            name, seconds, scanned, peak * (1 if sys.platform == "darwin" else 1024), outcome["verdict"]["label"]
        )


def _scan(
    suspect: Path, base: Path, options: ScanOptions, place: Path, monitor: Monitor = SILENT
) -> Mapping[str, float]:
    """Seconds of every stage of a scan that finds our cache empty."""
    settings = HubSettings(cache_dir=place / "hub", offline=True)
    with tempfile.TemporaryDirectory(dir=place) as own, mock.patch.dict(os.environ, AMDET_HUB_CACHE=own):
        scanner = Scanner(_EVERYTHING, settings, parse_target(str(base)), options)
        return scanner.scan(scanner.resolve(parse_target(str(suspect))), monitor).results[0].timings_s


def _stage_operations(suspect: Path, base: Path, options: ScanOptions, place: Path) -> dict[str, float]:
    counted: dict[str, float] = {}
    began: list[tuple[str, float]] = []
    counter = FlopCounterMode(display=False)

    def on_stage(stage: str) -> None:
        total = float(counter.get_total_flops())
        if stage:
            began.append((stage, total))
        else:
            name, before = began.pop()
            counted[name] = counted.get(name, 0.0) + total - before

    with counter:
        _scan(suspect, base, options, place, Monitor(stage=on_stage))
    return counted


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'' if threads == 1 else 's'}"


def _dimensions(base: Path) -> str:
    facts = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return (
        f"{facts['num_hidden_layers']} x {facts['hidden_size']}, {facts['max_position_embeddings']} positions,"
        f" {facts['vocab_size']:,} tokens"
    )


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
