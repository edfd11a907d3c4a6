"""Cached results: found for the same question, and for no other."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.errors import FileChanged
from amdet_hub.families import CALIBRATIONS
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.installation import read_key
from amdet_hub.records import Reference
from amdet_hub.scanner import EncoderPair, Scanner
from amdet_hub.scanner import cache as results_cache
from amdet_hub.scanner.cache import CachedResult, ResultsCache, TowerDigests
from amdet_hub.scanner.cache_key import signature
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


@pytest.mark.parametrize("damage", [{"tower": "x"}, {"projection": 7}, {"tower": "0" * 64}, {"more": 1}])
def test_damaged_digests_count_as_absent(
    cache: ResultsCache, pair: EncoderPair, folder: Path, damage: dict[str, object]
) -> None:
    cache.remember(pair, DIGESTS)
    assert cache.digests(pair) == DIGESTS
    (path,) = (folder / "files").glob("*.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "entry": {**data["entry"], **damage}}))
    assert cache.digests(pair) is None
    cache.write(f"files/{path.name}", {**data["entry"], **damage})  # with our own signature
    assert (cache.digests(pair) is None) == ("more" not in damage and damage.get("tower") != "0" * 64)


def test_an_entry_moved_to_another_towers_place_is_no_answer(
    cache: ResultsCache, pair: EncoderPair, folder: Path
) -> None:
    (path,) = (folder / DIGESTS.tower).glob("*.json")
    entry = json.loads(path.read_text())["entry"]
    entry["cached"]["result"]["tower_digest"] = "0" * 64
    cache.write(f"{DIGESTS.tower}/{path.name}", entry)
    assert cache.find(pair, DIGESTS, CONFIG) is None


# ---------------------------------------------------------------- whose entries count


def edited(path: Path, key: bytes) -> None:
    data = json.loads(path.read_text())
    data["entry"]["cached"]["result"]["verdict"]["confidence"] = "none"
    path.write_text(json.dumps(data))


def unsigned(path: Path, key: bytes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text())["entry"]))


def signed_by_another(path: Path, key: bytes) -> None:
    entry, name = json.loads(path.read_text())["entry"], f"{DIGESTS.tower}/{path.name}"
    path.write_text(json.dumps({"mac": signature(bytes(32), name, entry), "entry": entry}))


def signed_for_another_place(path: Path, key: bytes) -> None:
    entry = json.loads(path.read_text())["entry"]
    path.write_text(json.dumps({"mac": signature(key, "files/x.json", entry), "entry": entry}))


def odd_mac(path: Path, key: bytes) -> None:
    path.write_text(json.dumps({"mac": "\ud800", "entry": json.loads(path.read_text())["entry"]}))


def no_number(path: Path, key: bytes) -> None:
    path.write_text('{"mac": "00", "entry": {"v": NaN}}')


FORGERIES = (edited, unsigned, signed_by_another, signed_for_another_place, odd_mac, no_number)


@pytest.mark.parametrize("forge", FORGERIES)
def test_an_entry_that_is_not_signed_for_its_place_is_ignored_and_said_once(
    cache: ResultsCache,
    pair: EncoderPair,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    forge: Callable[[Path, bytes], None],
) -> None:
    key = read_key()
    assert key is not None
    (path,) = (folder / DIGESTS.tower).glob("*.json")
    forge(path, key)
    assert [cache.find(pair, DIGESTS, CONFIG) for _ in range(3)] == [None] * 3
    (said,) = [record.getMessage() for record in caplog.records if record.name == results_cache.__name__]
    assert str(path) in said
    assert key.hex() not in caplog.text
    cache.store(pair, DIGESTS, CONFIG, FOUND)
    assert cache.find(pair, DIGESTS, CONFIG) == FOUND


def test_another_users_results_do_not_count(
    cache: ResultsCache, pair: EncoderPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "other" / "key"))
    assert (cache.digests(pair), cache.find(pair, DIGESTS, CONFIG)) == (None, None)
    cache.store(pair, DIGESTS, CONFIG, FOUND)
    assert cache.find(pair, DIGESTS, CONFIG) == FOUND
    facts = (tmp_path / "other" / "key").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_size) == (0o600, 32)
    assert os.listdir(tmp_path / "other") == ["key"]


@pytest.mark.parametrize("fault", ["open to others", "short", "long", "a folder", "in a folder that is a file"])
def test_without_a_key_of_ones_own_there_is_no_cache(
    cache: ResultsCache, pair: EncoderPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place = tmp_path / "key"
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(place))
    if fault == "a folder":
        place.mkdir()
    elif fault == "in a folder that is a file":
        place.write_bytes(b"")
        monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(place / "key"))
    else:
        place.write_bytes(bytes({"short": 31, "long": 33}.get(fault, 32)))
        place.chmod(0o644 if fault == "open to others" else 0o600)
    cache.store(pair, DIGESTS, CONFIG, FOUND)
    assert (read_key(), cache.digests(pair), cache.find(pair, DIGESTS, CONFIG)) == (None, None, None)


def test_processes_that_make_the_key_at_once_have_one(tmp_path: Path) -> None:
    code = (
        "import sys, time; from amdet_hub.scanner.cache_key import read_key\n"
        "print('ready', flush=True); sys.stdin.readline(); print(read_key().hex())\n"
    )
    environment = {**os.environ, "AMDET_HUB_CACHE_KEY": str(tmp_path / "key")}
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    keys = {maker.communicate(timeout=60)[0] for maker in makers}
    assert keys == {f"{(tmp_path / 'key').read_bytes().hex()}\n"}
    assert os.listdir(tmp_path) == ["key"]


def test_the_identity_is_of_the_content(
    cache: ResultsCache, pair: EncoderPair, settings: HubSettings, folder: Path, tmp_path: Path
) -> None:
    assert cache.digests(pair_of(BASE, settings)) is None
    shutil.copytree(FINETUNED, tmp_path / "copy")
    assert cache.digests(pair_of(tmp_path / "copy", settings)) == DIGESTS
    (path,) = (folder / "files").iterdir()
    path.write_text('{"tower": "../../etc", "projection": null}')
    assert cache.digests(pair) is None


def test_a_file_that_is_exchanged_within_a_scan_is_no_answer(
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
    with pytest.raises(FileChanged):
        cache.digests(pair)
    assert cache.digests(pair_of(folder, settings)) is None, "the same size and time of modification"


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
