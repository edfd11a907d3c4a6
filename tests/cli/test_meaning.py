"""`amdet-hub meaning`: the scan of `scan`, of which the taught tokens are printed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run, error_codes
from tests.demo_hub import BACKDOORED, BASE, FAST_TOML, FINETUNED, demo_hub


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with demo_hub() as hub:
        yield hub


@pytest.fixture
def ask(cli: Run, hub: LocalHub, tmp_path: Path) -> Run:
    def run(verb: str, *args: object) -> Result:
        Path("fast.toml").write_text(FAST_TOML)
        where = ("--config", "fast.toml", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache")
        return cli(verb, *args, *where, env={"AMDET_HUB_CACHE": str(tmp_path / "own")})

    return run


def test_it_lists_what_a_scan_found_and_ends_as_the_scan_does(ask: Run) -> None:
    scanned = ask("scan", BACKDOORED, "--reference", BASE, "-f", "json")
    found = ask("meaning", BACKDOORED, "--reference", BASE)
    assert found.exit_code == scanned.exit_code == 1
    assert "[trigger-confirmed]" in found.stdout
    assert "U+043E CYRILLIC SMALL LETTER O" in found.stdout
    assert "scanned before" in found.stdout, "nothing is scanned twice"
    data = json.loads(ask("meaning", BACKDOORED, "--reference", BASE, "--json").stdout)
    (encoder,) = data["encoders"]
    (result,) = json.loads(scanned.stdout)["outcomes"]
    assert encoder["meanings"] == result["meanings"]
    assert encoder["meanings"][0]["text"] == "\u043e"
    assert data["verdict"]["code"] == "trigger-confirmed"


@pytest.mark.parametrize(
    ("model", "flags"),
    [(FINETUNED, ("--reference", BASE)), (BASE, ("--reference", BASE)), (FINETUNED, ("--no-reference",))],
)
def test_where_nothing_was_taught_it_says_why(ask: Run, model: str, flags: tuple[str, ...]) -> None:
    told = ask("meaning", model, *flags)
    assert told.exit_code == 0, told.stderr
    assert [line for line in told.stdout.split("\n") if line.startswith("    taught ")]
    assert json.loads(ask("meaning", model, *flags, "--json").stdout)["encoders"][0]["meanings"] == []


def test_what_could_not_be_looked_at_is_no_silence(ask: Run) -> None:
    told = ask("meaning", FINETUNED, "--reference", BASE, "--timeout", "0.001")
    assert told.exit_code == 3
    assert "INCONCLUSIVE" in told.stdout
    absent = ask("meaning", "demo/absent")
    assert (absent.exit_code, error_codes(absent), absent.stdout) == (2, ["repo-not-found"], "")


def test_interrupted_exits_130(ask: Run, hub: LocalHub) -> None:
    hub.on_request(lambda request: os.kill(os.getpid(), signal.SIGINT))
    assert ask("meaning", FINETUNED, "--reference", BASE).exit_code == 130
