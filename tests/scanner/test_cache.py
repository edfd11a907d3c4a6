from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from amdet_hub.config import ScanConfig
from amdet_hub.families import CALIBRATIONS
from amdet_hub.hub import HubSettings
from amdet_hub.records import to_dict
from amdet_hub.scanner import cache as results_cache
from amdet_hub.scanner.cache import CachedResult, ResultsCache, Subject, TowerDigests
from tests.report import examples

CONFIG = ScanConfig()
REPORT = examples.clean()
RESULT = REPORT.results[0]
DIGESTS = TowerDigests(RESULT.tower_digest, None)
SUBJECT = Subject(to_dict(RESULT.encoder.config), ("git:1",), {"trust": "trusted"})
KEPT = CachedResult(RESULT, REPORT.environment, REPORT.created)


@pytest.fixture
def cache(tmp_path: Path) -> ResultsCache:
    found = ResultsCache(tmp_path / "results")
    found.keep(KEPT, DIGESTS, SUBJECT, CONFIG)
    return found


def test_what_was_kept_is_found(cache: ResultsCache) -> None:
    assert cache.find(DIGESTS, SUBJECT, CONFIG) == KEPT


@pytest.mark.parametrize(
    ("digests", "subject", "config"),
    [
        (TowerDigests("0" * 64, None), SUBJECT, CONFIG),
        (TowerDigests(RESULT.tower_digest, "0" * 64), SUBJECT, CONFIG),
        (DIGESTS, replace(SUBJECT, tower={**SUBJECT.tower, "eos_token_id": 1}), CONFIG),
        (DIGESTS, replace(SUBJECT, tokenizer=("git:2",)), CONFIG),
        (DIGESTS, replace(SUBJECT, reference={"trust": "none"}), CONFIG),
        (DIGESTS, SUBJECT, CONFIG.replace(seed=1)),
    ],
)
def test_another_question_has_another_answer(
    cache: ResultsCache, digests: TowerDigests, subject: Subject, config: ScanConfig
) -> None:
    assert cache.find(digests, subject, config) is None


def test_another_version_of_the_package_does_not_answer(cache: ResultsCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_cache, "__version__", "9.9.9")
    assert cache.find(DIGESTS, SUBJECT, CONFIG) is None


def test_other_thresholds_do_not_answer(cache: ResultsCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = CALIBRATIONS
    stricter = replace(first, thresholds=replace(first.thresholds, sweep_score=99.0))
    monkeypatch.setattr("amdet_hub.scanner.cache.CALIBRATIONS", (stricter, *rest))
    assert cache.find(DIGESTS, SUBJECT, CONFIG) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"v": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_counts_as_absent_and_is_replaced(cache: ResultsCache, damage: bytes) -> None:
    (path,) = cache.folder.glob("*/*.json")
    path.write_bytes(damage)
    assert cache.find(DIGESTS, SUBJECT, CONFIG) is None
    cache.keep(KEPT, DIGESTS, SUBJECT, CONFIG)
    assert cache.find(DIGESTS, SUBJECT, CONFIG) == KEPT


def test_an_entry_moved_to_another_towers_place_is_no_answer(cache: ResultsCache) -> None:
    (path,) = cache.folder.glob("*/*.json")
    entry = json.loads(path.read_text())
    entry["result"]["tower_digest"] = "0" * 64
    path.write_text(json.dumps(entry))
    assert cache.find(DIGESTS, SUBJECT, CONFIG) is None


def test_digests_of_files(cache: ResultsCache) -> None:
    assert cache.digests("a" * 64) is None
    cache.remember("a" * 64, TowerDigests("b" * 64, "c" * 64))
    assert cache.digests("a" * 64) == TowerDigests("b" * 64, "c" * 64)
    (cache.folder / "files" / f"{'a' * 64}.json").write_text('{"tower": "../../etc", "projection": null}')
    assert cache.digests("a" * 64) is None


def test_a_result_of_another_tower_is_refused(cache: ResultsCache) -> None:
    with pytest.raises(ValueError, match="another tower"):
        cache.keep(KEPT, TowerDigests("0" * 64, None), SUBJECT, CONFIG)


def test_it_lies_in_our_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMDET_HUB_CACHE", raising=False)
    assert ResultsCache.of(HubSettings(cache_dir=tmp_path)).folder == tmp_path / "amdet-hub" / "results"


def test_several_processes_write_and_nobody_reads_half_a_file(cache: ResultsCache) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.scanner import test_results_cache as t\n"
        "cache = t.ResultsCache(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for _ in range(40): cache.keep(t.KEPT, t.DIGESTS, t.SUBJECT, t.CONFIG)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(cache.folder)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        while any(writer.poll() is None for writer in writers):
            assert cache.find(DIGESTS, SUBJECT, CONFIG) == KEPT
    finally:
        for writer in writers:
            writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [p.name for p in cache.folder.rglob("*") if p.name.endswith(".tmp")] == []
