"""Pseudo-tokens and the inversion in the hull of the vocabulary, with its role-swapped null."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amdet_hub.config import InversionConfig
from amdet_hub.detect.inversion.invert import Descent, invert_in_hull, loss_of_vectors
from amdet_hub.detect.inversion.objectives import assimilation, paper_terms
from amdet_hub.detect.inversion.pseudo_tokens import FreeVectors, HullVectors
from amdet_hub.detect.splice import hidden_states, insert_vectors
from tests.detect.processes import in_two_processes
from tests.detect.towers import CLIP, SIGLIP, prompts, random_tower

SMALL = InversionConfig(restarts=6, steps=4, batch_size=3)


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
    for pseudo in (
        hull(),
        FreeVectors(3, 2, 16, generator=torch.Generator().manual_seed(0), device=torch.device("cpu")),
    ):
        pseudo.vectors().square().sum().backward()  # type: ignore[no-untyped-call]
        assert pseudo.parameters.grad is not None
        assert pseudo.parameters.grad.abs().sum() > 0
        assert pseudo.parameters.is_leaf


def test_free_vectors_are_standard_normal() -> None:
    pseudo = FreeVectors(20, 2, 500, generator=torch.Generator().manual_seed(0), device=torch.device("cpu"))
    assert pseudo.vectors().shape == (20, 2, 500)
    assert float(pseudo.vectors().detach().std()) == pytest.approx(1.0, abs=0.02)


def test_descent_is_adam_with_l2_decay() -> None:
    ours = FreeVectors(1, 1, 4, generator=torch.Generator().manual_seed(0), device=torch.device("cpu"))
    theirs = ours.parameters.detach().clone().requires_grad_()
    config = InversionConfig(learning_rate=0.08, weight_decay=1e-5)
    plain = torch.optim.Adam([theirs], lr=0.08, weight_decay=1e-5)
    descent = Descent(ours, config)
    for _ in range(3):
        before = float(ours.parameters.detach().square().sum())
        assert descent.step(lambda v: v.square().sum()) == pytest.approx(before), "the loss before the step"
        plain.zero_grad()
        theirs.square().sum().backward()  # type: ignore[no-untyped-call]
        plain.step()
    assert torch.equal(ours.parameters, theirs)


def test_inversion_goes_down() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    train, heldout = prompts(12).split(8, 4)
    short, long = (
        invert_in_hull(suspect, reference, train, heldout, dataclasses.replace(SMALL, steps=steps), seed=0)
        for steps in (1, 25)
    )
    assert float(long.loss.mean()) < float(short.loss.mean())
    assert long.vectors.shape == (6, 1, CLIP.hidden_size)
    assert long.gain.shape == long.loss.shape == (6,)
    assert long.best == int(long.loss.argmin())


def test_gain_and_loss_by_their_definitions() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    train, heldout = prompts(12).split(8, 4)
    found = invert_in_hull(suspect, reference, train, heldout, SMALL, seed=0)
    length = train.tokens.shape[1] + 3  # BOS, EOS and the one vector
    centre = reference.encode(hidden_states(reference, train, length)).mean((0, 1))
    clean = suspect.encode(hidden_states(suspect, heldout, length))[:, 1:] - centre
    for vector, loss, gain in zip(found.vectors, found.loss, found.gain, strict=True):
        ours, theirs = (
            e.encode(insert_vectors(hidden_states(e, heldout, length), vector))[:, 1:] - centre
            for e in (suspect, reference)
        )  # the position before the vector cannot change
        terms = paper_terms(ours, clean, theirs)
        assert float(terms.loss(0.1, 0.1).mean()) == pytest.approx(float(loss), abs=1e-5)
        assert float((assimilation(ours) - assimilation(theirs)).mean()) == pytest.approx(float(gain), abs=1e-5)


@pytest.mark.parametrize("config", ["clip", "siglip"])
def test_two_processes_invert_as_one(config: str) -> None:
    tower = CLIP if config == "clip" else SIGLIP
    suspect, reference = random_tower(tower, seed=0), random_tower(tower, seed=1)
    train, heldout = prompts(8, config=tower).split(5, 3)
    alone = invert_in_hull(suspect, reference, train, heldout, SMALL, seed=0)
    for found in in_two_processes(
        lambda workers: invert_in_hull(suspect, reference, train, heldout, SMALL, seed=0, workers=workers)
    ):
        assert torch.equal(found.vectors, alone.vectors)
        assert torch.equal(found.loss, alone.loss)


def test_the_surface_of_the_landscape_is_the_held_out_loss() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    train, heldout = prompts(9).split(8, 1)
    found = invert_in_hull(suspect, reference, train, heldout, SMALL, seed=0)
    assert torch.allclose(
        loss_of_vectors(suspect, reference, train, heldout, SMALL)(found.vectors), found.loss, atol=1e-6
    )


def test_same_seed_same_vectors() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    train, heldout = prompts(8).split(5, 3)
    first, again, other = (invert_in_hull(suspect, reference, train, heldout, SMALL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.vectors, again.vectors)
    assert not torch.equal(first.vectors, other.vectors)
