"""The pre-commit hook: the manifest, the entry, and a real `git commit` that it stops."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save

from amdet_hub.github_action.targets import find_targets
from amdet_hub.testing.models import tiny_pipeline
from tests.cli.conftest import Run, error_codes
from tests.demo_hub import FAST_TOML, files_of

ROOT = Path(__file__).parent.parent.parent
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())


def write(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    for path, data in files_of(name).items():
        (folder / path).write_bytes(data)
    return folder


# ---------------------------------------------------------------- files to checkpoints


def test_files_belong_to_their_checkpoint(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path / "sd", kind="sdxl")
    write(tmp_path / "deep/clip", "base")
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "clip_l.safetensors").write_bytes(b"x" * 300)
    (tmp_path / "loose" / "notes.json").write_text("{}")
    changed = (
        "sd/text_encoder/model.safetensors",
        "sd/text_encoder_2/config.json",
        "sd/model_index.json",
        "deep/clip/model.safetensors",
        "deep/clip/config.json",
        "loose/clip_l.safetensors",
        "loose/notes.json",
        "deleted.safetensors",
    )
    assert find_targets(tmp_path, changed) == ("./deep/clip", "./loose/clip_l.safetensors", "./sd")


ENDINGS = ("bin", "ckpt", "pt", "PTH", "pkl", "pickle", "sft", "gguf", "onnx", "h5", "msgpack")
OTHER_WEIGHTS = [f"a.{ending}" for ending in ENDINGS]


TOKENIZER = ("tokenizer.json", "tokenizer.4.50.0.json", "merges.txt", "added_tokens.json", "spiece.model")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@pytest.mark.parametrize("name", [*OTHER_WEIGHTS, *TOKENIZER, *INDEXES, "model.safetensors", "config.json"])
def test_the_hook_is_shown_every_file_that_makes_a_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / "m").mkdir()
    for file in {name, "config.json", "model.safetensors"}:
        (tmp_path / "m" / file).write_bytes(b"x" * 300)
    assert find_targets(tmp_path, [f"m/{name}"]) == ("./m",)
    assert re.search(HOOK["files"], f"m/{name}")
    assert not re.search(HOOK["exclude"], f"m/{name}")


@pytest.mark.parametrize("name", OTHER_WEIGHTS)
def test_weights_in_another_form_stand_for_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_bytes(b"x" * 300)
    assert find_targets(tmp_path, [f"m/{name}"]) == ("./m",)


def test_pickles_block(cli: Run, tmp_path: Path) -> None:
    for folder, config in (("with", b'{"model_type": "clip_text_model"}'), ("without", None)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 a pickle")
        if config is not None:
            (tmp_path / folder / "config.json").write_bytes(config)
        result = cli("staged", "--", f"{folder}/pytorch_model.bin")
        assert (result.exit_code, result.stdout) == (3, f"{folder}: inconclusive [refused-pickle]\n")


def test_a_pointer_without_content_is_inconclusive(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n"
    )
    result = cli("staged", "--", "m.safetensors")
    assert result.exit_code == 3
    assert result.stdout.startswith("m.safetensors: inconclusive, ")
    assert result.stdout.endswith(" [no-weights]\n")
    assert cli("staged", "--fail-on", "detected", "--", "m.safetensors").exit_code == 0


def test_what_is_no_text_encoder_passes_and_what_is_broken_does_not(cli: Run, tmp_path: Path) -> None:
    weights = save({"encoder.layer.0.output.dense.weight": torch.zeros(4, 4)})
    for name, config in (("bert", b'{"model_type": "bert"}'), ("broken", b'{"model_type": "clip_text_model"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(config)
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    passed = cli("staged", "--", "bert/model.safetensors")
    assert (passed.exit_code, passed.stdout) == (0, "bert: nothing-to-scan [not-clip-family]\n")
    broken = cli("staged", "--", "broken/model.safetensors")
    assert (broken.exit_code, error_codes(broken)) == (2, ["bad-repository"])
    assert cli("staged", "--").exit_code == 0, "pre-commit may pass no file"


def test_a_file_called_like_an_option_is_a_file(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "--config=evil").mkdir()
    (tmp_path / "--config=evil" / "config.json").write_text('{"model_type": "bert"}')
    assert cli("staged", *HOOK["args"], "--config=evil/config.json").exit_code == 0
    assert HOOK["args"][-1] == "--"
    result = cli("staged", "a.safetensors", "--no-reference")
    assert result.exit_code == 0, "after the first file nothing is an option; neither file exists"


def test_the_folder_that_is_scanned_may_not_say_how(cli: Run, tmp_path: Path) -> None:
    write(tmp_path / "model", "base")
    (tmp_path / "model" / "pyproject.toml").write_text("[tool.amdet-hub]\nno-reference = true\n")
    os.chdir(tmp_path / "model")
    result = cli("staged", "--", "model.safetensors")
    assert (result.exit_code, error_codes(result)) == (2, ["config-error"])


# ---------------------------------------------------------------- as pre-commit runs it


def environment(tmp_path: Path) -> dict[str, str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PRE_COMMIT"))}
    return {
        **base,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
        "AMDET_HUB_CACHE": str(tmp_path / "own"),
        "OMP_NUM_THREADS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@localhost",
    }


def test_the_manifest_is_valid(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verb, name = HOOK["entry"].split()
    assert (verb, name) == ("amdet-hub", "staged")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_with_a_backdoor_is_stopped_and_a_clean_one_is_made(tmp_path: Path) -> None:
    """The hook as its users get it, but for the one thing that needs the internet: its own virtual environment."""
    repo = tmp_path / "repo"
    repo.mkdir()
    base = write(tmp_path / "base", "base")
    (tmp_path / "fast.toml").write_text(FAST_TOML)
    args = ["--config", str(tmp_path / "fast.toml"), "--reference", str(base), "--"]
    hook: dict[str, Any] = {**HOOK, "language": "system", "args": args}
    del hook["minimum_pre_commit_version"]
    (repo / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{"repo": "local", "hooks": [hook]}]}))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=repo, env=environment(tmp_path), capture_output=True, text=True, timeout=280
        )

    assert run("git", "init", "-q").returncode == 0
    assert run(sys.executable, "-m", "pre_commit", "install").returncode == 0
    write(repo / "models" / "mine", "finetuned")
    run("git", "add", "-A")
    clean = run("git", "commit", "-q", "-m", "a clean model")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    write(repo / "models" / "theirs", "backdoored")
    run("git", "add", "-A")
    stopped = run("git", "commit", "-q", "-m", "a model from somewhere")
    assert stopped.returncode != 0
    assert "models/theirs: backdoor-detected [trigger-confirmed]" in stopped.stdout + stopped.stderr
    assert run("git", "log", "--oneline").stdout.count("\n") == 1
    (repo / "README.md").write_text("words")
    run("git", "reset", "-q", "--hard")
    (repo / "README.md").write_text("words")
    run("git", "add", "README.md")
    words = run("git", "commit", "-m", "only words")
    assert words.returncode == 0
    assert "Skipped" in words.stdout + words.stderr, "no checkpoint, no scan"
