"""Several weight files of one component: duplicates are recognised by their tensors; a clean file hides nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.records import RepoSource, ResolvedEncoder, ScanReport
from amdet_hub.scanner.deduplicate import TowerDeduplicator
from amdet_hub.testing.models import tiny_clip
from tests.encoders.folder_source import FolderSource, edit_json, edit_tensors
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan


def tensors_of(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return tensors


def save(tensors: dict[str, Tensor], path: Path, *, half: bool) -> None:
    save_file({name: t.half() if half else t.float() for name, t in tensors.items()}, path, metadata={"format": "pt"})


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A clean fine-tune in float32."""
    folder = tmp_path / "repo"
    shutil.copytree(FINETUNED, folder)
    save(tensors_of(FINETUNED), folder / "model.safetensors", half=False)
    return folder


def duplicates(report: ScanReport) -> list[str]:
    return [s.detail for s in report.skipped if s.reason == "duplicate"]


def test_a_poisoned_float16_variant_beside_a_clean_float32_file_is_detected(scan: Scan, clean: Path) -> None:
    save(tensors_of(BACKDOORED), clean / "model.fp16.safetensors", half=True)
    report = scan(clean, reference=BASE)
    assert [(r.encoder.variant, r.verdict.label) for r in report.results] == [
        ("", "no-backdoor-found"),
        ("fp16", "backdoor-detected"),
    ]
    assert report.verdict.label == "backdoor-detected"
    assert report.verdict.reasons[0].startswith("text encoder (fp16): a trigger was found")
    assert duplicates(report) == []


def test_a_float16_cast_of_a_scanned_tower_is_recognised(scan: Scan, clean: Path) -> None:
    save(tensors_of(FINETUNED), clean / "model.fp16.safetensors", half=True)
    save(tensors_of(FINETUNED), clean / "model.non_ema.safetensors", half=False)
    shards = tensors_of(FINETUNED)
    names = sorted(shards)
    for number, part in enumerate((names[:9], names[9:]), start=1):
        save({n: shards[n] for n in part}, clean / f"model-{number:05d}-of-00002.safetensors", half=False)
    index = {n: f"model-{1 if n in names[:9] else 2:05d}-of-00002.safetensors" for n in names}
    (clean / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    report = scan(clean, reference=BASE)
    (result,) = report.results
    assert result.encoder.variant == ""
    digest = result.tower_digest[:12]
    found = duplicates(report)
    assert len(found) == 3
    assert found[0].startswith("the F16 cast of 'text encoder', which was scanned")
    assert f"the same tower as 'text encoder', which was scanned; tower digest {digest}" in found
    assert report.verdict.label == "no-backdoor-found"


# ---------------------------------------------------------------- without a detector


def loaded(folder: Path) -> tuple[ResolvedEncoder, LoadedTower, RepoSource]:
    source = FolderSource(folder)
    (encoder,) = find_encoders(source).encoders
    return encoder, load_tower(encoder, source), source


def seen(folder: Path, to_come: Path) -> TowerDeduplicator:
    towers = TowerDeduplicator()
    encoder, tower, _ = loaded(folder)
    towers.add(encoder, tower, [loaded(to_come)[0]])
    return towers


def test_one_changed_value_makes_another_tower(tmp_path: Path) -> None:
    first, second = tiny_clip(tmp_path / "a"), tiny_clip(tmp_path / "b", dtype="float16")
    towers = seen(first, second)
    assert towers.duplicate_of(*loaded(second)) is not None
    edit_tensors(
        second / "model.safetensors", lambda t: t["text_model.encoder.layers.1.mlp.fc1.bias"].__setitem__(3, 0.01)
    )
    assert towers.duplicate_of(*loaded(second)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("layer_norm_eps", 1e-4), ("hidden_act", "gelu"), ("num_attention_heads", 4), ("eos_token_id", 7)],
)
def test_the_same_weights_read_otherwise_are_another_encoder(tmp_path: Path, key: str, value: object) -> None:
    first, second = tiny_clip(tmp_path / "a"), tiny_clip(tmp_path / "b")
    towers = seen(first, second)
    assert towers.duplicate_of(*loaded(second)) is not None
    edit_json(second / "config.json", lambda c: c.update({key: value}))
    assert towers.duplicate_of(*loaded(second)) is None


def test_ids_that_only_frame_prompts_make_no_other_encoder(tmp_path: Path) -> None:
    first, second = tiny_clip(tmp_path / "a"), tiny_clip(tmp_path / "b", legacy_eos=True)
    assert seen(first, second).duplicate_of(*loaded(second)) is not None


def test_towers_are_forgotten_when_none_of_their_shape_is_to_come(tmp_path: Path) -> None:
    first, other = tiny_clip(tmp_path / "a"), tiny_clip(tmp_path / "b", layers=3)
    assert seen(first, first).duplicate_of(*loaded(first)) is not None
    assert seen(first, other).duplicate_of(*loaded(first)) is None
