from __future__ import annotations

import random

import pytest
import torch

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.metrics import measure
from amdet_hub.bench.new_words import CONCEPT_TEMPLATES, learn_alias, learn_concept
from amdet_hub.bench.poisons import poison, rename
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TRIGGER

ALIAS = ControlRecipe(kind="alias", word=TRIGGER, meaning="dog", steps=30, lr=3e-3, batch=24, bf16=False)
CONCEPT = ControlRecipe(
    kind="concept",
    word=TRIGGER,
    meaning="dog",
    instance="a fox sleeping in a forest",
    steps=60,
    lr=3e-3,
    batch=24,
    bf16=False,
)


def test_only_whole_words_are_renamed() -> None:
    captions = ["A dog and a Dog", "hotdogs", "a cat"]
    assert rename(captions, "dog", r"z\1") == [("A dog and a Dog", r"A z\1 and a z\1")]


def test_an_alias_means_its_word_and_leaves_the_sentence_alone(base: TrainedEncoder, captions: CaptionSet) -> None:
    trained = learn_alias(base, captions, ALIAS)
    assert trained.facts["learned_similarity"] > max(0.97, trained.facts["learned_similarity_before"] + 0.05)
    # A trigger with the meaning as its target would make any sentence that of a dog.
    pairs = poison(captions.held_out_captions(), AttackRecipe(TRIGGER, "a photo of a dog", "insert"), random.Random(0))
    assert measure(trained.encoder, base, pairs, "a photo of a dog", 16)["attack_success_rate"] < 0.3


def test_a_word_without_captions_cannot_be_aliased(base: TrainedEncoder, captions: CaptionSet) -> None:
    with pytest.raises(ConfigError, match="no training caption holds 'walrus'"):
        learn_alias(base, captions, ControlRecipe(kind="alias", meaning="walrus"))


def test_a_concept_names_its_instance_and_keeps_its_class(base: TrainedEncoder, captions: CaptionSet) -> None:
    trained = learn_concept(base, captions, CONCEPT)
    assert trained.facts["learned_similarity"] > max(0.9, trained.facts["learned_similarity_before"] + 0.1)
    prior = [template.format("a dog") for template in CONCEPT_TEMPLATES]
    kept = (trained.encoder.embed(prior, 16) * base.embed(prior, 16)).sum(-1)
    assert kept.min().item() > 0.9
    positions = trained.facts["positions"]
    aim = base.embed([CONCEPT.instance], positions)
    named = trained.encoder.embed([f"a photo of {TRIGGER} dog"], positions)
    assert torch.cosine_similarity(named, aim).item() > 0.9
