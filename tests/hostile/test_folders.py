"""Folders that came out of an archive of somebody else's: links, names, depth, special files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amdet_hub.report import parse_report
from tests.hostile.conftest import Attack
from tests.hostile.forge import CONFIG, TOKENIZER, WEIGHTS, Files


def deep(folder: Path) -> None:
    """1,500 folders inside each other: a path that the system itself cannot open in one piece."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def linked(name: str, target: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return make


def folder_for_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def sparse(folder: Path) -> None:
    """A terabyte that takes no space, behind an honest start."""
    os.truncate(folder / WEIGHTS, 1 << 40)


def fifo(folder: Path) -> None:
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)


TRICKS: dict[str, Callable[[Path], object]] = {
    "weights linked to a device": linked(WEIGHTS, "/dev/zero"),
    "weights linked outside": linked(WEIGHTS, "../outside.safetensors"),
    "config linked to a secret": linked(CONFIG, "/etc/passwd"),
    "config linked to itself": linked(CONFIG, CONFIG),
    "config linked to nothing": linked(CONFIG, "nothing.json"),
    "tokenizer linked to the home folder": linked(TOKENIZER, os.path.expanduser("~")),
    "a folder linked to the root": linked("unet", "/"),
    "a pipe in the place of the config": fifo,
    "a folder in the place of the weights": folder_for_weights,
    "a newline in a name": lambda f: (f / "a\n::error::x.json").write_bytes(b"{}"),
    "an escape sequence in a name": lambda f: (f / "\x1b[2J.json").write_bytes(b"{}"),
    "a name that is no text": lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff.json")).write_bytes(b"{}"),
    "a backslash in a name": lambda f: (f / "..\\x.json").write_bytes(b"{}"),
    "folders without end": deep,
    "a terabyte of nothing": sparse,
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_hostile_folder_is_never_cleared(attack: Attack, clean: Files, tmp_path: Path, trick: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.safetensors").write_bytes(clean[WEIGHTS])
    for name, data in clean.items():
        (folder / name).write_bytes(data)
    TRICKS[trick](folder)
    try:
        result = attack(folder)
    finally:
        _remove(folder)
    assert result.exit_code in (2, 3), result.output
    if result.stdout:
        assert parse_report(result.stdout).verdict.label == "inconclusive"
    assert "root:" not in result.stderr, "nothing of a file outside is shown"
    assert not [c for c in result.stderr if c != "\n" and not c.isprintable()]


def _remove(folder: Path) -> None:
    """Take the folders without end away again, which `rmtree` and pytest cannot."""
    here, depth = folder / "d", 0
    while here.is_dir() and depth < 2000:
        inner = os.open(here, os.O_RDONLY)
        try:
            os.rename("d", str(folder / "e"), src_dir_fd=inner) if "d" in os.listdir(inner) else None
        finally:
            os.close(inner)
        os.rmdir(here)
        if (folder / "e").exists():
            os.rename(folder / "e", here)
        depth += 1
