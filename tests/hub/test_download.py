from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._runtime import is_xet_available

from amdet_hub.errors import DownloadCorrupt, OfflineMiss, ResourceError
from amdet_hub.hub import open_at
from amdet_hub.hub._listings import repo_folder
from amdet_hub.records import RepoSource
from amdet_hub.testing import LocalHub
from tests.hub.conftest import WEIGHTS, Settle

PATH = "text_encoder/model.safetensors"


@pytest.fixture
def source(settle: Settle) -> RepoSource:
    return open_at("org/m", None, settle(token="hf_alice"))


def blobs(tmp_path: Path) -> list[Path]:
    return [
        p
        for p in (repo_folder(tmp_path / "cache", "org/m") / "blobs").glob("*")
        if p.stat().st_size >= len(WEIGHTS) // 2
    ]


def test_a_file_arrives_whole_and_counts_up(hub: LocalHub, settle: Settle) -> None:
    big = bytes(1 << 20) * 3
    hub.add_model("org/big", {"model.safetensors": big})
    steps: list[tuple[str, int, int]] = []
    place = open_at("org/big", None, settle()).fetch("model.safetensors", lambda *step: steps.append(step))
    assert hashlib.sha256(place.read_bytes()).digest() == hashlib.sha256(big).digest()
    assert {(stage, total) for stage, _, total in steps} == {("download", len(big))}
    done = [d for _, d, _ in steps]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, len(big))


def test_a_cached_file_costs_no_request(hub: LocalHub, source: RepoSource) -> None:
    first = source.fetch(PATH)
    hub.forget_requests()
    steps: list[tuple[str, int, int]] = []
    assert source.fetch(PATH, lambda *step: steps.append(step)) == first
    assert source.read_range(PATH, 10, 20) == WEIGHTS[10:20]
    assert steps == [("download", len(WEIGHTS), len(WEIGHTS))]
    assert hub.requests == []


def test_nothing_is_printed(source: RepoSource, capfd: pytest.CaptureFixture[str]) -> None:
    source.fetch(PATH)
    assert capfd.readouterr() == ("", "")


def test_wrong_bytes_are_never_kept(hub: LocalHub, source: RepoSource, tmp_path: Path) -> None:
    hub.corrupt(PATH.rpartition("/")[2], times=1)
    with pytest.raises(DownloadCorrupt) as caught:
        source.fetch(PATH)
    expected = hashlib.sha256(WEIGHTS).hexdigest()
    assert caught.value.expected == f"sha256 {expected}"
    assert caught.value.actual != caught.value.expected
    assert (caught.value.path, caught.value.repo_id) == (PATH, "org/m")
    assert blobs(tmp_path) == []
    assert source.fetch(PATH).read_bytes() == WEIGHTS


def test_wrong_bytes_of_a_small_file_are_noticed_too(hub: LocalHub, source: RepoSource) -> None:
    hub.corrupt("config.json", times=1)
    with pytest.raises(DownloadCorrupt, match="git id"):
        source.read_small("config.json", max_bytes=99)
    assert source.read_small("config.json", max_bytes=99) == b'{"a": 1}'


@pytest.mark.parametrize("damage", [b"x" * len(WEIGHTS), b"short"])
def test_a_file_damaged_in_the_cache_is_fetched_anew(source: RepoSource, settle: Settle, damage: bytes) -> None:
    place = source.fetch(PATH)
    place.resolve().write_bytes(damage)
    with pytest.raises(OfflineMiss):
        open_at("org/m", source.snapshot.commit_sha, settle(offline=True)).fetch(PATH)
    assert open_at("org/m", None, settle()).fetch(PATH).read_bytes() == WEIGHTS


def test_a_damaged_cache_entry_never_deletes_outside_the_cache(source: RepoSource, tmp_path: Path) -> None:
    place = source.fetch(PATH)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    place.unlink()
    place.symlink_to(outside)
    assert source.fetch(PATH).read_bytes() == WEIGHTS
    assert outside.read_bytes() == b"precious"


