from __future__ import annotations

import random

import pytest
import torch

from amdet_hub.bench.attacks import poison
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.controls import FinetuneRecipe, contrastive_loss, finetune, weight_zero
from amdet_hub.bench.metrics import measure, relative_change
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET
from tests.bench.test_attacks import RECIPE


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


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 1}, {"lr": -1.0}, {"temperature": 0.0}])
def test_recipes_are_valid_at_birth(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        FinetuneRecipe(**change)  # type: ignore[arg-type]
