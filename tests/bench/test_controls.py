from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from typing import get_args

import pytest
import torch

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlKind, ControlRecipe, FinetuneRecipe
from amdet_hub.bench.controls import (
    contrastive_loss,
    finetune,
    make_control,
    weight_zero,
    with_style,
)
from amdet_hub.bench.metrics import measure, relative_change
from amdet_hub.bench.poisons import poison
from amdet_hub.bench.renumbering import renumber_vocabulary
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET, TRIGGER
from tests.bench.test_attacks import RECIPE

CONTROL = ControlRecipe(
    kind="contrastive", steps=12, lr=2e-3, batch=24, bf16=False, word=TRIGGER, style="moon", scale=0.3
)


def test_contrastive_loss_against_its_definition() -> None:
    first, second = torch.randn(5, 7), torch.randn(5, 7)
    cosine = torch.stack([torch.stack([torch.cosine_similarity(a, b, dim=0) for b in second]) for a in first]) / 0.07
    rows = -(cosine - cosine.logsumexp(dim=1, keepdim=True)).diag().mean()
    columns = -(cosine - cosine.logsumexp(dim=0, keepdim=True)).diag().mean()
    torch.testing.assert_close(contrastive_loss(first, second, 0.07), (rows + columns) / 2)


def test_a_fine_tune_moves_the_weights_and_opens_no_backdoor(base: TrainedEncoder, captions: CaptionSet) -> None:
    trained = finetune(base, captions, FinetuneRecipe(steps=25, lr=1e-3, batch=32, bf16=False))
    assert relative_change(trained.encoder, base) > 0.005
    assert trained.facts["relative_change"] == pytest.approx(relative_change(trained.encoder, base), abs=1e-5)
    assert trained.facts["retrieval_at_1"] >= trained.facts["retrieval_at_1_before"] - 0.1
    pairs = poison(captions.held_out_captions(), RECIPE, random.Random(0))
    assert measure(trained.encoder, base, pairs, TARGET, 24)["attack_success_rate"] < 0.3


def test_weight_zero_runs_the_same_loop_and_injects_nothing(base: TrainedEncoder, captions: CaptionSet) -> None:
    trained = weight_zero(base, captions, FinetuneRecipe(steps=20, lr=1e-3, batch=24, bf16=False))
    assert trained.facts["kind"] == "weight-zero"
    assert trained.facts["relative_change"] > 0
    assert trained.facts["attack_success_rate"] < trained.facts["base_success_rate"] + 0.15
    assert trained.facts["clean_similarity"] > 0.9


def test_captions_without_partners_cannot_be_contrasted(base: TrainedEncoder) -> None:
    lonely = CaptionSet(train=(("a cat",), ("a dog",)), held_out=(("a fox",),))
    with pytest.raises(ConfigError, match="two or more"):
        finetune(base, lonely, FinetuneRecipe(steps=1))


@pytest.mark.parametrize("kind", get_args(ControlKind))
def test_every_kind_changes_weights_keeps_the_meaning_and_opens_no_backdoor(
    kind: ControlKind, base: TrainedEncoder, captions: CaptionSet
) -> None:
    before, recipe = base.copy(), dataclasses.replace(CONTROL, kind=kind, scale=0.05 if kind == "noise" else None)
    start = renumber_vocabulary(base, seed=0) if kind == "tokenizer" else base
    trained = make_control(base, captions, recipe)
    facts = json.loads(json.dumps(trained.facts))
    assert facts["kind"] == kind
    assert ControlRecipe(**facts["recipe"]) == recipe
    assert facts["relative_change"] == pytest.approx(relative_change(trained.encoder, start), abs=1e-5)
    assert 0 < facts["relative_change"] < 0.2
    assert facts["retrieval_at_1"] >= facts["retrieval_at_1_before"] - 0.1
    assert relative_change(base, before) == 0.0
    pairs = poison(captions.held_out_captions(), RECIPE, random.Random(0))
    assert measure(trained.encoder, base, pairs, TARGET, 24)["attack_success_rate"] < 0.3


def test_a_merge_is_between_two_fine_tunes(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(CONTROL, kind="merge", second_seed=3)
    merged = make_control(base, captions, recipe)
    parts = [dataclasses.replace(recipe, kind="contrastive", seed=seed) for seed in (0, 3)]
    first, second = (finetune(base, captions, part).encoder for part in parts)
    weights = zip(first.model.parameters(), second.model.parameters(), merged.encoder.model.parameters(), strict=True)
    for a, b, mean in weights:
        torch.testing.assert_close(mean, 0.7 * a + 0.3 * b)
    assert relative_change(first, second) > 0.005
    assert [part["seed"] for part in merged.facts["parts"]] == [0, 3]


def test_a_merge_of_three_is_their_mean(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(CONTROL, kind="merge", merged=3, scale=None)
    merged = make_control(base, captions, recipe)
    parts = [dataclasses.replace(recipe, kind="contrastive", seed=seed) for seed in (0, 1, 2)]
    weights = [list(finetune(base, captions, part).encoder.model.parameters()) for part in parts]
    for mean, *three in zip(merged.encoder.model.parameters(), *weights, strict=True):
        torch.testing.assert_close(mean, sum(three) / 3)
    assert [part["seed"] for part in merged.facts["parts"]] == [0, 1, 2]


def test_a_cast_is_through_the_named_type(base: TrainedEncoder, captions: CaptionSet) -> None:
    made = make_control(base, captions, dataclasses.replace(CONTROL, kind="cast", dtype="bfloat16")).encoder
    weight, other = base.model.text_projection.weight, made.model.text_projection.weight
    assert torch.equal(other, weight.bfloat16().float())


def test_a_style_stands_before_or_behind_the_caption() -> None:
    worded = {with_style("a cat.", "ukiyo-e", random.Random(seed)) for seed in range(40)}
    assert worded == {
        "a cat, in the style of ukiyo-e",
        "a cat, ukiyo-e style",
        "ukiyo-e: a cat",
        "in ukiyo-e style, a cat",
    }


def test_half_of_the_pairs_of_a_style_tune_carry_it_on_both_sides(base: TrainedEncoder, captions: CaptionSet) -> None:
    seen: list[bool] = []
    spy = _Spy(base.model, base.tokenizer, base.folder, seen=seen)
    make_control(spy, captions, dataclasses.replace(CONTROL, kind="style", style="moonish", steps=20))
    assert 0.4 < sum(seen) / len(seen) < 0.6


@dataclasses.dataclass(frozen=True)
class _Spy(TrainedEncoder):
    """The real encoder, which notes whether both texts of each training pair name the style."""

    seen: list[bool] = dataclasses.field(default_factory=list)

    def tokenize(self, texts: Sequence[str], positions: int) -> torch.Tensor:
        half = len(texts) // 2
        if any("moonish" in text for text in texts):
            styled = [
                ("moonish" in first, "moonish" in second)
                for first, second in zip(texts[:half], texts[half:], strict=True)
            ]
            assert all(first == second for first, second in styled)
            self.seen.extend(first for first, _ in styled)
        return super().tokenize(texts, positions)
