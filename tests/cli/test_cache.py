from __future__ import annotations

from pathlib import Path

import pytest

from amdet_hub.hub import HubSettings
from amdet_hub.hub.cache import store
from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = HubSettings(cache_dir=tmp_path)
    store(settings, "references", "r", lambda draft: draft.write_bytes(b"x" * 1500))
    store(settings, "towers", "t\x1b[31m", lambda draft: draft.write_bytes(b"x" * 20))
    return tmp_path


def test_what_is_kept_is_listed(cli: Run, folder: Path) -> None:
    result = cli("cache", "list", "--cache-dir", folder, "--files")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{folder / 'amdet-hub'}: 2 files, 1.5 kB, at most 10.0 GB"
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["references", "1", "file,", "1.5"],
        ["towers", "1", "file,", "20"],
        ["results", "0", "files,", "0"],
    ]
    assert len(lines) == 6
    assert "\x1b" not in result.stdout


def test_clear_one_kind_and_then_all(cli: Run, folder: Path) -> None:
    assert cli("cache", "clear", "--cache-dir", folder, "--only", "towers").stdout == "removed 1 file, 20 B\n"
    assert cli("cache", "clear", "--cache-dir", folder).stdout == "removed 1 file, 1.5 kB\n"
    assert cli("cache", "clear", "--cache-dir", folder).stdout == "removed 0 files, 0 B\n"


def test_an_unreadable_limit_is_one_sentence(cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE_MAX", "lots")
    result = cli("cache", "list", "--cache-dir", folder)
    assert result.exit_code == 2
    assert "AMDET_HUB_CACHE_MAX" in result.stderr
    assert "20GB" in result.stderr
