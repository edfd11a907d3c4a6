"""What several scans share: a reference loaded once, and the next target's files fetched meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from amdet_hub.config import ScanConfig
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.scanner import Scanner, ScanOptions
from amdet_hub.scanner.prefetch import Prefetcher
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        for name, dtype in (("base", "float32"), ("half", "float16"), ("brain", "bfloat16")):
            hub.add_model(f"org/{name}", tiny_clip(tmp_path / name, hidden_size=16, layers=1, dtype=dtype))
        yield hub


@pytest.fixture
def online(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, cache_dir=tmp_path / "cache", max_retries=0)


def weights(hub: LocalHub, repo_id: str) -> int:
    return len([r for r in hub.requests if r.side == "lfs" and r.method == "GET" and f"/{repo_id}/" in r.path])


def scanner_of(online: HubSettings, reference: str = "org/base") -> Scanner:
    options = ScanOptions(device="cpu", rescan=True)
    return Scanner(ScanConfig.for_preset("quick"), online, parse_target(reference), options)


def test_a_reference_is_loaded_once(online: HubSettings, tmp_path: Path) -> None:
    scanner = scanner_of(online)
    for name in ("half", "brain", "half"):
        report = scanner.scan(scanner.resolve(parse_target(f"org/{name}")))
        assert report.results[0].lineage is not None
        assert report.results[0].lineage.relation == "cast"
    assert scanner.shared.n_loaded == 1
    local = replace(scanner, reference=parse_target(str(tmp_path / "base")))
    for count in (2, 3):
        local.scan(local.resolve(parse_target("org/half")))
        assert scanner.shared.n_loaded == count, "a folder may change between two scans"


def test_files_fetched_ahead_are_not_fetched_again(hub: LocalHub, online: HubSettings) -> None:
    scanner, target = scanner_of(online), parse_target("org/half")
    with Prefetcher(scanner) as prefetcher:
        prefetcher.start(target)
        prefetcher.wait()
    assert weights(hub, "org/half") == 2, "the header, then the file"
    hub.forget_requests()
    scanner.scan(scanner.resolve(target))
    assert weights(hub, "org/half") == 0


def test_fetching_ahead_ends_when_the_scans_do(hub: LocalHub, online: HubSettings) -> None:
    hub.slow("org/half", bytes_per_s=20_000)
    prefetcher = Prefetcher(scanner_of(online))
    began = time.monotonic()
    prefetcher.start(parse_target("org/half"))
    while not weights(hub, "org/half"):
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    prefetcher.close()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("target", ["org/none", "org/base"])
def test_fetching_ahead_says_nothing_of_what_goes_wrong(
    hub: LocalHub, online: HubSettings, target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.fail("/resolve/", status=500, times=None)
    with Prefetcher(scanner_of(online)) as prefetcher:
        prefetcher.start(parse_target(target))
        prefetcher.wait()
        prefetcher.start(parse_target(str(tmp_path / "half")))  # nothing to fetch
        prefetcher.wait()
    assert capfd.readouterr() == ("", "")
