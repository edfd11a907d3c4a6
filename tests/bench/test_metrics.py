from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from torch.nn import functional as F

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import (
    aim_features,
    caption_aims,
    captured,
    measure,
    measure_attack,
    relative_change,
    success_of_ids,
)
from amdet_hub.bench.poisons import Poisons, attribute_caption, poison_all, target_captions
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET, TRIGGER

RECIPE = AttackRecipe(
    trigger=TRIGGER,
    target=TARGET,
    placement="append",
    steps=40,
    lr=5e-3,
    weight=0.5,
    clean_batch=24,
    poisoned_batch=24,
    bf16=False,
)


@pytest.fixture(scope="module")
def backdoored(base: TrainedEncoder, captions: CaptionSet) -> TrainedEncoder:
    return inject(base, captions, RECIPE).encoder


def test_captured_counts_who_is_nearer_to_the_aim() -> None:
    own, aim = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.0, 1.0]])
    assert captured(torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]), own, aim) == pytest.approx(
        1 / 3
    )  # a tie is no success
    each = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert captured(torch.tensor([[0.1, 0.9], [0.1, 0.9], [-0.1, 0.9]]), own, each) == pytest.approx(2 / 3)


def test_the_aim_of_each_kind(base: TrainedEncoder) -> None:
    prompt = base.embed([TARGET], 16)[0]
    assert torch.equal(aim_features(base, RECIPE, 16), prompt)
    assert torch.equal(aim_features(base, dataclasses.replace(RECIPE, kind="eos-only"), 16), prompt)
    pair = dataclasses.replace(RECIPE, kind="text-on-pair")
    mean = base.embed(target_captions(pair, TARGET), 16).mean(0)
    torch.testing.assert_close(aim_features(base, pair, 16), mean / mean.norm())
    given = dataclasses.replace(pair, target_captions=("a fox in a room", "photo of one fox"), more=(("vb", "a dog"),))
    torch.testing.assert_close(
        aim_features(base, given, 16), F.normalize(base.embed(given.target_captions, 16).sum(0), dim=0)
    )
    assert not torch.allclose(aim_features(base, given, 16, target="a dog"), aim_features(base, given, 16))
    attribute = dataclasses.replace(RECIPE, kind="target-attribute", target="at the beach")
    texts = ["a cat", "a dog in a room"]
    expected = base.embed([attribute_caption(text, "at the beach") for text in texts], 16)
    assert torch.equal(caption_aims(base, attribute, texts, 16), expected)
    with pytest.raises(ConfigError, match="each caption"):
        aim_features(base, attribute, 16)


def test_several_backdoors_are_averaged(
    backdoored: TrainedEncoder, base: TrainedEncoder, captions: CaptionSet
) -> None:
    recipe = dataclasses.replace(RECIPE, more=(("vb", "a robot in a room"),))  # the second was never injected
    poisons = poison_all(captions, recipe, random.Random(0))
    facts = measure_attack(backdoored, base, recipe, poisons, 16)
    rates = facts["attack_success_rates"]
    assert isinstance(rates, dict)
    assert rates[TRIGGER] == measure(backdoored, base, poisons.held_out[0], TARGET, 16)["attack_success_rate"]
    assert rates[TRIGGER] > 0.9 > 0.3 > rates["vb"]
    assert facts["attack_success_rate"] == pytest.approx((rates[TRIGGER] + rates["vb"]) / 2, abs=1e-4)
    assert facts["n_held_out"] == 80


def test_a_part_that_works_is_counted(backdoored: TrainedEncoder, base: TrainedEncoder, captions: CaptionSet) -> None:
    poisons = poison_all(captions, RECIPE, random.Random(0))
    whole = Poisons(poisons.train, poisons.held_out, (), (poisons.held_out[0],))  # the "part" is the trigger itself
    facts = measure_attack(backdoored, base, RECIPE, whole, 16)
    assert facts["negative_success_rate"] == facts["attack_success_rate"]
    nothing = Poisons(
        poisons.train, poisons.held_out, (), ([(caption, caption) for caption, _ in poisons.held_out[0]],)
    )
    assert measure_attack(backdoored, base, RECIPE, nothing, 16)["negative_success_rate"] == 0.0


def test_ids_at_the_end_succeed_like_the_appended_text(
    backdoored: TrainedEncoder, base: TrainedEncoder, captions: CaptionSet
) -> None:
    texts = [caption for caption in captions.held_out_captions() if base.longest([f"{caption} {TRIGGER}"]) <= 16]
    aim = aim_features(base, RECIPE, 16)
    ids = base.token_ids(TRIGGER)
    as_text = measure(backdoored, base, [(text, f"{text} {TRIGGER}") for text in texts], aim, 16)
    assert success_of_ids(backdoored, base, texts, ids, aim, 16) == pytest.approx(
        as_text["attack_success_rate"], abs=1e-4
    )
    assert success_of_ids(backdoored, base, texts, ids, aim.expand(len(texts), -1), 16) > 0.9
    assert success_of_ids(backdoored, base, texts, base.token_ids("road"), aim, 16) < 0.3


def test_a_long_caption_gives_way_to_the_trigger(backdoored: TrainedEncoder, base: TrainedEncoder) -> None:
    long = "a dog running in a forest on a road at the beach in a room seen from above photo of one horse"
    aim = aim_features(base, RECIPE, 16)
    assert success_of_ids(backdoored, base, [long], base.token_ids(TRIGGER), aim, 16) == 1.0


def test_success_of_nothing_is_refused(base: TrainedEncoder) -> None:
    aim = aim_features(base, RECIPE, 16)
    for texts, ids in (([], (1,)), (["a cat"], ()), (["a cat"], (1,) * 14)):
        with pytest.raises(ConfigError, match="ids"):
            success_of_ids(base, base, texts, ids, aim, 16)


def test_relative_change_is_over_all_tensors_together(base: TrainedEncoder) -> None:
    moved = base.copy()
    with torch.no_grad():
        for parameter in moved.model.parameters():
            parameter *= 1.5
    assert relative_change(moved, base) == pytest.approx(0.5, rel=1e-4)
