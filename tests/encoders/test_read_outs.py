"""What consumers read of a tower beside its pooled feature, held against transformers' own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, SiglipTextModel

from amdet_hub.detect.splice import hidden_of
from amdet_hub.encoders.clip import ClipTextEncoder
from amdet_hub.encoders.digest import same_projection
from amdet_hub.encoders.text_tower import TextTower
from amdet_hub.errors import ShapeError
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.encoders.test_split import load, prompts


def tower(folder: Path) -> TextTower:
    return cast(TextTower, load(folder))


def test_the_penultimate_tower_reads_the_state_before_the_last_layer(tmp_path: Path) -> None:
    tiny_clip(tmp_path, kind="CLIPTextModelWithProjection")
    model, encoder, ids = (
        CLIPTextModelWithProjection.from_pretrained(tmp_path).eval(),
        tower(tmp_path),
        prompts(77, 20),
    )
    with torch.no_grad():
        state = model(input_ids=ids, output_hidden_states=True).hidden_states[-2]
        features = encoder.penultimate().encode(hidden_of(encoder, ids))
    inner = getattr(model, "text_model", model)
    assert torch.equal(features, inner.final_layer_norm(state))


def test_one_run_gives_both_states_of_the_last_position(tmp_path: Path) -> None:
    tiny_clip(tmp_path, kind="CLIPTextModelWithProjection")
    encoder = cast(ClipTextEncoder, load(tmp_path))
    before = encoder.penultimate()
    d = encoder.config.hidden_size
    torch.manual_seed(0)
    prefix, new = torch.randn(3, 6, d), torch.randn(1, 5, 2, d)
    with torch.no_grad():
        found = encoder.last_states(encoder.prefix_cache(prefix), new)
        last = encoder.extend(encoder.prefix_cache(prefix), new, last_only=True)[:, :, 0]
        penultimate = before.extend(before.prefix_cache(prefix), new, last_only=True)[:, :, 0]
    assert torch.equal(found[0], last), "nothing of the last layer's feature changes"
    torch.testing.assert_close(found[1], penultimate, atol=1e-5, rtol=1e-5)


def test_the_projected_feature_is_the_models_own_at_unit_length(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "clip", kind="CLIPTextModelWithProjection")
    tiny_siglip(tmp_path / "siglip", kind="SiglipTextModel", vocab_size=600)
    clip = CLIPTextModelWithProjection.from_pretrained(tmp_path / "clip").eval()
    siglip = SiglipTextModel.from_pretrained(tmp_path / "siglip").eval()
    for name, model, length in (("clip", clip, 77), ("siglip", siglip, 64)):
        encoder, ids = tower(tmp_path / name), prompts(length, 20)
        view = encoder.projected_by(encoder)
        rows = torch.arange(len(ids))
        with torch.no_grad():
            features = view.encode(hidden_of(view, ids))[rows, view.pool_positions(ids)]
            output = model(input_ids=ids)
        own = output.text_embeds if name == "clip" else output.pooler_output
        torch.testing.assert_close(features, F.normalize(own, dim=-1), atol=1e-6, rtol=1e-5)


def test_a_view_keeps_its_projection_and_leaves_the_tower_alone(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "one", kind="CLIPTextModelWithProjection", seed=1)
    tiny_clip(tmp_path / "other", kind="CLIPTextModelWithProjection", seed=2)
    one, other = tower(tmp_path / "one"), tower(tmp_path / "other")
    hidden = torch.randn(2, 9, one.config.hidden_size)
    view = one.projected_by(other)
    with torch.no_grad():
        expected = other.project(one.encode(hidden))
        assert torch.equal(view.encode(hidden), expected)
        halfway = view.between(one, 0.5).encode(hidden)  # between a tower and itself
    torch.testing.assert_close(halfway, expected, atol=1e-5, rtol=1e-5)
    assert one.encode(hidden).shape[-1] == one.config.hidden_size
    assert not same_projection(one.tensors(), other.tensors())
    assert same_projection(one.tensors(), one.tensors())


def test_a_single_layer_has_none_before_it(tmp_path: Path) -> None:
    tiny_clip(tmp_path, kind="CLIPTextModelWithProjection")
    short = tower(tmp_path)
    while short.config.num_hidden_layers > 1:
        short = short.penultimate()
    with pytest.raises(ShapeError, match="before the last"):
        short.penultimate()
