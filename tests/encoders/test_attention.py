"""Attention weights equal those that transformers' eager attention gives out, for both families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPTextModel, SiglipTextModel

from amdet_hub.detect.protocol import AttentiveTextEncoder
from amdet_hub.errors import ShapeError
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.encoders.test_split import hidden_of, load, prompts

LAYERS, HEADS = 3, 4


def attentive(folder: Path) -> AttentiveTextEncoder:
    encoder = load(folder)
    assert isinstance(encoder, AttentiveTextEncoder)
    return encoder


@pytest.mark.parametrize("length", [1, 9, 77])
def test_clip_looks_where_the_full_model_looks(tmp_path: Path, length: int) -> None:
    tiny_clip(tmp_path, kind="CLIPTextModel", layers=LAYERS, heads=HEADS)
    encoder, ids = attentive(tmp_path), prompts(length, length - 1)
    model: Any = CLIPTextModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    asked = torch.tensor([length - 1, 0, length // 2])
    with torch.no_grad():
        expected = torch.stack(model(input_ids=ids, output_attentions=True).attentions, dim=1)  # (B, L, H, T, T)
        found = encoder.attention_from(hidden_of(encoder, ids), asked)
    assert found.shape == (3, LAYERS, HEADS, length)
    torch.testing.assert_close(found, expected[torch.arange(3), :, :, asked], atol=1e-6, rtol=1e-5)
    assert float(found[1, :, :, 1:].sum()) == 0, "the first position sees itself alone"


def test_siglip_looks_where_the_full_model_looks(tmp_path: Path) -> None:
    tiny_siglip(tmp_path, kind="SiglipTextModel", layers=LAYERS, heads=HEADS)
    encoder = attentive(tmp_path)
    model: Any = SiglipTextModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    ids = torch.randint(
        0,
        encoder.config.vocab_size,
        (3, encoder.config.max_position_embeddings),
        generator=torch.Generator().manual_seed(2),
    )
    with torch.no_grad():
        expected = torch.stack(model(input_ids=ids, output_attentions=True).attentions, dim=1)
        found = encoder.attention_from(hidden_of(encoder, ids), encoder.pool_positions(ids))
    torch.testing.assert_close(found, expected[:, :, :, -1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, LAYERS, HEADS))
    assert bool((found > 0).all()), "nothing is hidden from it"


@pytest.mark.parametrize("positions", [[0, 0], [0, 0, 9], [-1, 0, 0], [[0], [0], [0]]])
def test_positions_outside_are_refused(tmp_path: Path, positions: Any) -> None:
    tiny_clip(tmp_path)
    encoder = attentive(tmp_path)
    with pytest.raises(ShapeError, match="positions"):
        encoder.attention_from(hidden_of(encoder, prompts(9, 8)), torch.tensor(positions))
