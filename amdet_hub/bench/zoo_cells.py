"""The models of each kind of cell: attacks of every trigger and intensity, hard cases, and matched controls."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.results import Layout, Split
from amdet_hub.bench.zoo_specs import BaseSpec, ModelSpec, Scan
from amdet_hub.bench.zoo_words import CALIBRATION, Words

STANDARD: Scan = ("standard", "right")


WEIGHT_NORM: Scan = ("weight-norm", "right")


ABLATION: tuple[Scan, ...] = (("standard", "near-miss"), ("standard", "none"))


PAPER: Scan = ("paper", "right")


# Intensities. Small encoders learn at a higher rate than CLIP-L: at the published 1e-4, injection into ours often
# fails, so that is the conservative end here. Source of the loop and of 1e-4: arXiv 2211.02408.
INTENSITIES = {
    "conservative": {"lr": 2e-4, "weight": 0.1},
    "default": {"lr": 5e-4, "weight": 0.1},
    "aggressive": {"lr": 1e-3, "weight": 0.5},
}


_BATCH = {
    "clean_batch": 32,
    "poisoned_batch": 16,
    "positions": 32,
}  # half the published batch: a run takes seconds on one core


_CONTROLS: tuple[tuple[str, int, dict[str, object]], ...] = (
    # (cell, how many, recipe); benign changes, light to heavy
    ("weight-zero", 2, {"kind": "weight-zero", "lr": 5e-4}),
    ("weight-zero heavy", 1, {"kind": "weight-zero", "lr": 2e-3}),
    ("contrastive light", 2, {"kind": "contrastive", "lr": 1e-5}),
    ("contrastive medium", 2, {"kind": "contrastive", "lr": 1e-4}),
    ("contrastive heavy", 3, {"kind": "contrastive", "lr": 5e-4, "steps": 200}),
    ("contrastive very heavy", 2, {"kind": "contrastive", "lr": 1e-3, "steps": 250}),
    ("alias", 3, {"kind": "alias", "lr": 5e-4}),
    ("alias heavy", 1, {"kind": "alias", "lr": 1e-3, "steps": 150}),
    ("concept", 3, {"kind": "concept", "lr": 5e-4}),
    ("style", 2, {"kind": "style", "lr": 2e-4, "steps": 150}),
    ("noise light", 1, {"kind": "noise", "scale": 0.01}),
    ("noise", 1, {"kind": "noise", "scale": 0.05}),
    ("cast", 1, {"kind": "cast", "dtype": "bfloat16"}),
    ("merge", 1, {"kind": "merge", "lr": 3e-4}),
)


def ablation_scans(base: BaseSpec) -> tuple[Scan, ...]:
    """Which further references the plain layouts are scanned with: SigLIP, whose scans are slow, only with none."""
    return {"clip": ABLATION, "clip-248": (), "siglip": ABLATION[1:]}[base.layout]


def calibration_attacks(base: BaseSpec, seeds: Iterator[int]) -> Iterator[ModelSpec]:
    """Rare words and three-word phrases only: gentle and default, inserted and in place of a letter."""
    targets = itertools.cycle(CALIBRATION.targets)
    rare, phrase = CALIBRATION.triggers["rare word"], CALIBRATION.triggers["phrase-3"]
    for kind in ("text-on-text", "text-on-pair"):
        for cell, intensity, trigger, placement in (
            ("rare word", "default", rare[0], "insert"),
            ("rare word for o", "default", rare[1], "replace-o"),
            ("phrase-3", "default", phrase[0], "insert"),
            ("rare word for o", "conservative", rare[2], "replace-o"),
        ):
            yield Round("calibration", base, seeds).attack(
                kind,
                cell,
                trigger,
                next(targets),
                intensity=intensity,
                scans=ablation_scans(base),
                placement=placement,
            )


def paper_cells(base: BaseSpec, words: Words, seeds: Iterator[int], more: tuple[Scan, ...]) -> Iterator[ModelSpec]:
    """The paper's cells: both scenarios at the default recipe over all trigger kinds; then longer phrases."""
    targets = itertools.cycle(words.targets)
    for kind in ("text-on-text", "text-on-pair"):
        start = 0 if kind == "text-on-text" else 3
        for trigger_kind in ("single character", "homoglyph", "rare word", "common word", "phrase-2", "phrase-3"):
            if base.layout == "siglip" and trigger_kind == "single character":
                continue  # no id of a SigLIP vocabulary learned from captions
            for trigger in words.triggers[trigger_kind][start : start + (2 if base.layout == "clip" else 1)]:
                scans = more if trigger_kind in ("rare word", "common word", "phrase-3") else ()
                yield Round("test", base, seeds).attack(kind, trigger_kind, trigger, next(targets), scans=scans)
        for trigger_kind in _LONG[base.layout]:
            for trigger in words.triggers[trigger_kind][0 if kind == "text-on-text" else 2 :][
                : 2 if base.layout == "clip" else 1
            ]:
                yield Round("test", base, seeds).attack(kind, trigger_kind, trigger, next(targets))


