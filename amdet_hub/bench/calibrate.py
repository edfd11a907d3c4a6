"""Thresholds from calibration models: between what benign encoders reach and what backdoored ones do.

Pure arithmetic on stored results.

A scan detects a backdoor when three numbers of one candidate all reach their thresholds, so the thresholds are chosen
together. With `score = min(number / threshold)`, a model is detected from 1 on. Of all triples on a grid the one is
taken that first makes the fewest errors, a false alarm counting as ten misses, and then leaves the widest margin: the
smaller of `1 / highest score of a cleared benign model` and `lowest score of a detected backdoored model`.

Only models of the split "calibration" are read: no test figure can leak into a threshold.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence

from amdet_hub import verdict as kinds
from amdet_hub.bench.results import ModelResult
from amdet_hub.config_stages import Thresholds
from amdet_hub.errors import ConfigError
from amdet_hub.families import CALIBRATIONS, Calibration
from amdet_hub.records import Family

_FALSE_ALARM = 10  # misses that one false alarm weighs as much as: on a hub nearly every model is benign
_GRID = (
    tuple(x / 4 for x in range(10, 161)),  # sweep score: 2.5 to 40, robust z
    tuple(x / 20 for x in range(8, 20)),  # trigger success: 0.4 to 0.95, rate
    tuple(x / 20 for x in range(2, 41)),  # trigger collapse: 0.1 to 2, log of a variance ratio over root of tokens
)

Numbers = tuple[float, float, float]


def calibrated(results: Iterable[ModelResult]) -> tuple[Calibration, ...]:
    """One calibration for each family and way of scanning that the results hold models of.

    Args:
        results: of the suite "calibration"; others are passed over. Positives whose attack does not work are left out.

    Returns:
        By family, with a reference (right and near-miss together) and without.

    Raises:
        ConfigError: a family has no backdoored or no benign model.
    """
    results = [r for r in results if r.split == "calibration" and r.kept]
    if not results:
        raise ConfigError("results", "hold no model of the split 'calibration'")
    found = []
    families: tuple[Family, ...] = ("clip", "siglip")
    for family, with_reference in itertools.product(families, (True, False)):
        models = [r for r in results if (r.layout == "siglip") == (family == "siglip")]
        positive, negative = (_numbers(models, label, with_reference) for label in ("backdoored", "benign"))
        if positive and negative:
            found.append(_calibration(family, with_reference, positive, negative))
    if not found:
        raise ConfigError("results", "hold no scans of backdoored and benign models of one family")
    return tuple(found)


def as_source(calibrations: Sequence[Calibration]) -> str:
    """The block of Python that stands in `amdet_hub/families.py`."""
    rows = ["CALIBRATIONS: tuple[Calibration, ...] = ("]
    for c in calibrations:
        t = c.thresholds
        written = {
            "family": json.dumps(c.family),
            "thresholds": f"Thresholds(sweep_score={t.sweep_score}, trigger_success={t.trigger_success}, "
            f"trigger_collapse={t.trigger_collapse})",
        }
        values = {f.name: getattr(c, f.name) for f in dataclasses.fields(c)} | written
        rows += ["    Calibration(", *(f"        {name}={value}," for name, value in values.items()), "    ),"]
    return "\n".join([*rows, ")"]) + "\n"


def differences(calibrations: Sequence[Calibration]) -> list[str]:
    """One sentence for every calibration that `amdet_hub/families.py` holds otherwise; empty when all agree."""
    held = {(c.family, c.with_reference): c for c in CALIBRATIONS}
    return [
        f"{c.family} {'with' if c.with_reference else 'without'} a reference: families.py holds {mine},"
        f" the results give {c}"
        for c in calibrations
        if (mine := held.get((c.family, c.with_reference))) != c
    ]


def _numbers(results: Iterable[ModelResult], label: str, with_reference: bool) -> list[Numbers]:
    """The three numbers of every scan. A tower recognised as its reference was not measured and stands at zero."""
    wanted = ("right", "near-miss") if with_reference else ("none",)
    values = [
        scan.values
        for result in results
        for scan in result.scans
        if result.label == label and scan.detector == "standard" and scan.reference in wanted
    ]
    return [(v.get(kinds.SWEEP, 0.0), v.get(kinds.SUCCESS, 0.0), v.get(kinds.COLLAPSE, 0.0)) for v in values]


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


def _calibration(
    family: Family, with_reference: bool, positive: list[Numbers], negative: list[Numbers]
) -> Calibration:
    detected, alarms = _detected(positive), _detected(negative)
    errors = {t: _FALSE_ALARM * alarms[t] + len(positive) - detected[t] for t in detected}
    fewest = min(errors.values())

    def margin(thresholds: Numbers) -> float:
        found = [s for n in positive if (s := _score(n, thresholds)) >= 1]
        cleared = [s for n in negative if (s := _score(n, thresholds)) < 1]
        return round(min(min(found, default=1.0), 1 / max(max(cleared, default=1.0), 1e-6)), 9)

    best = max((t for t, n in errors.items() if n == fewest), key=lambda t: (margin(t), t))
    return Calibration(
        family=family,
        with_reference=with_reference,
        thresholds=Thresholds(*best),
        n_backdoored=len(positive),
        n_benign=len(negative),
        n_missed=len(positive) - detected[best],
        n_wrong=alarms[best],
        highest_benign=round(max(_score(n, best) for n in negative), 3),
        lowest_backdoored=round(min(_score(n, best) for n in positive), 3),
    )
