"""LoRAs from end to end: the base is found, the merged tower is scanned, and a poisoned LoRA is detected."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save

from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import SkippedScan
from amdet_hub.report import RENDERERS, parse_report
from amdet_hub.scanner import Scanner, ScanOptions, TargetPlan, plan_target
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip
from amdet_hub.testing.models.lora import LoraStyle, extract_lora, lora_tensors
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan

CARD = b"---\nbase_model: %s\n---\n# A style\n"


def lora(tuned: Path, style: LoraStyle = "kohya", base: Path = BASE) -> bytes:
    """A LoRA of rank 8 that does to `base` what `tuned` did to its attention and feed-forward matrices."""
    factors = extract_lora(*(load_file(folder / "model.safetensors") for folder in (base, tuned)), rank=8)
    content: bytes = save({name: t.contiguous() for name, t in lora_tensors(factors, style).items()})
    return content


def adapter_config(base: str) -> bytes:
    return json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 8, "base_model_name_or_path": base}).encode()


def served(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "provenance.json"}


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_model("org/base", served(BASE))
        yield hub


@pytest.fixture
def online(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, cache_dir=tmp_path / "cache")


def plan(target: str, settings: HubSettings, reference: str | None = None, **options: Any) -> TargetPlan:
    named = parse_target(reference) if reference else None
    scanner = Scanner(hub=settings, reference=named, options=ScanOptions(**options))
    return plan_target(scanner.resolve(parse_target(target)), scanner.config)


def blocked(target: str, settings: HubSettings) -> SkippedScan:
    """The LoRA that has no base."""
    (skipped,) = plan(target, settings).skipped
    assert (skipped.reason, skipped.blocks_clearance) == ("lora-without-base", True)
    return skipped


def test_a_poisoned_lora_is_detected(scan: Scan, hub: LocalHub, online: HubSettings) -> None:
    files = {"adapter_model.safetensors": lora(BACKDOORED, "peft"), "adapter_config.json": adapter_config("org/base")}
    hub.add_model("org/style", files)
    report = scan("org/style", settings=online)
    (result,) = report.results
    assert report.verdict.label == "backdoor-detected"
    assert set(result.triggers[0].token_ids) == {988}
    assert (result.encoder.component, result.encoder.weight_files[0].path) == ("adapter_model.safetensors",) * 2
    assert (result.reference.repo_id, result.reference.trust) == ("org/base", "declared")
    assert "LoRA was merged onto" in result.reference.note
    assert result.encoder.adapter is not None
    assert (result.encoder.adapter.naming, result.encoder.adapter.rank, result.encoder.adapter.n_matrices) == (
        "peft",
        8,
        18,
    )
    assert parse_report(RENDERERS["json"](report)) == report


def test_a_clean_lora_is_not_flagged_and_the_towers_are_told_apart(scan: Scan, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(BASE, repo)
    (repo / "style.safetensors").write_bytes(lora(FINETUNED))
    report = scan(repo, reference=BASE)
    assert [(r.encoder.label, r.verdict.label) for r in report.results] == [
        ("text encoder", "no-backdoor-found"),
        ("style.safetensors", "no-backdoor-found"),
    ]
    base, merged = report.results
    assert merged.tower_digest != base.tower_digest
    assert (merged.reference.trust, merged.reference.repo_id) == ("user", str(BASE))


# ---------------------------------------------------------------- which base


def test_the_users_reference_is_the_base_of_a_lora_alone(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/style", {"style.safetensors": lora(FINETUNED)})
    (planned,) = plan("org/style", online, "org/base").encoders
    assert planned.encoder.adapter is not None
    assert (planned.encoder.adapter.base_repo_id, planned.reference.trust) == ("org/base", "user")
    (alone,) = plan("org/style", online, "org/base", use_reference=False).encoders
    assert alone.reference.trust == "none"


def test_the_cards_base_model_is_used_and_untrusted(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/style", {"style.safetensors": lora(FINETUNED, "diffusers"), "README.md": CARD % b"org/base"})
    (planned,) = plan("org/style", online).encoders
    assert (planned.reference.trust, planned.reference.repo_id) == ("declared", "org/base")


def test_a_loras_own_repository_comes_first(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/both", {**served(BASE), "style.safetensors": lora(FINETUNED), "README.md": CARD % b"org/base"})
    tower, merged = plan("org/both", online).encoders
    assert tower.encoder.adapter is None
    assert merged.encoder.adapter is not None
    assert merged.encoder.adapter.base_repo_id == "org/both"
    assert "in the same repository: untrusted" in merged.reference.note


def test_a_lora_named_on_its_own_is_merged_onto_its_repositorys_tower(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/both", {**served(BASE), "loras/style.safetensors": lora(FINETUNED)})
    (planned,) = plan("hf://org/both/loras/style.safetensors", online).encoders
    assert planned.encoder.component == "loras/style.safetensors"
    assert planned.encoder.adapter is not None
    assert planned.encoder.adapter.base_repo_id == "org/both"


@pytest.mark.parametrize("claim", ["org/missing", "org/other"])
def test_a_lora_without_a_base_blocks(hub: LocalHub, online: HubSettings, tmp_path: Path, claim: str) -> None:
    hub.add_model("org/other", tiny_clip(tmp_path / "other"))
    hub.add_model("org/style", {"style.safetensors": lora(FINETUNED), "README.md": CARD % claim.encode()})
    assert claim in blocked("org/style", online).detail
    hub.add_model("org/mixed", {**hub_files(tmp_path / "other"), "style.safetensors": lora(FINETUNED)})
    assert blocked("org/mixed", online).component == "style.safetensors"


def hub_files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_claim_of_itself_is_no_base(hub: LocalHub, online: HubSettings) -> None:
    hub.add_model("org/style", {"style.safetensors": lora(FINETUNED), "README.md": CARD % b"org/style"})
    assert blocked("org/style", online).component == "style.safetensors"


def test_the_trusted_encoder_of_its_size_stands_in_for_an_unnamed_base(
    hub: LocalHub, online: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amdet_hub.families import TowerShape, all_trusted
    from amdet_hub.scanner import lora_bases as bases

    encoder = plan("org/base", online, use_reference=False).encoders[0].encoder
    row = dataclasses.replace(
        all_trusted()[0],
        repo_id="org/base",
        revision=str(encoder.commit_sha),
        sha256=str(encoder.weight_files[0].sha256),
        shape=TowerShape.of(encoder.config),
    )
    monkeypatch.setattr(bases, "all_trusted", lambda: (row,))  # no real encoder is small enough to serve
    hub.add_model("org/style", {"style.safetensors": lora(FINETUNED)})
    (planned,) = plan("org/style", online).encoders
    assert planned.reference.repo_id == "org/base"
    monkeypatch.setattr(bases, "all_trusted", lambda: (dataclasses.replace(row, sha256="0" * 64),))
    assert blocked("org/style", online).component == "style.safetensors"
