"""Files that change while they are scanned: an error on every surface, and no result that is remembered."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from amdet_hub.errors import FileChanged
from amdet_hub.hub import HubSettings, local, parse_target
from amdet_hub.records import Monitor
from amdet_hub.scanner import Scanner
from amdet_hub.scanner.cache import ResultsCache
from tests.demo_hub import FAST
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan


@pytest.fixture
def suspect(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FINETUNED, tmp_path / "suspect"))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "reference"))


def during(stage: str, change: Callable[[], object]) -> Monitor:
    """Follows a scan, and makes a change once when `stage` begins."""
    seen: set[str] = set()

    def begin(name: str) -> None:
        if name == stage and name not in seen:
            seen.add(name)
            change()

    return Monitor(lambda name, done, total: begin(name))


def poison(folder: Path) -> None:
    shutil.copyfile(BACKDOORED / "model.safetensors", folder / "model.safetensors")


def reconfigure(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace("1e-05", "1e-06"))


def retokenize(folder: Path) -> None:
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")


def exchange_and_put_back(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "kept")
    poison(folder)
    (folder / "kept").rename(folder / "model.safetensors")


CHANGES = (poison, reconfigure, retokenize, exchange_and_put_back)


@pytest.mark.parametrize("change", CHANGES)
def test_a_suspect_that_changes_during_its_scan_is_an_error(
    scan: Scan, suspect: Path, settings: HubSettings, change: Callable[[Path], None]
) -> None:
    monitor = during("sweep", lambda: change(suspect))
    with pytest.raises(FileChanged):
        scan(suspect, reference=BASE, config=FAST, monitor=monitor)
    scanner = Scanner(FAST, settings, parse_target(str(BASE)))
    (pair,) = scanner.resolve(parse_target(str(suspect))).pairs
    assert ResultsCache(settings).digests(pair) is None, "no verdict is remembered for the new files"


@pytest.mark.parametrize("change", [poison, retokenize])
def test_a_reference_that_changes_during_the_scan_is_an_error(
    scan: Scan, suspect: Path, reference: Path, change: Callable[[Path], None]
) -> None:
    with pytest.raises(FileChanged):
        scan(suspect, reference=reference, config=FAST, monitor=during("sweep", lambda: change(reference)))


def test_a_disk_without_times_of_change_is_read_again(
    scan: Scan, suspect: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_version", lambda facts: (0, facts.st_size, 0))
    with pytest.raises(FileChanged, match=r"model\.safetensors"):
        scan(suspect, reference=BASE, config=FAST, monitor=during("sweep", lambda: poison(suspect)))


def test_what_was_not_read_may_change(scan: Scan, suspect: Path) -> None:
    monitor = during("sweep", lambda: (suspect / "trainer.log").write_text("epoch 2"))
    assert scan(suspect, reference=BASE, config=FAST, monitor=monitor).verdict.label == "no-backdoor-found"


def test_one_encoder_that_changes_costs_the_folder_its_verdict(scan: Scan, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(FINETUNED if name == "one" else BASE, tmp_path / "both" / name)
    monitor = during("sweep", lambda: poison(tmp_path / "both" / "one"))
    with pytest.raises(FileChanged):
        scan(tmp_path / "both", reference=BASE, config=FAST, monitor=monitor)


def test_an_answer_of_the_cache_is_of_files_that_did_not_change(suspect: Path, settings: HubSettings) -> None:
    scanner = Scanner(FAST, settings, parse_target(str(BASE)), replace(Scanner().options, device="cpu"))
    scanner.scan(scanner.resolve(parse_target(str(suspect))))
    target = scanner.resolve(parse_target(str(suspect)))
    assert scanner.cached(target) is not None
    reconfigure(suspect)
    with pytest.raises(FileChanged):
        scanner.cached(target)
