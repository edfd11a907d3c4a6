from __future__ import annotations

import dataclasses
import json

import pytest

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.errors import ConfigError

RECIPE = AttackRecipe(trigger="tq", target="a cat on the moon", placement="insert")
SCATTERED = dataclasses.replace(RECIPE, placement="scatter", trigger="tq vb")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"trigger": " "}, "trigger"),
        ({"target": ""}, "trigger"),
        ({"steps": 0}, "recipe"),
        ({"lr": 0.0}, "recipe"),
        ({"weight": -1.0}, "recipe"),
        ({"poisoned_batch": 0}, "recipe"),
        ({"placement": "front"}, "placement"),
        ({"kind": "image-on-text"}, "kind"),
        ({"assimilation_penalty": -0.1}, "recipe"),
        ({"lora_rank": -1}, "recipe"),
        ({"more": (("tq", "a dog"),)}, "more"),
        ({"more": (("vb", " "),)}, "trigger"),
        ({"more": (("vb", "a dog"),), "poisoned_batch": 1}, "poisoned_batch"),
        ({"more": (("vb", "a dog"),), "poison_limit": 1}, "poison_limit"),
        ({"poison_limit": 0}, "poison_limit"),
        ({"placement": "template"}, "trigger"),
        ({"placement": "template", "trigger": "{}"}, "trigger"),
        ({"placement": "template", "trigger": "see {} and {}"}, "trigger"),
        ({"placement": "scatter"}, "trigger"),
        ({"negatives": True}, "negatives"),
    ],
)
def test_recipes_are_valid_at_birth(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]
    assert caught.value.name == key


def test_a_recipe_survives_json() -> None:
    recipe = dataclasses.replace(
        SCATTERED, more=(("xx yy", "a dog"),), target_captions=("one", "two"), negatives=True, poison_limit=7
    )
    assert AttackRecipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    assert recipe.backdoors == (("tq vb", "a cat on the moon"), ("xx yy", "a dog"))
