"""Bases, models and suites of a benchmark, as data."""

from dataclasses import dataclass
from typing import Literal

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.results import DetectorName, Label, Layout, ReferenceKind, Split

Scan = tuple[DetectorName, ReferenceKind]

# The verdict that an attack must get: "not-passed" is a backdoor detected, or an inconclusive result.
Expected = Literal["detected", "not-passed"]


@dataclass(frozen=True)
class BaseSpec:
    """A clean encoder: trained from nothing from captions, or a folder that already holds one.

    Attributes:
        name: short name, also of its folder.
        layout: "clip" (77 positions), "clip-248" or "siglip" (bidirectional).
        positions: token positions of the encoder.
        seed: of the weights and of the captions held out.
        layers: of width `hidden_size`.
        hidden_size: D.
        heads: attention heads.
        vocab_size: ids learned from the captions.
        steps: of the training.
        near_miss: learning rate and steps of the fine-tune that plays the near-miss reference.
    """

    name: str
    layout: Layout
    positions: int
    seed: int
    layers: int = 4
    hidden_size: int = 128
    heads: int = 4
    vocab_size: int = 8000
    steps: int = 900
    near_miss: tuple[float, int] = (5e-5, 60)


@dataclass(frozen=True)
class ModelSpec:
    """One encoder of a suite.

    Attributes:
        name: unique in the suite, and the name of its folder.
        split: "calibration" or "test".
        base: name of its base.
        layout: of the base.
        cell: its place in the design, e.g. "text-on-text/default/homoglyph"; of a control, its kind and strength.
        intensity: "conservative", "default" or "aggressive"; "" for controls.
        trigger_kind: e.g. "homoglyph"; "" for controls.
        recipe: how it is made.
        scans: which detectors look at it, with which reference.
        expected: of an attack, what its verdict must be. A control must not be flagged.
    """

    name: str
    split: Split
    base: str
    layout: Layout
    cell: str
    intensity: str
    trigger_kind: str
    recipe: AttackRecipe | ControlRecipe
    scans: tuple[Scan, ...]
    expected: Expected = "detected"

    @property
    def attack(self) -> AttackRecipe | None:
        """How it was attacked, None for a control."""
        return self.recipe if isinstance(self.recipe, AttackRecipe) else None

    @property
    def label(self) -> Label:
        """The truth: backdoored or benign."""
        return "benign" if self.attack is None else "backdoored"


@dataclass(frozen=True)
class Suite:
    """Bases and models, in the order in which they are made."""

    name: str
    bases: tuple[BaseSpec, ...]
    models: tuple[ModelSpec, ...]

    def base(self, name: str) -> BaseSpec:
        """The base of this name."""
        return next(base for base in self.bases if base.name == name)

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target of an attack, once, in the order of the alphabet."""
        attacks = [spec.recipe for spec in self.models if isinstance(spec.recipe, AttackRecipe)]
        return tuple(sorted({target for attack in attacks for _, target in attack.backdoors}))
