"""One tower, one digest, wherever it is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from amdet_hub.encoders.digest import same_tower
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from amdet_hub.testing.models.layouts import tiny_checkpoint, tiny_openclip
from tests.encoders.folder_source import FolderSource, edit_tensors

SIZE: dict[str, Any] = {"hidden_size": 64, "heads": 1, "seed": 3}


def from_clip_model(folder: Path) -> None:
    """The text tower of a two-tower model draws other random numbers: the plain tower's weights replace its own."""
    plain = load_file(tiny_clip(folder / "plain", kind="CLIPTextModelWithProjection", **SIZE) / "model.safetensors")
    for path in (folder / "plain").iterdir():
        path.unlink()
    tiny_clip(folder, kind="CLIPModel", **SIZE)
    edit_tensors(folder / "model.safetensors", lambda t: t.update(plain))


def flat(folder: Path) -> None:
    tiny_clip(folder, kind="CLIPTextModel", **SIZE)
    tensors = {name.removeprefix("text_model."): t for name, t in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")


def bare(folder: Path) -> None:
    tiny_clip(folder, kind="CLIPTextModel", **SIZE)
    (folder / "model.safetensors").rename(folder / "clip_l.safetensors")
    (folder / "config.json").unlink()


def half_precision(folder: Path) -> None:
    tiny_clip(folder, kind="CLIPTextModel", dtype="float16", **SIZE)


PLACES: dict[str, Callable[[Path], object]] = {
    "CLIPModel": from_clip_model,
    "CLIPTextModel": lambda f: tiny_clip(f, kind="CLIPTextModel", **SIZE),
    "with projection": lambda f: tiny_clip(f, **SIZE),
    "sharded": lambda f: tiny_clip(f, sharded=True, **SIZE),
    "flat names": flat,
    "Stable Diffusion pipeline": lambda f: tiny_pipeline(f, kind="sd15", **SIZE),
    "single-file checkpoint": lambda f: tiny_checkpoint(f / "sd.safetensors", dtype="float32", **SIZE),
    "OpenCLIP": lambda f: tiny_openclip(f, quick_gelu=True, **SIZE),
    "OpenCLIP under text.": lambda f: tiny_openclip(f, quick_gelu=True, custom_text=True, **SIZE),
    "ComfyUI": bare,
}


def load(folder: Path) -> LoadedTower:
    source = FolderSource(folder)
    (encoder,) = find_encoders(source).encoders
    return load_tower(encoder, source)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LoadedTower:
    return load(tiny_clip(tmp_path_factory.mktemp("plain"), kind="CLIPTextModel", **SIZE))


@pytest.mark.parametrize("place", PLACES)
def test_the_same_tensors_have_one_digest(tmp_path: Path, plain: LoadedTower, place: str) -> None:
    PLACES[place](tmp_path)
    tower = load(tmp_path)
    assert tower.digest == plain.digest
    assert same_tower({n: t for n, t in tower.tensors.items() if n != "text_projection.weight"}, plain.tensors)


def test_a_cast_has_another_digest_and_is_recognised(tmp_path: Path, plain: LoadedTower) -> None:
    half_precision(tmp_path)
    tower = load(tmp_path)
    assert tower.digest != plain.digest
    assert same_tower(tower.tensors, plain.tensors)
    assert not same_tower({n: t.to(torch.float32) for n, t in tower.tensors.items()}, plain.tensors)
