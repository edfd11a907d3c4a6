from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from amdet_hub.bench.control_recipe import ControlRecipe, FinetuneRecipe
from amdet_hub.errors import ConfigError


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 1}, {"lr": -1.0}, {"temperature": 0.0}])
def test_numbers_of_training_are_valid_at_birth(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FinetuneRecipe(**change)
    with pytest.raises(ConfigError):
        ControlRecipe(kind="contrastive", **change)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "backdoor"},
        {"kind": "alias", "word": " "},
        {"kind": "cast", "dtype": "float32"},
        {"kind": "noise", "scale": 0.0},
        {"kind": "merge", "scale": 1.5},
        {"kind": "merge", "seed": 1},
        {"kind": "merge", "merged": 1},
        {"kind": "merge", "merged": 0},
        {"kind": "merge", "merged": 3, "seed": 2},
        {"kind": "multilingual", "language": "fr"},
    ],
)
def test_controls_are_valid_at_birth(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ControlRecipe(**change)


def test_each_kind_has_its_own_scale() -> None:
    assert ControlRecipe(kind="noise").amount == 0.01
    assert ControlRecipe(kind="merge").amount == 0.5
    assert ControlRecipe(kind="merge", scale=0.0).amount == 0.0
    assert ControlRecipe(kind="merge", merged=3).amount == pytest.approx(2 / 3)


def test_a_merge_has_as_many_seeds_as_fine_tunes() -> None:
    assert ControlRecipe(kind="merge").seeds == (0, 1)
    assert ControlRecipe(kind="merge", merged=3, second_seed=7).seeds == (0, 7, 8)


def test_a_fine_tune_takes_every_number_of_the_control() -> None:
    numbers = {field.name for field in dataclasses.fields(FinetuneRecipe)}
    assert numbers <= {field.name for field in dataclasses.fields(ControlRecipe)}
    with pytest.raises(ConfigError, match="recipe: steps"):
        ControlRecipe(kind="merge", batch=1)
