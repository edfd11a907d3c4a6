"""What several scans share: a reference loaded once, and the next target's files fetched meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdet_hub.config import ScanConfig
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.scanner import ScanOptions, scan_target
from amdet_hub.scanner.prefetch import Prefetcher
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.testing import LocalHub
from amdet_hub.testing.tiny import tiny_clip

CPU = ScanOptions(device="cpu")


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


def test_a_reference_is_loaded_once(online: HubSettings, tmp_path: Path) -> None:
    shared, config = SharedReferences(), ScanConfig.for_preset("quick")
    for name in ("half", "brain", "half"):
        report = scan_target(
            parse_target(f"org/{name}"),
            config=config,
            settings=online,
            reference=parse_target("org/base"),
            options=CPU,
            shared=shared,
        )
        assert report.results[0].lineage is not None
        assert report.results[0].lineage.relation == "cast"
    assert shared.n_loaded == 1
    local = parse_target(str(tmp_path / "base"))
    for count in (2, 3):
        scan_target(
            parse_target("org/half"), config=config, settings=online, reference=local, options=CPU, shared=shared
        )
        assert shared.n_loaded == count, "a folder may change between two scans"


def test_what_was_fetched_ahead_is_not_fetched_again(hub: LocalHub, online: HubSettings) -> None:
    target, reference = parse_target("org/half"), parse_target("org/base")
    with Prefetcher(online, reference=reference, use_reference=True) as prefetcher:
        prefetcher.start(target)
        prefetcher.wait()
    assert weights(hub, "org/half") == 2, "the header, then the file"
    hub.forget_requests()
    scan_target(target, config=ScanConfig.for_preset("quick"), settings=online, reference=reference, options=CPU)
    assert weights(hub, "org/half") == 0


def test_fetching_ahead_ends_when_the_scans_do(hub: LocalHub, online: HubSettings) -> None:
    hub.slow("org/half", bytes_per_s=20_000)
    prefetcher = Prefetcher(online, reference=parse_target("org/base"), use_reference=True)
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
    with Prefetcher(online, reference=parse_target("org/base"), use_reference=True) as prefetcher:
        prefetcher.start(parse_target(target))
        prefetcher.wait()
        prefetcher.start(parse_target(str(tmp_path / "half")))  # nothing to fetch
        prefetcher.wait()
    assert capfd.readouterr() == ("", "")
