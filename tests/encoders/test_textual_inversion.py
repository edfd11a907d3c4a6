"""Textual inversions are told from their shapes, named with their words, and never taken for something that blocks or
hides a tower.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.testing.models import tiny_clip
from tests.encoders.folder_source import FolderSource, write_safetensors

Shapes = dict[str, tuple[int, ...]]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"<cat-toy>": (768,)}, "'<cat-toy>' (1 vector of width 768)"),
        ({"<cat-toy>": (4, 768)}, "'<cat-toy>' (4 vectors of width 768)"),
        ({"cat toy": (2, 1024)}, "'cat toy' (2 vectors of width 1024)"),
        ({"emb_params": (8, 768)}, "'emb_params' (8 vectors of width 768)"),
        ({"clip_l": (3, 768), "clip_g": (3, 1280)}, "'clip_g' (3 vectors of width 1280)"),
        ({"string_to_param.*": (2, 768)}, "(2 vectors of width 768)"),
    ],
)
def test_words_are_named_and_do_not_block(tmp_path: Path, shapes: Shapes, words: str) -> None:
    tiny_clip(tmp_path)
    write_safetensors(
        tmp_path / "learned_embeds.safetensors", {name: torch.zeros(shape) for name, shape in shapes.items()}
    )
    resolution = find_encoders(FolderSource(tmp_path))
    (skipped,) = resolution.skipped
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == (
        "learned_embeds.safetensors",
        "textual-inversion",
        False,
    )
    assert words in skipped.detail
    assert len(resolution.encoders) == 1


@pytest.mark.parametrize(
    "shapes",
    [
        {"<x>": (300, 768)},
        {"<x>": (2, 2, 2)},
        {"<x>": (0, 768)},
        {"token_embedding.weight": (4000, 768)},
        {"a": (4, 768), "b": (4, 768)},
        {f"<{i}>": (768,) for i in range(20)},
    ],
)
def test_other_files_are_not(tmp_path: Path, shapes: Shapes) -> None:
    tiny_clip(tmp_path)
    write_safetensors(tmp_path / "x.safetensors", {name: torch.zeros(shape) for name, shape in shapes.items()})
    assert not any(s.reason == "textual-inversion" for s in find_encoders(FolderSource(tmp_path)).skipped)
