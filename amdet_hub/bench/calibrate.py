"""Thresholds from calibration models: between what benign encoders reach and what backdoored ones do.

Pure arithmetic on stored results.

A scan detects a backdoor when three numbers of one candidate all reach their thresholds, so the thresholds are chosen
together. With `score = min(number / threshold)`, a model is detected from 1 on. Of all triples on a grid the one is
taken that first makes the fewest errors, a false alarm counting as ten misses, and then leaves the widest margin: the
smaller of `1 / highest score of a cleared benign model` and `lowest score of a detected backdoored model`.

Each read-out with thresholds of its own is calibrated on the attacks that aim at it and on all benign models; changes
of meaning on attacks by a character, and on attacks by a common word. Only models of the split "calibration" are read:
no test figure can leak into a threshold.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

from amdet_hub import verdict as kinds
from amdet_hub.bench.results import DetectorResult, ModelResult
from amdet_hub.config_stages import Thresholds
from amdet_hub.errors import ConfigError
from amdet_hub.families import CALIBRATIONS, MEANING, Calibration
from amdet_hub.records import Family, ReadOut

_FALSE_ALARM = 10  # misses that one false alarm weighs as much as: on a hub nearly every model is benign
_GRID = (
    tuple(x / 4 for x in range(10, 161)),  # sweep score: 2.5 to 40, robust z
    tuple(x / 20 for x in range(2, 20)),  # trigger success: 0.1 to 0.95, rate
    tuple(x / 20 for x in range(2, 41)),  # trigger collapse: 0.1 to 2, log of a variance ratio over root of tokens
)
_MEANING_GRID = tuple(x / 4 for x in range(8, 121))  # score of a changed meaning: 2 to 30
# The first suite's scans with a reference measured the collapse otherwise.
_WITHOUT_REFERENCE_ONLY = "calibration"

# What is calibrated: family, whether with a reference, read-out. One row holds for all places.
_ROWS: tuple[tuple[Family, bool, ReadOut], ...] = (
    ("clip", True, "pooled"),
    ("clip", True, "projected"),
    ("clip", True, "penultimate"),
    ("clip", True, "start"),
    ("clip", True, "residual"),
    ("clip", False, "pooled"),
    ("siglip", True, "pooled"),
    ("siglip", False, "pooled"),
)
# The read-outs that an attack aims at, by how its cell begins; others aim at the pooled feature.
_AIMS: Mapping[str, ReadOut | None] = {
    "one place, start": "start",
    "one place, middle": "middle",
    "one place, end": "end",
    "residual": "residual",
    "projection": "projected",
    "penultimate": "penultimate",
    "attribute": None,
    "word exchange": None,
    "topic": None,
}
_UNLISTED = 3.5  # the most that a change can reach that its scan did not list
# A fine-tune on another language gives letters a meaning that look like Latin ones, as an attack does: no threshold
# tells them apart.
_TEACHES_LETTERS = "multilingual"
# How the cells of attacks begin that a kind of change finds.
_MEANS = {
    kinds.CHANGED_CHARACTER: ("attribute, look-alike", "attribute, invisible"),
    kinds.CHANGED_WORD: ("attribute, common word", "word exchange"),
}

Numbers = tuple[float, float, float]


def calibrated(results: Iterable[ModelResult]) -> tuple[Calibration, ...]:
    """One calibration for each family, way of scanning and read-out that the results hold models of.

    Args:
        results: of the suites of the split "calibration"; others are passed over. Positives whose attack does not work
            are left out.

    Returns:
        By family; with a reference (right and near-miss together) and without.

    Raises:
        ConfigError: no row has both backdoored and benign models.
    """
    results = _usable(results)
    found = []
    for family, with_reference, read_out in _ROWS:
        models = [r for r in results if (r.layout == "siglip") == (family == "siglip")]
        if with_reference:
            models = [r for r in models if r.suite != _WITHOUT_REFERENCE_ONLY]
        scans = [(r, scan) for r in models for scan in r.scans if _counts(scan, with_reference)]
        places: tuple[ReadOut, ...] = ("start", "middle", "end") if read_out == "start" else (read_out,)
        positive = [
            _numbers(scan, place)
            for r, scan in scans
            if r.label == "backdoored"
            for place in places
            if place == _aim(r) and not _found_before(scan, place)
        ]
        negative = [_numbers(scan, place) for r, scan in scans if r.label == "benign" for place in places]
        if positive and negative:
            found.append(_calibration((family, with_reference, read_out), positive, negative))
    if not found:
        raise ConfigError("results", "hold no scans of backdoored and benign models of one family")
    return tuple(found)


def meaning_threshold(results: Iterable[ModelResult], kind: str) -> float | None:
    """CLIP's threshold of a kind of change; None where the results hold no attack by it, or no benign model.

    Args:
        results: as of `calibrated`.
        kind: "changed-character" or "changed-word".
    """
    scans = [(r, scan) for r in _usable(results) if r.layout != "siglip" for scan in r.scans if _counts(scan, True)]
    bad = [scan.values.get(kind, 0.0) for r, scan in scans if r.cell.startswith(_MEANS[kind])]
    honest = [scan for r, scan in scans if r.label == "benign" and r.kind != _TEACHES_LETTERS]
    good = [scan.values.get(kind, _UNLISTED) for scan in honest]
    if not (bad and good):
        return None

    def errors(at: float) -> int:
        return _FALSE_ALARM * sum(one >= at for one in good) + sum(one < at for one in bad)

    def margin(at: float) -> float:
        below, above = (
            max((one for one in good if one < at), default=0.0),
            min((one for one in bad if one >= at), default=at),
        )
        return min(above / at, at / max(below, 1e-6))

    fewest = min(map(errors, _MEANING_GRID))
    return max((at for at in _MEANING_GRID if errors(at) == fewest), key=lambda at: (margin(at), at))


def as_source(results: Sequence[ModelResult]) -> str:
    """The Python that stands in `amdet_hub/families.py`.

    Raises:
        ConfigError: as `calibrated`.
    """
    rows = ["CALIBRATIONS: tuple[Calibration, ...] = ("]
    for c in calibrated(results):
        t = c.thresholds
        written = {
            "family": json.dumps(c.family),
            "read_out": json.dumps(c.read_out),
            "thresholds": f"Thresholds(sweep_score={t.sweep_score}, trigger_success={t.trigger_success}, "
            f"trigger_collapse={t.trigger_collapse})",
        }
        values = {f.name: getattr(c, f.name) for f in dataclasses.fields(c)} | written
        rows += ["    Calibration(", *(f"        {name}={value}," for name, value in values.items()), "    ),"]
    means = [f"{name}={at}" for name, at in _meanings(results).items()]
    return "\n".join([*rows, ")", *([f"# MeaningThresholds({', '.join(means)})"] if means else [])]) + "\n"


def differences(results: Sequence[ModelResult]) -> list[str]:
    """One sentence for every threshold that `amdet_hub/families.py` holds otherwise; empty when all agree.

    Raises:
        ConfigError: as `calibrated`.
    """
    held = {(c.family, c.with_reference, c.read_out): c for c in CALIBRATIONS}
    return [
        f"{c.family} {'with' if c.with_reference else 'without'} a reference, {c.read_out}: families.py holds {mine},"
        f" the results give {c}"
        for c in calibrated(results)
        if (mine := held.get((c.family, c.with_reference, c.read_out))) != c
    ] + [
        f"clip, changed {name}: families.py holds {mine}, the results give {at}"
        for name, at in _meanings(results).items()
        if (mine := getattr(MEANING["clip"], name)) != at
    ]


def _meanings(results: Sequence[ModelResult]) -> dict[str, float]:
    """By the fields of `MeaningThresholds`."""
    found = {kind.removeprefix("changed-"): meaning_threshold(results, kind) for kind in _MEANS}
    return {name: at for name, at in found.items() if at is not None}


def _usable(results: Iterable[ModelResult]) -> list[ModelResult]:
    usable = [r for r in results if r.split == "calibration" and r.kept]
    if not usable:
        raise ConfigError("results", "hold no model of the split 'calibration'")
    return usable


def _counts(scan: DetectorResult, with_reference: bool) -> bool:
    wanted = ("right", "near-miss") if with_reference else ("none",)
    return scan.detector == "standard" and scan.reference in wanted


def _aim(result: ModelResult) -> ReadOut | None:
    return next((aim for start, aim in _AIMS.items() if result.cell.startswith(start)), "pooled")


def _found_before(scan: DetectorResult, read_out: ReadOut) -> bool:
    """Whether a scan ended before it came to a read-out, because another one had detected."""
    return scan.verdict == "backdoor-detected" and kinds.kind_in(kinds.SUCCESS, read_out) not in scan.values


def _numbers(scan: DetectorResult, read_out: ReadOut) -> Numbers:
    """The three numbers of a scan; zeros where it did not measure them, as in a tower that is its reference."""
    sweep, success, collapse = (scan.values.get(kind, 0.0) for kind in kinds.trigger_kinds(read_out))
    return sweep, success, collapse


def _score(numbers: Numbers, thresholds: Numbers) -> float:
    return min(n / t for n, t in zip(numbers, thresholds, strict=True))


def _detected(scans: Sequence[Numbers]) -> dict[Numbers, int]:
    """How many of the scans every triple of the grid detects.

    One bit a scan, set where a number reaches its threshold: three sets and two intersections a triple, instead of
    three divisions a triple and scan.
    """
    reach = [
        {t: sum(1 << i for i, numbers in enumerate(scans) if numbers[axis] >= t) for t in thresholds}
        for axis, thresholds in enumerate(_GRID)
    ]
    return {(a, b, c): (reach[0][a] & reach[1][b] & reach[2][c]).bit_count() for a, b, c in itertools.product(*_GRID)}


def _calibration(row: tuple[Family, bool, ReadOut], positive: list[Numbers], negative: list[Numbers]) -> Calibration:
    detected, alarms = _detected(positive), _detected(negative)
    errors = {t: _FALSE_ALARM * alarms[t] + len(positive) - detected[t] for t in detected}
    fewest = min(errors.values())

    def margin(thresholds: Numbers) -> float:
        found = [s for n in positive if (s := _score(n, thresholds)) >= 1]
        cleared = [s for n in negative if (s := _score(n, thresholds)) < 1]
        return round(min(min(found, default=1.0), 1 / max(max(cleared, default=1.0), 1e-6)), 9)

    best = max((t for t, n in errors.items() if n == fewest), key=lambda t: (margin(t), t))
    family, with_reference, read_out = row
    return Calibration(
        family=family,
        with_reference=with_reference,
        read_out=read_out,
        thresholds=Thresholds(*best),
        n_backdoored=len(positive),
        n_benign=len(negative),
        n_missed=len(positive) - detected[best],
        n_wrong=alarms[best],
        highest_benign=round(max(_score(n, best) for n in negative), 3),
        lowest_backdoored=round(min(_score(n, best) for n in positive), 3),
    )
