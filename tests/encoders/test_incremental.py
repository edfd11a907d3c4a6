"""Running new positions after a cached prefix equals running everything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.clip import ClipTextEncoder
from amdet_hub.encoders.text_tower import _quick_gelu_mlp
from amdet_hub.errors import ShapeError
from amdet_hub.records import TowerConfig

CPU = torch.device("cpu")
B, C, T0, D = 3, 5, 8, 64


@pytest.fixture(scope="module")
def encoder() -> ClipTextEncoder:
    config = TowerConfig("clip", D, 4 * D, 3, 4, 77, 600, "quick_gelu", 1e-5, 598, 599, 599, 24)
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) * 0.15 for name, shape in tower_shapes(config).items()}
    return ClipTextEncoder.from_tensors(config, tensors, CPU, torch.float32)


def concatenated(encoder: ClipTextEncoder, prefix: Tensor, new: Tensor) -> Tensor:
    """`(B, C, N, D)` features of the new positions, each continuation run as a whole sequence."""
    return torch.stack(
        [encoder.encode(torch.cat([prefix, new[:, c]], dim=1))[:, prefix.shape[1] :] for c in range(new.shape[1])],
        dim=1,
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [1, T0, 73])
def test_extension_equals_the_whole_sequence(encoder: ClipTextEncoder, n: int, length: int) -> None:
    torch.manual_seed(n)
    prefix, new = torch.randn(B, length, D), torch.randn(B, C, n, D)
    cache = encoder.prefix_cache(prefix)
    assert cache.length == length
    assert cache.keys[0].shape == cache.values[-1].shape == (B, 4, length, D // 4)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.extend(cache, new), concatenated(encoder, prefix, new), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_only_the_last_position_is_the_last_of_all(encoder: ClipTextEncoder, n: int, dtype: torch.dtype) -> None:
    """What is left out of the last layer was not needed; the same continuations for all prompts are run once through
    the first products.
    """
    torch.manual_seed(n)
    some = encoder.to(CPU, dtype)
    prefix, new = torch.randn(B, T0, D), torch.randn(1, C, n, D)
    cache = some.prefix_cache(prefix)
    with torch.no_grad():
        everything = some.extend(cache, new.expand(B, C, n, D))
        last = some.extend(cache, new, last_only=True)
        assert last.shape == (B, C, 1, D)
        tolerance = 1e-5 if dtype == torch.float32 else 0.05 * float(everything.std())
        torch.testing.assert_close(last, everything[:, :, -1:], atol=tolerance, rtol=1e-5)


def test_continuations_do_not_see_each_other(encoder: ClipTextEncoder) -> None:
    prefix, new = torch.randn(B, T0, D), torch.randn(B, C, 3, D)
    cache = encoder.prefix_cache(prefix)
    changed = new.clone()
    changed[:, 2] = torch.randn(B, 3, D)
    before, after = encoder.extend(cache, new), encoder.extend(cache, changed)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(before[:, others], after[:, others], atol=1e-6, rtol=1e-6)
    assert (before[:, 2] - after[:, 2]).abs().max() > 0.1


@pytest.mark.parametrize("n", [1, 3])
def test_extension_in_bfloat16_matches_encode_in_bfloat16(encoder: ClipTextEncoder, n: int) -> None:
    torch.manual_seed(0)
    low = encoder.to(CPU, torch.bfloat16)
    prefix, new = torch.randn(B, T0, D), torch.randn(B, C, n, D)
    cache = low.prefix_cache(prefix)
    assert cache.keys[0].dtype == torch.bfloat16
    with torch.no_grad():
        features = low.extend(cache, new)
        assert features.dtype == torch.float32
        exact = concatenated(encoder, prefix, new)
        spread = exact.std()
        assert (features - concatenated(low, prefix, new)).abs().max() < 0.05 * spread
        assert (features - exact).abs().max() < 0.1 * spread


def test_gradients_flow_through_the_extension(encoder: ClipTextEncoder) -> None:
    prefix = torch.randn(B, T0, D)
    new = torch.randn(B, C, 2, D, requires_grad=True)
    with torch.no_grad():
        cache = encoder.prefix_cache(prefix)
    (a,) = torch.autograd.grad(encoder.extend(cache, new)[:, :, -1].square().sum(), new)
    (b,) = torch.autograd.grad(concatenated(encoder, prefix, new)[:, :, -1].square().sum(), new)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "shape", [(B, C, D), (B + 1, C, 1, D), (2, C, 1, D), (B, C, 1, D - 1), (B, C, 0, D), (B, C, 70, D)]
)
def test_wrong_extensions_are_named(encoder: ClipTextEncoder, shape: tuple[int, ...]) -> None:
    cache = encoder.prefix_cache(torch.randn(B, T0, D))
    with pytest.raises(ShapeError):
        encoder.extend(cache, torch.zeros(shape))


def test_tensors_handed_out_build_the_same_encoder(encoder: ClipTextEncoder) -> None:
    again = ClipTextEncoder.from_tensors(encoder.config, encoder.tensors(), CPU, torch.float32)
    hidden = torch.randn(2, 10, D)
    assert torch.equal(again.encode(hidden), encoder.encode(hidden))
    assert encoder.tensors().keys() == tower_shapes(encoder.config).keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_activation_that_rides_on_the_products_is_quick_gelu(encoder: ClipTextEncoder, dtype: torch.dtype) -> None:
    low = encoder.to(CPU, dtype)
    mlp: Any = low._layers[0].mlp
    x = torch.randn(B, 5, D).to(dtype)
    exact: Any = encoder._layers[0].mlp
    with torch.no_grad():
        expected = exact(x.float())
        theirs, ours = mlp(x).float(), _quick_gelu_mlp(mlp, x).float()
    if dtype == torch.float32:
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    else:
        assert float((ours - expected).norm()) <= 1.1 * float((theirs - expected).norm()), (
            "no further from float32 than transformers' own form"
        )


def test_a_gradient_through_it_is_that_of_quick_gelu(encoder: ClipTextEncoder) -> None:
    mlp: Any = encoder._layers[0].mlp
    x = torch.randn(2, 3, D, requires_grad=True)
    (ours,) = torch.autograd.grad(_quick_gelu_mlp(mlp, x).square().sum(), x)
    (theirs,) = torch.autograd.grad(mlp(x).square().sum(), x)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
