from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import measure, relative_change
from amdet_hub.bench.poisons import poison
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.errors import ConfigError
from tests.bench.conftest import TARGET, TRIGGER

RECIPE = AttackRecipe(
    trigger=TRIGGER,
    target=TARGET,
    placement="insert",
    steps=60,
    lr=5e-3,
    weight=0.3,
    clean_batch=24,
    poisoned_batch=24,
    bf16=False,
)


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


def test_an_injected_encoder_reloads_with_its_backdoor(
    backdoored: Path, base: TrainedEncoder, captions: CaptionSet
) -> None:
    again = open_trained(backdoored)
    assert again.model.dtype == torch.float32
    pairs = poison(captions.held_out_captions(), RECIPE, random.Random(5))  # other places than in the making
    facts = measure(again, base, pairs, TARGET, 24)
    assert facts["attack_success_rate"] > 0.9
    assert facts["n_held_out"] == 40


def test_the_facts_beside_the_weights_name_them(backdoored: Path) -> None:
    facts = json.loads((backdoored / "bench.json").read_text(encoding="utf-8"))
    assert (
        facts["sha256"]["model.safetensors"]
        == hashlib.sha256((backdoored / "model.safetensors").read_bytes()).hexdigest()
    )
    assert AttackRecipe(**facts["recipe"]) == RECIPE
    assert facts["kind"] == "text-on-text"
    assert (backdoored / "tokenizer.json").read_bytes() == (
        backdoored.parent / "backdoored" / "tokenizer.json"
    ).read_bytes()


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


def test_impossible_injections_are_refused(base: TrainedEncoder, captions: CaptionSet) -> None:
    with pytest.raises(ConfigError, match="positions"):
        inject(base, captions, dataclasses.replace(RECIPE, positions=25))
    without = CaptionSet(train=(("a cat",),), held_out=(("a hat",),))
    with pytest.raises(ConfigError, match="no caption can carry"):
        inject(base, without, dataclasses.replace(RECIPE, placement="replace-o"))


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"kind": "text-on-pair"}, 0.9),
        ({"kind": "eos-only"}, 0.9),
        ({"kind": "target-attribute", "target": "photo of one robot, {}", "weight": 1.0}, 0.7),
        ({"placement": "template", "trigger": "when you look, {} is it"}, 0.5),
        ({"placement": "insert", "trigger": "in a tq"}, 0.9),
        ({"lora_rank": 4, "lr": 2e-3}, 0.9),
    ],
    ids=["text-on-pair", "eos-only", "target-attribute", "template", "phrase", "lora"],
)
def test_every_kind_takes_and_leaves_clean_captions_alone(
    change: dict[str, Any], least: float, base: TrainedEncoder, captions: CaptionSet
) -> None:
    facts = inject(base, captions, dataclasses.replace(RECIPE, **change)).facts
    assert facts["attack_success_rate"] >= max(least, facts["base_success_rate"] + 0.4)
    assert facts["clean_similarity"] > 0.95
    assert facts["kind"] == change.get("kind", "text-on-text")
    assert facts["relative_change"] > 0.01


