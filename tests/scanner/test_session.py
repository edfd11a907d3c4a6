"""Whole scans of real weights: verdicts, repetition, partial reports, and what a broken tower does to a repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from amdet_hub import verdict as kinds
from amdet_hub.errors import BadWeights, ConfigError, Interrupted
from amdet_hub.records import Monitor, ScanReport, ScanResult
from amdet_hub.report import RENDERERS, parse_report
from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, PAPER, QUICK, Scan

STANDARD_KINDS = [
    kinds.IDENTITY,
    kinds.WEIGHT_DIFFERENCE,
    kinds.TOKENIZER,
    kinds.SWEEP,
    kinds.SUCCESS,
    kinds.COLLAPSE,
    kinds.INVERSION,
    kinds.LANDSCAPE,
]
SEARCHED = (kinds.SWEEP, kinds.SUCCESS, kinds.COLLAPSE)
PROJECTED = [kinds.kind_in(kind, "projected") for kind in SEARCHED]
PENULTIMATE = [kinds.kind_in(kind, "penultimate") for kind in SEARCHED]
START = [kinds.kind_in(kind, "start") for kind in SEARCHED]
NEAR = kinds.NEAR_MISS


def only(report: ScanReport) -> ScanResult:
    (result,) = report.results
    return result


def timeless(report: ScanReport) -> str:
    """The stored report without the fields that may differ between two runs."""
    data: dict[str, Any] = json.loads(RENDERERS["json"](report))
    assert data.pop("created")
    for outcome in data["outcomes"]:
        outcome.pop("timings_s", None)
    return json.dumps(data)


def test_the_backdoored_encoder_is_detected_with_its_trigger(scan: Scan) -> None:
    report = scan(BACKDOORED, reference=BASE)
    result = only(report)
    assert report.verdict.label == result.verdict.label == "backdoor-detected"
    assert report.verdict.confidence == "normal"
    assert report.complete
    assert [e.kind for e in result.evidence] == [*STANDARD_KINDS, kinds.CHANGED_CHARACTER]
    (trigger,) = result.triggers
    assert set(trigger.token_ids) == {988}
    assert trigger.text is not None
    assert "\u043e" in trigger.text
    assert trigger.success_end_rate == 1.0
    assert any("burning" in text for text in trigger.nearest_captions)
    assert result.reference.tower_digest not in (None, result.tower_digest)
    assert {"load", "standard"} <= set(result.timings_s)
    assert "sweep screen" in result.batch_sizes
    assert parse_report(RENDERERS["json"](report)) == report


def test_the_fine_tuned_encoder_is_not_flagged(scan: Scan) -> None:
    report = scan(FINETUNED, reference=BASE)
    assert report.verdict.label == "no-backdoor-found"
    assert only(report).triggers == ()
    assert [e.kind for e in only(report).evidence] == [*STANDARD_KINDS, NEAR, *PROJECTED, *PENULTIMATE, *START]


def test_without_a_reference_the_verdict_is_of_reduced_confidence(scan: Scan) -> None:
    report = scan(BACKDOORED, use_reference=False)
    result = only(report)
    assert report.verdict.confidence == "reduced"
    assert result.reference.trust == "none"
    assert [e.kind for e in result.evidence] == [*SEARCHED, NEAR, *PENULTIMATE]
    assert 988 in {t["token_id"] for t in result.evidence[0].details["top_tokens"]}


def test_the_same_seed_gives_the_same_report_bit_for_bit(scan: Scan) -> None:
    assert timeless(scan(BACKDOORED, reference=BASE)) == timeless(scan(BACKDOORED, reference=BASE))
    other = scan(BACKDOORED, reference=BASE, config=QUICK.replace(seed=1))
    assert other.verdict.label == "backdoor-detected"
    assert other.config_fingerprint != QUICK.fingerprint()


@pytest.mark.parametrize("target", [FINETUNED, BACKDOORED])
def test_the_paper_preset_reports_every_gate(scan: Scan, target: Path) -> None:
    report = scan(target, reference=BASE, config=PAPER)
    evidence = {e.kind: e for e in only(report).evidence}
    assert list(evidence)[3:] == list(kinds.PAPER_GATES)
    for kind in kinds.PAPER_GATES:
        assert 0.0 <= evidence[kind].value <= 1.0
        assert evidence[kind].threshold is not None
        assert evidence[kind].exceeds == (evidence[kind].value > (evidence[kind].threshold or 0))
    assert evidence[kinds.PAPER_ASSIMILATION].details["steps"] == 4
    assert report.verdict.label == "no-backdoor-found"
    assert report.verdict.code == "paper-gate-closed"


def test_the_paper_preset_without_a_reference(scan: Scan) -> None:
    result = only(scan(BACKDOORED, use_reference=False, config=PAPER))
    assert [e.kind for e in result.evidence] == [k for k in kinds.PAPER_GATES if k != kinds.PAPER_REFERENCE]
    assert result.verdict.confidence == "reduced"


def test_open_gates_that_were_never_tried_detect_nothing(scan: Scan) -> None:
    config = PAPER.replace(
        gates__open_loss=-10.0,
        gates__assimilation=-1.0,
        gates__consistency=-1.1,
        gates__reference_similarity=1.1,
        gates__landscape_rate=-0.1,
    )
    result = only(scan(FINETUNED, reference=BASE, config=config))
    assert result.verdict.label == "no-backdoor-found"
    assert result.verdict.code == "paper-gate-closed"
    tried = only(scan(FINETUNED, reference=BASE, config=config.replace(gates__open_loss=10.0)))
    assert tried.verdict.label == "backdoor-detected", "the same values, tried"


def test_siglip_from_end_to_end(scan: Scan, tmp_path: Path) -> None:
    small: dict[str, Any] = {"hidden_size": 16, "layers": 1, "positions": 24}
    tiny_siglip(tmp_path / "suspect", **small, seed=1)
    tiny_siglip(tmp_path / "reference", **small, seed=2)
    report = scan(tmp_path / "suspect", reference=tmp_path / "reference")
    result = only(report)
    assert result.encoder.config.family == "siglip"
    assert [e.kind for e in result.evidence] == [*STANDARD_KINDS, NEAR, *PROJECTED]
    assert report.complete


def test_a_pipeline_scans_both_towers_and_names_the_t5(scan: Scan, tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "suspect", kind="sd3", seed=1, hidden_size=16, heads=2)
    tiny_pipeline(tmp_path / "reference", kind="sd3", seed=5, hidden_size=16, heads=2)
    report = scan(tmp_path / "suspect", reference=tmp_path / "reference")
    assert [r.encoder.component for r in report.results] == ["text_encoder", "text_encoder_2"]
    assert [r.reference.component for r in report.results] == ["text_encoder", "text_encoder_2"]
    (t5,) = report.skipped
    assert (t5.component, t5.reason, t5.blocks_clearance) == ("text_encoder_3", "not-clip-family", False)


def test_sdxl_has_two_towers_and_nothing_is_skipped(scan: Scan, tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "pipe", kind="sdxl", hidden_size=16, heads=2)
    report = scan(tmp_path / "pipe", reference=tmp_path / "pipe")
    assert [r.encoder.component for r in report.results] == ["text_encoder", "text_encoder_2"]
    assert report.skipped == ()
    assert report.verdict.label == "no-backdoor-found"


def test_without_a_tokenizer_ids_stand_for_words(scan: Scan, tmp_path: Path) -> None:
    for name in ("suspect", "reference"):
        source = BACKDOORED if name == "suspect" else BASE
        shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("tokenizer*"))
    report = scan(tmp_path / "suspect", reference=tmp_path / "reference")
    result = only(report)
    assert result.encoder.tokenizer_files == ()
    top = next(e for e in result.evidence if e.kind == kinds.SWEEP).details["top_tokens"]
    assert all(t["piece"] is None for t in top)
    assert 988 in {t["token_id"] for t in top}
    for trigger in result.triggers:
        assert trigger.text is None
        assert trigger.nearest_captions == ()


def spoiled(folder: Path, value: float) -> None:
    """Put one `value` into a weight of the tower in `folder`."""
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    name = next(n for n in sorted(tensors) if n.endswith("mlp.fc1.weight"))
    tensors[name][0, 0] = value
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_broken_tower_of_two_keeps_the_repository_from_being_cleared(
    scan: Scan, tmp_path: Path, value: float
) -> None:
    tiny_pipeline(tmp_path / "base", kind="sdxl", hidden_size=16, heads=2)
    shutil.copytree(tmp_path / "base", tmp_path / "suspect")
    spoiled(tmp_path / "suspect" / "text_encoder", value)
    report = scan(tmp_path / "suspect", reference=tmp_path / "base")
    (skipped,) = report.skipped
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == ("text_encoder", "unreadable", True)
    assert "not finite" in skipped.detail
    assert [r.encoder.component for r in report.results] == ["text_encoder_2"]
    assert report.results[0].verdict.label == "no-backdoor-found"
    assert report.verdict.label == "inconclusive"


def test_a_broken_only_tower_is_an_error(scan: Scan, tmp_path: Path) -> None:
    tiny_clip(tmp_path / "suspect", hidden_size=16)
    spoiled(tmp_path / "suspect", float("nan"))
    with pytest.raises(BadWeights, match="not finite"):
        scan(tmp_path / "suspect", use_reference=False)


# ---------------------------------------------------------------- stopped early


def test_no_time_at_all(scan: Scan) -> None:
    report = scan(BACKDOORED, reference=BASE, timeout_s=0.0)
    assert not report.complete
    assert report.results == ()
    (skipped,) = report.skipped
    assert (skipped.reason, skipped.detail, skipped.blocks_clearance) == ("time-spent", "the time budget ended", True)
    assert report.verdict.label == "inconclusive"


def test_time_that_ends_in_the_second_tower_keeps_the_first(
    scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pipeline(tmp_path / "base", kind="sdxl", hidden_size=16, heads=2)
    shutil.copytree(tmp_path / "base", tmp_path / "suspect")
    path = tmp_path / "suspect" / "text_encoder_2" / "model.safetensors"
    save_file({name: t * 1.01 for name, t in load_file(path).items()}, path, metadata={"format": "pt"})
    late = [0.0]

    def clock() -> float:
        return late[0]

    monkeypatch.setattr("time.monotonic", clock)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "sweep":
            late[0] = 1e9

    report = scan(tmp_path / "suspect", reference=tmp_path / "base", timeout_s=60.0, monitor=Monitor(progress))
    assert not report.complete
    assert [r.encoder.component for r in report.results] == ["text_encoder"]
    assert [s.component for s in report.skipped] == ["text_encoder_2"]
    assert report.verdict.label == "inconclusive"
    assert parse_report(RENDERERS["json"](report)) == report


@pytest.mark.parametrize("stage", ["sweep", "confirm", "inversion", "landscape"])
def test_an_interruption_carries_a_report_that_can_be_read(scan: Scan, stage: str) -> None:
    def progress(seen: str, done: int, total: int) -> None:
        if seen == stage:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        scan(BACKDOORED, reference=BASE, monitor=Monitor(progress))
    report = caught.value.report
    assert report is not None
    assert parse_report(RENDERERS["json"](report)) == report
    assert not report.complete
    assert report.verdict.label == "inconclusive"
    assert report.skipped[0].detail == "interrupted"


# ---------------------------------------------------------------- memory


def test_out_of_memory_shrinks_the_batch_and_says_so(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    from amdet_hub.encoders.clip import ClipTextEncoder

    monkeypatch.setattr("amdet_hub.detect.search.sweep.rows_for", lambda encoder, wanted: wanted)  # as on a GPU
    plain = only(scan(BACKDOORED, reference=BASE))
    last_states, refused = ClipTextEncoder.last_states, []

    def small_machine(self: ClipTextEncoder, cache: Any, hidden: torch.Tensor) -> torch.Tensor:
        rows = cache.keys[0].shape[0] * hidden.shape[1] * hidden.shape[2]
        if rows > 3000:
            refused.append(rows)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return last_states(self, cache, hidden)

    monkeypatch.setattr(ClipTextEncoder, "last_states", small_machine)
    result = only(scan(BACKDOORED, reference=BASE))
    assert refused
    assert plain.batch_sizes["sweep screen"] == 8192
    assert result.batch_sizes["sweep screen"] == 2048
    assert result.verdict == plain.verdict
    for ours, theirs in zip(result.evidence, plain.evidence, strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=1e-3, abs=1e-3), ours.kind


def test_a_memory_limit_starts_smaller(scan: Scan) -> None:
    result = only(scan(FINETUNED, reference=BASE, max_memory_bytes=10_000_000))
    assert result.batch_sizes["sweep screen"] == 10_000_000 // (4 * 96 * 40)
    assert result.verdict.label == "no-backdoor-found"


def test_a_stage_that_never_fits(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    from amdet_hub.encoders.clip import ClipTextEncoder
    from amdet_hub.errors import ResourceError

    def no_memory(self: ClipTextEncoder, cache: Any, hidden: torch.Tensor, *, last_only: bool = False) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(ClipTextEncoder, "extend", no_memory)
    with pytest.raises(ResourceError, match="does not fit in memory even one item at a time"):
        scan(BACKDOORED, reference=BASE)


def test_another_failure_is_not_taken_for_memory(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    from amdet_hub.encoders.clip import ClipTextEncoder

    def broken(self: ClipTextEncoder, cache: Any, hidden: torch.Tensor, *, last_only: bool = False) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(ClipTextEncoder, "extend", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        scan(BACKDOORED, reference=BASE)


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"device": "cuda:x"}, {"dtype": "float8"}])
def test_unknown_options(options: dict[str, str]) -> None:
    from amdet_hub.scanner import ScanOptions

    with pytest.raises(ConfigError):
        ScanOptions(**options)  # type: ignore[arg-type]
