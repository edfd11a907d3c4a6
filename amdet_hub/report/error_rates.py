"""Measured error rates of the presets, as data, and which of them speak of a report.

Every row is what `amdet-hub bench report bench/results/test.jsonl` counts; a test holds the rows to that file. They
are of small encoders of this project's own training (BENCHMARKS.md): no released encoder was measured, and each place
that shows a rate says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from amdet_hub.records import Family, ScanReport, ScanResult
from amdet_hub.report import wording
from amdet_hub.report.intervals import Estimate, clopper_pearson

_BASE: Final = "compared with their base"
_ALONE: Final = "without a reference"


@dataclass(frozen=True)
class MeasuredRates:
    """How often a preset was right on labelled encoders of one family, measured by `amdet-hub bench` or by others.

    `false_positive_rate` and `true_positive_rate` lie in [0, 1]; `n_benign` and `n_backdoored` count independent
    training runs; `source` names the measurement in a few words.
    """

    preset: str
    family: str
    false_positive_rate: float
    true_positive_rate: float
    n_benign: int
    n_backdoored: int
    source: str

    def __post_init__(self) -> None:
        if not (0 <= self.false_positive_rate <= 1 and 0 <= self.true_positive_rate <= 1):
            raise ValueError("a measured rate lies outside 0 to 1")
        if self.n_benign < 1 or self.n_backdoored < 1:
            raise ValueError("measured rates need at least one encoder of each kind")

    @property
    def false_alarms(self) -> Estimate:
        """Share of benign encoders that are flagged, with its 95 % interval: none of a hundred is not none."""
        return _exact(self.false_positive_rate, self.n_benign)

    @property
    def detections(self) -> Estimate:
        """Share of backdoored encoders that are detected, with its 95 % interval."""
        return _exact(self.true_positive_rate, self.n_backdoored)


def _exact(rate: float, n: int) -> Estimate:
    found = clopper_pearson(round(rate * n), n)
    assert found is not None  # n is not 0
    return found


def _row(family: Family, *, found: int, backdoored: int, wrong: int, benign: int, compared: str) -> MeasuredRates:
    source = f"amdet-hub bench, test split, small encoders of our own, {compared}"
    return MeasuredRates("quick", family, wrong / benign, found / backdoored, benign, backdoored, source)


# Rates by family and by whether the suspect was compared with its base.
# SigLIP without a reference was calibrated, and not tested.
MEASURED: Final[Mapping[tuple[Family, bool], MeasuredRates]] = {
    ("clip", True): _row("clip", found=76, backdoored=77, wrong=0, benign=100, compared=_BASE),
    ("clip", False): _row("clip", found=11, backdoored=12, wrong=0, benign=14, compared=_ALONE),
    ("siglip", True): _row("siglip", found=11, backdoored=11, wrong=0, benign=25, compared=_BASE),
}

# All rates that a card may state. A row of `MEASURED` that is measured anew stays here as it was: otherwise every card
# with the old figures is taken for forged.
EVER_SHOWN: Final[tuple[MeasuredRates, ...]] = (
    *MEASURED.values(),
    _row("clip", found=75, backdoored=77, wrong=1, benign=100, compared=_BASE),
    _row("clip", found=72, backdoored=76, wrong=1, benign=100, compared=_BASE),
    _row("clip", found=12, backdoored=12, wrong=2, benign=14, compared=_ALONE),
    _row("siglip", found=11, backdoored=11, wrong=1, benign=25, compared=_BASE),
)

# Presets that the rates are of: `standard` adds stages that flag nothing, so that both flag the same encoders
# (BENCHMARKS.md).
ALIKE: Final = ("quick", "standard")


def rates_of(result: ScanResult, report: ScanReport) -> MeasuredRates | None:
    """The rates of the way this encoder was scanned, None where they are not measured.

    A reference that the repository declares itself was not measured: an attacker chooses it. Nor were other settings
    than the preset's.
    """
    trust = result.reference.trust
    if wording.setting(report, "preset") not in ALIKE or wording.changed_settings(report) or trust == "declared":
        return None
    return MEASURED.get((result.encoder.config.family, trust != "none"))


def rates_of_report(report: ScanReport) -> MeasuredRates | None:
    """The rates that hold for every encoder of the report, None where there are none or several."""
    found = {rates_of(result, report) for result in report.results}
    return found.pop() if len(found) == 1 else None


def counted(rates: MeasuredRates) -> tuple[int, int]:
    """`(benign encoders flagged, backdoored ones detected)`."""
    return round(rates.false_positive_rate * rates.n_benign), round(rates.true_positive_rate * rates.n_backdoored)
