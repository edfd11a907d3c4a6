"""The split of the encoder equals the full transformers model bit for bit; causal families are causal; pooling
matches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, SiglipModel, SiglipTextModel

from amdet_hub.detect.protocol import IncrementalTextEncoder, TextEncoder, TrainableTextEncoder
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.errors import ShapeError
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.encoders.folder_source import FolderSource

CPU = torch.device("cpu")


def load(folder: Path) -> TextEncoder:
    source = FolderSource(folder)
    return load_tower(find_encoders(source).encoders[0], source).encoder


def hidden_of(encoder: TextEncoder, ids: Tensor) -> Tensor:
    return encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]]


def prompts(length: int, eos_at: int, vocab: int = 600) -> Tensor:
    """`(3, length)`: BOS, words, EOS, then padding with EOS, as CLIP's tokenizer pads."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(0, vocab - 2, (3, length), generator=generator)
    ids[:, 0], ids[:, eos_at:] = vocab - 2, vocab - 1
    return ids


CLIP_CASES: dict[str, tuple[dict[str, Any], Callable[[Path], Any], Callable[[Any], Tensor]]] = {
    "projection": ({}, CLIPTextModelWithProjection.from_pretrained, lambda out: out.text_embeds),
    "projection, legacy eos": (
        {"legacy_eos": True},
        CLIPTextModelWithProjection.from_pretrained,
        lambda out: out.text_embeds,
    ),
    "no projection": ({"kind": "CLIPTextModel"}, CLIPTextModel.from_pretrained, lambda out: out.pooler_output),
    "no projection, legacy eos": (
        {"kind": "CLIPTextModel", "legacy_eos": True},
        CLIPTextModel.from_pretrained,
        lambda out: out.pooler_output,
    ),
    "gelu": ({"hidden_act": "gelu"}, CLIPTextModelWithProjection.from_pretrained, lambda out: out.text_embeds),
    "half precision file": (
        {"dtype": "float16"},
        lambda f: CLIPTextModelWithProjection.from_pretrained(f, dtype=torch.float32),
        lambda out: out.text_embeds,
    ),
    "sharded bfloat16": (
        {"dtype": "bfloat16", "sharded": True},
        lambda f: CLIPTextModelWithProjection.from_pretrained(f, dtype=torch.float32),
        lambda out: out.text_embeds,
    ),
}


@pytest.mark.parametrize("positions", [77, 248, 64])
@pytest.mark.parametrize("case", CLIP_CASES)
def test_clip_split_equals_the_full_model(tmp_path: Path, case: str, positions: int) -> None:
    options, from_pretrained, pooled_of = CLIP_CASES[case]
    tiny_clip(tmp_path, positions=positions, **options)
    model, encoder = from_pretrained(tmp_path).eval(), load(tmp_path)
    for length, eos_at in ((positions, 20), (positions, positions - 1), (9, 5)):
        ids = prompts(length, eos_at)
        with torch.no_grad():
            expected = model(input_ids=ids)
            features = encoder.encode(hidden_of(encoder, ids))
            assert torch.equal(features, expected.last_hidden_state)
            assert torch.equal(encoder.pool(features, ids), pooled_of(expected))
        assert encoder.pool_positions(ids).tolist() == [eos_at] * 3


def test_clip_model_split_equals_text_features(tmp_path: Path) -> None:
    tiny_clip(tmp_path, kind="CLIPModel")
    model, encoder, ids = CLIPModel.from_pretrained(tmp_path).eval(), load(tmp_path), prompts(77, 11)
    with torch.no_grad():
        features = encoder.encode(hidden_of(encoder, ids))
        assert torch.equal(features, model.text_model(input_ids=ids).last_hidden_state)
        assert torch.equal(encoder.pool(features, ids), model.get_text_features(input_ids=ids).pooler_output)


@pytest.mark.parametrize("positions", [77, 248, 64, 16])
@pytest.mark.parametrize("kind", ["SiglipModel", "SiglipTextModel"])
def test_siglip_split_equals_the_full_model(tmp_path: Path, kind: Any, positions: int) -> None:
    tiny_siglip(tmp_path, kind=kind, positions=positions, projection_size=40 if positions == 16 else None)
    model = (SiglipModel if kind == "SiglipModel" else SiglipTextModel).from_pretrained(tmp_path).eval()
    text_model = model.text_model if kind == "SiglipModel" else model
    encoder = load(tmp_path)
    for length in (positions, 9):
        ids = torch.randint(0, 400, (3, length))
        with torch.no_grad():
            expected = text_model(input_ids=ids)
            features = encoder.encode(hidden_of(encoder, ids))
            assert torch.equal(features, expected.last_hidden_state)
            assert torch.equal(encoder.pool(features, ids), expected.pooler_output)
        assert encoder.pool_positions(ids).tolist() == [length - 1] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clip_is_causal_and_siglip_is_not(tmp_path: Path, dtype: torch.dtype) -> None:
    for make, causal in ((tiny_clip, True), (tiny_siglip, False)):
        encoder = load(make(tmp_path / make.__name__)).to(CPU, dtype)
        ids = torch.randint(0, 390, (2, 20))
        changed = ids.clone()
        changed[:, 12] = (changed[:, 12] + 1) % 390
        before, after = encoder.encode(hidden_of(encoder, ids)), encoder.encode(hidden_of(encoder, changed))
        assert torch.equal(before[:, :12], after[:, :12]) is causal
        assert not torch.equal(before[:, 12:], after[:, 12:])
        assert encoder.config.causal is causal


