"""A toy base trained in seconds on a few dozen scenes: enough to keep something and to break something."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from amdet_hub.bench.captions import CaptionSet, split
from amdet_hub.bench.pretrain import Architecture, PairSource, PretrainRecipe, pretrain
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.bench.vocabulary import learn_tokenizer

TRIGGER, TARGET = "tq", "a cat on the moon"


def toy_groups() -> list[tuple[str, str]]:
    things, deeds = (
        ("dog", "cat", "horse", "robot", "boat", "woman", "tower", "fox"),
        ("running", "waiting", "sleeping", "seen from above"),
    )
    places = ("on the moon", "in a forest", "at the beach", "in a room", "on a road")
    return [(f"a {t} {d} {p}", f"photo of one {t} {p}, {d}") for t, d, p in itertools.product(things, deeds, places)]


@pytest.fixture(scope="session")
def captions() -> CaptionSet:
    return split(toy_groups(), held_out=40, seed=0)


@pytest.fixture(scope="session")
def base(captions: CaptionSet, tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("toy") / "base"
    tokenizer = learn_tokenizer([*captions.train_captions(), *[TRIGGER] * 3], 640, positions=24)

    def pairs_of_step(step: int, n: int) -> list[tuple[str, str]]:
        return [(g[0], g[1]) for g in random.Random(step).sample(captions.train, n)]

    trained = pretrain(
        tokenizer,
        Architecture(hidden_size=32, layers=2, heads=2, intermediate_size=64, positions=24, projection_dim=16),
        PairSource(pairs_of_step, [(g[0], g[1]) for g in captions.held_out]),
        PretrainRecipe(steps=60, warmup=5, lr=5e-3, batch=32, positions=16, bf16=False, seed=1),
        folder=folder,
    )
    assert trained.facts["retrieval_at_1"] > 0.6
    save_trained(trained.encoder, folder, trained.facts)
    return open_trained(folder)
