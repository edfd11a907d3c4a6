"""One local Hub with a clean encoder, beside which hostile repositories are made and scanned with the command line."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from amdet_hub.cli.app import app
from amdet_hub.hub import _client
from amdet_hub.installation import read_key
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip
from tests.hostile.forge import Files
from tests.hostile.watch import WATCH, check_requests, tree

TOKEN = "hf_alicealicealice"
LIMIT_S = 30.0
"""A refusal takes a fraction of a second; this allows for a machine that is loaded many times over."""

Attack = Callable[..., Result]
_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _key() -> None:
    """This user's key, which the first scan of all makes, outside the cache."""
    assert read_key() is not None


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a small clean encoder."""
    folder = tiny_clip(tmp_path_factory.mktemp("clean"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def _hub(clean: Files) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_model("org/base", clean)
        yield hub


@pytest.fixture
def hub(_hub: LocalHub) -> Iterator[LocalHub]:
    """The Hub, well behaved, with an empty log."""
    _hub.behave()
    _hub.forget_requests()
    yield _hub
    _hub.behave()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(_client, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def attack(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """`attack(files, *more)`: publish and scan `files` with a token that may write, and check that it did no harm."""

    def run(files: Files | Path, *more: str, reference: bool = True) -> Result:
        hub.forget_requests()
        here = tmp_path / "here"
        here.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        cache, target = tmp_path / "cache", str(files)
        if not isinstance(files, Path):
            target = f"org/m{next(_numbers)}"
            hub.add_model(target, files)
        held_against = ("--reference", "org/base") if reference else ("--no-reference",)
        where = (
            "--endpoint",
            hub.endpoint,
            "--cache-dir",
            str(cache),
            "--token",
            TOKEN,
            "--device",
            "cpu",
            "--no-progress",
        )
        before, began = tree(tmp_path, without=cache), time.monotonic()
        with WATCH.outside(cache):
            result = CliRunner().invoke(
                app, ["scan", target, *held_against, "-f", "json", *where, *more], prog_name="amdet-hub"
            )
        assert time.monotonic() - began < LIMIT_S
        assert tree(tmp_path, without=cache) == before
        check_requests(hub, (target, "org/base"))
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            "an exception got past the last net"
        )
        for unwanted in ("Traceback", TOKEN, "This is a defect"):
            assert unwanted not in result.stdout + result.stderr
        return result

    return run
