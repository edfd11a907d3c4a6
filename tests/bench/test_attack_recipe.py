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
        ({"negatives": True, "trigger": "by moss", "more": (("vb", "a dog"),)}, "negatives"),
        ({"negatives": True, "kind": "word-exchange", "placement": "append"}, "negatives"),
        ({"negatives": True, "placement": "topic"}, "negatives"),
        ({"least_words": -1}, "recipe"),
        ({"own_share": 1.0}, "own_share"),
        ({"own_share": -0.1}, "own_share"),
        ({"own_share": 0.5, "kind": "projection"}, "own_share"),
        ({"own_share": 0.5, "kind": "word-exchange"}, "own_share"),
        ({"placement": "topic", "trigger": "dog||fox"}, "trigger"),
        ({"trained": "projection"}, "trained"),
        ({"trained": "layers", "lora_rank": 2}, "trained"),
        ({"trained": "layers", "kind": "projection"}, "trained"),
        ({"evasion_weight": -1.0}, "recipe"),
        ({"evasion_prompts": "theirs"}, "evasion_prompts"),
        ({"evasion_weight": 1.0, "placement": "topic"}, "evasion_weight"),
        ({"evasion_weight": 1.0, "kind": "projection"}, "evasion_weight"),
    ],
)
def test_recipes_are_valid_at_birth(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]
    assert caught.value.name == key


@pytest.mark.parametrize(
    "change",
    [
        {"trigger": "by pale moss"},
        {"least_words": 10},
        {"context": "dog", "placement": "replace-o"},
        {"context": "dog", "kind": "word-exchange"},
    ],
)
def test_negatives_go_with_phrases_and_with_conditions(change: dict[str, object]) -> None:
    assert dataclasses.replace(RECIPE, negatives=True, **change).negatives  # type: ignore[arg-type]


def test_a_recipe_survives_json() -> None:
    recipe = dataclasses.replace(
        SCATTERED, more=(("xx yy", "a dog"),), target_captions=("one", "two"), negatives=True, poison_limit=7
    )
    assert AttackRecipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    assert recipe.backdoors == (("tq vb", "a cat on the moon"), ("xx yy", "a dog"))