def test_a_body_that_ends_early_is_asked_for_again(
    hub: LocalHub, source: RepoSource, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.truncate(".safetensors", keep_bytes=1000, times=1)
    assert source.fetch(PATH).read_bytes() == WEIGHTS
    assert len([r for r in hub.requests if r.side == "lfs"]) == 2
    assert capfd.readouterr() == ("", "")


def test_a_short_body_that_claims_to_be_whole_is_not_kept(hub: LocalHub, source: RepoSource, tmp_path: Path) -> None:
    hub.truncate(".safetensors", keep_bytes=3000, times=None, admit=True)
    with pytest.raises(DownloadCorrupt) as caught:
        source.fetch(PATH)
    assert (caught.value.expected, caught.value.actual) == ("5,120 bytes", "3,000 bytes")
    assert blobs(tmp_path) == []
    hub.behave()
    assert source.fetch(PATH).read_bytes() == WEIGHTS


def test_ranges(hub: LocalHub, source: RepoSource) -> None:
    hub.forget_requests()
    assert source.read_range(PATH, 0, 8) == WEIGHTS[:8]
    assert source.read_range(PATH, 5000, 9999) == WEIGHTS[5000:]
    assert source.read_range("config.json", 2, 3) == b"a"
    assert source.read_range(PATH, 9, 9) == source.read_range(PATH, 99999, 100000) == b""
    assert [r.range for r in hub.requests if r.side == "lfs"] == ["bytes=0-7", "bytes=5000-5119"]


def test_the_token_stays_with_the_hub(hub: LocalHub, source: RepoSource) -> None:
    source.read_range(PATH, 0, 8)
    source.fetch(PATH)
    assert {r.had_token for r in hub.requests if r.side == "hub"} == {True}
    assert [r.had_token for r in hub.requests if r.side == "lfs"] == [False, False]


@pytest.mark.parametrize("admit", [True, False])
def test_a_short_range_is_corrupt_or_tried_again(hub: LocalHub, settle: Settle, admit: bool) -> None:
    hub.truncate(".safetensors", keep_bytes=3, times=2, admit=admit)
    with pytest.raises(DownloadCorrupt):
        open_at("org/m", None, settle()).read_range(PATH, 0, 100)
    assert open_at("org/m", None, settle(max_retries=1)).read_range(PATH, 0, 100) == WEIGHTS[:100]


def test_a_budget_is_kept_before_anything_is_asked(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle(max_download_bytes=len(WEIGHTS) + 150))
    hub.forget_requests()
    source.read_range(PATH, 100, 160)  # not the start, which is kept
    source.read_range(PATH, 100, 160)
    for read in (lambda: source.fetch(PATH), lambda: source.read_range(PATH, 0, len(WEIGHTS))):
        with pytest.raises(ResourceError) as caught:
            read()
        assert caught.value.resource == "download"
        assert caught.value.available == len(WEIGHTS) + 150
        assert caught.value.needed is not None
        assert caught.value.needed > caught.value.available
    assert len([r for r in hub.requests if r.side == "lfs"]) == 2
    open_at("org/m", None, settle()).fetch(PATH)
    assert source.fetch(PATH).read_bytes() == WEIGHTS  # in the cache by now: free


@pytest.fixture
def nearly_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int = 1 << 30
        used: int = 1 << 30
        free: int = 614_000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage())  # the machine's own disk is not ours to fill


def test_a_disk_that_is_too_small_is_noticed_first(hub: LocalHub, source: RepoSource, nearly_full_disk: None) -> None:
    hub.forget_requests()
    with pytest.raises(ResourceError) as caught:
        source.fetch(PATH)
    error = caught.value
    assert (error.resource, error.available) == ("disk", 614_000)
    assert error.needed is not None
    assert error.needed > 614_000, "the space that is left free beside the download is needed too"
    assert hub.requests == []


def test_a_full_disk_takes_no_small_file_and_the_scan_reads_it_all_the_same(
    hub: LocalHub, settle: Settle, nearly_full_disk: None, tmp_path: Path
) -> None:
    source = open_at("org/m", None, settle())
    assert source.snapshot.license == "mit"
    assert source.read_small("config.json", max_bytes=100) == b'{"a": 1}'
    assert source.read_range(PATH, 0, 100) == WEIGHTS[:100]
    assert blobs(tmp_path) == []
    hub.corrupt("config.json", times=None)
    with pytest.raises(DownloadCorrupt):
        source.read_small("config.json", max_bytes=100)


def test_a_disk_that_fills_up_meanwhile(source: RepoSource, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # a real write fails, as on a full quota
    try:
        with pytest.raises(ResourceError) as caught:
            source.fetch(PATH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.resource, caught.value.needed) == ("disk", len(WEIGHTS))
    assert blobs(tmp_path) == []
    assert source.fetch(PATH).read_bytes() == WEIGHTS


def test_a_cache_that_is_no_folder(settle: Settle, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    source = open_at("org/m", None, settle())
    assert source.read_small("config.json", max_bytes=100) == b'{"a": 1}'
    with pytest.raises(ResourceError) as caught:
        source.fetch(PATH)
    assert caught.value.resource == "disk"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_damaged_file_in_a_cache_that_cannot_be_written(source: RepoSource, settle: Settle) -> None:
    config = source.fetch("config.json")
    config.resolve().write_bytes(b"damaged!")
    with read_only(config.resolve().parent), read_only(config.parent):
        assert open_at("org/m", None, settle()).read_small("config.json", max_bytes=100) == b'{"a": 1}'


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)


def test_several_threads_share_a_source(source: RepoSource) -> None:
    got: list[Any] = []
    threads = [
        threading.Thread(target=lambda: got.append(source.fetch(PATH).read_bytes() == WEIGHTS)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [True] * 4


def test_files_come_over_connections_that_are_held(
    hub: LocalHub, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xet has a client of its own, without our limits, and gets its token where the answer says."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert is_xet_available()
    source = open_at("org/m", None, settle())
    hub.relabel("/resolve/", {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": f"{hub.endpoint}/api/xet-token"})
    assert source.fetch("text_encoder/model.safetensors").read_bytes() == WEIGHTS
    assert not [request for request in hub.requests if "xet" in request.path]
