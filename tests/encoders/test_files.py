"""Hostile and broken JSON, headers and indexes: refused with file and reason, before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.safetensors_header import MAX_HEADER_BYTES, check_header, read_header
from amdet_hub.encoders.strict_json import parse_json, parse_json_object
from amdet_hub.errors import BadRepository
from amdet_hub.testing.models import tiny_clip
from tests.encoders.folder_source import FolderSource, edit_json, write_safetensors


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "appears twice"),
        (b'{"a": {"b": 1, "b": 1}}', "appears twice"),
        (b'{"a": NaN}', "not a JSON number"),
        (b'{"a": -Infinity}', "not a JSON number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1000000000000000019884624838657}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not acceptable JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"", "not acceptable JSON"),
        (b"{", "not acceptable JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "nested too deep"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
    ],
)
def test_bad_json_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(BadRepository, match=reason) as caught:
        parse_json_object(text, "sub/config.json")
    assert caught.value.path == "sub/config.json"


def test_good_json_is_read() -> None:
    assert parse_json_object(b'{"a": [1, {"b": 0.5}], "c": null}', "x") == {"a": [1, {"b": 0.5}], "c": None}
    assert parse_json(b"[1]", "x") == [1]


def header(entries: dict[str, Any]) -> bytes:
    return json.dumps(entries).encode()


GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
}


def test_a_good_header_gives_absolute_offsets() -> None:
    raw = header({"__metadata__": {"format": "pt"}, **GOOD})
    infos = check_header(raw, "m", 8 + len(raw) + 26)
    assert list(infos) == ["a", "b"]
    assert (infos["a"].start, infos["a"].size_bytes, infos["a"].shape, infos["b"].dtype) == (
        8 + len(raw),
        24,
        (2, 3),
        "F16",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h["b"].update(data_offsets=[25, 27]), "hole or overlaps"),
        (lambda h: h["b"].update(data_offsets=[20, 22]), "hole or overlaps"),
        (lambda h: h["a"].update(data_offsets=[2, 26]), "hole or overlaps"),
        (lambda h: h["a"].update(shape=[2, 4]), "spans 24 bytes"),
        (lambda h: h["a"].update(shape=[1 << 47, 1 << 47]), "spans 24 bytes"),
        (lambda h: h["a"].update(shape=[-2, -3]), "malformed"),
        (lambda h: h["a"].update(shape=[2.0, 3]), "malformed"),
        (lambda h: h["a"].update(shape=[True, 6]), "malformed"),
        (lambda h: h["a"].update(shape=[1] * 9), "malformed"),
        (lambda h: h["a"].update(data_offsets=[24]), "malformed"),
        (lambda h: h["a"].update(data_offsets=[24, 0]), "spans -24 bytes"),
        (lambda h: h["a"].update(dtype="F32X"), "unknown dtype"),
        (lambda h: h["a"].update(dtype=4), "unknown dtype"),
        (lambda h: h["a"].update(extra=1), "not described"),
        (lambda h: h.update(a=[]), "not described"),
        (lambda h: h["a"].pop("shape"), "not described"),
        (lambda h: h.update({"x\ny": h.pop("a")}), "not acceptable"),
        (lambda h: h.update({"__metadata__": {"k": 1}}), "__metadata__"),
        (lambda h: h.pop("b"), "end at byte"),
    ],
)
def test_lying_headers_are_refused(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    entries = json.loads(json.dumps(GOOD))
    change(entries)
    raw = header(entries)
    with pytest.raises(BadRepository, match=reason):
        check_header(raw, "m", 8 + len(raw) + 26)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[:5], "too short"),
        (lambda b: b"", "too short"),
        (lambda b: (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b[8:], "states a header"),
        (lambda b: (2**63).to_bytes(8, "little") + b[8:], "states a header"),
        (lambda b: (0).to_bytes(8, "little") + b[8:], "states a header"),
        (lambda b: (20_000).to_bytes(8, "little") + b[8:], "ends after the file"),
        (lambda b: b + b"\0", "end at byte"),
        (lambda b: b[:-1], "end at byte"),
        (lambda b: b[:8] + b"x" * (len(b) - 8), "not acceptable JSON"),
    ],
)
def test_damaged_files_are_refused_where_the_library_refuses_them(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": torch.zeros(2, 3), "b": torch.zeros(5)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadRepository, match=reason):
        read_header(FolderSource(tmp_path), "model.safetensors")
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass


def test_one_request_reads_a_usual_header_and_two_a_long_one(tmp_path: Path) -> None:
    few, many = {"a": torch.zeros(2, 3)}, {f"{'long' * 20}.{i}": torch.zeros(1) for i in range(1200)}
    for tensors, requests in ((few, 1), (many, 2)):
        write_safetensors(tmp_path / "model.safetensors", tensors)
        source = FolderSource(tmp_path)
        assert read_header(source, "model.safetensors").keys() == tensors.keys()
        assert len(source.ranges) == requests


def test_an_unlisted_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRepository, match="not in the repository"):
        read_header(FolderSource(tmp_path), "model.safetensors")


@pytest.mark.parametrize(
    "shard",
    [
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "a\\model.safetensors",
        "a\0.safetensors",
        "x.gz",
        7,
        "",
    ],
)
def test_shard_names_must_be_plain(tmp_path: Path, shard: Any) -> None:
    tiny_clip(tmp_path, sharded=True)
    edit_json(
        tmp_path / "model.safetensors.index.json",
        lambda index: index["weight_map"].update({"text_projection.weight": shard}),
    )
    with pytest.raises(BadRepository, match="not a plain"):
        find_encoders(FolderSource(tmp_path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda i: i.pop("weight_map"), "no 'weight_map'"),
        (lambda i: i.update(weight_map=[]), "no 'weight_map'"),
        (
            lambda i: i["weight_map"].update({"text_projection.weight": "model-00009-of-00002.safetensors"}),
            "not in the repository",
        ),
        (
            lambda i: i["weight_map"].update({"text_projection.weight": "MODEL-00001-of-00002.safetensors"}),
            "upper and lower case",
        ),
        (
            lambda i: i["weight_map"].update({"text_projection.weight": "model-00001-of-00002.safetensors"}),
            "not where the index says",
        ),
        (lambda i: i["weight_map"].update({"ghost": "model-00001-of-00002.safetensors"}), "ghost"),
        (lambda i: i["weight_map"].pop("text_projection.weight"), "not where the index says"),
        (lambda i: i["weight_map"].update({f"t{n}": f"s{n}.safetensors" for n in range(300)}), "names 302 shards"),
    ],
)
def test_broken_indexes_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str) -> None:
    tiny_clip(tmp_path, sharded=True)
    edit_json(tmp_path / "model.safetensors.index.json", change)
    with pytest.raises(BadRepository, match=reason):
        find_encoders(FolderSource(tmp_path))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    tiny_clip(tmp_path, sharded=True)
    first, second = (tmp_path / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(BadRepository, match="lies in two shards"):
        find_encoders(FolderSource(tmp_path))


def test_the_length_that_transformers_writes_for_no_limit_is_read() -> None:
    assert parse_json_object(b'{"model_max_length": 1000000000000000019884624838656}', "x") == {
        "model_max_length": int(1e30)
    }
