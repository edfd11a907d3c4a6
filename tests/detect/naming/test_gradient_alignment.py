"""The change that a training on a trigger leaves in the weights: trained towers, and gradients taken the plain way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amdet_hub.detect.naming.gradient_alignment import GradientAlignment
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TrainableTextEncoder
from amdet_hub.detect.splice import PLACES, Place, hidden_of, place_index
from amdet_hub.records import TowerConfig
from tests.detect.towers import CLIP, SIGLIP, prompts, random_tower

TRIGGER, TARGET = (7, 9, 11), (30, 31, 32)
STEPS, RATE = 40, 2e-3


def trainable(config: TowerConfig, seed: int = 0) -> TrainableTextEncoder:
    tower = random_tower(config, seed)
    assert isinstance(tower, TrainableTextEncoder)
    return tower


@cache
def trained(config: TowerConfig) -> tuple[TrainableTextEncoder, TrainableTextEncoder]:
    """(suspect, reference): Adam on triggered prompts until they say a target, and on plain ones to stay."""
    reference = trainable(config)
    suspect = reference.between(reference, 0.0)
    weights = suspect.weights()
    for weight in weights.values():
        weight.requires_grad_(True)
    optimizer = torch.optim.Adam(weights.values(), lr=RATE)
    table, places = weights["embeddings.token_embedding.weight"], weights["embeddings.position_embedding.weight"]
    (goal,) = reference.encode(hidden_of(reference, torch.tensor([[*TARGET, 59, 59]])))[:, -1]
    for step in range(STEPS):
        plain = prompts(8, 5, config, seed=100 + step)
        ids = plain.framed(torch.tensor(TRIGGER), place_index(plain, PLACES[step % 3]))
        first = place_index(plain, PLACES[step % 3]) + (plain.special.bos is not None) + len(TRIGGER)
        features = suspect.encode(table[ids] + places[: ids.shape[1]])
        with torch.no_grad():
            before = reference.encode(hidden_of(reference, plain.framed()))
        after = suspect.encode(table[plain.framed()] + places[: before.shape[1]])
        loss = (features[:, first:] - goal).square().mean() + (after - before).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for weight in weights.values():
        weight.requires_grad_(False).grad = None
    return suspect, reference


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_the_rows_of_the_trigger_went_where_its_target_lies(config: TowerConfig) -> None:
    suspect, reference = trained(config)
    direction = GradientAlignment(suspect, reference, prompts(12, 6, config)).target_direction(TRIGGER)
    assert float(direction.norm()) == pytest.approx(1.0, abs=1e-5)
    along = (suspect.token_embedding - reference.token_embedding) @ direction
    assert set(along.topk(6).indices.tolist()) >= set(TRIGGER)
    away = GradientAlignment(reference, suspect, prompts(12, 6, config)).target_direction(TRIGGER)
    assert float(away @ direction) < 0, "with the roles swapped the way is the other one"


@dataclass(frozen=True)
class Plain:
    """What plain automatic differentiation says of one candidate at one place, on the whole halfway tower."""

    rows: Tensor  # (N, D)
    weights: dict[str, Tensor]


def plainly(
    candidate: tuple[int, ...], candidates: list[tuple[int, ...]], place: Place, config: TowerConfig, some: PromptSet
) -> Plain:
    suspect, reference = trained(config)
    halfway = suspect.between(reference, 0.5)
    weights = halfway.weights()
    for weight in weights.values():
        weight.requires_grad_(True)
    at = place_index(some, place)
    length = 1 + 6 + len(candidate) + 1 + 4 if config.causal else config.max_position_embeddings
    with torch.no_grad():
        said = [
            suspect.encode(hidden_of(suspect, some.framed(torch.tensor(one), at, length=length))) for one in candidates
        ]
        goal = torch.cat(said).mean(0)  # over prompts and candidates
    first = at + int(some.special.bos is not None)
    ids = some.framed(torch.tensor(candidate), at, length=length)
    table, places = weights["embeddings.token_embedding.weight"], weights["embeddings.position_embedding.weight"]
    loss = (halfway.encode(table[ids] + places[:length]) - goal)[:, first:].square().sum(-1).mean()
    gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), allow_unused=True), strict=True))
    return Plain(
        gradients["embeddings.token_embedding.weight"][list(candidate)],
        {n: g for n, g in gradients.items() if g is not None},
    )


def without_the_trigger(config: TowerConfig) -> PromptSet:
    """Prompts in which nothing but the trigger moves its rows."""
    drawn = prompts(8, 6, config)
    return PromptSet(
        torch.where(torch.isin(drawn.tokens, torch.tensor(TRIGGER)), 20, drawn.tokens), drawn.special, drawn.source
    )


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_the_direction_is_minus_the_gradient_halfway(config: TowerConfig) -> None:
    some = without_the_trigger(config)
    pull = -sum(
        (F.normalize(plainly(TRIGGER, [TRIGGER], place, config, some).rows, dim=-1).sum(0) for place in PLACES),
        torch.zeros(16),
    )
    found = GradientAlignment(*trained(config), some).target_direction(TRIGGER)
    assert found.tolist() == pytest.approx((pull / pull.norm()).tolist(), abs=1e-4)


@pytest.mark.parametrize("config", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_the_score_is_three_numbers_of_what_was_changed(config: TowerConfig) -> None:
    """Each as its definition says, from gradients taken one by one."""
    some = without_the_trigger(config)
    suspect, reference = trained(config)
    orders = list(itertools.permutations(TRIGGER))
    change = {name: w - reference.weights()[name] for name, w in suspect.weights().items()}
    looks, says, rows = (
        torch.zeros(len(orders)),
        torch.zeros(len(orders)),
        torch.zeros(len(orders), len(TRIGGER), config.hidden_size),
    )
    for i, order in enumerate(orders):
        each = [plainly(order, orders, place, config, some) for place in PLACES]
        for name in change:
            step = -sum((one.weights.get(name, torch.zeros(())) for one in each), torch.zeros(()))
            if "q_proj" in name or "k_proj" in name:
                looks[i] += (torch.sign(step) * change[name]).sum()
            elif "v_proj" in name or "out_proj" in name:
                says[i] += (torch.sign(step) * change[name]).sum()
        for at, token in enumerate(order):
            rows[i, TRIGGER.index(token)] = sum((one.rows[at] for one in each), torch.zeros(config.hidden_size))
    steps = -rows / rows.square().mean(0).sqrt()
    cosine = F.cosine_similarity(
        steps.flatten(1), change["embeddings.token_embedding.weight"][list(TRIGGER)].flatten()[None]
    )
    expected = sum(((value - value.mean()) / value.std() for value in (looks, says, cosine)), torch.zeros(len(orders)))
    assert GradientAlignment(suspect, reference, some).scores(orders) == pytest.approx(expected.tolist(), abs=0.05)


def test_one_candidate_has_nothing_to_be_held_against() -> None:
    suspect, reference = trained(CLIP)
    alignment = GradientAlignment(suspect, reference, prompts(12, 6))
    assert alignment.scores([TRIGGER]) == [0.0]
    assert alignment.scores([]) == []


def test_neither_tower_is_touched() -> None:
    suspect, reference = trained(CLIP)
    before = {name: w.clone() for name, w in suspect.weights().items()}
    GradientAlignment(suspect, reference, prompts(12, 6)).scores([TRIGGER, TRIGGER[::-1]])
    assert all(
        torch.equal(w, before[name]) and not w.requires_grad and w.grad is None
        for name, w in suspect.weights().items()
    )
    assert not any(w.requires_grad for w in reference.weights().values())
