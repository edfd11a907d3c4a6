"""A reference's half is computed once, and a scan that uses it says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amdet_hub.hub import HubSettings, own_cache
from amdet_hub.hub.cache import CachedFile, cached_files
from amdet_hub.scanner.feature_cache import FeatureCache
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan
from tests.scanner.test_session import timeless


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE", str(tmp_path / "own"))


def test_a_half_comes_back_as_it_was(settings: HubSettings) -> None:
    store, half = FeatureCache(settings, "sha256:" + "ab" * 32), torch.randn(2, 5, 3).half()
    assert store.load("f" * 64) is None
    store.save("f" * 64, half)
    found = store.load("f" * 64)
    assert found is not None
    assert torch.equal(found, half)
    assert FeatureCache(settings, "sha256:" + "cd" * 32).load("f" * 64) is None, "another reference"
    assert store.load("e" * 64) is None, "another question"


def test_a_damaged_half_is_removed(settings: HubSettings) -> None:
    store = FeatureCache(settings, "ab" * 32)
    store.save("f" * 64, torch.zeros(2, 3, 4).half())
    (file,) = cached_files(settings)
    file.path.write_bytes(b"not safetensors")
    assert store.load("f" * 64) is None
    assert cached_files(settings) == []


def halves(settings: HubSettings) -> list[CachedFile]:
    return [file for file in cached_files(settings) if file.kind == "references"]


def test_the_second_scan_uses_the_first_ones_half(
    scan: Scan, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", "0")
    without = scan(BACKDOORED, reference=BASE)
    assert not own_cache(settings).exists()
    monkeypatch.delenv("AMDET_HUB_CACHE_MAX")
    first = scan(BACKDOORED, reference=BASE)
    kept = halves(settings)
    half = max(kept, key=lambda file: file.size_bytes)
    again = scan(BACKDOORED, reference=BASE)
    assert timeless(first) == timeless(again) == timeless(without), "kept or computed, the same report bit for bit"
    scan(FINETUNED, reference=BASE)
    both = {f.path for f in halves(settings)}
    assert half.path in both
    scan(FINETUNED, reference=BASE)
    assert {f.path for f in halves(settings)} == both, "one for the end, one for the start: for every suspect"
    assert len(both) == 2
    assert half.size_bytes < 2 * 2 * 2000 * 96 * 2 + 1000, (
        "two layers, two prompts, 2,000 tokens, 96 values of 2 bytes"
    )
