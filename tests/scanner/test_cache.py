"""Cached results: found for the same question, and for no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.families import CALIBRATIONS
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import Reference
from amdet_hub.scanner import EncoderPair, Scanner
from amdet_hub.scanner import cache as results_cache
from amdet_hub.scanner.cache import CachedResult, ResultsCache, TowerDigests
from tests.report import examples
from tests.scanner.conftest import BASE, FINETUNED

REPORT = examples.clean()
RESULT = REPORT.results[0]
DIGESTS = TowerDigests(RESULT.tower_digest, None)
FOUND = CachedResult(RESULT, REPORT.environment, REPORT.created)
CONFIG = Scanner().config


def pair_of(folder: Path, settings: HubSettings) -> EncoderPair:
    scanner = Scanner(CONFIG, settings, parse_target(str(BASE)))
    (pair,) = scanner.resolve(parse_target(str(folder))).pairs
    return pair


@pytest.fixture
def folder(settings: HubSettings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the results lie."""
    monkeypatch.delenv("AMDET_HUB_CACHE", raising=False)
    assert settings.cache_dir is not None
    return settings.cache_dir / "amdet-hub" / "results"


@pytest.fixture
def pair(settings: HubSettings) -> EncoderPair:
    return pair_of(FINETUNED, settings)


@pytest.fixture
def cache(settings: HubSettings, folder: Path, pair: EncoderPair) -> ResultsCache:
    found = ResultsCache(settings)
    found.store(pair, DIGESTS, CONFIG, FOUND)
    return found


def test_a_stored_result_is_found(cache: ResultsCache, pair: EncoderPair) -> None:
    assert cache.digests(pair) == DIGESTS
    assert cache.find(pair, DIGESTS, CONFIG) == FOUND


def changed_config(pair: EncoderPair) -> EncoderPair:
    config = replace(pair.suspect.config, eos_token_id=1)
    return replace(pair, suspect=replace(pair.suspect, config=config))


QUESTIONS: dict[str, Any] = {
    "another tower": lambda pair: (pair, TowerDigests("0" * 64, None), CONFIG),
    "another projection": lambda pair: (pair, replace(DIGESTS, projection="0" * 64), CONFIG),
    "another reading": lambda pair: (changed_config(pair), DIGESTS, CONFIG),
    "another tokenizer": lambda pair: (
        replace(pair, suspect=replace(pair.suspect, tokenizer_files=("tokenizer_config.json",))),
        DIGESTS,
        CONFIG,
    ),
    "another reference": lambda pair: (
        replace(pair, reference=replace(pair.reference, record=Reference("none", "none was wanted"))),
        DIGESTS,
        CONFIG,
    ),
    "another seed": lambda pair: (pair, DIGESTS, CONFIG.replace(seed=1)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_another_question_has_another_answer(cache: ResultsCache, pair: EncoderPair, question: str) -> None:
    assert cache.find(*QUESTIONS[question](pair)) is None


def test_another_version_does_not_answer(
    cache: ResultsCache, pair: EncoderPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_cache, "__version__", "9.9.9")
    assert cache.find(pair, DIGESTS, CONFIG) is None


def test_other_thresholds_do_not_answer(
    cache: ResultsCache, pair: EncoderPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *rest = CALIBRATIONS
    stricter = replace(first, thresholds=replace(first.thresholds, sweep_score=99.0))
    monkeypatch.setattr(results_cache, "CALIBRATIONS", (stricter, *rest))
    assert cache.find(pair, DIGESTS, CONFIG) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"v": 2}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_counts_as_absent_and_is_replaced(
    cache: ResultsCache, pair: EncoderPair, folder: Path, damage: bytes
) -> None:
    (path,) = (folder / DIGESTS.tower).glob("*.json")
    path.write_bytes(damage)
    assert cache.find(pair, DIGESTS, CONFIG) is None
    cache.store(pair, DIGESTS, CONFIG, FOUND)
    assert cache.find(pair, DIGESTS, CONFIG) == FOUND


@pytest.mark.parametrize("damage", [{}, {"tower": "x"}, {"projection": 7}, {"more": 1}])
def test_damaged_digests_count_as_absent(
    cache: ResultsCache, pair: EncoderPair, folder: Path, damage: dict[str, object]
) -> None:
    cache.remember(pair, DIGESTS)
    assert cache.digests(pair) == DIGESTS
    (path,) = (folder / "files").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage} if damage else {}))
    assert cache.digests(pair) == (DIGESTS if "more" in damage else None)


def test_an_entry_moved_to_another_towers_place_is_no_answer(
    cache: ResultsCache, pair: EncoderPair, folder: Path
) -> None:
    (path,) = (folder / DIGESTS.tower).glob("*.json")
    entry = json.loads(path.read_text())
    entry["cached"]["result"]["tower_digest"] = "0" * 64
    path.write_text(json.dumps(entry))
    assert cache.find(pair, DIGESTS, CONFIG) is None


def test_the_identity_is_of_the_content(
    cache: ResultsCache, pair: EncoderPair, settings: HubSettings, folder: Path, tmp_path: Path
) -> None:
    assert cache.digests(pair_of(BASE, settings)) is None
    shutil.copytree(FINETUNED, tmp_path / "copy")
    assert cache.digests(pair_of(tmp_path / "copy", settings)) == DIGESTS
    (path,) = (folder / "files").iterdir()
    path.write_text('{"tower": "../../etc", "projection": null}')
    assert cache.digests(pair) is None


def test_a_file_that_is_exchanged_within_a_scan_is_another_identity(
    cache: ResultsCache, settings: HubSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "exchanged"
    shutil.copytree(FINETUNED, folder)
    pair = pair_of(folder, settings)
    assert cache.digests(pair) == DIGESTS
    before = (folder / "model.safetensors").stat()
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    os.utime(folder / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.digests(pair) is None, "the same source, size and time of modification"


def test_a_result_of_another_tower_is_refused(cache: ResultsCache, pair: EncoderPair) -> None:
    with pytest.raises(ValueError, match="another tower"):
        cache.store(pair, TowerDigests("0" * 64, None), CONFIG, FOUND)


def test_a_folder_that_cannot_be_written_costs_the_short_cut_only(
    settings: HubSettings, folder: Path, pair: EncoderPair
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"a file in the folder's place")
    ResultsCache(settings).store(pair, DIGESTS, CONFIG, FOUND)
    assert ResultsCache(settings).find(pair, DIGESTS, CONFIG) is None


def test_several_processes_write_and_no_reader_sees_half_a_file(
    cache: ResultsCache, settings: HubSettings, pair: EncoderPair, folder: Path
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from amdet_hub.hub import HubSettings\n"
        "from tests.scanner import test_cache as t\n"
        "settings = HubSettings(cache_dir=Path(sys.argv[1]), offline=True)\n"
        "cache, pair = t.ResultsCache(settings), t.pair_of(t.FINETUNED, settings)\n"
        "print('ready', flush=True)\n"
        "for _ in range(40): cache.store(pair, t.DIGESTS, t.CONFIG, t.FOUND)\n"
    )
    command = [sys.executable, "-c", code, str(settings.cache_dir)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        while any(writer.poll() is None for writer in writers):
            assert cache.find(pair, DIGESTS, CONFIG) == FOUND
    finally:
        for writer in writers:
            writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".json"] == []
