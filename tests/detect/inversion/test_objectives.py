"""The three terms of the loss, against their explicit forms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from amdet_hub.detect.inversion.objectives import assimilation, centred_terms, paper_terms, positionwise_similarity


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_assimilation_is_the_mean_of_the_whole_cosine_matrix() -> None:
    f = features(3, 7, 5)
    for prompt, value in zip(f, assimilation(f), strict=True):
        matrix = F.cosine_similarity(prompt[:, None], prompt[None, :], dim=-1)  # (T, T), diagonal included
        assert torch.isclose(matrix.mean(), value, atol=1e-6)


def test_assimilation_of_equal_and_of_orthogonal_tokens() -> None:
    assert torch.allclose(assimilation(torch.ones(2, 4, 3)), torch.ones(2))
    assert torch.isclose(assimilation(torch.eye(4)), torch.tensor(0.25)), "only the diagonal is left"


def test_positionwise_similarity_by_hand() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    b = torch.tensor([[3.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    assert float(positionwise_similarity(a, b)) == pytest.approx((1 - 1 + 2**-0.5) / 3)


def test_the_published_loss_by_hand() -> None:
    triggered = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # assimilation 1/2
    clean = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])  # similarities 1 and 0
    reference = torch.tensor([[[-1.0, 0.0], [0.0, 3.0]]])  # similarities -1 and 1
    assert float(paper_terms(triggered, clean, reference).loss(0.1, 0.1)) == pytest.approx(
        -0.5 + 0.1 * 0.5 + 0.1 * 0.0
    )
    assert float(paper_terms(triggered, clean, clean).loss(0.1, 0.3)) == pytest.approx(-0.5 + 0.1 * 0.5 + 0.3 * 0.5)


def test_without_a_reference_its_term_is_zero() -> None:
    terms = paper_terms(features(2, 3, 4, 5), features(3, 4, 5), None)
    assert terms.to_reference.shape == (2, 3)
    assert not terms.to_reference.any()
    assert terms.to_clean.shape == terms.assimilation.shape == (2, 3)


def test_centring_does_not_see_a_common_component() -> None:
    triggered, clean, reference, centre, shift = (
        features(3, 4, 5, seed=i) if i < 3 else features(5, seed=i) for i in range(5)
    )
    here = centred_terms(triggered, clean, reference, centre)
    there = centred_terms(triggered + shift, clean + shift, reference + shift, centre + shift)
    for a, b in zip(vars(here).values(), vars(there).values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    raw = paper_terms(triggered + 50 * shift, clean + 50 * shift, reference + 50 * shift)
    assert (raw.assimilation > 0.9).all(), "without it, a large common component makes any tokens look alike"
    assert (here.assimilation < 0.9).all()
