"""`ScanConfig`: every number that can change a verdict, in one frozen record with a fingerprint.

Standard library only.

A default stands here once, with its source. "paper" is AMDET, arXiv 2512.00343, released code, CLIP-L path; "ours" is
a choice of this project. A scan report carries the whole record and its sha256.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amdet_hub.errors import ConfigError, ReportError
from amdet_hub.records import fingerprint, from_dict, to_dict

Preset = Literal["standard", "quick", "characters", "paper"]
PRESETS: tuple[Preset, ...] = ("standard", "quick", "characters", "paper")
"""standard: every stage. quick: without the paired inversion and the landscape, which detect nothing by themselves.

characters: standard, and every single Unicode character as a candidate, also those that the vocabulary cuts in pieces.
paper: the published procedure.
"""


@dataclass(frozen=True)
class SweepConfig:
    """The vocabulary sweep and the confirmation of what it finds (ours).

    Attributes:
        preview_prompts: prompts that every token of the vocabulary is tried in, once.
        preview_share: share of the vocabulary, the best of that pass, that is tried in the next.
        screen_prompts: prompts of the second pass, the first ones included.
        n_finalists: best tokens of that pass, which go on to all prompts and copy counts.
        n_null: random tokens that go with them and give the null distribution.
        n_prompts: prompts of the third pass; the cross-prompt variance is taken over them.
        n_heldout_prompts: further prompts, never seen by the sweep, on which a candidate must hold.
        prompt_tokens: every prompt is cut to this many tokens, so that all of them batch.
        copies: how often the token stands before the end marker. One copy is the plain form; an injection that
            replaces a letter trains several copies at once, so a second form with more copies is tried too.
        collapse_floor: least scale of the collapse z, in natural-log units of variance: 0.05 is a change of 5 %.
        divergence_floor: least scale of the divergence z, in natural-log units of the mean squared difference.
        n_candidates: best tokens that go on to the confirmation, alone and repeated.
        n_paired: best tokens whose ordered pairs are confirmed too.
        n_pieces: best tokens that accretion combines.
        n_pointed: further tokens that accretion tries at each length, chosen by gradient.
        n_accretions: best tokens that accretion starts from.
        max_pieces: longest trigger that accretion builds from pieces.
        n_sequences: random sequences of a pattern that a candidate of that pattern is held against.
        characters: try every assigned Unicode character, too, whatever pieces the vocabulary cuts it into. Needs a
            tokenizer.
        batch_rows: candidate rows per forward pass at the start, fewer on a CPU; halved when memory runs out.
    """

    preview_prompts: int = 2
    preview_share: float = 0.125
    screen_prompts: int = 4
    n_finalists: int = 256
    n_null: int = 512
    n_prompts: int = 8
    n_heldout_prompts: int = 16
    prompt_tokens: int = 10
    copies: tuple[int, ...] = (1, 3)
    collapse_floor: float = 0.05
    divergence_floor: float = 0.25
    n_candidates: int = 16
    n_paired: int = 4
    n_pieces: int = 16
    n_pointed: int = 16
    n_accretions: int = 2
    max_pieces: int = 8
    n_sequences: int = 128
    characters: bool = False
    batch_rows: int = 8192


@dataclass(frozen=True)
class InversionConfig:
    """Gradient inversion of a pseudo-trigger.

    Attributes:
        pseudo_tokens: K, how many vectors are inserted after the first K positions (paper: 1).
        restarts: independent starts, optimised as one batch (paper: 1); 0 leaves the paired inversion and its
            landscape out.
        steps: optimiser steps (paper: at most 640).
        learning_rate: of Adam (paper: 0.08).
        weight_decay: of Adam, L2 form (paper: 1e-5).
        n_prompts: prompts the loss is taken over (paper: 4,000, split 80/20).
        heldout_share: share of them kept for the gates (paper: 0.2).
        batch_size: prompts a step (paper: 10).
        epochs: passes over the training prompts (paper: 2).
        weight_clean: weight of the similarity to the suspect's untriggered features (paper: 0.1).
        weight_reference: weight of the similarity to the reference's triggered features (paper: 0.1).
    """

    pseudo_tokens: int = 1
    restarts: int = 8
    steps: int = 80
    learning_rate: float = 0.5
    weight_decay: float = 0.0
    n_prompts: int = 24
    heldout_share: float = 1 / 3
    batch_size: int = 8
    epochs: int = 0
    weight_clean: float = 0.1
    weight_reference: float = 0.1


@dataclass(frozen=True)
class PaperGates:
    """The published gates.

    Source for every value: AMDET's released CLIP-L code; they do not transfer to other encoders (README).

    Attributes:
        open_loss: gates are tried once the running mean loss is below this.
        stop_loss: a running mean loss below this ends the epoch.
        check_every: gates are tried on every such step.
        assimilation: a held-out prompt passes gate 1 above this mean token similarity...
        assimilation_rate: ...and the gate opens above this share of prompts.
        consistency: similarity to the first held-out prompt's features, gate 2.
        consistency_rate: share for gate 2.
        reference_similarity: gate 3 wants the mean similarity to the reference's features below this...
        reference_rate: ...on more than this share of prompts.
        landscape_rate: gate 4 wants more than this share of positive Hessian eigenvalues.
    """

    open_loss: float = -0.76
    stop_loss: float = -0.85
    check_every: int = 2
    assimilation: float = 0.8
    assimilation_rate: float = 0.8
    consistency: float = 0.92
    consistency_rate: float = 0.995
    reference_similarity: float = 0.0
    reference_rate: float = 0.95
    landscape_rate: float = 0.8


@dataclass(frozen=True)
class Thresholds:
    """Where the standard detector's evidence starts to speak for a backdoor: what a scan is judged by.

    Attributes:
        sweep_score: robust z of the candidate trigger among random token sequences like it.
        trigger_success: share of the held-out prompts left alone in the reference that are captured in the suspect,
            over start, middle and end.
        trigger_collapse: natural log of the cross-prompt variance that the trigger removes beyond the reference, on
            held-out prompts, over the root of the number of its tokens; for one token 1 is 63 %, for four 2 is.
        inversion_gain: gain of the best inverted mixture beyond the role-swapped null's. Without a trigger it makes a
            verdict inconclusive. Not calibrated: between the values of the few encoders it was looked at on
            (BENCHMARKS.md).
    """

    sweep_score: float
    trigger_success: float
    trigger_collapse: float
    inversion_gain: float = 0.25


@dataclass(frozen=True)
class ThresholdOverrides:
    """Thresholds of the user; None leaves the calibrated one of the family (`amdet_hub.families.CALIBRATIONS`)."""

    sweep_score: float | None = None
    trigger_success: float | None = None
    trigger_collapse: float | None = None
    inversion_gain: float | None = None

    def over(self, calibrated: Thresholds) -> Thresholds:
        """The thresholds of a scan: the user's where there are any, else the calibrated ones."""
        own = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) is not None}
        return dataclasses.replace(calibrated, **own)


