"""Repositories that would keep us busy for ever, or hide a text encoder behind code of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from amdet_hub.encoders.discovery import MAX_COMPONENTS, Resolution, find_encoders
from amdet_hub.encoders.undeclared_files import MAX_UNDECLARED_FILES
from amdet_hub.encoders.weight_files import MAX_SETS
from amdet_hub.errors import BadRepository
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from tests.encoders.folder_source import FolderSource, edit_json


def resolve(folder: Path) -> Resolution:
    return find_encoders(FolderSource(folder))


def test_a_text_encoder_of_unknown_code_blocks(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd3")
    edit_json(tmp_path / "model_index.json", lambda index: index.update(text_encoder_3=["my_code", "T5EncoderModel"]))
    (skipped,) = resolve(tmp_path).skipped
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == (
        "text_encoder_3",
        "unsupported-architecture",
        True,
    )
    assert "my_code.T5EncoderModel" in skipped.detail


def test_too_many_components_are_refused(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    many = {f"c{i}": ["transformers", "CLIPTextModel"] for i in range(MAX_COMPONENTS)}
    edit_json(tmp_path / "model_index.json", lambda index: index.update(many))
    with pytest.raises(BadRepository, match="more than the 256"):
        resolve(tmp_path)


def test_too_many_variants_are_refused(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    for i in range(MAX_SETS):
        shutil.copy(tmp_path / "model.safetensors", tmp_path / f"model.v{i}.safetensors")
    with pytest.raises(BadRepository, match="33 variants of the weights"):
        resolve(tmp_path)


def test_many_loose_files_are_not_all_read_and_block(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    weights = (tmp_path / "model.safetensors").rename(tmp_path / "w0.safetensors")
    for i in range(1, MAX_UNDECLARED_FILES + 2):
        shutil.copy(weights, tmp_path / f"w{i}.safetensors")
    resolution = resolve(tmp_path)
    (blocking,) = (s for s in resolution.skipped if s.blocks_clearance)
    assert blocking.reason == "unreadable"
    assert blocking.detail.startswith("2 more")


@pytest.mark.parametrize("folder", ["text_encoder", "text_encoder_lora"])
def test_an_adapter_beside_a_components_weights_blocks(tmp_path: Path, folder: str) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "adapter_config.json").write_text("{}")
    (skipped,) = resolve(tmp_path).skipped
    assert (skipped.component, skipped.blocks_clearance) == (f"{folder}/adapter_config.json", True)
