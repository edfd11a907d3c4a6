"""Pseudo-tokens and the inversion in the hull of the vocabulary, with its role-swapped null."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from amdet_hub.config import ScanConfig
from amdet_hub.config_stages import InversionConfig
from amdet_hub.detect.context import TowerPair
from amdet_hub.detect.inversion.invert import Descent, Inversion, PairedInversion
from amdet_hub.detect.inversion.objectives import assimilation, paper_terms
from amdet_hub.detect.inversion.pseudo_tokens import FreeVectors, HullVectors
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.splice import hidden_states, insert_vectors
from tests.detect.processes import in_two_processes
from tests.detect.towers import CLIP, SIGLIP, context, prompts, random_pair, random_tower

SMALL = InversionConfig(restarts=6, steps=4, batch_size=3)


def inversion(towers: TowerPair, some: tuple[PromptSet, ...], config: InversionConfig = SMALL) -> PairedInversion:
    assert towers.reference is not None
    return PairedInversion(towers.suspect, towers.reference, some[0], some[1], config)


def inverted(
    towers: TowerPair, some: tuple[PromptSet, ...], config: InversionConfig = SMALL, seed: int = 0, **others: Any
) -> Inversion:
    return inversion(towers, some, config).run(context(ScanConfig(seed=seed), **others), "inversion")


def free(*shape: int) -> FreeVectors:
    return FreeVectors(torch.randn(shape, generator=torch.Generator().manual_seed(0)))


def hull(restarts: int = 3, k: int = 2, seed: int = 0) -> HullVectors:
    encoder = random_tower()
    generator = torch.Generator().manual_seed(seed)
    return HullVectors(restarts, encoder.token_embedding, encoder.position_embedding[k : 2 * k], generator=generator)


def test_hull_vectors_are_mixtures_of_token_embeddings() -> None:
    pseudo, encoder = hull(), random_tower()
    mixture = pseudo.vectors().detach() - encoder.position_embedding[2:4]
    weights = pseudo.parameters.detach().softmax(-1)  # (R, K, V)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 2), atol=1e-6)
    assert (weights >= 0).all()
    assert torch.allclose(mixture, torch.einsum("rkv,vd->rkd", weights, encoder.token_embedding), atol=1e-5)
    assert (mixture <= encoder.token_embedding.max(0).values + 1e-5).all()
    assert (mixture >= encoder.token_embedding.min(0).values - 1e-5).all()


def test_a_mixture_of_one_token_is_that_token() -> None:
    pseudo, encoder = hull(restarts=1, k=1), random_tower()
    with torch.no_grad():
        pseudo.parameters.fill_(-1e4)[..., 7] = 1e4
    assert torch.allclose(
        pseudo.vectors()[0, 0], encoder.token_embedding[7] + encoder.position_embedding[1], atol=1e-5
    )


def test_starts_differ_and_repeat() -> None:
    first, again, other = hull(seed=1), hull(seed=1), hull(seed=2)
    assert torch.equal(first.parameters, again.parameters)
    assert not torch.equal(first.parameters, other.parameters)
    assert not torch.allclose(first.vectors()[0], first.vectors()[1])


def test_gradients_reach_the_parameters() -> None:
    for pseudo in (hull(), free(3, 2, 16)):
        pseudo.vectors().square().sum().backward()  # type: ignore[no-untyped-call]
        assert pseudo.parameters.grad is not None
        assert pseudo.parameters.grad.abs().sum() > 0
        assert pseudo.parameters.is_leaf


def test_descent_is_adam_with_l2_decay() -> None:
    pseudo = free(1, 1, 4)
    other = pseudo.parameters.detach().clone().requires_grad_()
    config = InversionConfig(learning_rate=0.08, weight_decay=1e-5)
    plain = torch.optim.Adam([other], lr=0.08, weight_decay=1e-5)
    descent = Descent(pseudo, config)
    for _ in range(3):
        before = float(pseudo.parameters.detach().square().sum())
        assert descent.step(lambda v: v.square().sum()) == pytest.approx(before), "the loss before the step"
        plain.zero_grad()
        other.square().sum().backward()  # type: ignore[no-untyped-call]
        plain.step()
    assert torch.equal(pseudo.parameters, other)


def test_inversion_goes_down() -> None:
    some = prompts(12).split(8, 4)
    short, long = (inverted(random_pair(), some, dataclasses.replace(SMALL, steps=steps)) for steps in (1, 25))
    assert float(long.loss.mean()) < float(short.loss.mean())
    assert long.vectors.shape == (6, 1, CLIP.hidden_size)
    assert long.gain.shape == long.loss.shape == (6,)
    assert long.best == int(long.loss.argmin())


def test_gain_and_loss_by_their_definitions() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    train, heldout = prompts(12).split(8, 4)
    found = inverted(TowerPair(suspect, reference), (train, heldout))
    length = train.tokens.shape[1] + 3  # BOS, EOS and the one vector
    centre = reference.encode(hidden_states(reference, train, length)).mean((0, 1))
    clean = suspect.encode(hidden_states(suspect, heldout, length))[:, 1:] - centre
    for vector, loss, gain in zip(found.vectors, found.loss, found.gain, strict=True):
        f, g = (
            e.encode(insert_vectors(hidden_states(e, heldout, length), vector[None])[0])[:, 1:] - centre
            for e in (suspect, reference)
        )  # the position before the vector cannot change
        terms = paper_terms(f, clean, g)
        assert float(terms.loss(0.1, 0.1).mean()) == pytest.approx(float(loss), abs=1e-5)
        assert float((assimilation(f) - assimilation(g)).mean()) == pytest.approx(float(gain), abs=1e-5)


@pytest.mark.parametrize("config", ["clip", "siglip"])
def test_two_processes_invert_as_one(config: str) -> None:
    tower = CLIP if config == "clip" else SIGLIP
    towers, some = random_pair(tower), prompts(8, config=tower).split(5, 3)
    alone = inverted(towers, some)
    for found in in_two_processes(lambda workers: inverted(towers, some, workers=workers)):
        assert torch.equal(found.vectors, alone.vectors)
        assert torch.equal(found.loss, alone.loss)


def test_the_surface_of_the_landscape_is_the_held_out_loss() -> None:
    towers, some = random_pair(), prompts(9).split(8, 1)
    found = inverted(towers, some)
    assert torch.allclose(inversion(towers, some).heldout_loss(found.vectors), found.loss, atol=1e-6)


def test_same_seed_same_vectors() -> None:
    some = prompts(8).split(5, 3)
    first, again, other = (inverted(random_pair(), some, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.vectors, again.vectors)
    assert not torch.equal(first.vectors, other.vectors)
