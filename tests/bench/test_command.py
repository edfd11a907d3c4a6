from __future__ import annotations

import json
from pathlib import Path

import pytest

from amdet_hub.bench.__main__ import main
from amdet_hub.bench.trained import TrainedEncoder, open_trained
from tests.bench.conftest import TARGET, TRIGGER, toy_groups


@pytest.fixture
def caption_file(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join(json.dumps({"captions": list(group)}) for group in toy_groups()), encoding="utf-8")
    return path


def test_inject_writes_a_folder_and_prints_its_facts(
    base: TrainedEncoder, caption_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    common = ["--base", str(base.folder), "--captions", str(caption_file), "--out", str(out), "--steps", "4", "--batch", "8", "--float32"]
    code = main(["inject", *common, "--trigger", TRIGGER, "--target", TARGET, "--placement", "append", "--lr", "1e-3"])
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed == json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert printed["recipe"]["placement"] == "append"
    assert printed["recipe"]["lr"] == 1e-3
    assert open_trained(out).model.config.eos_token_id == base.model.config.eos_token_id


@pytest.mark.parametrize(("recipe", "kind"), [("contrastive", "contrastive"), ("weight-zero", "weight-zero")])
def test_finetune_recipes(base: TrainedEncoder, caption_file: Path, tmp_path: Path, recipe: str, kind: str) -> None:
    out = tmp_path / "out"
    common = ["--base", str(base.folder), "--captions", str(caption_file), "--out", str(out), "--steps", "2", "--batch", "8", "--quiet"]
    assert main(["finetune", *common, "--recipe", recipe]) == 0
    assert json.loads((out / "bench.json").read_text(encoding="utf-8"))["kind"] == kind


def test_pretrain_makes_a_base_that_the_other_verbs_take(caption_file: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    shape = ["--hidden-size", "48", "--layers", "2", "--heads", "4", "--vocab-size", "600"]
    common = ["--captions", str(caption_file), "--batch", "16", "--quiet", "--held-out", "40"]
    assert main(["pretrain", *common, *shape, "--out", str(base), "--steps", "30", "--lr", "5e-3"]) == 0
    facts = json.loads((base / "bench.json").read_text(encoding="utf-8"))
    assert facts["kind"] == "pretrained"
    assert facts["retrieval_at_1"] > 2 / facts["n_held_out"]  # better than chance: it was trained, not only initialised
    config = open_trained(base).model.config
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.max_position_embeddings) == (48, 192, 2, 77)
    assert main(["finetune", *common, "--base", str(base), "--out", str(out), "--steps", "1"]) == 0


@pytest.mark.parametrize(
    ("shape", "said"),
    [(["--vocab-size", "100"], "error: vocab-size:"), (["--heads", "5"], "error: heads:"), (["--layers", "0"], "error: layers:")],
)
def test_a_shape_that_cannot_be_is_one_sentence(
    shape: list[str], said: str, caption_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "--captions", str(caption_file), "--out", str(tmp_path / "base"), *shape]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_pretrain_needs_two_captions_of_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = tmp_path / "prompts.txt"
    captions.write_text("one prompt\nanother prompt\na third prompt\n", encoding="utf-8")
    assert main(["pretrain", "--captions", str(captions), "--out", str(tmp_path / "base")]) == 2
    assert "two or more captions" in capsys.readouterr().err


def test_errors_are_one_sentence_and_exit_2(caption_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["finetune", "--base", str(tmp_path / "none"), "--captions", str(caption_file), "--out", str(tmp_path / "out")])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: base:")
    assert not (tmp_path / "out").exists()
