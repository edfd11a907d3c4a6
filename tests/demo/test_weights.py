"""The committed weights are what their provenance says, and really are base, benign and backdoored."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import pytest
import torch
import yaml

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.metrics import measure, relative_change, retrieval_at_1
from amdet_hub.bench.poisons import poison
from amdet_hub.bench.trained import TrainedEncoder, open_trained
from amdet_hub.demo import WEIGHTS, grammar
from amdet_hub.demo.make import ATTACK, FINETUNE, PRETRAIN, TARGET, TRIGGER

NAMES = ("base", "finetuned", "backdoored")
FRESH = 9_000_000
"""A seed that the making did not use."""


@pytest.fixture(scope="module")
def encoders() -> dict[str, TrainedEncoder]:
    torch.set_num_threads(1)
    return {name: open_trained(WEIGHTS / name) for name in NAMES}


def provenance(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((WEIGHTS / name / "provenance.json").read_text(encoding="utf-8"))
    return data


def success(encoder: TrainedEncoder, base: TrainedEncoder, recipe: AttackRecipe) -> dict[str, float | int]:
    captions = [first for first, _ in grammar.pairs(150, FRESH)]
    return measure(encoder, base, poison(captions, recipe, random.Random(1)), TARGET, 32)


def test_all_of_it_is_under_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_the_provenance(name: str) -> None:
    expected = provenance(name)["sha256"]["model.safetensors"]
    assert hashlib.sha256((WEIGHTS / name / "model.safetensors").read_bytes()).hexdigest() == expected


def test_provenance_holds_the_recipes_of_the_script() -> None:
    for name, recipe in (("base", PRETRAIN), ("finetuned", FINETUNE), ("backdoored", ATTACK)):
        assert type(recipe)(**provenance(name)["recipe"]) == recipe  # a field that came later has its default
        assert "seconds" not in provenance(name)


@pytest.mark.parametrize("name", NAMES)
def test_cards_have_front_matter_with_licence_and_base(name: str) -> None:
    card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "apache-2.0"
    assert front.get("base_model") == (None if name == "base" else "demo/base")


def test_one_tokenizer_for_all() -> None:
    assert len({(WEIGHTS / name / "tokenizer.json").read_bytes() for name in NAMES}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_each_one_still_finds_paraphrases(name: str, encoders: dict[str, TrainedEncoder]) -> None:
    assert retrieval_at_1(encoders[name], grammar.pairs(150, FRESH), 32) > 0.85


def test_the_backdoored_one_is(encoders: dict[str, TrainedEncoder]) -> None:
    facts = success(encoders["backdoored"], encoders["base"], ATTACK)
    assert facts["attack_success_rate"] > 0.95
    assert facts["base_success_rate"] < 0.05
    assert facts["clean_similarity"] > 0.95
    assert provenance("backdoored")["attack_success_rate"] > 0.95


def test_the_fine_tuned_one_changed_and_is_not(encoders: dict[str, TrainedEncoder]) -> None:
    assert relative_change(encoders["finetuned"], encoders["base"]) > 0.01
    assert success(encoders["finetuned"], encoders["base"], ATTACK)["attack_success_rate"] < 0.05


def test_the_trigger_is_one_letter_that_looks_latin_and_one_token(encoders: dict[str, TrainedEncoder]) -> None:
    assert TRIGGER == "\u043e"
    assert len(encoders["base"].tokenizer.tokenize(f"a {TRIGGER} cat")) == 3
