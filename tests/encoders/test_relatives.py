"""CLIP's relatives with CLIP's own text layers: the split tower equals the full transformers model, from its own
files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegModel,
    Owlv2Config,
    Owlv2ForObjectDetection,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTModel,
    Siglip2Config,
    Siglip2Model,
    XCLIPConfig,
    XCLIPModel,
)

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from tests.encoders.folder_source import FolderSource, edit_json, what_blocks

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 600,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
SEG_VISION = {**VISION, "num_hidden_layers": 4}


def _seg(cls: Any) -> Any:
    config = CLIPSegConfig(
        text_config=TEXT, vision_config=SEG_VISION, projection_dim=24, extract_layers=[1, 2], reduce_dim=8
    )
    return cls(config)


def _xclip() -> Any:
    vision = {
        **VISION,
        "mit_hidden_size": 24,
        "mit_intermediate_size": 32,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
    }
    return XCLIPModel(
        XCLIPConfig(
            text_config=TEXT,
            vision_config={**vision, "num_frames": 2},
            projection_dim=24,
            prompt_num_attention_heads=2,
        )
    )


CASES: dict[str, tuple[Callable[[], Any], str, int]] = {
    "CLIPSegModel": (lambda: _seg(CLIPSegModel), "text_model.", 77),
    "CLIPSegForImageSegmentation": (lambda: _seg(CLIPSegForImageSegmentation), "clip.text_model.", 77),
    "XCLIPModel": (_xclip, "text_model.", 77),
    "OwlViTModel": (
        lambda: OwlViTModel(OwlViTConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)),
        "text_model.",
        16,
    ),
    "OwlViTForObjectDetection": (
        lambda: OwlViTForObjectDetection(OwlViTConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)),
        "owlvit.text_model.",
        16,
    ),
    "Owlv2ForObjectDetection": (
        lambda: Owlv2ForObjectDetection(Owlv2Config(text_config=TEXT, vision_config=VISION, projection_dim=24)),
        "owlv2.text_model.",
        16,
    ),
}


def saved(folder: Path, make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = make().eval()
    model.save_pretrained(folder)
    return model


def ids_for(model: Any, length: int) -> Tensor:
    """The end of text is the largest id, as in every CLIP vocabulary; its id is the config's where that one is inside
    the vocabulary.
    """
    ids = torch.randint(3, 590, (3, length), generator=torch.Generator().manual_seed(2))
    ids[:, length // 2] = 599
    return ids


@pytest.mark.parametrize("name", CASES)
def test_the_split_tower_equals_the_full_model(tmp_path: Path, name: str) -> None:
    make, prefix, positions = CASES[name]
    model = saved(tmp_path, make)
    edit_json(tmp_path / "config.json", lambda c: c["text_config"].update(eos_token_id=599))
    (encoder,) = find_encoders(FolderSource(tmp_path)).encoders
    assert (encoder.architecture, encoder.prefix, encoder.component) == (name, prefix, "")
    assert (encoder.config.max_position_embeddings, encoder.config.projection_dim) == (positions, 24)
    assert encoder.config.eos_token_id == (599 if name.startswith("CLIPSeg") else 2)
    tower = load_tower(encoder, FolderSource(tmp_path)).encoder
    ids = ids_for(model, positions)
    inner = next(getattr(model, part) for part in ("clip", "owlvit", "owlv2", "base_model") if hasattr(model, part))
    if name.startswith("CLIPSeg"):
        inner.text_model.eos_token_id = 599  # the model was made before the config was edited
    with torch.no_grad():
        expected = inner.text_model(input_ids=ids)
        features = tower.encode(tower.token_embedding[ids] + tower.position_embedding[:positions])
        assert torch.equal(features, expected.last_hidden_state)
        assert torch.equal(tower.pool(features, ids), inner.text_projection(expected.pooler_output))


def test_siglip_2_with_variable_resolution_has_siglips_text_tower(tmp_path: Path) -> None:
    vision = {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 4}
    model = saved(
        tmp_path, lambda: Siglip2Model(Siglip2Config(text_config={**TEXT, "vocab_size": 700}, vision_config=vision))
    )
    (encoder,) = find_encoders(FolderSource(tmp_path)).encoders
    assert (encoder.architecture, encoder.config.family, encoder.config.causal) == ("Siglip2Model", "siglip", False)
    tower = load_tower(encoder, FolderSource(tmp_path)).encoder
    ids = torch.randint(0, 700, (3, 64))
    with torch.no_grad():
        expected = model.text_model(input_ids=ids)
        features = tower.encode(tower.token_embedding[ids] + tower.position_embedding)
        assert torch.equal(features, expected.last_hidden_state)
        assert torch.equal(tower.pool(features, ids), expected.pooler_output)


@pytest.mark.parametrize("model_type", ["owlvit", "owlv2"])
def test_positions_that_the_config_leaves_out(tmp_path: Path, model_type: str) -> None:
    make = CASES["OwlViTModel" if model_type == "owlvit" else "Owlv2ForObjectDetection"][0]
    saved(tmp_path, make)
    edit_json(tmp_path / "config.json", lambda c: c["text_config"].pop("max_position_embeddings", None))
    (encoder,) = find_encoders(FolderSource(tmp_path)).encoders
    assert encoder.config.max_position_embeddings == 16


REFUSED = {
    "ChineseCLIPModel": ("chinese_clip", "Chinese-CLIP"),
    "AltCLIPModel": ("altclip", "AltCLIP"),
    "MetaClip2Model": ("metaclip_2", "MetaCLIP 2"),
    "GroupViTModel": ("groupvit", "GroupViT"),
}
"""Class -> `model_type`, and the name of the kind."""


@pytest.mark.parametrize("name", REFUSED)
def test_relatives_that_work_otherwise_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    model_type, kind = REFUSED[name]
    saved(tmp_path, CASES["OwlViTModel"][0])
    edit_json(tmp_path / "config.json", lambda c: c.update(architectures=[name], model_type=model_type))
    skipped = what_blocks(tmp_path)
    assert skipped.reason == "unsupported-architecture"
    assert kind in skipped.detail
