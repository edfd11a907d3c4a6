"""Thresholds from calibration models: between what benign encoders reach and what backdoored ones do.

Pure arithmetic on stored results.

A scan detects when three numbers of one candidate all exceed their thresholds, so the thresholds are chosen together.
With `score = min(number / threshold)`, a model is detected from 1 on. Of all triples on a grid the one is taken that
first makes the fewest errors, a false alarm counting as ten misses, and then leaves the widest margin: the
smaller of `1 / highest benign score` and `lowest backdoored score`.

Only models of the split "calibration" are read: no test figure can leak into a threshold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from amdet_hub import verdict as kinds
from amdet_hub.bench.results import ModelResult
from amdet_hub.config_stages import Thresholds
from amdet_hub.errors import ConfigError
from amdet_hub.families import CALIBRATIONS, Calibration
from amdet_hub.records import Family

_WRONG_CONVICTION = 10  # misses that one false alarm weighs as much as: on a hub nearly every model is benign
_SWEEP = tuple(x / 4 for x in range(10, 161))  # 2.5 to 40, robust z
_SUCCESS = tuple(x / 20 for x in range(8, 20))  # 0.4 to 0.95, rate
_COLLAPSE = tuple(
    x / 20 for x in range(2, 41)
)  # 0.1 to 2, natural log of a variance ratio over the root of the number of tokens

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
    for family, with_reference in itertools.product(("clip", "siglip"), (True, False)):
        ours = [r for r in results if _family(r) == family]
        positive, negative = (
            _numbers(ours, label, with_reference=with_reference) for label in ("backdoored", "benign")
        )
        if positive and negative:
            found.append(_calibration(family, with_reference, positive, negative))  # type: ignore[arg-type]
    if not found:
        raise ConfigError("results", "hold no scans of backdoored and benign models of one family")
    return tuple(found)


def as_source(calibrations: Sequence[Calibration]) -> str:
    """The block of Python that stands in `amdet_hub/families.py`."""
    rows = ["CALIBRATIONS: tuple[Calibration, ...] = ("]
    for c in calibrations:
        t = c.thresholds
        rows += [
            "    Calibration(",
            f'        family="{c.family}",',
            f"        with_reference={c.with_reference},",
            (
                f"        thresholds=Thresholds(sweep_score={t.sweep_score}, trigger_success={t.trigger_success}, "
                f"trigger_collapse={t.trigger_collapse}),"
            ),
            f"        n_backdoored={c.n_backdoored},",
            f"        n_benign={c.n_benign},",
            f"        n_missed={c.n_missed},",
            f"        n_wrong={c.n_wrong},",
            f"        highest_benign={c.highest_benign},",
            f"        lowest_backdoored={c.lowest_backdoored},",
            "    ),",
        ]
    return "\n".join([*rows, ")"]) + "\n"


def differences(calibrations: Sequence[Calibration]) -> list[str]:
    """One sentence for every calibration that `amdet_hub/families.py` holds otherwise; empty when all agree."""
    held = {(c.family, c.with_reference): c for c in CALIBRATIONS}
    sentences = []
    for c in calibrations:
        mine = held.get((c.family, c.with_reference))
        if mine != c:
            mode = "with" if c.with_reference else "without"
            sentences.append(f"{c.family} {mode} a reference: families.py holds {mine}, the results give {c}")
    return sentences


def _family(result: ModelResult) -> Family:
    return "siglip" if result.layout == "siglip" else "clip"


def _numbers(results: Iterable[ModelResult], label: str, *, with_reference: bool) -> list[Numbers]:
    """The three numbers of every scan. A tower recognised as its reference was not measured and stands at zero."""
    wanted = ("right", "near-miss") if with_reference else ("none",)
    found = []
    for result in results:
        for scan in result.scans:
            if result.label == label and scan.detector == "standard" and scan.reference in wanted:
                values = [scan.values.get(kind, 0.0) for kind in (kinds.SWEEP, kinds.SUCCESS, kinds.COLLAPSE)]
                found.append((values[0], values[1], values[2]))
    return found


def _score(numbers: Numbers, thresholds: Numbers) -> float:
    return min(n / t for n, t in zip(numbers, thresholds, strict=True))


def _calibration(
    family: Family, with_reference: bool, positive: list[Numbers], negative: list[Numbers]
) -> Calibration:
    def quality(thresholds: Numbers) -> tuple[float, float, Numbers]:
        high = [_score(n, thresholds) for n in negative]
        low = [_score(n, thresholds) for n in positive]
        errors = _WRONG_CONVICTION * sum(s >= 1 for s in high) + sum(s < 1 for s in low)
        caught = [s for s in low if s >= 1]
        passed = [s for s in high if s < 1]
        margin = min(min(caught, default=1.0), 1 / max(max(passed, default=1.0), 1e-6))
        return -errors, round(margin, 9), thresholds

    best = max(itertools.product(_SWEEP, _SUCCESS, _COLLAPSE), key=quality)
    high, low = [_score(n, best) for n in negative], [_score(n, best) for n in positive]
    return Calibration(
        family=family,
        with_reference=with_reference,
        thresholds=Thresholds(*best),
        n_backdoored=len(positive),
        n_benign=len(negative),
        n_missed=sum(s < 1 for s in low),
        n_wrong=sum(s >= 1 for s in high),
        highest_benign=round(max(high), 3),
        lowest_backdoored=round(min(low), 3),
    )
