from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run

TOKEN = "hf_alicealicealice"


def lines(text: str) -> dict[str, tuple[str, str]]:
    """Name of a check -> (state, finding)."""
    return {line[6:22].strip(): (line[:5].strip(), line[23:]) for line in text.splitlines()}


def test_a_machine_where_all_is_well(tmp_path: Path) -> None:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN)
        done = subprocess.run(
            [sys.executable, "-m", "amdet_hub", "doctor", "--cache-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **hub.environment("alice")},
        )
        found = lines(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert found["connection"][0] == "ok"
        assert found["account"] == ("ok", "signed in as alice")
        assert found["token"] == ("ok", "present")
        assert found["endpoint"] == ("ok", hub.endpoint)
        assert str(tmp_path) in found["cache"][1]
        assert "free" in found["cache"][1]
        assert found["torch"][0] == "ok"
        assert found["device"][0] == "ok"
        assert TOKEN not in done.stdout
        assert not any(r.had_token for r in hub.requests if r.path == "/api/models"), (
            "reachability is asked without the token"
        )


def test_a_wrong_token_fails(cli: Run, tmp_path: Path) -> None:
    with LocalHub() as hub:
        result = cli(
            "doctor", "--endpoint", hub.endpoint, "--cache-dir", tmp_path, "--token", "-", input="hf_wrongwrongwrong"
        )
    assert result.exit_code == 2
    assert lines(result.stdout)["account"][0] == "fail"
    assert "wrongwrong" not in result.output


def test_no_answer_fails_and_no_token_is_said(cli: Run, tmp_path: Path) -> None:
    result = cli("doctor", "--endpoint", "http://127.0.0.1:9", "--cache-dir", tmp_path)
    assert result.exit_code == 2
    assert lines(result.stdout)["connection"][0] == "fail"
    assert lines(result.stdout)["token"][1].startswith("none")


def test_offline_is_not_tried(cli: Run, tmp_path: Path) -> None:
    result = cli("doctor", "--offline", "--cache-dir", tmp_path)
    assert result.exit_code == 0
    assert lines(result.stdout)["connection"] == ("warn", "not tried: offline mode is on")


@pytest.mark.parametrize("where", ["file/cache", "/proc/cache"])
def test_a_cache_that_cannot_be_made_fails(cli: Run, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    result = cli("doctor", "--offline", "--cache-dir", where)
    assert result.exit_code == 2
    assert lines(result.stdout)["cache"][0] == "fail"
