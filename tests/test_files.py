"""A file is written whole or not at all, and a file that is too large is not read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from amdet_hub.files import create_private, draft_of, read_at_most, read_json_object, write_atomically


def test_a_write_makes_its_folder_and_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomically(path, b"old")
    path.chmod(0o640)
    write_atomically(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)
    assert os.listdir(path.parent) == ["b.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half() -> None:
        with draft_of(path) as draft:
            draft.write_bytes(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["a"])


def test_a_private_file_is_its_owners_alone_and_is_made_once(tmp_path: Path) -> None:
    path, umask = tmp_path / "a" / "key", os.umask(0)
    try:
        create_private(path, b"first")
    finally:
        os.umask(umask)
    create_private(path, b"second")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"first", 0o600)
    assert os.listdir(path.parent) == ["key"]


def test_a_draft_that_was_never_written_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(FileNotFoundError), draft_of(path):
        pass
    assert os.listdir(tmp_path) == []


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger") as caught:
        read_at_most(path, 4)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="larger"):
        read_at_most(Path("/dev/zero"), 1000)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": "' + b"x" * 99 + b'"}', None])
def test_what_is_no_json_object_is_an_empty_one(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a"
    if content is not None:
        path.write_bytes(content)
    assert read_json_object(path, 50 if content and content.startswith(b'{"') else 1 << 20) == {}


def test_a_json_object(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"a": 1}')
    assert read_json_object(tmp_path / "a", 8) == {"a": 1}
