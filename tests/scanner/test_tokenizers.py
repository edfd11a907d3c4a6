"""Whole scans of encoders whose tokenizer is not their reference's: a tokenizer is a part of the encoder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from amdet_hub import verdict as kinds
from amdet_hub.records import Evidence, ScanReport
from amdet_hub.report import RENDERERS, parse_report
from amdet_hub.scanner.loading import followed_rows
from tests.encoders.folder_source import edit_json
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan

ROWS = "text_model.embeddings.token_embedding.weight"
CAT, DOG = "cat</w>", "dog</w>"


def ids() -> dict[str, int]:
    vocab: dict[str, int] = json.loads((BASE / "tokenizer.json").read_text())["model"]["vocab"]
    return vocab


def copied(folder: Path, name: Path = BASE) -> Path:
    """A copy without the card, which names a base of its own."""
    shutil.copytree(name, folder, ignore=shutil.ignore_patterns("README.md"))
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    edit_json(folder / "tokenizer.json", change)
    return folder


def swap_words(data: dict[str, Any], one: str = CAT, other: str = DOG) -> None:
    vocab = data["model"]["vocab"]
    vocab[one], vocab[other] = vocab[other], vocab[one]


def tokenizer_evidence(report: ScanReport) -> Evidence:
    (result,) = report.results
    (found,) = (e for e in result.evidence if e.kind == kinds.TOKENIZER)
    return found


def test_exchanged_words_over_untouched_weights_are_not_cleared(scan: Scan, tmp_path: Path) -> None:
    report = scan(edit(copied(tmp_path / "suspect"), swap_words), reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("inconclusive", "tokenizer-changed")
    (result,) = report.results
    assert result.lineage is not None
    assert (result.verdict.code, result.lineage.relation) == ("tokenizer-changed", "identical")
    assert tokenizer_evidence(report).exceeds
    assert tokenizer_evidence(report).details["exchanged"] == [["cat", "dog"], ["dog", "cat"]]
    assert parse_report(RENDERERS["json"](report)) == report


def test_a_trained_encoder_with_exchanged_words_is_not_cleared_either(scan: Scan, tmp_path: Path) -> None:
    report = scan(edit(copied(tmp_path / "suspect", FINETUNED), swap_words), reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("inconclusive", "tokenizer-changed")


def test_a_detection_stays_a_detection(scan: Scan, tmp_path: Path) -> None:
    report = scan(edit(copied(tmp_path / "suspect", BACKDOORED), swap_words), reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("backdoor-detected", "trigger-confirmed")
    assert tokenizer_evidence(report).exceeds


def test_an_added_token_is_listed_and_does_not_block(scan: Scan, tmp_path: Path) -> None:
    token = {"id": 2000, "content": "<my-cat>", "special": False}
    suspect = edit(copied(tmp_path / "suspect"), lambda data: data["added_tokens"].append(token))
    report = scan(suspect, reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("no-backdoor-found", "identical-to-reference")
    assert tokenizer_evidence(report).details["added"] == ["<my-cat>"]


def test_a_vocabulary_that_was_permuted_with_its_rows_is_no_difference(scan: Scan, tmp_path: Path) -> None:
    suspect = edit(copied(tmp_path / "suspect"), swap_words)
    weights = load_file(suspect / "model.safetensors")
    one, other = ids()[CAT], ids()[DOG]
    weights[ROWS][[one, other]] = weights[ROWS][[other, one]]
    save_file(weights, suspect / "model.safetensors", metadata={"format": "pt"})
    report = scan(suspect, reference=BASE)
    assert not tokenizer_evidence(report).exceeds
    assert report.verdict.label == "no-backdoor-found"


def permuted(folder: Path, name: Path) -> Path:
    """A copy whose words all have other ids, the rows of the embedding moved along with them."""
    suspect, vocab = copied(folder, name), ids()
    words = sorted(i for piece, i in vocab.items() if not piece.startswith("<|"))
    shuffled = [words[k] for k in torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()]
    new = dict(zip(words, shuffled, strict=True))
    edit(suspect, lambda data: data["model"].update(vocab={piece: new.get(i, i) for piece, i in vocab.items()}))
    weights = load_file(suspect / "model.safetensors")
    weights[ROWS][shuffled] = weights[ROWS][words]
    save_file(weights, suspect / "model.safetensors", metadata={"format": "pt"})
    return suspect


def test_a_copy_whose_words_all_have_other_ids_is_still_the_reference(scan: Scan, tmp_path: Path) -> None:
    report = scan(permuted(tmp_path / "suspect", BASE), reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("no-backdoor-found", "identical-to-reference")


def test_a_trigger_is_found_under_its_other_id(scan: Scan, tmp_path: Path) -> None:
    report = scan(permuted(tmp_path / "suspect", BACKDOORED), reference=BASE)
    (trigger,) = report.results[0].triggers
    assert trigger.text == "\u043e"  # CYRILLIC SMALL LETTER O


def test_rows_that_followed_one_tokenizer_of_two_are_not_cleared(scan: Scan, tmp_path: Path) -> None:
    suspect = permuted(tmp_path / "suspect", BASE)
    vocab = ids()
    (suspect / "vocab.json").write_text(json.dumps(vocab))
    merges = json.loads((BASE / "tokenizer.json").read_text())["model"]["merges"]
    (suspect / "merges.txt").write_text("\n".join(" ".join(m) if isinstance(m, list) else m for m in merges))
    report = scan(suspect, reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("inconclusive", "tokenizer-changed")


def test_rows_that_stayed_did_not_follow() -> None:
    reference = torch.eye(4)
    assert followed_rows(reference, reference, [1, 0], [0, 1]) == [False, False]
    moved = reference[[1, 0, 2, 3]] + 0.01
    assert followed_rows(moved, reference, [1, 0], [0, 1]) == [True, True]


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_trigger_as_the_token_that_starts_a_prompt(scan: Scan, tmp_path: Path, with_reference: bool) -> None:
    """Declared as BOS it framed every prompt of a scan, and what frames prompts is not swept."""
    suspect = copied(tmp_path / "suspect", BACKDOORED)
    trigger = next(piece for piece, i in ids().items() if i == 988)
    edit(suspect, lambda data: swap_words(data, trigger, "<|startoftext|>"))
    edit_json(suspect / "config.json", lambda config: config.update(bos_token_id=988))
    options: dict[str, Any] = {"reference": BASE} if with_reference else {"use_reference": False}
    report = scan(suspect, **options)
    assert report.verdict.label != "no-backdoor-found"
    swept = next(e for e in report.results[0].evidence if e.kind == kinds.SWEEP)
    assert 988 in {token["token_id"] for token in swept.details["top_tokens"]}
    assert "<|startoftext|>" in tokenizer_evidence(report).details["settings"]


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_trigger_as_the_token_that_is_pooled_at(scan: Scan, tmp_path: Path, with_reference: bool) -> None:
    suspect = copied(tmp_path / "suspect", BACKDOORED)
    edit_json(suspect / "config.json", lambda config: config.update(eos_token_id=988))
    options: dict[str, Any] = {"reference": BASE} if with_reference else {"use_reference": False}
    report = scan(suspect, **options)
    assert report.verdict.label in ("inconclusive", "backdoor-detected")
    assert "config.json: eos_token_id" in tokenizer_evidence(report).details["settings"]


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html", "sarif"])
def test_every_form_of_a_report_names_the_words(scan: Scan, tmp_path: Path, form: str) -> None:
    report = scan(edit(copied(tmp_path / "suspect"), swap_words), reference=BASE)
    written = RENDERERS[form](report)
    assert "tokenizer-changed" in written
    assert written.count("cat") >= 1
    assert written.count("dog") >= 1


def test_a_copy_with_another_tokenizer_is_scanned_too(scan: Scan, tmp_path: Path) -> None:
    suspect = copied(tmp_path / "suspect")
    edit(copied(suspect / "text_encoder"), swap_words)
    report = scan(suspect, reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("inconclusive", "tokenizer-changed")
