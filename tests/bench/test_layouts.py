"""Attacks and controls on the SigLIP layout: bidirectional, always at full length, pooled at the last position."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, get_args

import pytest
import torch

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlKind, ControlRecipe
from amdet_hub.bench.controls import make_control
from amdet_hub.bench.metrics import aim_features, measure, success_of_ids
from amdet_hub.bench.poisons import poison
from amdet_hub.bench.pretrain import Architecture, PairSource, PretrainRecipe, pretrain
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.bench.unigram import learn_siglip_tokenizer
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET, TRIGGER

POSITIONS = 24
RECIPE = AttackRecipe(
    trigger=TRIGGER,
    target=TARGET,
    placement="insert",
    steps=80,
    lr=5e-3,
    weight=0.5,
    clean_batch=16,
    poisoned_batch=16,
    bf16=False,
)
CONTROL = ControlRecipe(
    kind="contrastive", steps=10, lr=2e-3, batch=16, bf16=False, word=TRIGGER, style="moon", second_seed=3
)


@pytest.fixture(scope="module")
def siglip(captions: CaptionSet, tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    torch.set_num_threads(1)

    def pairs_of_step(step: int, n: int) -> list[tuple[str, str]]:
        return [(g[0], g[1]) for g in random.Random(step).sample(captions.train, n)]

    trained = pretrain(
        learn_siglip_tokenizer([*captions.train_captions(), *[TRIGGER] * 20], 200, alphabet="", positions=POSITIONS),
        Architecture(
            hidden_size=32,
            layers=2,
            heads=2,
            intermediate_size=64,
            positions=POSITIONS,
            projection_dim=16,
            layout="siglip",
        ),
        PairSource(pairs_of_step, [(g[0], g[1]) for g in captions.held_out]),
        PretrainRecipe(steps=60, warmup=5, lr=5e-3, batch=24, bf16=False, seed=1),
        folder=tmp_path_factory.mktemp("siglip"),
    )
    assert trained.facts["retrieval_at_1"] > 0.5
    return trained.encoder


@pytest.mark.parametrize(
    "change",
    [{}, {"kind": "text-on-pair"}, {"kind": "eos-only", "steps": 150, "weight": 0.1}, {"lora_rank": 4, "lr": 2e-3}],
    ids=str,
)
def test_attacks_take(change: dict[str, Any], siglip: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(RECIPE, **change)
    trained = inject(siglip, captions, recipe)
    assert trained.facts["positions"] == POSITIONS
    assert trained.facts["attack_success_rate"] > trained.facts["base_success_rate"] + 0.4
    assert trained.facts["clean_similarity"] > 0.9
    aim, ids = aim_features(siglip, recipe, 8), siglip.token_ids(TRIGGER)
    assert (
        success_of_ids(trained.encoder, siglip, captions.held_out_captions(), ids, aim, 8) > 0.5
    )  # at full length, whatever is asked for


def test_only_clips_vocabulary_is_numbered_anew(siglip: TrainedEncoder, captions: CaptionSet) -> None:
    with pytest.raises(ConfigError, match="only CLIP's tokenizer"):
        make_control(siglip, captions, dataclasses.replace(CONTROL, kind="tokenizer"))


@pytest.mark.parametrize("kind", [kind for kind in get_args(ControlKind) if kind != "tokenizer"])
def test_controls_change_weights_and_open_no_backdoor(
    kind: ControlKind, siglip: TrainedEncoder, captions: CaptionSet
) -> None:
    trained = make_control(siglip, captions, dataclasses.replace(CONTROL, kind=kind))
    assert trained.facts["positions"] == POSITIONS
    assert 0 < trained.facts["relative_change"] < 0.2
    pairs = poison(captions.held_out_captions(), RECIPE, random.Random(0))
    assert measure(trained.encoder, siglip, pairs, TARGET, POSITIONS)["attack_success_rate"] < 0.35
