"""`ScanConfig`: every number that can change a verdict, in one frozen record with a fingerprint.

Standard library only. Nothing is read but the seed of this installation, where no seed is given.

A default stands here once, with its source. "paper" is AMDET, arXiv 2512.00343, released code, CLIP-L path; "ours" is
a choice of this project. A scan report carries the whole record and its sha256.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, cast

from amdet_hub.config_stages import InversionConfig, LandscapeConfig, PaperGates, SweepConfig, ThresholdOverrides
from amdet_hub.errors import ConfigError, ReportError
from amdet_hub.installation import installation_seed
from amdet_hub.records import fingerprint, from_dict, to_dict

Preset = Literal["standard", "quick", "characters", "paper"]
# standard: every stage. quick: without the paired inversion and the landscape, which detect nothing by themselves.
# characters: standard, and every single Unicode character as a candidate, those too that the vocabulary cuts in
# pieces. paper: the published procedure.
PRESETS: tuple[Preset, ...] = ("standard", "quick", "characters", "paper")


# The least value of each setting that has one: a number below it fails within a scan, or cannot find.
_LEAST: Mapping[str, float] = {
    "seed": 0,
    "sweep.preview_prompts": 2,  # a variance over prompts needs two
    "sweep.preview_share": 0,
    "sweep.screen_prompts": 2,
    "sweep.n_finalists": 1,
    "sweep.n_null": 1,
    "sweep.n_prompts": 2,
    "sweep.n_heldout_prompts": 2,
    "sweep.prompt_tokens": 1,
    "sweep.copies": 1,
    "sweep.collapse_floor": 0,
    "sweep.divergence_floor": 0,
    "sweep.n_candidates": 1,
    "sweep.n_paired": 0,
    "sweep.n_pieces": 0,
    "sweep.n_pointed": 0,
    "sweep.n_sequences": 2,
    "sweep.n_accretions": 0,
    "sweep.max_pieces": 1,
    "sweep.batch_rows": 1,
    "inversion.pseudo_tokens": 1,
    "inversion.restarts": 0,
    "inversion.steps": 1,
    "inversion.learning_rate": 0,
    "inversion.weight_decay": 0,
    "inversion.n_prompts": 3,
    "inversion.heldout_share": 0,
    "inversion.batch_size": 1,
    "inversion.epochs": 0,
    "landscape.grid": 3,  # a second difference needs three points
    "landscape.radius": 0,
    "gates.check_every": 1,
}


@dataclass(frozen=True)
class ScanConfig:
    """Everything that can change a verdict.

    `preset` names where the values came from. `seed` drives every random choice; where none is given, it is that of
    this installation (`amdet_hub.installation`), which no attacker knows.

    `stop_when_decided` leaves the paired inversion and the landscape out of a scan that the trigger search has decided
    (`amdet_hub.detect.detector.is_conclusive`).
    """

    preset: Preset = "standard"
    seed: int = field(default_factory=installation_seed)
    stop_when_decided: bool = True
    sweep: SweepConfig = field(default_factory=SweepConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)
    landscape: LandscapeConfig = field(default_factory=LandscapeConfig)
    thresholds: ThresholdOverrides = field(default_factory=ThresholdOverrides)
    gates: PaperGates = field(default_factory=PaperGates)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError("preset", f"'{self.preset}' is none of {', '.join(PRESETS)}")
        for name, least in _LEAST.items():
            value = attrgetter(name)(self)
            values = value if isinstance(value, tuple) else (value,)
            if not values or not all(isinstance(v, int | float) and math.isfinite(v) and v >= least for v in values):
                raise ConfigError(name, f"{value} is not {least} or more")
        for fewer, more in (("preview_prompts", "screen_prompts"), ("screen_prompts", "n_prompts")):
            if (few := getattr(self.sweep, fewer)) > (many := getattr(self.sweep, more)):
                raise ConfigError(f"sweep.{fewer}", f"{few} is more than sweep.{more}, {many}")
        if not 0 < self.sweep.preview_share <= 1:
            raise ConfigError("sweep.preview_share", f"{self.sweep.preview_share} is not above 0 and at most 1")
        if self.preset == "paper" and self.inversion.restarts < 1:
            raise ConfigError("inversion.restarts", "0 leaves nothing of the preset 'paper', which is an inversion")
        if not 0 < self.inversion.heldout_share < 1:
            raise ConfigError("inversion.heldout_share", f"{self.inversion.heldout_share} is not between 0 and 1")

    @classmethod
    def for_preset(cls, preset: str, *, seed: int | None = None) -> ScanConfig:
        """The configuration of a preset. Without a seed, with that of this installation.

        Raises:
            ConfigError: there is no such preset, or the seed is negative.
        """
        drawn = installation_seed() if seed is None else seed
        return cls(preset=cast(Preset, preset), seed=drawn, **_PRESET_PARTS.get(preset, {}))

    def replace(self, **overrides: Any) -> ScanConfig:
        """A copy with other values.

        Keys are field names; a part's field is written with a double underscore: `inversion__steps=10`.

        Raises:
            ConfigError: no field has that name, or a value is out of its range.
        """
        top: dict[str, Any] = {}
        for key, value in overrides.items():
            part, _, name = key.partition("__")
            holder: Any = top.get(part, getattr(self, part, None))
            if part not in _field_names(self) or (name and name not in _field_names(holder)):
                raise ConfigError(key, "is not a scan setting")
            top[part] = dataclasses.replace(holder, **{name: value}) if name else value
        return dataclasses.replace(self, **top)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `ScanConfig.from_dict` reads it back."""
        return cast(dict[str, Any], to_dict(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScanConfig:
        """The configuration stored in a report.

        Raises: ReportError when fields are missing, unknown or out of range.
        """
        try:
            return from_dict(cls, dict(data))
        except ConfigError as error:
            raise ReportError(f"ScanConfig: {error}") from error

    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of the canonical form: equal fingerprints, equal questions."""
        return fingerprint(self.to_dict())


def _field_names(value: Any) -> frozenset[str]:
    """The names of a record's fields; none for what is not a record."""
    return frozenset(f.name for f in dataclasses.fields(value)) if dataclasses.is_dataclass(value) else frozenset()


# The published inversion, K = 1, one start from N(0, 1).
PAPER_INVERSION = InversionConfig(
    pseudo_tokens=1,
    restarts=1,
    steps=640,
    learning_rate=0.08,
    weight_decay=1e-5,
    n_prompts=4000,
    heldout_share=0.2,
    batch_size=10,
    epochs=2,
    weight_clean=0.1,
    weight_reference=0.1,
)

# Half the vector's own norm to each side; 21 x 21 points resolve it at a fifth of the published cost (ours).
STANDARD_LANDSCAPE = LandscapeConfig(grid=21, radius=0.5, relative_radius=True)

_PRESET_PARTS: Mapping[str, Mapping[str, Any]] = {
    "standard": {"landscape": STANDARD_LANDSCAPE},
    "quick": {"landscape": STANDARD_LANDSCAPE, "inversion": InversionConfig(restarts=0)},
    "characters": {"landscape": STANDARD_LANDSCAPE, "sweep": SweepConfig(characters=True)},
    "paper": {"inversion": PAPER_INVERSION},
}
