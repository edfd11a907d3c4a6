"""A Hub that is never silent and never ready: every question to it ends, soon and with little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.errors import BadRepository, HubError, HubUnavailable
from amdet_hub.hub import HubSettings, _client, _exchange, open_source, parse_target
from amdet_hub.hub.listing import list_models, model_commits
from amdet_hub.records import RepoSource
from amdet_hub.testing import LocalHub
from tests.hostile.conftest import LIMIT_S, TOKEN
from tests.hostile.forge import CONFIG, WEIGHTS
from tests.hostile.test_budgets import MEASURED

TIMEOUT_S = 0.4
SOON_S = 5.0
"""A wait that is cut off takes `TIMEOUT_S`, a question of several at most ten times that."""


def settings(hub: LocalHub, tmp_path: Path, **values: Any) -> HubSettings:
    fixed = {"endpoint": hub.endpoint, "token": TOKEN, "cache_dir": tmp_path / "cache", "max_retries": 0}
    return HubSettings(**{**fixed, "timeout_s": TIMEOUT_S, **values})


def opened(hub: LocalHub, tmp_path: Path, **values: Any) -> RepoSource:
    return open_source(parse_target("org/base"), settings(hub, tmp_path, **values))


STALLS: dict[str, Callable[[LocalHub, str], None]] = {
    "a header that drips": lambda hub, at: hub.drip_headers(at, every_s=0.1),
    "a flood of header": lambda hub, at: hub.drip_headers(at, every_s=0.0001),
    "the announcement of a chunk that drips": lambda hub, at: hub.drip_chunks(at, every_s=0.1, method="GET"),
    "100 Continue": lambda hub, at: hub.endless_continue(at, every_s=0.1),
    "a flood of 100 Continue": lambda hub, at: hub.endless_continue(at, every_s=0),
}
READS: dict[str, Callable[[RepoSource], object]] = {
    CONFIG: lambda source: source.read_small(CONFIG, max_bytes=1 << 20),
    WEIGHTS: lambda source: source.read_range(WEIGHTS, 0, 1000),
    f"/{WEIGHTS}": lambda source: source.fetch(WEIGHTS),
}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("at", ["/api/models/org/base", "/tree/"])
def test_a_listing_that_does_not_come_is_given_up(hub: LocalHub, tmp_path: Path, stall: str, at: str) -> None:
    """Not one of these is silent for as long as the time limit."""
    STALLS[stall](hub, at)
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        opened(hub, tmp_path)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("at", READS)
def test_a_file_that_does_not_come_is_given_up(hub: LocalHub, tmp_path: Path, stall: str, at: str) -> None:
    source = opened(hub, tmp_path)
    STALLS[stall](hub, at)
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        READS[at](source)
    assert time.monotonic() - began < SOON_S


def test_retries_share_the_time_of_a_question(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "MAX_PAUSE_S", 0.01)
    hub.drip_headers("/tree/", every_s=0.05)
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        opened(hub, tmp_path, max_retries=100)
    assert time.monotonic() - began < 2 * SOON_S


def folders(page: int) -> list[dict[str, object]]:
    return [{"type": "directory", "oid": "0" * 40, "path": f"f/{page}/{number}"} for number in range(1000)]


PAGES: dict[str, Callable[[int], list[dict[str, object]]]] = {
    "empty": lambda page: [],
    "folders": folders,
    "files": lambda page: [{"type": "file", "oid": "0" * 40, "size": 1, "path": f"f/{page}"}],
    "the same file": lambda page: [{"type": "file", "oid": "0" * 40, "size": 1, "path": "f"}],
}


@pytest.mark.parametrize("pages", PAGES)
def test_pages_without_end_are_not_followed(hub: LocalHub, tmp_path: Path, pages: str) -> None:
    hub.endless_pages("/tree/", PAGES[pages])
    began = time.monotonic()
    with pytest.raises((HubError, BadRepository)) as caught:
        opened(hub, tmp_path, timeout_s=5.0)
    assert not isinstance(caught.value, HubUnavailable)
    assert time.monotonic() - began < 2 * SOON_S
    assert len(hub.requests) <= _exchange.MAX_REQUESTS + 1


@pytest.mark.parametrize("read", [list_models, model_commits], ids=["ids", "commits"])
def test_lists_of_models_without_end_are_not_followed(
    hub: LocalHub, tmp_path: Path, read: Callable[..., object]
) -> None:
    hub.endless_pages("/api/models", lambda page: [])
    with pytest.raises(HubError):
        read(author="org", settings=settings(hub, tmp_path, timeout_s=5.0))
    assert len(hub.requests) <= _exchange.MAX_REQUESTS


def test_pages_that_come_slowly_have_a_time_limit_in_all(hub: LocalHub, tmp_path: Path) -> None:
    """Each comes in time."""
    hub.endless_pages("/tree/", PAGES["empty"])
    hub.on_request(lambda request: time.sleep(0.75 * TIMEOUT_S))
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        opened(hub, tmp_path)
    assert time.monotonic() - began < 2 * SOON_S


FILE = b'{"type":"file","oid":"0","size":1,"path":"a"}'
HUGE: dict[str, tuple[bytes, bool]] = {
    "of files": (FILE, False),
    "of empty objects": (b"{}", False),
    "packed": (FILE, True),
}


@pytest.mark.parametrize("at", ["/tree/", "/api/models/org/base"])
@pytest.mark.parametrize("listing", HUGE)
def test_a_huge_listing_costs_little(hub: LocalHub, tmp_path: Path, listing: str, at: str) -> None:
    """63 MB of it cost 1.95 GB."""
    piece, packed = HUGE[listing]
    hub.huge_listing(at, piece, size_bytes=63_000_000, packed=packed)
    assert_cheap(hub, tmp_path, 200_000_000)


@pytest.mark.parametrize("piece", [FILE, b"{}", b"[]"], ids=["files", "objects", "lists"])
def test_a_listing_of_just_the_most_bytes_costs_little(hub: LocalHub, tmp_path: Path, piece: bytes) -> None:
    hub.huge_listing("/tree/", piece, size_bytes=_exchange.MAX_ANSWER_BYTES - 100)
    assert_cheap(hub, tmp_path, 400_000_000)


def test_pages_of_just_the_most_bytes_cost_little(hub: LocalHub, tmp_path: Path) -> None:
    """Files with long names, each another one."""
    hub.endless_pages(
        "/tree/",
        lambda page: [
            {"type": "file", "oid": "0", "size": 1, "path": f"{page}/{number}/{'x' * 1000}"} for number in range(5000)
        ],
    )
    assert_cheap(hub, tmp_path, 400_000_000)


def assert_cheap(hub: LocalHub, tmp_path: Path, most_bytes: int) -> None:
    """Resolve a repository in a process of its own, which ends with an error in words, soon and in this memory."""
    command = ["-m", "amdet_hub", "resolve", "org/base", "--no-reference", "--endpoint", hub.endpoint]
    began = time.monotonic()
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *command, "--cache-dir", str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
    )
    code, resident_bytes, _ = json.loads(measured.stdout)
    assert code == 2, measured.stderr
    assert "Traceback" not in measured.stderr
    assert resident_bytes < most_bytes, measured.stderr
    assert time.monotonic() - began < LIMIT_S


@pytest.mark.parametrize("at", [CONFIG, WEIGHTS])
def test_a_packed_file_is_not_unpacked(hub: LocalHub, tmp_path: Path, at: str) -> None:
    source = opened(hub, tmp_path)
    hub.relabel(at, {"Content-Encoding": "gzip"})
    with pytest.raises(HubError, match="content-encoding gzip"):
        READS[at](source)
