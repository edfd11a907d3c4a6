"""Loading: only the tower is read, every defect is an error that names the tensor, and equal towers are recognised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amdet_hub.encoders import load as load_module
from amdet_hub.encoders.canonical_names import PROJECTION, TOKEN_EMBEDDING, tower_shapes
from amdet_hub.encoders.digest import projection_digest, same_tower, tower_digest
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, build_encoder, load_tower
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import ProgressCallback, TensorInfo
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.encoders.folder_source import FolderSource, edit_tensors


def load(folder: Path) -> LoadedTower:
    source = FolderSource(folder)
    return load_tower(find_encoders(source).encoders[0], source)


def test_the_stored_dtype_is_kept_and_the_encoder_is_float32(tmp_path: Path) -> None:
    tower = load(tiny_clip(tmp_path, kind="CLIPModel", dtype="bfloat16"))
    assert {t.dtype for t in tower.tensors.values()} == {torch.bfloat16}
    assert tower.tensors.keys() == tower_shapes(tower.encoder.config).keys()
    assert (tower.encoder.dtype, tower.encoder.device) == (torch.float32, torch.device("cpu"))
    assert torch.equal(tower.encoder.token_embedding, tower.tensors[TOKEN_EMBEDDING].float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["text_model.encoder.layers.1.mlp.fc2.weight", "text_projection.weight"])
def test_values_that_are_not_finite_are_errors(tmp_path: Path, name: str, value: float) -> None:
    tiny_clip(tmp_path, dtype="float16")

    def poison(tensors: dict[str, Tensor]) -> None:
        tensors[name][0, 3] = value

    edit_tensors(tmp_path / "model.safetensors", poison)
    with pytest.raises(BadWeights, match="not finite") as caught:
        load(tmp_path)
    assert caught.value.tensor == name


def test_float64_values_that_overflow_are_errors(tmp_path: Path) -> None:
    tiny_clip(tmp_path)

    def overflow(tensors: dict[str, Tensor]) -> None:
        tensors["text_projection.weight"] = tensors["text_projection.weight"].double() + 1e300

    edit_tensors(tmp_path / "model.safetensors", overflow)
    with pytest.raises(BadWeights, match="not finite"):
        load(tmp_path)


@pytest.mark.parametrize("shape", [(1, 77), (77,)])
def test_a_stored_position_buffer_is_tolerated_only_as_counting(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tiny_clip(tmp_path)
    name, path = "text_model.embeddings.position_ids", tmp_path / "model.safetensors"
    plain = load(tmp_path)
    edit_tensors(path, lambda t: t.update({name: torch.arange(77).view(shape)}))
    assert load(tmp_path).digest == plain.digest
    assert load(tmp_path).tensors.keys() == plain.tensors.keys()
    edit_tensors(path, lambda t: t.update({name: torch.arange(77).flip(0).view(shape)}))
    with pytest.raises(BadWeights, match="0, 1, 2"):
        load(tmp_path)


def test_a_file_that_changed_after_it_was_resolved_is_an_error(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    source = FolderSource(tmp_path)
    (encoder,) = find_encoders(source).encoders
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole.replace(b"final_layer_norm.bias", b"final_layer_norm.BIAS"))  # the same size
    with pytest.raises(BadWeights, match="is missing"):
        load_tower(encoder, source)
    edit_tensors(weights, lambda t: t.pop("text_model.final_layer_norm.weight"))
    for changed in (weights.read_bytes(), b"gone"):
        weights.write_bytes(changed)
        with pytest.raises(BadRepository):
            load_tower(encoder, source)


@pytest.mark.parametrize("change", ["gone", "renamed", "reshaped"])
def test_a_local_file_that_is_not_what_the_header_said_is_an_error(tmp_path: Path, change: str) -> None:
    source = FolderSource(tiny_clip(tmp_path / "a"))
    (encoder,) = find_encoders(source).encoders
    other = tiny_clip(tmp_path / "b", hidden_size=64 if change == "reshaped" else 32) / "model.safetensors"
    if change == "renamed":
        other.write_bytes(other.read_bytes().replace(b"final_layer_norm.bias", b"final_layer_norm.BIAS"))
    if change == "gone":
        other.write_bytes(b"gone")

    class Swapped(FolderSource):
        def fetch_tensors(
            self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
        ) -> Path:
            return other

    with pytest.raises(BadWeights, match="cannot be read" if change == "gone" else "the file changed"):
        load_tower(encoder, Swapped(tmp_path / "a"))


def test_one_tensor_in_two_files_is_an_error(tmp_path: Path) -> None:
    source = FolderSource(tiny_clip(tmp_path))
    (encoder,) = find_encoders(source).encoders
    twice = dataclasses.replace(encoder, weight_files=encoder.weight_files * 2)
    with pytest.raises(BadWeights, match="two files"):
        load_tower(twice, source)


def test_building_checks_names_and_shapes(tmp_path: Path) -> None:
    tower = load(tiny_clip(tmp_path))
    tensors, config = dict(tower.tensors), tower.encoder.config
    for wrong_config, wrong_tensors in (
        (config, {k: v for k, v in tensors.items() if k != PROJECTION}),
        (dataclasses.replace(config, projection_dim=None), tensors),
        (config, {**tensors, PROJECTION: torch.zeros(1, 1)}),
    ):
        with pytest.raises(BadWeights) as caught:
            build_encoder(wrong_config, wrong_tensors)
        assert caught.value.tensor == PROJECTION


# ---------------------------------------------------------------- digests and identity


def test_the_digest_ignores_layout_and_sees_weights(tmp_path: Path) -> None:
    whole = load(tiny_clip(tmp_path / "a", kind="CLIPModel"))
    sharded = load(tiny_clip(tmp_path / "b", kind="CLIPModel", sharded=True))
    without = load(tiny_clip(tmp_path / "c", kind="CLIPTextModel"))
    assert (
        whole.digest
        == sharded.digest
        == without.digest
        == tower_digest(dict(sorted(whole.tensors.items(), reverse=True)))
    )
    assert len(whole.digest) == 64
    assert (
        projection_digest(whole.tensors)
        == projection_digest(sharded.tensors)
        != projection_digest(without.tensors)
        is None
    )
    assert load(tiny_clip(tmp_path / "d", kind="CLIPModel", dtype="float16")).digest != whole.digest
    changed = dict(whole.tensors)
    changed["final_layer_norm.bias"] = changed["final_layer_norm.bias"].clone()
    changed["final_layer_norm.bias"][0] = -0.0  # was 0.0: one bit
    assert tower_digest(changed) != whole.digest
    name = "encoder.layers.0.mlp.fc1.weight"
    reshaped = {**whole.tensors, name: whole.tensors[name].reshape(64, 64)}
    assert tower_digest(reshaped) != whole.digest


def test_siglip_heads_belong_to_the_tower(tmp_path: Path) -> None:
    tower = load(tiny_siglip(tmp_path))
    changed = {**tower.tensors, "head.bias": tower.tensors["head.bias"] + 1}
    assert tower_digest(changed) != tower.digest
    assert projection_digest(tower.tensors) is None
    assert not same_tower(changed, tower.tensors)


def cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: t.to(dtype) for name, t in tensors.items()}


def test_identity_casts_the_reference_down_and_never_the_suspect(tmp_path: Path) -> None:
    full = dict(load(tiny_clip(tmp_path)).tensors)
    half, brain, double = (cast(full, d) for d in (torch.float16, torch.bfloat16, torch.float64))
    assert same_tower(full, full)
    assert same_tower(half, full)
    assert same_tower(brain, full)
    assert same_tower(full, double)
    assert not same_tower(full, half)
    assert not same_tower(cast(half, torch.float32), half)
    assert not same_tower(brain, half)
    assert not same_tower(half, brain)


def test_a_change_that_rounding_would_hide_is_seen(tmp_path: Path) -> None:
    half = cast(dict(load(tiny_clip(tmp_path)).tensors), torch.float16)
    suspect = cast(half, torch.float32)
    name = "encoder.layers.0.mlp.fc1.weight"
    suspect[name] = suspect[name] * (1 + 1e-6)
    assert torch.equal(suspect[name].half(), half[name])  # casting the suspect down would have hidden it
    assert not same_tower(suspect, half)
    assert not same_tower(suspect, cast(half, torch.float32))


def test_projections_must_agree_where_the_suspect_has_one(tmp_path: Path) -> None:
    full = dict(load(tiny_clip(tmp_path)).tensors)
    without = {name: t for name, t in full.items() if name != PROJECTION}
    assert same_tower(without, full)
    assert not same_tower(full, without)
    assert not same_tower({**full, PROJECTION: full[PROJECTION] * 2}, full)
    assert not same_tower({**without, "extra": torch.zeros(1)}, full)
    assert not same_tower({k: v for k, v in without.items() if k != TOKEN_EMBEDDING}, full)
    assert not same_tower({**full, PROJECTION: full[PROJECTION][:1]}, full)


def test_values_that_no_encoder_has_are_errors(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    edit_tensors(
        tmp_path / "model.safetensors", lambda t: t["text_model.embeddings.token_embedding.weight"][7].fill_(1e38)
    )
    with pytest.raises(BadWeights, match="beyond 65,504, which overflow") as caught:
        load(tmp_path)
    assert caught.value.tensor == "text_model.embeddings.token_embedding.weight"


def test_a_tower_that_overflows_on_its_way_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_clip(tmp_path)
    monkeypatch.setattr(
        load_module, "LARGEST_VALUE", 1e30
    )  # a real tower is wide enough to overflow below the real limit

    def swell(tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if ".mlp." in name or "layer_norm" in name:
                tensors[name] = torch.where(tensor > 0.01, 1e12, -1e12)

    edit_tensors(tmp_path / "model.safetensors", swell)
    with pytest.raises(BadRepository, match="output is not finite"):
        load(tmp_path)


def test_a_tower_that_says_the_same_of_every_text_is_an_error(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    edit_tensors(tmp_path / "model.safetensors", lambda t: t.update({n: v * 0 for n, v in t.items()}))
    with pytest.raises(BadRepository, match="the same of every text"):
        load(tmp_path)
