"""What is kept between scans: whole or not at all, bounded, visible, removable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings, own_cache
from amdet_hub.hub.cache import DEFAULT_LIMIT_BYTES, Kind, cached_files, clear, limit_bytes, store, trim


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubSettings:
    monkeypatch.delenv("AMDET_HUB_CACHE", raising=False)
    monkeypatch.delenv("AMDET_HUB_CACHE_MAX", raising=False)
    return HubSettings(cache_dir=tmp_path)


def add(settings: HubSettings, name: str, size: int, used: float, kind: Kind = "references") -> Path:
    place = store(settings, kind, name, lambda draft: draft.write_bytes(b"x" * size))
    assert place is not None
    os.utime(place, (used, used))
    return place


def test_what_is_kept_is_seen(settings: HubSettings) -> None:
    assert cached_files(settings) == []
    place = add(settings, "a/b.bin", 10, 5.0)
    add(settings, "t", 7, 3.0, "towers")
    assert place == own_cache(settings) / "references" / "a" / "b.bin"
    assert [(f.kind, f.path.name, f.size_bytes, f.used) for f in cached_files(settings)] == [
        ("towers", "t", 7, 3.0),
        ("references", "b.bin", 10, 5.0),
    ]


def test_a_writer_that_fails_leaves_nothing(settings: HubSettings) -> None:
    def broken(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise OSError("disk full")

    assert store(settings, "references", "x", broken) is None
    assert cached_files(settings) == []
    assert [p for p in own_cache(settings).rglob("*") if p.is_file()] == []


def test_an_unwritable_cache_is_no_error(settings: HubSettings, tmp_path: Path) -> None:
    (tmp_path / "amdet-hub").write_text("a file where the folder should be")
    assert store(settings, "references", "x", lambda draft: None) is None
    assert cached_files(settings) == []


def test_the_least_recently_used_goes_first(settings: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = add(settings, "old", 600, 1.0), add(settings, "new", 600, 2.0)
    trim(settings, 1200)
    assert old.exists()
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", "1.3 kB")
    third = store(settings, "references", "third", lambda draft: draft.write_bytes(b"x" * 600))
    assert not old.exists()
    assert new.exists()
    assert third is not None


def test_larger_than_the_limit_is_not_kept(settings: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", "100")
    assert store(settings, "references", "x", lambda draft: draft.write_bytes(b"x" * 101)) is None
    assert cached_files(settings) == []


def test_zero_keeps_nothing(settings: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", "0")
    assert store(settings, "references", "x", lambda draft: draft.write_bytes(b"x")) is None
    assert not own_cache(settings).exists()


def test_clear_by_kind(settings: HubSettings) -> None:
    add(settings, "r", 5, 1.0)
    add(settings, "t", 7, 1.0, "towers")
    assert clear(settings, ("towers",)) == (1, 7)
    assert [f.kind for f in cached_files(settings)] == ["references"]
    assert clear(settings) == (1, 5)
    assert clear(settings) == (0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", DEFAULT_LIMIT_BYTES), ("20GB", 20 * 10**9), ("1.5 MB", 1_500_000), ("0", 0), ("7", 7), ("2TiB", 2 * 10**12)],
)
def test_limits(text: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", text)
    assert limit_bytes() == expected


@pytest.mark.parametrize("text", ["lots", "-1", "1e9", "GB"])
def test_no_limit_at_all_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", text)
    with pytest.raises(ConfigError, match="AMDET_HUB_CACHE_MAX"):
        limit_bytes()
