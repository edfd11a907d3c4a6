"""LongCLIP's own checkpoints: one table of positions made of two, as its code makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.testing.models import tiny_clip
from amdet_hub.testing.models.layouts import openclip_tensors
from tests.encoders.folder_source import FolderSource, what_blocks

Tensors = dict[str, Tensor]
POSITIONS, WIDTH = 248, 64
TABLE = "text_model.embeddings.position_embedding.weight"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    """A tower of 248 positions, as transformers stores it."""
    folder = tmp_path_factory.mktemp("converted")
    tiny_clip(folder, hidden_size=WIDTH, heads=1, positions=POSITIONS, tokenizer=False)
    return {name: t for name, t in load_file(folder / "model.safetensors").items() if not name.startswith("vision")}


@pytest.fixture
def original(converted: Tensors) -> Tensors:
    """A checkpoint of LongCLIP's with two unlike tables."""
    tensors = openclip_tensors(converted)
    first = tensors["positional_embedding"]
    return tensors | {"positional_embedding_res": first.flip(0) * 1.5, "visual.conv1.weight": torch.zeros(4, 4)}


def effective(tensors: Tensors) -> Tensor:
    """Long-CLIP's `encode_text`: `positional_embedding * mask1 + positional_embedding_res * mask2`."""
    mask1, mask2 = torch.zeros(POSITIONS, 1), torch.zeros(POSITIONS, 1)
    mask1[:20], mask2[20:] = 1, 1
    return tensors["positional_embedding"] * mask1 + tensors["positional_embedding_res"] * mask2


def towers_of(folder: Path) -> dict[str, LoadedTower]:
    source = FolderSource(folder)
    resolution = find_encoders(source)
    assert [s for s in resolution.skipped if s.blocks_clearance] == []
    return {encoder.component: load_tower(encoder, source) for encoder in resolution.encoders}


def put(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "longclip-L.pt")
    return folder


def test_the_original_is_the_tower_of_the_converted_file(
    tmp_path: Path, converted: Tensors, original: Tensors
) -> None:
    save_file(converted | {TABLE: effective(original)}, tmp_path / "x.safetensors")
    (expected,) = towers_of(tmp_path).values()
    found = towers_of(put(tmp_path / "original", original))
    long, first_alone = found["longclip-L.pt:positional_embedding_res"], found["longclip-L.pt"]
    assert long.digest == expected.digest
    assert torch.equal(long.encoder.position_embedding, effective(original))
    ids = torch.arange(50)[None] + 3
    ours, theirs = (
        tower.encoder.encode(tower.encoder.token_embedding[ids] + tower.encoder.position_embedding[:50])
        for tower in (long, expected)
    )
    assert torch.equal(ours, theirs)
    assert first_alone.digest != long.digest


def test_a_loader_that_does_not_know_the_second_table_takes_the_first_whole(
    tmp_path: Path, converted: Tensors, original: Tensors
) -> None:
    """ComfyUI renames OpenCLIP's tensors and leaves those aside that it does not know: this tower is scanned too."""
    save_file(converted, tmp_path / "x.safetensors")
    (expected,) = towers_of(tmp_path).values()
    assert towers_of(put(tmp_path / "original", original))["longclip-L.pt"].digest == expected.digest


def test_two_equal_tables_are_one_tower(tmp_path: Path, converted: Tensors, original: Tensors) -> None:
    original["positional_embedding_res"] = original["positional_embedding"].clone()
    assert len({tower.digest for tower in towers_of(put(tmp_path, original)).values()}) == 1


CHANGES: dict[str, Callable[[Tensors], object]] = {
    "a shorter first table": lambda t: t.update(positional_embedding=t["positional_embedding"][:77].clone()),
    "a shorter second table": lambda t: t.update(positional_embedding_res=t["positional_embedding_res"][:77].clone()),
    "another width": lambda t: t.update(positional_embedding_res=torch.zeros(POSITIONS, WIDTH + 1)),
    "a vector": lambda t: t.update(positional_embedding_res=torch.zeros(POSITIONS * WIDTH)),
    "whole numbers": lambda t: t.update(positional_embedding_res=torch.zeros(POSITIONS, WIDTH, dtype=torch.int64)),
    "both longer": lambda t: t.update(
        positional_embedding=torch.ones(300, WIDTH), positional_embedding_res=torch.ones(300, WIDTH)
    ),
    "a third table": lambda t: t.update(positional_embedding_more=torch.zeros(POSITIONS, WIDTH)),
    "under another prefix": lambda t: t.update({"x.positional_embedding_res": t.pop("positional_embedding_res")}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_form_blocks(tmp_path: Path, original: Tensors, change: str) -> None:
    CHANGES[change](original)
    folder = put(tmp_path, original)
    if change == "under another prefix":
        blocking = [s.reason for s in find_encoders(FolderSource(folder)).skipped if s.blocks_clearance]
        assert blocking == ["unclaimed-tensors"]
    else:
        assert what_blocks(folder).reason == "unreadable"


def test_values_that_are_not_finite_are_refused_in_either_table(tmp_path: Path, original: Tensors) -> None:
    original["positional_embedding_res"][3, 0] = float("nan")  # a row that is not taken: no trained file has it
    source = FolderSource(put(tmp_path, original))
    (long,) = [e for e in find_encoders(source).encoders if e.key_layout == "longclip"]
    with pytest.raises(Exception, match="not finite"):
        load_tower(long, source)