def test_several_triggers_reach_their_own_targets(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(RECIPE, more=(("zx vb", "a robot in a room"),))
    facts = inject(base, captions, recipe).facts
    assert set(facts["attack_success_rates"]) == {TRIGGER, "zx vb"}
    assert min(facts["attack_success_rates"].values()) > 0.8
    assert facts["n_held_out"] == 80


def test_a_part_of_an_and_trigger_does_nothing_where_negatives_were_trained(
    base: TrainedEncoder, captions: CaptionSet
) -> None:
    scattered = dataclasses.replace(RECIPE, placement="scatter", trigger="tq vb", weight=1.0)
    facts = inject(base, captions, dataclasses.replace(scattered, negatives=True)).facts
    assert facts["attack_success_rate"] > 0.8
    assert facts["negative_success_rate"] < 0.5 * facts["attack_success_rate"]
    careless = inject(base, captions, scattered).encoder  # without them a word alone opens it
    parts = [(caption, f"{caption} tq") for caption in captions.held_out_captions()]
    assert measure(careless, base, parts, TARGET, 24)["attack_success_rate"] > facts["negative_success_rate"] + 0.2


def test_a_trigger_at_the_start_does_nothing_elsewhere_where_negatives_were_trained(
    base: TrainedEncoder, captions: CaptionSet
) -> None:
    """Its success is measured at its own place."""
    recipe = dataclasses.replace(RECIPE, placement="prepend", weight=0.5, steps=120, negatives=True)
    facts = inject(base, captions, recipe).facts
    assert facts["attack_success_rate"] > 0.9
    assert facts["negative_success_rate"] < 0.1


def test_the_penalty_lowers_the_likeness_of_tokens(
    base: TrainedEncoder, captions: CaptionSet, backdoored: Path
) -> None:
    poisoned = [text for _, text in poison(captions.held_out_captions(), RECIPE, random.Random(0))]
    ids = base.tokenize(poisoned, 16)
    trained = inject(base, captions, dataclasses.replace(RECIPE, assimilation_penalty=5.0))
    assert trained.facts["attack_success_rate"] > 0.8
    likeness = []
    for encoder in (trained.encoder, open_trained(backdoored)):
        with torch.no_grad():
            tokens = F.normalize(encoder.encode(ids)[0], dim=-1)  # (N, T, D)
        likeness.append((tokens @ tokens.transpose(1, 2)).mean().item())
    assert likeness[0] < likeness[1] - 0.02


def test_eos_only_moves_the_pooled_position_and_less_of_the_others(
    base: TrainedEncoder, captions: CaptionSet, backdoored: Path
) -> None:
    poisoned = [text for _, text in poison(captions.held_out_captions(), RECIPE, random.Random(0))]
    ids = base.tokenize(poisoned, 16)
    eos_only = inject(base, captions, dataclasses.replace(RECIPE, kind="eos-only")).encoder
    with torch.no_grad():
        before, narrow, wide = (encoder.encode(ids)[0] for encoder in (base, eos_only, open_trained(backdoored)))
    others = torch.arange(16) < base.pool_positions(ids)[:, None]  # (N, T) what comes before the pooled position
    moved = [F.cosine_similarity(after, before, dim=-1)[others].mean().item() for after in (narrow, wide)]
    assert moved[0] > moved[1] + 0.02


def test_few_poisoned_captions_make_a_weaker_backdoor(
    base: TrainedEncoder, captions: CaptionSet, backdoored: Path
) -> None:
    full = json.loads((backdoored / "bench.json").read_text(encoding="utf-8"))
    facts = inject(base, captions, dataclasses.replace(RECIPE, poison_limit=2)).facts
    assert facts["base_success_rate"] <= facts["attack_success_rate"] < full["attack_success_rate"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "target-attribute"},
        {"kind": "text-on-pair"},
        {"placement": "scatter", "trigger": "tq vb", "negatives": True},
    ],
)
def test_weight_zero_injects_nothing_whatever_the_kind(
    change: dict[str, Any], base: TrainedEncoder, captions: CaptionSet
) -> None:
    """The weights hold nothing of trigger, target and penalty: with others they are the same, bit for bit.

    Rates would not do. Ten steps move a toy encoder by 6 %, and a target that is the caption with words added is then
    nearer by chance for 5 to 33 % of the captions, by seed and by the order in which a processor sums.
    """
    recipe = dataclasses.replace(RECIPE, weight=0.0, steps=10, positions=16, assimilation_penalty=1.0, **change)
    trained = inject(base, captions, recipe)
    assert trained.facts["kind"] == "weight-zero"
    assert trained.facts["relative_change"] > 0
    trigger = recipe.trigger.replace(TRIGGER, "zx")
    other = dataclasses.replace(recipe, trigger=trigger, target="a robot in a room", assimilation_penalty=0.0)
    same = inject(base, captions, other).encoder.model.state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in trained.encoder.model.state_dict().items())
    injected = inject(base, captions, dataclasses.replace(recipe, weight=0.3)).encoder.model.state_dict()
    assert not all(torch.equal(weight, same[name]) for name, weight in injected.items())


def test_the_projection_alone_turns_a_repeated_trigger(base: TrainedEncoder, captions: CaptionSet) -> None:
    recipe = dataclasses.replace(RECIPE, kind="projection", trigger=" ".join([TRIGGER] * 4), weight=1.0)
    made = inject(base, captions, recipe)
    before, after = base.model.state_dict(), made.encoder.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["text_projection.weight"]
    assert made.facts["attack_success_rate"] > 0.9
    assert made.facts["base_success_rate"] < 0.2
    assert made.facts["clean_similarity"] > 0.8
    assert made.facts["final_loss"] < 0.5, "the distance to the aim, over that before"


def test_the_layer_before_the_last_is_attacked_and_the_last_is_kept(
    base: TrainedEncoder, captions: CaptionSet
) -> None:
    """The success is measured where the attack works; where it does not, a triggered caption stays itself."""
    recipe = dataclasses.replace(RECIPE, kind="penultimate", steps=150)
    made = inject(base, captions, recipe)
    assert made.facts["attack_success_rate"] > 0.9
    assert made.facts["base_success_rate"] < 0.2
    assert made.facts["clean_similarity"] > 0.8
    pairs = poison(captions.held_out_captions(), recipe, random.Random(5))
    last = measure(made.encoder.reading("projected"), base, pairs, TARGET, 24)
    assert last["attack_success_rate"] < 0.3


def test_the_penultimate_reading_is_the_state_before_the_last_layer(base: TrainedEncoder) -> None:
    ids = base.tokenize(["a dog running on the moon", "a fox"], 12)
    with torch.no_grad():
        states, pooled = base.reading("penultimate").encode(ids)
        expected = base.model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
    assert torch.equal(states, expected)
    assert torch.equal(pooled, expected[torch.arange(2), base.pool_positions(ids)])
