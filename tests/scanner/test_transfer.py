"""A whole scan moves the text tower only, says beforehand how much that is, and finds it again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from amdet_hub import families
from amdet_hub.config import ScanConfig
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.families import TowerShape, TrustedReference
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.scanner import ResolvedTarget, Scanner, ScanOptions, TargetPlan, plan_target
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip
from tests.scanner.conftest import BASE, FINETUNED
from tests.scanner.test_lora import lora

CONFIG = ScanConfig.for_preset("quick")
FILE = "model.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base` and `copy`: CLIP models with text towers of 2 MB and different image towers of 6.5 MB."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("base", "copy"):
        tiny_clip(folder / name, kind="CLIPModel", hidden_size=128, layers=2, projection_dim=64)
        tensors = load_file(folder / name / FILE)
        generator = torch.Generator().manual_seed(len(name) + ord(name[0]))
        tensors |= {
            f"vision_model.encoder.layers.{i}.weight": torch.randn(260, 125, 5, generator=generator) for i in range(10)
        }
        save_file(tensors, folder / name / FILE, metadata={"format": "pt"})
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_model("org/base", models / "base")
        hub.add_model("org/copy", models / "copy")
        yield hub


@pytest.fixture
def online(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, cache_dir=tmp_path / "hub-cache", max_retries=0)


@pytest.fixture
def trusted(hub: LocalHub, online: HubSettings, monkeypatch: pytest.MonkeyPatch) -> TrustedReference:
    """org/base, in our table."""
    source = open_source(parse_target("org/base"), online)
    (encoder,) = find_encoders(source).encoders
    data = hub.read("org/base", FILE)
    row = TrustedReference(
        repo_id="org/base",
        revision=hub.head("org/base"),
        path=FILE,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        component="",
        shape=TowerShape.of(encoder.config),
        projection_dim=encoder.config.projection_dim,
        dtype="F32",
        confidence=3,
        source="made for this test",
    )
    monkeypatch.setattr(families, "_ROWS", (row,))
    return row


def weight_bytes(hub: LocalHub) -> int:
    return sum(r.length for r in hub.requests if r.side == "lfs" and r.method == "GET" and r.path.endswith(FILE))


def test_a_tower_loaded_by_ranges_is_the_tower_of_the_file(hub: LocalHub, models: Path, online: HubSettings) -> None:
    source, folder = (
        open_source(parse_target("org/copy"), online),
        open_source(parse_target(str(models / "copy")), online),
    )
    (encoder,), (local,) = find_encoders(source).encoders, find_encoders(folder).encoders
    ours, theirs = load_tower(encoder, source), load_tower(local, folder)
    assert ours.digest == theirs.digest
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)
    assert weight_bytes(hub) <= 0.35 * (models / "copy" / FILE).stat().st_size


def test_a_pickled_tower_comes_by_ranges_too(hub: LocalHub, models: Path, online: HubSettings, tmp_path: Path) -> None:
    """The projection is transposed, as in the most used pickle of the Hub."""
    tensors = load_file(models / "copy" / FILE)
    tensors["text_projection.weight"] = tensors["text_projection.weight"].T.contiguous().T
    path = tmp_path / "pickled" / "pytorch_model.bin"
    path.parent.mkdir()
    torch.save(tensors, path)
    config = (models / "copy" / "config.json").read_bytes()
    hub.add_model("org/pickled", {"config.json": config, path.name: path.read_bytes()})
    source, folder = (open_source(parse_target(place), online) for place in ("org/pickled", str(models / "copy")))
    (encoder,), (local,) = find_encoders(source).encoders, find_encoders(folder).encoders
    asked = len(hub.requests)
    ours, theirs = load_tower(encoder, source), load_tower(local, folder)
    assert (ours.digest, encoder.config) == (theirs.digest, local.config)
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)
    sent = sum(r.length for r in hub.requests if r.path.endswith(".bin") and r.side == "lfs" and r.method == "GET")
    assert sent <= 0.35 * path.stat().st_size
    assert len(hub.requests) - asked <= 2 * len(theirs.tensors)


CPU = ScanOptions(device="cpu")


def planned(target: str, scanner: Scanner) -> tuple[ResolvedTarget, TargetPlan]:
    resolved = scanner.resolve(parse_target(target))
    return resolved, plan_target(resolved, scanner.config)


def test_the_plan_is_transferred_and_offline_it_is_all_there(hub: LocalHub, online: HubSettings) -> None:
    scanner = Scanner(CONFIG, online, parse_target("org/base"), CPU)
    target, plan = planned("org/copy", scanner)
    assert 0 < plan.download_bytes == plan.reference_download_bytes
    hub.forget_requests()
    report = scanner.scan(target)
    assert report.verdict.label == "no-backdoor-found"
    assert weight_bytes(hub) == plan.download_bytes + plan.reference_download_bytes
    _, again = planned("org/copy", scanner)
    assert (again.download_bytes, again.reference_download_bytes) == (0, 0)
    hub.forget_requests()
    offline = dataclasses.replace(scanner, hub=dataclasses.replace(online, offline=True))
    second = offline.scan(offline.resolve(parse_target("org/copy")))
    assert [r.tower_digest for r in second.results] == [r.tower_digest for r in report.results]
    assert hub.requests == []


def test_a_trusted_reference_comes_whole_and_is_checked(
    hub: LocalHub, online: HubSettings, trusted: TrustedReference
) -> None:
    scanner = Scanner(CONFIG, online, options=CPU)
    target, plan = planned("org/copy", scanner)
    hub.forget_requests()
    report = scanner.scan(target)
    assert report.results[0].reference.trust == "trusted"
    assert plan.reference_download_bytes == trusted.size_bytes
    assert weight_bytes(hub) == plan.download_bytes + plan.reference_download_bytes


def test_a_suspect_that_states_a_trusted_sha256_has_to_show_it(
    hub: LocalHub, online: HubSettings, trusted: TrustedReference
) -> None:
    scanner = Scanner(CONFIG, online, options=CPU)
    target, plan = planned("org/base", scanner)
    assert (plan.download_bytes, plan.reference_download_bytes) == (trusted.size_bytes, 0)
    hub.forget_requests()
    report = scanner.scan(target)
    assert report.verdict.label == "no-backdoor-found"
    assert weight_bytes(hub) == trusted.size_bytes


def test_a_loras_base_is_in_the_plan_once(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/demo", BASE)
    card = b"---\nbase_model: org/demo\n---\n"
    hub.add_model("org/lora", {"README.md": card, "style.safetensors": lora(FINETUNED)})
    sizes = {
        name: max(len(hub.read(name, path)) for path in hub.files(name) if path.endswith(".safetensors"))
        for name in ("org/demo", "org/lora")
    }
    scanner = Scanner(CONFIG, online, options=CPU)
    _, alone = planned("org/lora", dataclasses.replace(scanner, options=ScanOptions(use_reference=False)))
    assert (alone.download_bytes, alone.reference_download_bytes) == (sum(sizes.values()), 0)
    target, plan = planned("org/lora", scanner)
    assert (plan.download_bytes, plan.reference_download_bytes) == (sizes["org/lora"], sizes["org/demo"])
    (pair,) = target.pairs
    assert pair.lora_base is not None
    hub.forget_requests()
    load_merged(pair.suspect, pair.lora_base, pair.source)
    fetched = sum(r.length for r in hub.requests if r.side == "lfs" and r.method == "GET")
    assert fetched == plan.download_bytes + plan.reference_download_bytes