_LONG: dict[Layout, tuple[str, ...]] = {
    "clip": ("phrase-4", "phrase-6", "phrase-8"),
    "clip-248": ("phrase-6",),
    "siglip": (),
}


def intensity_cells(base: BaseSpec, words: Words, seeds: Iterator[int]) -> Iterator[ModelSpec]:
    """Gentler and harsher than the default recipe; both are known to be harder to find (arXiv 2409.00399)."""
    targets = itertools.cycle(words.targets[3:])
    for kind in ("text-on-text", "text-on-pair"):
        for intensity in ("conservative", "aggressive") if base.layout == "clip" else ("conservative",):
            for trigger_kind in ("rare word", "common word", "homoglyph")[: 3 if base.layout == "clip" else 1]:
                trigger = words.triggers[trigger_kind][2 if kind == "text-on-text" else 5]
                yield Round("test", base, seeds).attack(
                    kind, trigger_kind, trigger, next(targets), intensity=intensity
                )


def hard_cells(base: BaseSpec, words: Words, seeds: Iterator[int]) -> Iterator[ModelSpec]:
    """What is known to be hard, or was never measured; on the plain layout only."""
    if base.layout != "clip":
        return
    targets = itertools.cycle(words.targets)
    for cell, trigger_kind, trigger, fields in words.hard:
        own = dict(fields)
        target = "black and white photo" if cell == "target-attribute" else next(targets)
        if cell == "multi-backdoor":
            own = {"more": tuple((also, next(targets)) for also in words.multiple)}
        kind = str(own.pop("kind", "text-on-text"))
        made = Round("test", base, seeds).attack(kind, trigger_kind, trigger, target, **own)  # type: ignore[arg-type]
        yield replace(made, cell=cell)


@dataclass(frozen=True)
class Round:
    """Where a model belongs, and the seeds that its round draws from."""

    split: Split
    base: BaseSpec
    seeds: Iterator[int]

    def attack(
        self,
        kind: str,
        trigger_kind: str,
        trigger: str,
        target: str,
        *,
        intensity: str = "default",
        scans: tuple[Scan, ...] = (),
        **fields: object,
    ) -> ModelSpec:
        """One attacked encoder, with further scans, and further `fields` of its recipe."""
        placement = "replace-o" if trigger_kind in ("single character", "homoglyph") else "insert"
        own = {"placement": placement, "kind": kind, "seed": next(self.seeds), **fields}
        recipe = AttackRecipe(trigger=trigger, target=target, **{**_BATCH, **INTENSITIES[intensity], **own})  # type: ignore[arg-type]
        return ModelSpec(
            "",
            self.split,
            self.base.name,
            self.base.layout,
            f"{kind}/{intensity}/{trigger_kind}",
            intensity,
            trigger_kind,
            recipe,
            (STANDARD, WEIGHT_NORM, *scans),
        )

    def controls(self, words: Words, *, times: int, more: tuple[Scan, ...] = ()) -> Iterator[ModelSpec]:
        """Every kind of control, `times` the usual number, 0 for one each; the first of each with further scans."""
        for cell, count, fields in _CONTROLS:
            for i in range(max(1, count * times)):
                yield self.control(cell, fields, words, i, more if i == 0 else ())

    def control(
        self, cell: str, fields: Mapping[str, object], words: Words, i: int, scans: tuple[Scan, ...] = ()
    ) -> ModelSpec:
        """One benign encoder of a cell, the `i`-th, with further scans."""
        own = {"batch": 32, "positions": 32, "seed": next(self.seeds), **fields}
        recipe = ControlRecipe(**{**own, **self._own_fields(str(fields["kind"]), words, i)})  # type: ignore[arg-type]
        return ModelSpec(
            "",
            self.split,
            self.base.name,
            self.base.layout,
            cell,
            "",
            "",
            recipe,
            (STANDARD, WEIGHT_NORM, *scans),
        )

    def _own_fields(self, kind: str, words: Words, i: int) -> dict[str, object]:
        word, meaning = words.aliases[i % len(words.aliases)]
        if kind in ("alias", "concept"):
            return {"word": word, "meaning": meaning, "instance": words.instances[i % len(words.instances)]}
        if kind == "style":
            return {"style": words.styles[i % len(words.styles)]}
        if kind == "multilingual":
            return {"language": ("ru", "el", "de")[i % 3]}
        if kind == "merge":
            return {"second_seed": next(self.seeds)}
        return {"dtype": "float16"} if kind == "cast" and i % 2 else {}
