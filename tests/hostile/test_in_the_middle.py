"""A Hub, or a proxy before it, that answers with headers and bodies of its own choice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from amdet_hub.errors import AmdetError, HubError, HubUnavailable
from amdet_hub.hub import HubSettings, _exchange, open_source, parse_target
from amdet_hub.records import RepoSource
from amdet_hub.testing import LocalHub
from tests.hostile.conftest import TOKEN, Attack
from tests.hostile.forge import CONFIG, WEIGHTS, Files
from tests.hostile.watch import tree


def opened(hub: LocalHub, tmp_path: Path, **values: float) -> RepoSource:
    settings = HubSettings(endpoint=hub.endpoint, token=TOKEN, cache_dir=tmp_path / "cache", max_retries=0, **values)  # type: ignore[arg-type]
    return open_source(parse_target("org/base"), settings)


@pytest.mark.parametrize("etag", ["../../../../here/evil", "/{here}/evil", "..", "a/b", "a\\b", "a" * 300, ""])
@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag"])
def test_an_etag_is_no_path(hub: LocalHub, tmp_path: Path, header: str, etag: str) -> None:
    (tmp_path / "here").mkdir()
    source = opened(hub, tmp_path)
    before = tree(tmp_path, without=tmp_path / "cache")
    hub.relabel("/resolve/", {header: f'"{etag.format(here=tmp_path / "here")}"'})
    path = WEIGHTS if header == "X-Linked-ETag" else CONFIG
    with pytest.raises(AmdetError, match=r"not a plain name|not answer like"):
        source.fetch(path)
    assert tree(tmp_path, without=tmp_path / "cache") == before


@pytest.mark.parametrize("commit", ["../../../here", "main", "0" * 39, "/etc", "0" * 41])
def test_a_commit_is_no_path(hub: LocalHub, tmp_path: Path, commit: str) -> None:
    source = opened(hub, tmp_path)
    before = tree(tmp_path, without=tmp_path / "cache")
    hub.relabel("/resolve/", {"X-Repo-Commit": commit})
    with pytest.raises(HubError, match="x-repo-commit header is not a plain name"):
        source.fetch(CONFIG)
    assert tree(tmp_path, without=tmp_path / "cache") == before


def test_another_commit_than_the_pinned_one_changes_nothing(hub: LocalHub, tmp_path: Path, clean: Files) -> None:
    """What arrives is held against the listing of the pinned commit, whatever commit the answer names."""
    source = opened(hub, tmp_path)
    hub.relabel("/resolve/", {"X-Repo-Commit": "f" * 40, "ETag": '"abc"'})
    assert source.fetch(CONFIG).read_bytes() == clean[CONFIG]
    hub.corrupt(WEIGHTS, times=None)
    with pytest.raises(HubError, match="damaged"):
        source.fetch(WEIGHTS)


@pytest.mark.parametrize("path", [CONFIG, WEIGHTS])
def test_a_body_that_does_not_end_is_cut_off(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(_exchange, "MAX_FILE_MARGIN_BYTES", 1 << 16)
    source = opened(hub, tmp_path)
    hub.pad("/resolve/" if path == CONFIG else "/org/base/", extra_bytes=8 << 20)
    with pytest.raises(HubError, match="sends more than"):
        source.fetch(path)
    assert sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file()) < 4 << 20


@pytest.mark.parametrize("whole", [True, False])
def test_a_body_that_drips_is_given_up(hub: LocalHub, tmp_path: Path, whole: bool) -> None:
    """The server is never silent for longer than the time limit, and would still take an hour."""
    source = opened(hub, tmp_path, timeout_s=1.0)
    hub.slow(WEIGHTS, bytes_per_s=60)
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        source.fetch(WEIGHTS) if whole else source.read_range(WEIGHTS, 0, 100_000)
    assert time.monotonic() - began < 20


def test_a_listing_without_end_is_cut_off(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "MAX_ANSWER_BYTES", 500)
    with pytest.raises(HubError, match="sends more than the 500 bytes"):
        opened(hub, tmp_path)


@pytest.mark.parametrize("at", ["/api/models/org", f"/{WEIGHTS}", f"/{CONFIG}"])
def test_a_redirect_to_another_host_does_not_carry_the_token(
    hub: LocalHub, attack: Attack, clean: Files, at: str
) -> None:
    """`attack` fails on any request with a token at the second host."""
    hub.fail(at, status=307, times=None, headers={"Location": f"{hub.lfs_endpoint}/stolen"})
    result = attack(clean)
    assert result.exit_code == 2, result.output
    followed = any(request.side == "lfs" for request in hub.requests)
    assert followed is (at != f"/{CONFIG}"), (
        "where a small file lies is asked first, and that question follows no redirect to elsewhere"
    )


def test_a_short_or_damaged_body_is_no_verdict(hub: LocalHub, attack: Attack, clean: Files) -> None:
    hub.truncate("/org/m", keep_bytes=50_000, times=None, admit=True)
    assert attack(clean).exit_code == 2
    hub.behave()
    hub.corrupt("/org/m", times=None)
    assert attack(clean).exit_code == 2
