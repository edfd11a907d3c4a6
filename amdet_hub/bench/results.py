"""What a benchmark found, one record per model, and the file it is kept in. Standard library only.

Knows the record and JSON lines. Refuses to know how a model was made, how it was scanned, and what the figures mean
(`amdet_hub.bench.scoring`).

One suite is one file, `bench/results/<suite>.jsonl`: one JSON object per line, each line written at once, so that a
killed run leaves at most one line unfinished and several processes may write the same file. Text is stored as ASCII
escapes: triggers are full of look-alike and invisible characters, and a broken line can then never end inside one.

Round-trip law, tested: `from_dict(ModelResult, to_dict(r)) == r`, and `read_results` gives back what `append_result`
was given.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from amdet_hub.errors import ConfigError, ReportError
from amdet_hub.files import write_atomically
from amdet_hub.records import LATER, VerdictLabel, from_dict, to_dict

Split = Literal["calibration", "test"]
Layout = Literal["clip", "clip-248", "siglip"]
Label = Literal["backdoored", "benign"]
DetectorName = Literal["standard", "paper", "weight-norm"]
ReferenceKind = Literal["right", "near-miss", "none"]

DETECTORS: tuple[DetectorName, ...] = ("standard", "paper", "weight-norm")
REFERENCES: tuple[ReferenceKind, ...] = ("right", "near-miss", "none")
LAYOUTS: tuple[Layout, ...] = ("clip", "clip-248", "siglip")

# Detectors that only rank: they have no threshold, so no figure is made from their stored verdicts.
WITHOUT_VERDICT: tuple[DetectorName, ...] = ("weight-norm",)

# Key of `DetectorResult.thresholds` for the line of `DetectorResult.score` itself, where a detector has one.
SCORE_THRESHOLD = "score"


@dataclass(frozen=True)
class DetectorResult:
    """One scan of one model by one detector with one kind of reference.

    A scan recovers a trigger only when it detects, so `trigger_*` and `target_rank` are None of every other scan:
    nothing was measured there.

    Attributes:
        detector: "standard" is ours, "paper" the published procedure, "weight-norm" the size of the weight difference
            alone.
        reference: "right" is the base the model was made from, "near-miss" another fine-tune of it, "none" no
            reference at all.
        score: finite; higher is more suspicious. Comparable between models for one detector, reference and layout
            only.
        verdict: the detector's own words.
        seconds: wall-clock time of the scan, at least 0.
        values: evidence kind -> value.
        thresholds: evidence kind -> the line it was held against; `SCORE_THRESHOLD` holds the line for `score`.
        trigger_text: the recovered trigger, None where none was recovered.
        trigger_exact: whether the recovered text is an injected trigger, letter case, spaces and repetition of the
            whole aside; None where there is nothing to compare.
        trigger_works: attack success of the recovered trigger on held-out captions (REASR), in [0, 1]; None where none
            was recovered.
        target_rank: rank of the own target among the captions the recovered target was read with, 1 is the nearest;
            None where it was not read.
        named: whether an injected trigger is among the texts and tokens that the report names, whatever its verdict.
    """

    detector: DetectorName
    reference: ReferenceKind
    score: float
    verdict: VerdictLabel
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    trigger_text: str | None = None
    trigger_exact: bool | None = None
    trigger_works: float | None = None
    target_rank: int | None = None
    named: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        where = f"{self.detector}/{self.reference}"
        _check(where, {"score": self.score, **self.values})
        _check(f"{where} thresholds", self.thresholds)
        _check(where, {"seconds": self.seconds}, least=0)
        _check(where, {"trigger_works": self.trigger_works}, least=0, most=1)
        if self.target_rank is not None and self.target_rank < 1:
            raise ValueError(f"{where}: target_rank is {self.target_rank}, ranks start at 1")


@dataclass(frozen=True)
class ModelResult:
    """One model of a suite: how it was made, whether its attack works, and every scan of it.

    Attributes:
        name: unique in its suite.
        suite: name of the suite, and of the file without its ending.
        split: thresholds come from "calibration" models only, figures from "test" models only.
        base: name of the clean encoder it was made from, e.g. "clip-12".
        layout: the architecture family of the base.
        label: the truth.
        cell: where it stands in the design, e.g. "text-on-text/default/homoglyph"; of a benign model, kind and
            strength.
        kind: kind of attack or of control.
        intensity: how hard it was trained, e.g. "default".
        trigger_kind: e.g. "homoglyph"; "" for a benign model.
        triggers: the injected trigger texts, empty for a benign model.
        targets: the texts they lead to.
        kept: whether it counts. A positive counts only if its attack works (attack success rate at least 0.5). Not
            read of benign models.
        attack_success_rate: of the injected trigger on held-out captions, in [0, 1]; None where there is none to
            measure.
        relative_change: norm of the weight difference to the base, relative to the base's norm; at least 0.
        seed: of its own training run.
        sha256: of its weights, hexadecimal.
        seconds_made: wall-clock time of the making, at least 0.
        scans: at most one per detector and reference.
    """

    name: str
    suite: str
    split: Split
    base: str
    layout: Layout
    label: Label
    cell: str
    kind: str
    intensity: str
    trigger_kind: str
    triggers: tuple[str, ...]
    targets: tuple[str, ...]
    kept: bool
    attack_success_rate: float | None
    relative_change: float
    seed: int
    sha256: str
    seconds_made: float
    scans: tuple[DetectorResult, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a model needs a name")
        if self.label == "benign" and (self.triggers or self.trigger_kind):
            raise ValueError(f"'{self.name}' is benign and cannot have a trigger")
        _check(f"'{self.name}'", {"attack_success_rate": self.attack_success_rate}, least=0, most=1)
        _check(f"'{self.name}'", {"relative_change": self.relative_change, "seconds_made": self.seconds_made}, least=0)
        if len({(s.detector, s.reference) for s in self.scans}) < len(self.scans):
            raise ValueError(f"'{self.name}' holds two scans by one detector with one reference")

    def scan(self, detector: str, reference: str) -> DetectorResult | None:
        """The scan by `detector` with `reference`, None where there was none."""
        return next((s for s in self.scans if (s.detector, s.reference) == (detector, reference)), None)


@dataclass(frozen=True)
class StoredResults:
    """What a results file holds.

    Attributes:
        results: one per name; the last line of a name counts, at the place of its first.
        torn_lines: lines a killed run left unfinished; they were passed over.
        replaced: lines that a later line of the same name took the place of.
    """

    results: tuple[ModelResult, ...]
    torn_lines: int = 0
    replaced: int = 0


def append_result(path: Path, result: ModelResult) -> None:
    """Add one line to a results file and wait until it is on disk; the file and its folder are made when missing.

    Safe with other writers of the same file and after a killed run: the line goes out in one write, on a line of its
    own.

    Args:
        path: `bench/results/<suite>.jsonl`.
        result: the model.

    Raises:
        OSError: the line could not be written, or not all of it.
    """
    line = _line(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed run stopped inside a line; two writers leave an empty one
                line = b"\n" + line
        if file.write(line) != len(line):
            raise OSError(f"the line of '{result.name}' was cut short")
        os.fsync(file.fileno())


def tidy(path: Path) -> None:
    """Rewrite a file of results in the order of names, the last line of each: the same runs give the same file."""
    results = sorted(read_results(path).results, key=lambda r: r.name)
    write_atomically(path, b"".join(map(_line, results)))


def _line(result: ModelResult) -> bytes:
    return json.dumps(to_dict(result), ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def read_results(path: Path, *, missing_ok: bool = False) -> StoredResults:
    """Read a results file, also while a run is writing it.

    Args:
        path: `bench/results/<suite>.jsonl`.
        missing_ok: a file that does not exist holds no results, as at the start of a run that may be a continued one.

    Raises:
        ConfigError: the file cannot be read.
        ReportError: a line is neither a record nor the start of one; the message names the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        if missing_ok:
            return StoredResults(())
        raise ConfigError("results", f"{path.name} does not exist") from error
    except OSError as error:
        raise ConfigError("results", f"cannot read {path.name}: {error.strerror}") from error
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    parsed = [_parse(line, f"{path.name}, line {number}") for number, line in lines]
    whole = [result for result in parsed if result is not None]
    latest = {result.name: result for result in whole}
    return StoredResults(tuple(latest.values()), len(parsed) - len(whole), len(whole) - len(latest))


def _parse(line: bytes, where: str) -> ModelResult | None:
    """The record of a line; None of a line that starts as a record and stops too early."""
    try:
        return from_dict(ModelResult, json.loads(line))
    except ReportError as error:
        raise ReportError(f"{where}: {error}") from error
    except ValueError as error:
        if line.startswith(b"{") and not line.rstrip().endswith(b"]}"):
            return None
        raise ReportError(f"{where}: not a result") from error


def _check(
    where: str, numbers: Mapping[str, float | None], *, least: float = -math.inf, most: float = math.inf
) -> None:
    for name, number in numbers.items():
        if number is not None and not (math.isfinite(number) and least <= number <= most):
            raise ValueError(f"{where}: {name} is {number}, outside [{least}, {most}]")
