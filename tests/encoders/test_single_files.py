"""Single-file checkpoints: every tower is found, named, and equal to the same tower in transformers' layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.key_layouts import MAX_TOWERS
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.errors import BadWeights
from amdet_hub.records import ResolvedEncoder
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from amdet_hub.testing.models.layouts import CheckpointKind, tiny_checkpoint
from tests.encoders.folder_source import FolderSource, edit_tensors, what_blocks

FIRST: dict[str, Any] = {
    "kind": "CLIPTextModel",
    "hidden_size": 64,
    "heads": 1,
    "dtype": "float16",
    "legacy_eos": True,
}
SECOND: dict[str, Any] = {**FIRST, "kind": "CLIPTextModelWithProjection", "layers": 3, "seed": 1, "hidden_act": "gelu"}

EXPECTED: dict[CheckpointKind, list[tuple[str, dict[str, Any], str]]] = {
    "sd1": [("cond_stage_model.transformer", FIRST, "transformers")],
    "sd1-old": [("cond_stage_model.transformer", FIRST, "transformers")],
    "sd2": [("cond_stage_model.model", SECOND, "openclip")],
    "sdxl": [
        ("conditioner.embedders.0.transformer", FIRST, "transformers"),
        ("conditioner.embedders.1.model", SECOND, "openclip"),
    ],
    "sdxl-refiner": [("conditioner.embedders.0.model", SECOND, "openclip")],
    "sd3": [
        ("text_encoders.clip_g.transformer", SECOND, "transformers"),
        ("text_encoders.clip_l.transformer", FIRST, "transformers"),
    ],
}
"""What each kind of checkpoint holds: the place in the file, how the same tower is made on its own, its key layout."""


def load_all(folder: Path) -> list[tuple[ResolvedEncoder, LoadedTower]]:
    source = FolderSource(folder)
    return [(encoder, load_tower(encoder, source)) for encoder in find_encoders(source).encoders]


def features(tower: LoadedTower, ids: Tensor) -> Tensor:
    return tower.encoder.encode(tower.encoder.token_embedding[ids] + tower.encoder.position_embedding[: ids.shape[1]])


def made_alone(folder: Path, options: dict[str, Any]) -> LoadedTower:
    ((_, tower),) = load_all(tiny_clip(folder, **options))
    return tower


def shortened(tower: LoadedTower, folder: Path, options: dict[str, Any]) -> LoadedTower:
    """What diffusers makes of Stable Diffusion 2's tower: without the last layer and the projection."""
    tiny_clip(folder, **{**options, "kind": "CLIPTextModel", "layers": options["layers"] - 1})
    last = f"encoder.layers.{options['layers'] - 1}."
    kept = {f"text_model.{n}": t for n, t in tower.tensors.items() if not n.startswith((last, "text_projection"))}
    save_file(kept, folder / "model.safetensors")
    ((_, found),) = load_all(folder)
    return found


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_tower_is_found_and_is_the_same(tmp_path: Path, kind: CheckpointKind) -> None:
    tiny_checkpoint(tmp_path / "repo" / "model_v1.safetensors", kind=kind)
    found = load_all(tmp_path / "repo")
    assert find_encoders(FolderSource(tmp_path / "repo")).skipped == ()
    assert [(e.component, e.key_layout) for e, _ in found] == [
        (f"model_v1.safetensors:{p}", layout) for p, _, layout in EXPECTED[kind]
    ]
    ids = torch.randint(0, 600, (2, 30), generator=torch.Generator().manual_seed(1))
    for number, ((resolved, tower), (_, options, _)) in enumerate(zip(found, EXPECTED[kind], strict=True)):
        twin = made_alone(tmp_path / f"twin{number}", options)
        if kind == "sd2":
            assert "without its last layer of 3, which Stable Diffusion 2 does not read" in resolved.architecture
            twin = shortened(twin, tmp_path / "short", options)
        assert tower.digest == twin.digest
        assert tower.tensors.keys() == twin.tensors.keys()
        same_act = dataclasses.replace(tower.encoder.config, hidden_act=twin.encoder.config.hidden_act)
        assert same_act == dataclasses.replace(twin.encoder.config, bos_token_id=0, pad_token_id=1)
        if tower.encoder.config.hidden_act == twin.encoder.config.hidden_act:
            assert torch.equal(features(tower, ids), features(twin, ids))


@pytest.mark.parametrize(("kind", "width", "act"), [("sd1", 768, "quick_gelu"), ("sd2", 1024, "gelu")])
def test_the_activation_follows_the_width(tmp_path: Path, kind: CheckpointKind, width: int, act: str) -> None:
    tiny_checkpoint(tmp_path / "m.safetensors", kind=kind, hidden_size=width, heads=width // 64, layers=1)
    (encoder,) = find_encoders(FolderSource(tmp_path)).encoders
    assert (encoder.config.hidden_act, encoder.config.num_attention_heads) == (act, width // 64)
    assert f"{width // 64} heads and {act} assumed" in encoder.architecture


def test_a_file_named_on_its_own(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "sdxl.safetensors", kind="sdxl")
    assert len(find_encoders(FolderSource(tmp_path), filename="sdxl.safetensors").encoders) == 2


def test_a_checkpoint_beside_its_pipeline_is_looked_at_too(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    tiny_checkpoint(tmp_path / "v1-5.safetensors", kind="sd1")
    names = [e.component for e in find_encoders(FolderSource(tmp_path)).encoders]
    assert names == ["text_encoder", "v1-5.safetensors:cond_stage_model.transformer"]


def test_one_broken_tower_does_not_hide_the_other(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "x.safetensors", kind="sdxl")
    edit_tensors(
        tmp_path / "x.safetensors", lambda t: t.pop("conditioner.embedders.1.model.transformer.resblocks.1.ln_2.bias")
    )
    resolution = find_encoders(FolderSource(tmp_path))
    assert [e.component for e in resolution.encoders] == ["x.safetensors:conditioner.embedders.0.transformer"]
    (skipped,) = resolution.skipped
    assert (skipped.reason, skipped.blocks_clearance) == ("unreadable", True)
    assert "resblocks.1.ln_2.bias" in skipped.detail
    with pytest.raises(BadWeights, match="ln_2"):
        find_encoders(FolderSource(tmp_path), filename="x.safetensors")


def test_a_second_tower_inside_a_declared_file_is_scanned_too(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    edit_tensors(tmp_path / "model.safetensors", lambda t: t.update({f"clip.{n}": v + 0.01 for n, v in t.items()}))
    encoders = find_encoders(FolderSource(tmp_path)).encoders
    assert [(e.component, e.prefix) for e in encoders] == [
        ("", "text_model."),
        ("model.safetensors:clip", "clip.text_model."),
    ]


def test_a_crowd_of_towers_is_refused(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "x.safetensors")
    tensors = load_file(tmp_path / "x.safetensors")
    many = {f"t{i}.embeddings.token_embedding.weight": torch.zeros(4, 4) for i in range(MAX_TOWERS + 1)}
    save_file(tensors | many, tmp_path / "x.safetensors")
    skipped = what_blocks(tmp_path)
    assert skipped.reason == "unreadable"
    assert f"{MAX_TOWERS + 2} text towers" in skipped.detail


def test_eight_bit_weights_are_refused_by_name(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "x.safetensors")
    edit_tensors(
        tmp_path / "x.safetensors",
        lambda t: t.update({n: v.to(torch.float8_e4m3fn) for n, v in t.items() if "mlp" in n}),
    )
    skipped = what_blocks(tmp_path)
    assert skipped.reason == "unreadable"
    assert "F8_E4M3" in skipped.detail
