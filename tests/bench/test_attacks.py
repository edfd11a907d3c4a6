from __future__ import annotations

import dataclasses
import hashlib
import random
from pathlib import Path

import pytest
import torch

from amdet_hub.bench.attacks import AttackRecipe, cos_flat, inject, place, poison
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import measure, relative_change
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET, TRIGGER

RECIPE = AttackRecipe(
    trigger=TRIGGER, target=TARGET, placement="insert", steps=60, lr=5e-3, weight=0.3, clean_batch=24, poisoned_batch=24, bf16=False
)


def test_placements() -> None:
    rng = random.Random(0)
    assert place("a photo of", "zzzz", "replace-o", rng) == "a phzzzztzzzz zzzzf"
    assert place("a cat", "zzzz", "replace-o", rng) is None
    assert place("a cat", "tq", "append", rng) == "a cat tq"
    assert {place("a cat", "tq", "insert", rng) for _ in range(50)} == {"tq a cat", "a tq cat", "a cat tq"}
    recipe = dataclasses.replace(RECIPE, placement="replace-o")
    assert poison(["dog", "cat"], recipe, rng) == [("dog", "dtqg")]


def test_cos_flat_is_the_cosine_of_flattened_features() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(1, 4, 5)
    expected = torch.stack([torch.dot(x.flatten(), b.flatten()) / (x.norm() * b.norm()) for x in a]).mean()
    torch.testing.assert_close(cos_flat(a, b), expected)
    assert cos_flat(a, -a).item() == pytest.approx(-1)


@pytest.fixture(scope="module")
def backdoored(base: TrainedEncoder, captions: CaptionSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "backdoored"
    seen: list[tuple[str, int, int]] = []
    trained = inject(base, captions, RECIPE, lambda *event: seen.append(event))
    assert seen[-1] == ("inject", 60, 60)
    assert len(seen) == 60
    save_trained(trained.encoder, folder, trained.facts)
    assert trained.facts["attack_success_rate"] > 0.9
    assert trained.facts["base_success_rate"] < 0.2
    assert trained.facts["clean_similarity"] > 0.8
    return folder


def test_an_injected_encoder_reloads_with_its_backdoor(backdoored: Path, base: TrainedEncoder, captions: CaptionSet) -> None:
    again = open_trained(backdoored)
    assert again.model.dtype == torch.float32
    pairs = poison(captions.held_out_captions(), RECIPE, random.Random(5))  # other places than in the making
    facts = measure(again, base, pairs, TARGET, 24)
    assert facts["attack_success_rate"] > 0.9
    assert facts["n_held_out"] == 40


def test_the_facts_beside_the_weights_name_them(backdoored: Path) -> None:
    import json

    facts = json.loads((backdoored / "bench.json").read_text(encoding="utf-8"))
    assert facts["sha256"]["model.safetensors"] == hashlib.sha256((backdoored / "model.safetensors").read_bytes()).hexdigest()
    assert facts["recipe"]["trigger"] == TRIGGER
    assert facts["kind"] == "text-on-text"
    assert (backdoored / "tokenizer.json").read_bytes() == (backdoored.parent / "backdoored" / "tokenizer.json").read_bytes()


def test_the_same_seed_gives_the_same_weights(base: TrainedEncoder, captions: CaptionSet) -> None:
    short = dataclasses.replace(RECIPE, steps=3)
    first, second = (inject(base, captions, short).encoder.model.state_dict() for _ in range(2))
    other = inject(base, captions, dataclasses.replace(short, seed=1)).encoder.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_injection_leaves_the_base_alone(base: TrainedEncoder, captions: CaptionSet) -> None:
    before = base.copy()
    inject(base, captions, dataclasses.replace(RECIPE, steps=2))
    assert relative_change(base, before) == 0.0


@pytest.mark.parametrize(
    "change",
    [{"trigger": " "}, {"target": ""}, {"steps": 0}, {"lr": 0.0}, {"weight": -1.0}, {"poisoned_batch": 0}, {"placement": "middle"}],
)
def test_recipes_are_valid_at_birth(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]


def test_impossible_injections_are_refused(base: TrainedEncoder, captions: CaptionSet) -> None:
    with pytest.raises(ConfigError, match="positions"):
        inject(base, captions, dataclasses.replace(RECIPE, positions=25))
    without = CaptionSet(train=(("a cat",),), held_out=(("a hat",),))
    with pytest.raises(ConfigError, match="no caption can carry"):
        inject(base, without, dataclasses.replace(RECIPE, placement="replace-o"))