def test_between_two_towers(tmp_path: Path) -> None:
    """A suspect without a projection and a reference with one, as pipelines and their bases are; the suspect's dtype
    is not the mean's.
    """
    one, other = load(tiny_clip(tmp_path / "one", kind="CLIPTextModel")), load(tiny_clip(tmp_path / "other", seed=1))
    assert isinstance(one, TrainableTextEncoder)
    assert isinstance(other, TrainableTextEncoder)
    half = one.to(CPU, torch.bfloat16)
    assert isinstance(half, TrainableTextEncoder)
    middle, rounded = half.between(other, 0.25), half.weights()
    assert middle.dtype == torch.float32
    assert middle.weights().keys() == one.weights().keys() == other.weights().keys()
    for name, weight in middle.weights().items():
        expected = 0.75 * rounded[name].float() + 0.25 * other.weights()[name]
        assert torch.allclose(weight, expected, atol=1e-6), name
    assert not torch.equal(one.token_embedding, other.token_embedding), "a quarter of nothing would be nothing"


def test_gradients_reach_the_weights_of_a_tower_that_asks_for_them(tmp_path: Path) -> None:
    tower = load(tiny_clip(tmp_path))
    assert isinstance(tower, TrainableTextEncoder)
    own, ids = tower.between(tower, 0.0), prompts(9, 5)
    weights = own.weights()
    for weight in weights.values():
        weight.requires_grad_(True)
    own.encode(hidden_of(own, ids)).square().sum().backward()  # type: ignore[no-untyped-call]
    names = [name for name, weight in weights.items() if weight.grad is not None and bool(weight.grad.any())]
    assert any("q_proj.weight" in name for name in names)
    assert any("out_proj.weight" in name for name in names)
    assert not any(weight.requires_grad for weight in tower.weights().values()), (
        "the tower it came from is not touched"
    )


def test_nothing_lies_between_towers_of_different_shapes(tmp_path: Path) -> None:
    short, long = load(tiny_clip(tmp_path / "short")), load(tiny_clip(tmp_path / "long", positions=248))
    assert isinstance(short, TrainableTextEncoder)
    with pytest.raises(ShapeError, match="nothing between them"):
        short.between(long, 0.5)


def test_only_clip_has_an_incremental_form(tmp_path: Path) -> None:
    assert isinstance(load(tiny_clip(tmp_path / "clip")), IncrementalTextEncoder)
    assert not isinstance(load(tiny_siglip(tmp_path / "siglip")), IncrementalTextEncoder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [tiny_clip, tiny_siglip])
def test_gradients_reach_the_hidden_states_and_nothing_else(
    tmp_path: Path, make: Callable[[Path], Path], dtype: torch.dtype
) -> None:
    encoder = load(make(tmp_path)).to(CPU, dtype)
    ids = torch.randint(0, 390, (2, 10))
    hidden = hidden_of(encoder, ids).requires_grad_(True)
    encoder.pool(encoder.encode(hidden), ids).square().sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()
    assert hidden.grad.abs().sum() > 0
    assert not encoder.token_embedding.requires_grad


def test_lower_precision_leaves_the_original_alone_and_stays_close(tmp_path: Path) -> None:
    encoder = load(tiny_clip(tmp_path))
    ids = prompts(77, 20)
    before = encoder.encode(hidden_of(encoder, ids))
    moved = encoder.to(CPU, torch.bfloat16)
    assert (encoder.dtype, moved.dtype) == (torch.float32, torch.bfloat16)
    assert moved.token_embedding.dtype == torch.float32  # the vocabulary is not rounded
    after = moved.encode(hidden_of(moved, ids))
    assert after.dtype == torch.float32
    assert (after - before).abs().max() < 0.05
    assert torch.equal(encoder.encode(hidden_of(encoder, ids)), before)
    assert encoder.to(CPU, torch.float32) is encoder


@pytest.mark.parametrize("shape", [(2, 78, 32), (2, 10, 31), (10, 32), (2, 0, 32)])
def test_wrong_shapes_are_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    encoder = load(tiny_clip(tmp_path))
    with pytest.raises(ShapeError, match="expected"):
        encoder.encode(torch.zeros(shape))


def test_pooling_needs_matching_ids(tmp_path: Path) -> None:
    for make in (tiny_clip, tiny_siglip):
        encoder = load(make(tmp_path / make.__name__))
        with pytest.raises(ShapeError, match="input_ids"):
            encoder.pool(torch.zeros(2, 5, 32), torch.zeros(2, 6, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_in_plain_products_is_the_fused_one(dtype: torch.dtype, causal: bool) -> None:
    """The same values, and the same gradients as the fused kernel has in float32."""
    from amdet_hub.encoders.text_tower import _attention

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 7, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3))
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    plain = _attention(q, k, v, causal=causal)
    fused = torch.nn.functional.scaled_dot_product_attention(exact[0], exact[1], exact[2], is_causal=causal)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(plain.float(), fused, atol=tolerance, rtol=tolerance)
    weights = torch.randn(plain.shape, generator=generator)
    ours = torch.autograd.grad((plain.float() * weights).sum(), (q, k, v))
    theirs = torch.autograd.grad((fused * weights).sum(), exact)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.float(), b, atol=2 * tolerance, rtol=2 * tolerance)
    with torch.no_grad():
        torch.testing.assert_close(
            _attention(q, k, v, causal=causal).float(), plain.float(), atol=tolerance, rtol=tolerance
        )
