"""`amdet-hub space --demo` as a user runs it: a process that serves until Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from amdet_hub.cli import space as verb
from amdet_hub.cli.app import app


def test_the_demonstration_is_served_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amdet_hub", "space", "--demo", "--port", "0"]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        try:
            assert process.stderr is not None
            said = next((line for line in process.stderr if "The page is at" in line), "")
            found = re.search(r"http://127\.0\.0\.1:\d+/", said)
            assert found, said
            with urllib.request.urlopen(found[0], timeout=60) as page:
                assert b"Was this text encoder backdoored?" in page.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) in (0, 130)
        finally:
            process.kill()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    result = CliRunner().invoke(app, ["space"], prog_name="amdet-hub")
    assert result.exit_code == 2
    assert "pip install 'amdet-hub[space]'" in result.stderr
