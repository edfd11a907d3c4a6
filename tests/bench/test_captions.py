from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from amdet_hub.bench.captions import read_captions, split
from amdet_hub.errors import ConfigError


def test_gzipped_json_lines_become_groups_without_empty_captions(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    rows = [{"image": str(i), "captions": [f"  a cat\n number {i} ", "", f"cat {i}"]} for i in range(6)]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode() + b"\n\n"))
    found = read_captions(path, held_out=2, seed=3)
    assert len(found.train) == 4
    assert len(found.held_out) == 2
    assert set(found.train) | set(found.held_out) == {(f"a cat number {i}", f"cat {i}") for i in range(6)}


def test_text_lines_are_groups_of_one(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("one\n\ntwo\nthree\nfour\n", encoding="utf-8")
    found = read_captions(path, held_out=1)
    assert sorted(found.train + found.held_out) == [("four",), ("one",), ("three",), ("two",)]


def test_split_is_disjoint_repeatable_and_never_holds_out_more_than_half() -> None:
    groups = [(str(i),) for i in range(10)]
    first, second = split(groups, held_out=500, seed=1), split(groups, held_out=500, seed=1)
    assert first == second
    assert len(first.held_out) == 5
    assert not set(first.train) & set(first.held_out)
    assert split(groups, held_out=5, seed=2) != first


@pytest.mark.parametrize("content", [b"{broken\n{}\n", b'{"image": 1}\n', b"\xff\xfe\n", b""])
def test_unusable_files_are_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="captions"):
        read_captions(path)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.txt"):
        read_captions(tmp_path / "none.txt")
