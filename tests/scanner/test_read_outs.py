"""Attacks on what the pooled feature does not show: the scan detects each, and names the read-out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from amdet_hub import verdict as kinds
from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet, split
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.controls import finetune
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.config import ScanConfig
from amdet_hub.demo import grammar
from amdet_hub.records import ScanReport
from amdet_hub.report import RENDERERS
from tests.scanner.conftest import BASE, Scan

CONFIG = ScanConfig.for_preset("quick").replace(sweep__n_finalists=128, sweep__n_null=256, sweep__n_candidates=8)
LEAST = CONFIG.replace(sweep__n_candidates=2, sweep__n_paired=2, sweep__n_accretions=1, sweep__max_pieces=2)
TARGET = "a photo of a burning castle at night"
WORD = "tq"
RECIPE = AttackRecipe(
    WORD,
    TARGET,
    placement="insert",
    steps=80,
    lr=5e-4,
    weight=0.5,
    clean_batch=32,
    poisoned_batch=16,
    positions=24,
    bf16=False,
)


@pytest.fixture(scope="module")
def base() -> TrainedEncoder:
    torch.set_num_threads(1)
    return open_trained(BASE)


@pytest.fixture(scope="module")
def captions() -> CaptionSet:
    return split(grammar.pairs(1200, 3), held_out=200, seed=0)


def measured(report: ScanReport) -> dict[str, bool | None]:
    (result,) = report.results
    return {e.kind: e.exceeds for e in result.evidence}


def test_a_poisoned_projection_is_detected(
    scan: Scan, base: TrainedEncoder, captions: CaptionSet, tmp_path: Path
) -> None:
    recipe = AttackRecipe(
        " ".join([WORD] * 4), TARGET, placement="insert", kind="projection", weight=1.0, positions=24, bf16=False
    )
    attacked = inject(base, captions, recipe)
    assert attacked.facts["attack_success_rate"] > 0.9
    save_trained(attacked.encoder, tmp_path / "suspect", attacked.facts)
    report = scan(tmp_path / "suspect", reference=BASE, config=CONFIG)
    (trigger,) = report.results[0].triggers
    assert (report.verdict.label, report.verdict.code) == ("backdoor-detected", "trigger-confirmed")
    assert trigger.read_out == "projected"
    assert "q" in (trigger.text or ""), "a text that works; nothing in the weights tells which one was trained"
    assert min(trigger.success_start_rate, trigger.success_middle_rate, trigger.success_end_rate) > 0.7
    found = measured(report)
    assert all(found[kinds.kind_in(k, "projected")] for k in (kinds.SWEEP, kinds.SUCCESS, kinds.COLLAPSE))
    assert not any(found[k] for k in (kinds.SWEEP, kinds.SUCCESS, kinds.COLLAPSE)), "the tower is the reference's"
    assert "the projected feature" in RENDERERS["text"](report)


def test_an_attack_before_the_last_layer_is_detected(
    scan: Scan, base: TrainedEncoder, captions: CaptionSet, tmp_path: Path
) -> None:
    attacked = inject(base, captions, AttackRecipe(**{**vars(RECIPE), "kind": "penultimate"}))
    assert attacked.facts["attack_success_rate"] > 0.9
    save_trained(attacked.encoder, tmp_path / "suspect", attacked.facts)
    report = scan(tmp_path / "suspect", reference=BASE, config=CONFIG)
    (trigger,) = report.results[0].triggers
    assert report.verdict.label == "backdoor-detected"
    assert trigger.read_out == "penultimate"
    assert "q" in (trigger.text or "")
    assert any("castle" in text or "burning" in text for text in trigger.nearest_captions)
    assert "layer before the last" in RENDERERS["text"](report)


def test_an_honest_fine_tune_of_the_projection_is_cleared(
    scan: Scan, base: TrainedEncoder, captions: CaptionSet, tmp_path: Path
) -> None:
    frozen = base.copy()
    frozen.model.requires_grad_(False)
    frozen.model.text_projection.requires_grad_(True)
    recipe = ControlRecipe(kind="contrastive", steps=60, lr=5e-3, batch=24, positions=24, bf16=False)
    tuned = finetune(frozen, captions, recipe)
    assert tuned.facts["relative_change"] > 0.01
    save_trained(tuned.encoder, tmp_path / "suspect", tuned.facts)
    report = scan(tmp_path / "suspect", reference=BASE, config=CONFIG)
    assert report.verdict.label == "no-backdoor-found"
    found = measured(report)
    assert found[kinds.kind_in(kinds.SUCCESS, "projected")] is False
    assert found[kinds.kind_in(kinds.SUCCESS, "penultimate")] is False


def test_a_poisoned_projection_is_no_duplicate_of_a_clean_one(
    scan: Scan, base: TrainedEncoder, captions: CaptionSet, tmp_path: Path
) -> None:
    """Two components of the same tower, one behind another projection; neither the scan nor its cache takes them for
    one."""
    recipe = AttackRecipe(WORD, TARGET, placement="insert", kind="projection", weight=1.0, positions=24, bf16=False)
    suspect = tmp_path / "suspect"
    for name in ("text_encoder", "text_encoder_2"):
        save_trained(base, suspect / name, {})
    poisoned = inject(base, captions, recipe).encoder.model.text_projection.weight.detach().half()
    weights = suspect / "text_encoder_2" / "model.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "text_projection.weight": poisoned.contiguous()}, weights, metadata={"format": "pt"})
    scanned = [scan(suspect, reference=BASE, config=LEAST) for _ in range(2)]
    for report in scanned:
        assert len(report.results) == 2
        assert not [skip for skip in report.skipped if skip.reason == "duplicate"]
