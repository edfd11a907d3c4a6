"""The demonstration, run for real: LocalHub, the real client, the real scan, a real pull request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED, NOT_SERVED, TOKEN, _serve, run_demo
from amdet_hub.testing import LocalHub


def test_the_whole_show_ends_well_whatever_the_environment_and_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    before = dict(os.environ)
    said: list[str] = []
    stages: set[str] = set()
    assert run_demo(said.append, lambda stage, done, total: stages.add(stage)) == 0
    text = "\n".join(said)
    for expected in (
        "http://127.0.0.1:",
        f"scan {FINETUNED}",
        f"scan {BACKDOORED}",
        "U+043E CYRILLIC SMALL LETTER O",
        "--- ",
        "+++ ",
        "Pull request #1",
    ):
        assert expected in text
    assert "Both verdicts are right" in text
    assert TOKEN not in text
    assert stages
    assert dict(os.environ) == before


def test_every_encoder_is_served_over_http_without_the_ground_truth(tmp_path: Path) -> None:
    from amdet_hub.hub import open_source, parse_target

    with LocalHub() as hub, mock.patch.dict(os.environ, hub.environment()):
        settings = _serve(hub, tmp_path)
        assert settings.endpoint == hub.endpoint
        for repo_id in (BASE, FINETUNED, BACKDOORED):
            source = open_source(parse_target(repo_id), settings)
            listed = {file.path for file in source.snapshot.files}
            assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= listed
            assert not listed & set(NOT_SERVED)
            fetched = source.fetch("model.safetensors")
            assert fetched.read_bytes() == (WEIGHTS / repo_id.partition("/")[2] / "model.safetensors").read_bytes()
        assert hub.writes == []


def test_importing_the_room_imports_no_torch() -> None:
    code = (
        "import sys, amdet_hub.demo; sys.exit(bool({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
