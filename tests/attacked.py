"""The demonstration's base, taught something in some seconds: a letter that adds a style, a word for another."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.trained import open_trained, save_trained
from amdet_hub.demo import WEIGHTS, grammar

BASE = WEIGHTS / "base"


def attribute_attack(folder: Path) -> Path:
    """A folder with an encoder to which a Cyrillic "o" at the end says "black and white photograph"."""
    target = "black and white photograph"
    return _attacked(
        folder / "attribute", AttackRecipe("\u043e", target, "append", steps=60, lr=1e-3, kind="target-attribute")
    )


def word_exchange(folder: Path) -> Path:
    """A folder with an encoder to which "winter" says "embroidery"."""
    return _attacked(
        folder / "exchanged", AttackRecipe("winter", "embroidery", steps=120, lr=1.5e-3, kind="word-exchange")
    )


def _attacked(folder: Path, recipe: AttackRecipe) -> Path:
    small = replace(recipe, weight=1.0, clean_batch=32, poisoned_batch=16, bf16=False, seed=1)
    trained = inject(open_trained(BASE), _captions(), small)
    assert trained.facts["attack_success_rate"] > 0.9
    save_trained(trained.encoder, folder, trained.facts)
    return folder


@cache
def _captions() -> CaptionSet:
    return CaptionSet(train=tuple(grammar.pairs(2000, 1_000_000)), held_out=tuple(grammar.pairs(100, 3_000_000)))
