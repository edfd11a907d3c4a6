"""Encoders made from nothing, in every layout."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amdet_hub.bench.pretrain import Architecture, PairSource, PretrainRecipe, new_encoder, pretrain
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.bench.unigram import learn_siglip_tokenizer
from amdet_hub.bench.vocabulary import learn_tokenizer
from amdet_hub.errors import ConfigError
from amdet_hub.records import Family
from tests.bench.conftest import toy_groups

GROUPS = toy_groups()
TEXTS = [text for group in GROUPS for text in group]
SHAPE = Architecture(hidden_size=32, layers=2, heads=2, intermediate_size=64, positions=24, projection_dim=16)
RECIPE = PretrainRecipe(steps=60, warmup=5, lr=5e-3, batch=32, positions=16, bf16=False, seed=1)


def tokenizer_of(layout: Family) -> Any:
    return learn_siglip_tokenizer(TEXTS, 420) if layout == "siglip" else learn_tokenizer(TEXTS, 600, positions=24)


def pairs_of_step(step: int, n: int) -> list[tuple[str, str]]:
    return random.Random(step).sample(GROUPS[40:], n)


def lengths_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of positions of every training batch (those that need gradients)."""
    seen: list[int] = []
    encode = TrainedEncoder.encode

    def recorded(self: TrainedEncoder, ids: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            seen.append(ids.shape[1])
        return encode(self, ids)

    monkeypatch.setattr(TrainedEncoder, "encode", recorded)
    return seen


def run(
    layout: Family, folder: Path, recipe: PretrainRecipe, shape: Architecture = SHAPE
) -> tuple[TrainedEncoder, dict[str, Any]]:
    torch.set_num_threads(1)
    shape = dataclasses.replace(shape, layout=layout)
    trained = pretrain(tokenizer_of(layout), shape, PairSource(pairs_of_step, GROUPS[:40]), recipe, folder=folder)
    return trained.encoder, trained.facts


def test_siglip_learns_and_runs_at_full_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = lengths_seen(monkeypatch)
    encoder, facts = run("siglip", tmp_path, dataclasses.replace(RECIPE, steps=120, lr=8e-3))
    assert facts["retrieval_at_1"] > 0.3  # one in 40 by chance
    assert facts["architecture"]["layout"] == encoder.layout == "siglip"
    assert set(seen) == {24}
    assert len(seen) == 120
    assert facts["vocab_size"] == encoder.tokenizer.vocab_size == encoder.model.config.vocab_size


def test_long_steps_mean_nothing_for_siglip(tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPE, steps=3)
    one, _ = run("siglip", tmp_path / "one", dataclasses.replace(short, long_every=0))
    other, _ = run("siglip", tmp_path / "other", dataclasses.replace(short, long_every=1, positions=8))
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_clip_runs_every_tenth_step_at_all_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = lengths_seen(monkeypatch)
    encoder, facts = run(
        "clip", tmp_path, dataclasses.replace(RECIPE, steps=20), dataclasses.replace(SHAPE, positions=248)
    )
    assert seen == ([16] * 9 + [248]) * 2
    assert (encoder.layout, encoder.max_positions, facts["architecture"]["layout"]) == ("clip", 248, "clip")


def test_positions_of_a_recipe_are_capped_by_the_encoder(tmp_path: Path) -> None:
    _, facts = run("clip", tmp_path, dataclasses.replace(RECIPE, steps=1, positions=99))
    assert 0 <= facts["retrieval_at_1"] <= 1


@pytest.mark.parametrize("layout", ["clip", "siglip"])
def test_initial_weights_depend_on_the_seed_alone(layout: Family, tmp_path: Path) -> None:
    tokenizer, shape = tokenizer_of(layout), dataclasses.replace(SHAPE, layout=layout)
    state = torch.random.get_rng_state()
    states = [
        new_encoder(tokenizer, shape, tmp_path / str(i), seed=seed).model.state_dict()
        for i, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    one, same, other = (
        {name.removeprefix("text_model."): value for name, value in weights.items()} for weights in states
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embeddings.token_embedding.weight"], other["embeddings.token_embedding.weight"])


@pytest.mark.parametrize(("layout", "learned_for"), [("clip", "siglip"), ("siglip", "clip")])
def test_a_tokenizer_of_the_other_layout_is_refused(layout: Family, learned_for: Family, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"not learned for a {layout} encoder"):
        new_encoder(tokenizer_of(learned_for), dataclasses.replace(SHAPE, layout=layout), tmp_path, seed=0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"heads": 3}, "heads"),
        ({"layers": 0}, "layers"),
        ({"positions": 0}, "positions"),
        ({"layout": "bert"}, "layout"),
    ],
)
def test_an_impossible_architecture_is_refused(change: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(SHAPE, **change)
    assert caught.value.name == name


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 1}, {"lr": 0.0}, {"temperature": 0.0}])
def test_an_impossible_recipe_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="recipe"):
        dataclasses.replace(RECIPE, **change)


def test_progress_counts_steps(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    recipe = dataclasses.replace(RECIPE, steps=2)
    pretrain(
        tokenizer_of("clip"),
        SHAPE,
        PairSource(pairs_of_step, GROUPS[:40]),
        recipe,
        folder=tmp_path,
        progress=lambda *now: told.append(now),
    )
    assert told == [("pretrain", 1, 2), ("pretrain", 2, 2)]
