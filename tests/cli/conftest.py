"""The command line as people use it: words in, exit code and two streams out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amdet_hub.cli.app import app

Run = Callable[..., Result]


def error_codes(result: Result) -> list[str]:
    """The code of every error on stderr, which ends the error's first line."""
    return re.findall(r"^(?:.*: )?Error: .* \[([a-z0-9-]+)\]$", result.stderr, re.MULTILINE)


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and, but the seed, none of our variables: a developer's settings change no test."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("AMDET_HUB_") and n != "AMDET_HUB_SEED"]:
        monkeypatch.delenv(name)


@pytest.fixture
def cli() -> Run:
    """`cli("scan", "org/model", input=..., env=...)` -> click's Result with `exit_code`, `stdout` and `stderr`."""

    def run(*args: str, **extra: object) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in args], prog_name="amdet-hub", **extra)  # type: ignore[arg-type]
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            "an exception got past the last net"
        )
        assert "Traceback" not in result.stderr
        return result

    return run