@dataclass(frozen=True)
class LandscapeConfig:
    """The loss landscape around an inverted vector (paper: 50 x 50 grid, +-10 each way, eigenvalues above 1e-6).

    `relative_radius` measures the radius in norms of the vector instead: a mixture of token embeddings is many times
    shorter than the paper's N(0, 1) vectors, and a radius of 10 would leave every token far behind (ours).
    """

    grid: int = 50
    radius: float = 10.0
    relative_radius: bool = False
    positive_above: float = 1e-6


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
"""The least value of each setting that has one: a number below it fails within a scan, or cannot find."""


@dataclass(frozen=True)
class ScanConfig:
    """Everything that can change a verdict.

    `preset` names where the values came from; `seed` drives every random choice.

    `stop_when_decided` leaves the paired inversion and the landscape out of a scan that the trigger search has decided
    (`amdet_hub.detect.detector.is_conclusive`).
    """

    preset: Preset = "standard"
    seed: int = 0
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
            value = _setting(self, name)
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
    def for_preset(cls, preset: str, *, seed: int = 0) -> ScanConfig:
        """The configuration of a preset.

        Raises:
            ConfigError: there is no such preset, or the seed is negative.
        """
        if preset == "standard":
            return cls(preset="standard", seed=seed, landscape=STANDARD_LANDSCAPE)
        if preset == "quick":
            return cls(preset="quick", seed=seed, inversion=InversionConfig(restarts=0), landscape=STANDARD_LANDSCAPE)
        if preset == "characters":
            return cls(
                preset="characters", seed=seed, sweep=SweepConfig(characters=True), landscape=STANDARD_LANDSCAPE
            )
        if preset == "paper":
            return cls(preset="paper", seed=seed, inversion=PAPER_INVERSION)
        raise ConfigError("preset", f"'{preset}' is none of {', '.join(PRESETS)}")

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
        data: dict[str, Any] = to_dict(self)
        return data

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


def _setting(config: ScanConfig, name: str) -> Any:
    """The value of `"seed"` or `"sweep.copies"`."""
    part, _, inner = name.partition(".")
    value = getattr(config, part)
    return getattr(value, inner) if inner else value


def _field_names(value: Any) -> frozenset[str]:
    """The names of a record's fields; none for what is not a record."""
    return frozenset(f.name for f in dataclasses.fields(value)) if dataclasses.is_dataclass(value) else frozenset()


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
"""The published inversion, K = 1, one start from N(0, 1)."""

STANDARD_LANDSCAPE = LandscapeConfig(grid=21, radius=0.5, relative_radius=True)
"""Half the vector's own norm to each side; 21 x 21 points resolve it at a fifth of the published cost (ours)."""

STANDARD = ScanConfig.for_preset("standard")
"""The configuration of a scan that nothing else was asked of."""
