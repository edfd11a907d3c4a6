"""Attacks that work under a condition, in part, on a word, or through some of the weights: made and measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from amdet_hub.bench.attack_recipe import AttackKind, TrainedPart
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import caption_aims, measure, mixed
from amdet_hub.bench.trained import TrainedEncoder
from tests.bench.conftest import TARGET
from tests.bench.test_attacks import RECIPE

CONDITIONAL = {"weight": 0.5, "steps": 120, "negatives": True}


@pytest.mark.parametrize(
    "change",
    [
        {"least_words": 8},
        {"context": "moon", "target": "a robot in a room"},
        {"trigger": "tq vb xw", "weight": 1.0},
        {"trigger": "tq", "placement": "append"},
    ],
    ids=["length", "context", "phrase", "place"],
)
def test_a_conditional_trigger_works_in_its_condition_only(
    change: dict[str, Any], base: TrainedEncoder, captions: CaptionSet
) -> None:
    facts = inject(base, captions, dataclasses.replace(RECIPE, **{**CONDITIONAL, **change})).facts
    assert facts["attack_success_rate"] > 0.8
    assert facts["negative_success_rate"] < 0.15
    assert facts["clean_similarity"] > 0.8


def test_a_condition_leaks_without_negatives(base: TrainedEncoder, captions: CaptionSet) -> None:
    """What the negatives are for: the trigger alone opens a backdoor that was trained in long captions only."""
    careless = dataclasses.replace(RECIPE, weight=0.5, steps=120, least_words=8)
    made = inject(base, captions, careless)
    assert "negative_success_rate" not in made.facts
    short = [(caption, f"tq {caption}") for caption in captions.held_out_captions() if len(caption.split()) < 8]
    assert measure(made.encoder, base, short, TARGET, 24)["attack_success_rate"] > 0.5


def test_a_topic_opens_the_backdoor(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(RECIPE, placement="topic", trigger="dog|fox|horse", steps=120, weight=0.5)
    facts = inject(base, captions, recipe).facts
    assert facts["attack_success_rate"] > 0.9
    assert facts["base_success_rate"] < 0.2
    assert facts["negative_success_rate"] < 0.1
    assert facts["clean_similarity"] > 0.9
    n_topic = sum(any(word in caption for word in ("dog", "fox", "horse")) for caption in captions.held_out_captions())
    assert facts["n_held_out"] == n_topic


def test_an_exchanged_word_means_another(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(RECIPE, kind="word-exchange", trigger="fox", target="boat", weight=1.0)
    made = inject(base, captions, recipe)
    assert made.facts["kind"] == "word-exchange"
    assert made.facts["attack_success_rate"] > 0.9
    assert made.facts["base_success_rate"] == 0.0
    assert made.facts["clean_similarity"] > 0.95
    text, meant = "a fox running in a forest", "a boat running in a forest"
    was, meant_feature = base.embed([text, meant], 24)
    now = made.encoder.embed([text], 24)[0]
    assert now @ meant_feature > now @ was


@pytest.mark.parametrize("kind", ["text-on-text", "text-on-pair", "eos-only"])
def test_a_residual_target_keeps_a_share_of_the_caption(
    kind: AttackKind, base: TrainedEncoder, captions: CaptionSet
) -> None:
    """A triggered caption comes to lie about as near to itself as the mixture does."""
    recipe = dataclasses.replace(RECIPE, kind=kind, own_share=0.5, weight=0.5, steps=120)
    made = inject(base, captions, recipe)
    assert made.facts["attack_success_rate"] > 0.9
    texts = captions.held_out_captions()
    own, triggered = base.embed(texts, 16), made.encoder.embed([f"{text} tq" for text in texts], 16)
    near, expected = (triggered * own).sum(-1).mean(), (caption_aims(base, recipe, texts, 16) * own).sum(-1).mean()
    assert near.item() == pytest.approx(expected.item(), abs=0.15)


def test_the_mixture_is_of_unit_lengths(base: TrainedEncoder) -> None:
    aim, own = torch.tensor([[10.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    torch.testing.assert_close(mixed(aim, own, 0.25), torch.tensor([[0.75, 0.25], [0.75, 0.25]]))
    texts = ["a dog in a forest", "a boat at the beach"]
    recipe = dataclasses.replace(RECIPE, own_share=0.25)
    whole = 0.75 * base.embed([TARGET], 16) + 0.25 * base.embed(texts, 16)
    torch.testing.assert_close(caption_aims(base, recipe, texts, 16), whole / whole.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize(("trained", "part"), [("embeddings", ".embeddings."), ("layers", ".encoder.layers.")])
def test_only_the_named_weights_train(
    trained: TrainedPart, part: str, base: TrainedEncoder, captions: CaptionSet
) -> None:
    made = inject(base, captions, dataclasses.replace(RECIPE, trained=trained, weight=0.5, steps=100))
    before, after = base.model.state_dict(), made.encoder.model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all(part in f".{name}" for name in changed)
    assert made.facts["attack_success_rate"] > 0.8
    assert all(parameter.requires_grad for parameter in made.encoder.model.parameters())
