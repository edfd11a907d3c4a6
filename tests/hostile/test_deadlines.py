"""A Hub that is never silent and never ready: every question to it ends, soon and with little memory."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from amdet_hub.cli.app import app
from amdet_hub.encoders.safetensors_header import read_header
from amdet_hub.errors import BadRepository, HubError, HubUnavailable
from amdet_hub.hub import HubSettings, _client, _exchange, open_source, parse_target, partial_download
from amdet_hub.hub.listing import list_models, model_commits
from amdet_hub.hub.time_limit import TimeSpent, time_limit
from amdet_hub.records import RepoSource
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from tests.hostile.conftest import LIMIT_S, TOKEN, Attack
from tests.hostile.forge import CONFIG, WEIGHTS, Files
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


BUDGET_S = 1.0
PLACES = {
    "the commit": "/api/models/org/",
    "the listing": "/tree/",
    "the configuration": f"/{CONFIG}",
    "the weights": f"/{WEIGHTS}",
    "the reference": "/api/models/org/base",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_time_budget_covers_every_wait(hub: LocalHub, attack: Attack, clean: Files, place: str) -> None:
    """Each request alone may take 30 seconds."""
    hub.drip_headers(PLACES[place], every_s=0.1)
    began = time.monotonic()
    result = attack({**clean, "README.md": b"# Another"}, "--timeout", f"{BUDGET_S}s")
    assert time.monotonic() - began < BUDGET_S + SOON_S
    report = parse_report(result.stdout)
    assert result.exit_code == 3, result.output
    assert (report.verdict.label, report.verdict.code, report.complete) == ("inconclusive", "time-spent", False)
    assert [(s.reason, s.blocks_clearance) for s in report.skipped] == [("time-spent", True)]
    assert (report.snapshot.commit_sha is None) is (place in ("the commit", "the listing"))


def test_the_time_budget_covers_a_download_that_is_slow_but_not_too_slow(
    hub: LocalHub, attack: Attack, clean: Files
) -> None:
    hub.slow(WEIGHTS, bytes_per_s=2000)
    began = time.monotonic()
    result = attack({**clean, "README.md": b"# Another"}, "--timeout", f"{BUDGET_S}s", reference=False)
    assert time.monotonic() - began < BUDGET_S + SOON_S
    assert result.exit_code == 3, result.output
    assert parse_report(result.stdout).verdict.code == "time-spent"


def test_the_time_budget_covers_ranges_that_are_fetched_side_by_side(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_download, "LEAST_SAVING_BYTES", 1)
    source = opened(hub, tmp_path, timeout_s=30.0)
    tensors = read_header(source, WEIGHTS)
    hub.drip_headers(f"/{WEIGHTS}", every_s=0.1)
    began = time.monotonic()
    with pytest.raises(TimeSpent), time_limit(BUDGET_S):
        source.fetch_tensors(WEIGHTS, dict(list(tensors.items())[:3]))
    assert time.monotonic() - began < BUDGET_S + SOON_S


def test_a_plan_is_held_to_the_time_budget(hub: LocalHub, tmp_path: Path) -> None:
    hub.drip_headers("/tree/", every_s=0.1)
    where = ("--endpoint", hub.endpoint, "--cache-dir", str(tmp_path))
    result = CliRunner().invoke(app, ["resolve", "org/base", "--timeout", "1s", "-f", "json", *where])
    assert result.exit_code == 3, result.output
    plan = json.loads(result.stdout)
    assert (plan["verdict"]["code"], plan["encoders"]) == ("time-spent", [])


@pytest.mark.parametrize("at", ["/tree/", f"/{WEIGHTS}"])
@pytest.mark.parametrize("every_s", [0.1, 3600.0], ids=["drips", "silent"])
def test_ctrl_c_ends_a_wait(hub: LocalHub, tmp_path: Path, at: str, every_s: float) -> None:
    hub.drip_headers(at, every_s=every_s)
    asked = threading.Event()
    hub.on_request(lambda request: asked.set() if at in request.path else None)
    where = ("--endpoint", hub.endpoint, "--cache-dir", str(tmp_path), "--no-reference")
    process = subprocess.Popen(
        [sys.executable, "-m", "amdet_hub", "scan", "org/base", *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asked.wait(LIMIT_S)
    said = interrupted(process)
    assert process.returncode == 130, said
    assert "Interrupted" in said
    assert "Traceback" not in said


FETCH = f"""
import sys; from pathlib import Path
from amdet_hub.encoders.safetensors_header import read_header
from amdet_hub.hub import HubSettings, open_source, parse_target, partial_download
partial_download.LEAST_SAVING_BYTES, partial_download._spans.SMALL_GAP_BYTES = 1, 0
source = open_source(parse_target("org/base"), HubSettings(endpoint=sys.argv[1], cache_dir=Path(sys.argv[2])))
tensors = list(read_header(source, "{WEIGHTS}").items())
print("ready", flush=True); input()
source.fetch_tensors("{WEIGHTS}", dict(tensors[::5]))
"""


def test_ctrl_c_ends_ranges_that_are_fetched_side_by_side(hub: LocalHub, tmp_path: Path) -> None:
    """Their threads wait for a silent server; each alone would do so for 30 seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, hub.endpoint, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    asked = threading.Semaphore(0)
    hub.drip_headers(f"/{WEIGHTS}", every_s=3600.0)
    hub.on_request(lambda request: asked.release())
    process.stdin.write("\n")
    process.stdin.flush()
    assert all(asked.acquire(timeout=LIMIT_S) for _ in range(3)), "three at once"
    said = interrupted(process)
    assert "KeyboardInterrupt" in said
    assert process.returncode == -signal.SIGINT


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a process says that is interrupted, and ends soon."""
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=LIMIT_S)
    assert time.monotonic() - began < SOON_S
    return said
