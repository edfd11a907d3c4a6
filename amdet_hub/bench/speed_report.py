"""The figures of a speed measurement, and their table."""

from dataclasses import dataclass

import amdet_hub


@dataclass(frozen=True)
class RunSpeed:
    """One scan as a command of its own.

    Attributes:
        name: the preset, and what was kept from before.
        seconds: from the start of the process to its end.
        scan_seconds: of these, loading and measuring: without starting Python and importing torch.
        peak_bytes: largest resident memory of the process.
        verdict: what it said.
    """

    name: str
    seconds: float
    scan_seconds: float
    peak_bytes: int
    verdict: str


@dataclass(frozen=True)
class StageSpeed:
    """One stage of the standard preset, every stage run.

    Attributes:
        name: as in a report's `timings_s`.
        seconds: how long it took.
        operations: floating-point operations of its matrix products.
    """

    name: str
    seconds: float
    operations: float


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        machine: processor or GPU, threads.
        dtype: of the matrix products.
        tower: dimensions of the model.
        ceiling: floating-point operations per second of a large matrix product.
        runs: scans, in the order they were made.
        stages: of one scan; empty where they were not asked for.
    """

    machine: str
    dtype: str
    tower: str
    ceiling: float
    runs: tuple[RunSpeed, ...]
    stages: tuple[StageSpeed, ...]


def as_table(speed: Speed) -> str:
    """The result as Markdown."""
    paper = next((run.seconds for run in speed.runs if run.name == "paper"), None)
    lines = [
        (
            f"{speed.machine}; tower {speed.tower}; matrix products in {speed.dtype}, ceiling"
            f" {speed.ceiling / 1e12:.3f} TFLOP/s; amdet-hub {amdet_hub.__version__}."
        ),
        "",
        (
            "| scan, weights on disk to verdict | seconds | of these scanning | peak memory, MB | times as fast as"
            " `paper` | verdict |"
        ),
        "| :-- | --: | --: | --: | --: | :-- |",
    ]
    for run in speed.runs:
        ratio = f"{paper / run.seconds:.1f}" if paper is not None else "-"
        lines.append(
            f"| {run.name} | {run.seconds:.1f} | {run.scan_seconds:.1f} | {run.peak_bytes / 1e6:.0f} | {ratio} |"
            f" {run.verdict} |"
        )
    if speed.stages:
        lines += [
            "",
            "| stage of `standard`, every stage run | seconds | TFLOP | TFLOP/s | share of the ceiling |",
            "| :-- | --: | --: | --: | --: |",
        ]
    for stage in speed.stages:
        if stage.operations > 0 and stage.seconds > 0:
            rate = stage.operations / stage.seconds
            counted = f"{stage.operations / 1e12:.3f} | {rate / 1e12:.3f} | {rate / speed.ceiling:.0%}"
        else:
            counted = "- | - | -"
        lines.append(f"| {stage.name} | {stage.seconds:.1f} | {counted} |")
    return "\n".join(lines) + "\n"
