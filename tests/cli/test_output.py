from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from amdet_hub.cli._output import check_writable, escape, write_whole
from amdet_hub.cli._progress import LINE_EVERY_S, Progress, choose_mode
from amdet_hub.errors import OutputError
from amdet_hub.report.quantities import format_bytes, format_duration

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "néw\n")
    assert path.read_bytes() == "néw\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["report.json"]


def test_write_whole_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_write_whole_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "through")
    reader.join(10)
    assert got == ["through"]


def test_check_writable_makes_folders_and_no_file(tmp_path: Path) -> None:
    check_writable([tmp_path / "a.json", tmp_path / "reports" / "2030" / "b.md"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (tmp_path / "reports" / "2030").is_dir()


def test_check_writable_refuses(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("a.json")
    for paths, reason in (
        ([tmp_path / "folder"], "it is a directory"),
        ([tmp_path / "file" / "a.json"], "cannot write"),
        ([tmp_path / "a.json", tmp_path / "folder" / ".." / "a.json"], "another output goes to the same path"),
        ([tmp_path / "a.json", tmp_path / "link"], "another output goes to the same path"),
        ([Path("/proc/amdet-report.json")], "cannot write"),
    ):
        with pytest.raises(OutputError, match=reason):
            check_writable(paths)
    assert not (tmp_path / "a.json").exists()


@pytest.mark.skipif(AS_ROOT, reason="root writes everywhere")
def test_check_writable_refuses_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_writable([tmp_path / "a.json"])
    finally:
        tmp_path.chmod(0o700)


def test_escape_disarms_repository_text() -> None:
    shown = escape("a\x1b[31mb\nc\u202ed\u200be")
    assert shown.isprintable()
    assert "\\u{1b}" in shown
    assert "\\u{202e}" in shown
    assert "\\u{200b}" in shown


def test_escape_blanks_tokens() -> None:
    assert escape("Authorization: Bearer hf_abcdefghijklmnop") == "Authorization: Bearer hf_***"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 kB"), (246_144_000, "246 MB"), (1.4e9, "1.4 GB"), (2e12, "2.0 TB")],
)
def test_format_bytes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (45, "45 s"), (180, "3 min"), (6000, "1 h 40 min")])
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from amdet_hub.cli._output import emit\nfor _ in range(20000): emit('x' * 100)\nraise SystemExit(3)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 3
    assert errors == ""


# ---------------------------------------------------------------- progress


def test_progress_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    assert choose_mode(asked=None, quiet=False) == "lines"
    assert choose_mode(asked=True, quiet=False) == "bar"
    assert choose_mode(asked=False, quiet=False) == "off"
    assert choose_mode(asked=None, quiet=True) == "off"
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert choose_mode(asked=None, quiet=False) == "lines", "NO_COLOR is set in every test"
    monkeypatch.delenv("NO_COLOR")
    assert choose_mode(asked=None, quiet=False) == "bar"


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Progress("lines", clock=lambda: now) as progress:
        progress("sweep", 0, 100)
        progress("sweep", 10, 100)
        now = LINE_EVERY_S
        progress("sweep", 25, 100)
        progress("sweep", 26, 100)
        progress("inver\x1bsion", 0, 5)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["sweep ...", "sweep: 25%, about 2 min left", "inver\\u{1b}sion ..."]
    assert captured.out == ""


def test_bars_show_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("bar") as progress:
        progress("sweep", 0, 4)
        progress("sweep", 4, 4)
        progress("download model.safetensors", 0, 2000)
        progress("download model.safetensors", 2000, 2000)
    captured = capsys.readouterr()
    assert "sweep" in captured.err
    assert captured.err.count("100%") >= 2
    assert captured.out == ""


def test_the_next_encoder_starts_the_same_stage_again(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("lines") as progress:
        for done in (0, 5, 0, 5):
            progress("sweep", done, 5)
    assert capsys.readouterr().err.splitlines() == ["sweep ...", "sweep ..."]


def test_off_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("off") as progress:
        progress("sweep", 0, 1)
    assert capsys.readouterr() == ("", "")
