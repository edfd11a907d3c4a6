"""The table of a file of `torch.save` is what `torch.load` reads, and every other file is refused."""

from __future__ import annotations

import io
import struct
import tarfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.serialization import config

from amdet_hub.encoders import torch_zip
from amdet_hub.encoders.pickle_table import read_pickle_table
from amdet_hub.encoders.torch_zip import EDGE_BYTES
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoFile, RepoSnapshot
from amdet_hub.testing.models import tiny_clip
from tests.encoders.folder_source import FolderSource, saved
from tests.hostile import pickles
from tests.hostile.fuzz import MOST_SECONDS
from tests.hostile.pickles import EVENTS, HOSTILE, NAME, RECORDS, archive_of, around, loaded_state_dict, stream

FLOATS = torch.arange(24.0).reshape(4, 6)
DTYPES = (
    *(
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
        torch.bool,
        torch.uint8,
        torch.int8,
    ),
    *(torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn),
    *(torch.float8_e5m2, torch.float8_e8m0fnu, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
)


class Net(nn.Module):
    """A module with parameters, a buffer of int64 and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.out.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("position_ids", torch.arange(77).expand((1, -1)))


def trained() -> dict[str, Any]:
    """A training checkpoint with all that usually lies beside the weights."""
    torch.manual_seed(1)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    net.out(net.norm(net.embed(torch.arange(7)))).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "global_step": 1 << 40,
        "name": "ViT-B-32 \u00e9",
        "state_dict": OrderedDict((f"module.{k}", v) for k, v in net.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "scaler": {"scale": 65536.0, "growth_interval": -2000},
        "best": np.float64(0.25),
        "device": torch.device("cpu"),
        "shape": torch.Size([1, 2]),
        "raw": b"\x00\xff",
        "seen": [True, False, None, (), (1, 2, 3, 4), {}, []],
        "words": {"a", "b"},
    }


def plain() -> dict[str, torch.Tensor]:
    return {"a": FLOATS.clone(), "b": torch.tensor(3), "c": torch.zeros(0, 5), "d": torch.ones(1, 1, 3)}


def views() -> dict[str, torch.Tensor]:
    """Several views of one storage, as tied or packed weights are."""
    base = torch.arange(100.0)
    return {
        "all": base,
        "same": base,
        "rows": base[10:70].reshape(6, 10),
        "one": base[99:],
        "none": base[100:],
        "column of one": base.reshape(10, 10)[:1, 3:4],
        "transposed row": base[:10].reshape(1, 10).T.reshape(10, 1),
        "transposed": base[:6].reshape(2, 3).T,
        "transposed square": base[:9].reshape(3, 3).T,
        "unsqueezed": torch.arange(6.0)[None, :, None].expand(1, 6, 1),
    }


KINDS: dict[str, Callable[[], Any]] = {
    "plain": plain,
    "views": views,
    "ordered": lambda: OrderedDict(plain()),
    "module": lambda: Net().state_dict(),
    "nested module": lambda: {"state_dict": Net().state_dict()},
    "parameters": lambda: dict(Net().named_parameters()),
    "dtypes": lambda: {str(dtype): torch.arange(-3, 9).to(dtype) for dtype in DTYPES},
    "many": lambda: {f"layer.{i}.weight": torch.full((i % 5, 3), float(i)) for i in range(300)},
    "beside leaves": lambda: {**plain(), "version": 2, "note": "x", "nothing": None, "rate": 0.5, "on": True},
    "unicode": lambda: {"\u00e9\u4e00.weight": FLOATS.clone(), "<cat-toy>": FLOATS.clone()},
}


def table(archive: bytes) -> Any:
    return read_pickle_table(pickles.source_of(archive), NAME)


def refused(archive: bytes) -> str:
    source = pickles.source_of(archive)
    with pytest.raises(BadRepository) as error, EVENTS.none():
        read_pickle_table(source, NAME)
    assert error.value.path == NAME
    assert len(error.value.reason) < 300
    return error.value.reason


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_what_torch_loads(kind: str, protocol: int) -> None:
    archive = saved(KINDS[kind](), pickle_protocol=protocol)
    with EVENTS.none():
        found = table(archive)
    # torch's restricted unpickler knows protocol 2 only
    pickles.assert_same(archive, found, loaded_state_dict(archive, weights_only=protocol == 2))
    assert [(i.start, i.stop) for i in found.values()] == sorted((i.start, i.stop) for i in found.values())


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_training_checkpoint_gives_its_state_dict(protocol: int) -> None:
    archive = saved(trained(), pickle_protocol=protocol)
    expected = loaded_state_dict(archive, weights_only=False)
    assert "module.embed.weight" in expected
    pickles.assert_same(archive, table(archive), expected)


def test_lightning_callbacks_are_only_names() -> None:
    """Stable Diffusion 1.4 has a class as a key; it stays a name, and calling it is refused."""
    model_checkpoint = pickles.named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    inner = b"}" + pickles.text("a") + pickles.tensor() + b"s"
    callbacks = b"}" + model_checkpoint + b"}" + pickles.text("best_model_score") + b"G" + bytes(8) + b"ss"
    with EVENTS.none():
        found = table(around(stream(("state_dict", inner), ("callbacks", callbacks))))
    assert set(found) == {"a"}
    assert "ModelCheckpoint" in refused(around(stream(("state_dict", inner), ("c", model_checkpoint + b")R"))))


def test_the_old_way_to_rebuild_a_tensor() -> None:
    old = pickles.tensor().replace(b"_v2", b"").replace(b"\x89" + pickles.HOOKS, b"")
    archive = around(stream(("a", old)))
    pickles.assert_same(archive, table(archive), loaded_state_dict(archive))


def test_a_model_of_transformers(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / NAME)
    archive = (folder / NAME).read_bytes()
    pickles.assert_same(archive, table(archive), load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["archive.pt", "a b.ckpt", "\u00e9\u4e00.bin", "x" * 200 + ".bin"])
def test_the_root_is_named_after_the_file(tmp_path: Path, name: str) -> None:
    torch.save(plain(), tmp_path / name)
    archive = (tmp_path / name).read_bytes()
    pickles.assert_same(archive, read_pickle_table(FolderSource(tmp_path), name), plain())


def test_without_checksums_and_with_other_alignment() -> None:
    config.save.storage_alignment, before = 4096, config.save.storage_alignment
    torch.serialization.set_crc32_options(False)
    try:
        archive = saved(views())
    finally:
        config.save.storage_alignment = before
        torch.serialization.set_crc32_options(True)
    pickles.assert_same(archive, table(archive), views())


def test_only_a_little_of_a_file_is_read(tmp_path: Path) -> None:
    torch.save({f"layer.{i}": torch.zeros(256, 1024) for i in range(40)}, tmp_path / NAME)

    class Counting(FolderSource):
        read_bytes = 0

        def read_range(self, path: str, start: int, stop: int) -> bytes:
            self.read_bytes += stop - start
            return super().read_range(path, start, stop)

    source = Counting(tmp_path)
    assert len(read_pickle_table(source, NAME)) == 40
    assert source.fetched == []
    assert source.read_bytes < 2 * EDGE_BYTES + 40 * 100
    assert len(source.ranges) <= 2 + 40
    source.ranges.clear()
    found = read_pickle_table(source, NAME, lambda names: [name for name in names if name.endswith((".3", ".7"))])
    assert len(found) == 40
    assert len(source.ranges) <= 2 + 2
    exact = read_pickle_table(source, NAME)
    assert all(found[name] == exact[name] for name in ("layer.3", "layer.7"))


def test_a_thousand_tensors_take_little_time() -> None:
    source = pickles.source_of(saved({f"text_model.encoder.layers.{i}.weight": FLOATS.clone() for i in range(1000)}))
    seconds = []
    for _ in range(5):
        began = time.process_time()
        assert len(read_pickle_table(source, NAME)) == 1000
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.1


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_stream_is_refused(kind: str) -> None:
    began = time.process_time()
    reason = refused(around(HOSTILE[kind]))
    assert reason.isprintable()
    assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize("name", ["os.system", "posix.system", "builtins.eval", "torch.load", "numpy.load"])
def test_a_refusal_names_the_global(name: str) -> None:
    assert name in refused(around(HOSTILE[f"call {name}"]))


@pytest.mark.parametrize(
    "name",
    ["INST", "OBJ", "NEWOBJ_EX", "EXT1", "PERSID", "POP", "DUP", "LONG4", "BINUNICODE8", "NEXT_BUFFER"],
)
def test_a_refusal_names_the_opcode(name: str) -> None:
    assert f"opcode {name}," in refused(around(HOSTILE[f"opcode {name}"]))


def test_what_is_hostile_is_compared_with_a_stream_that_reads() -> None:
    archive = around(pickles.beside(b"N"))
    pickles.assert_same(archive, table(archive), loaded_state_dict(archive))
    assert set(table(around(pickles.framed(0)))) == {"a"}


class Sub(torch.Tensor):
    """A tensor of another class."""


def quantised() -> torch.Tensor:
    with pytest.warns(UserWarning, match="quantize"):
        return torch.quantize_per_tensor(FLOATS, 0.1, 0, torch.qint8)


STRANGE: dict[str, Callable[[], torch.Tensor]] = {
    "every second": lambda: FLOATS[:, ::2],
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": quantised,
    "meta": lambda: torch.empty(3, device="meta"),
    "complex128": lambda: torch.zeros(2, dtype=torch.complex128),
    "conjugated": lambda: torch.zeros(2, dtype=torch.complex64).conj(),
    "subclass": lambda: FLOATS.as_subclass(Sub),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_tensor_is_refused(kind: str) -> None:
    reason = refused(saved({"good": FLOATS, "odd one": STRANGE[kind]()}))
    assert kind != "every second" or "'odd one'" in reason


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    formats = {
        "TorchScript": (tmp_path / "script.pt").read_bytes(),
        "before 1.6": saved(plain(), _use_new_zipfile_serialization=False),
        "tar": tar.getvalue(),
        "bare pickle": b"\x80\x02}.",
        "no zip": b"\x89HDF\r\n" * 10,
    }
    for name, content in formats.items():
        assert name in refused(content), name
    for content in (b"", b"P", b"PK\3\4", b"PK\5\6" + bytes(18)):
        refused(content)


def test_a_file_that_is_not_listed_is_refused() -> None:
    with pytest.raises(BadRepository):
        read_pickle_table(pickles.source_of(b""), "other.bin")


# ---------------------------------------------------------------- archives that could be read in two ways

GOOD = saved(plain())
RECORD_KINDS = {
    "a record in another case": {"DATA.PKL": b"x"},
    "a byte order in another case": {"ByteOrder": b"little"},
    "a program": {"code/__torch__.py": b"x"},
    "constants": {"constants.pkl": b"x"},
    "another name": {"notes.txt": b"x"},
    "a name with a way up": {"../data.pkl": b"x"},
    "a pickle of its own folder": {"data/data.pkl": b"x"},
    "big endian": {"byteorder": b"big"},
    "an unknown byte order": {"byteorder": b"middle"},
    "a folder": {"data/": b""},
    "an escape": {"\x1b[31m": b"x"},
}


@pytest.mark.parametrize("kind", RECORD_KINDS)
def test_an_unusual_record_is_refused(kind: str) -> None:
    good = {**RECORDS, "data.pkl": stream(("a", pickles.tensor()))}
    assert set(table(archive_of(good))) == {"a"}
    assert refused(archive_of({**good, **RECORD_KINDS[kind]})).isprintable()


def test_other_archives_are_refused() -> None:
    good = {**RECORDS, "data.pkl": stream(("a", pickles.tensor()))}
    whole = archive_of(good)
    refused(archive_of(good, method=8))  # deflated
    refused(archive_of({**good, "data.pkl": good["data.pkl"] + bytes(9 << 20)}))
    refused(archive_of({**good, "data.pkl": bytes(50 << 20)}, method=8))
    refused(archive_of(good, root=""))
    refused(archive_of(good, root="/"))
    refused(whole.replace(b"archive/", b"arch\0ve/"))
    refused(archive_of(good, root="x" * 300 + "/"))
    refused(archive_of(good, comment=b"x"))
    refused(archive_of(good, comment=whole[-22:]))  # an end record as the comment of another
    refused(archive_of({name: content for name, content in good.items() if name != "data.pkl"}))
    refused(archive_of({}))
    refused(whole + b"\0")
    refused(b"\0" + whole)
    refused(whole + whole)
    refused(whole[:-1])
    two_roots = archive_of({"archive/data.pkl": good["data.pkl"], "other/data.pkl": b"x", "archive/data/0": b""}, "")
    refused(two_roots)


def test_archives_that_disagree_with_themselves_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {**RECORDS, "data.pkl": stream(("a", pickles.tensor()))}
    whole = archive_of({**good, "data/1": b"other"})
    assert set(table(whole)) == {"a"}
    refused(whole.replace(b"archive/data/1", b"archive/data/0"))  # one name twice
    refused(whole.replace(b"archive/data/1", b"brchive/data/1"))  # two folders of equally long names
    refused(whole[:-22] + bytes(8) + whole[-22:])  # a hole before the end record
    fewer = (len(good)).to_bytes(2, "little")
    refused(whole[:-14] + fewer + fewer + whole[-10:])  # an entry that the end record does not count
    more = (len(good) + 2).to_bytes(2, "little")
    refused(whole[:-14] + more + more + whole[-10:])  # an entry that is not there
    larger = (int.from_bytes(whole[-10:-6], "little") + 1).to_bytes(4, "little")
    refused(whole[:-10] + larger + whole[-6:])  # a directory that goes on into the end record
    twice = archive_of({**good, "data/1": pickles.DATA})
    assert "twice" in refused(twice.replace(b"archive/data/1", b"archive/data/0"))  # of one size
    overlapping = bytearray(whole)
    struct.pack_into("<2I", overlapping, whole.rindex(b"archive/data/1") - 46 + 20, 1000, 1000)
    refused(bytes(overlapping))  # a storage that no tensor uses goes on into the directory
    encrypted = bytearray(GOOD)
    struct.pack_into("<H", encrypted, places(GOOD)["entry"] + 8, 0x809)
    struct.pack_into("<H", encrypted, places(GOOD)["local"] + 6, 0x809)
    refused(bytes(encrypted))  # as the local header says too
    behind = io.BytesIO()
    behind.write(whole)
    with zipfile.ZipFile(behind, "w") as opened:
        for name, content in good.items():
            opened.writestr("archive/" + name, content)
    assert behind.getvalue().startswith(whole)
    refused(behind.getvalue())  # a second archive, with true offsets, behind the first
    assert "9,4" in refused(archive_of({**good, "data.pkl": bytes(9_400_000)}))
    monkeypatch.setattr(torch_zip, "MAX_ENTRIES", 3)
    refused(whole)


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(GOOD)
    source = FolderSource(tmp_path)
    (tmp_path / NAME).write_bytes(GOOD[:-30])
    with pytest.raises(BadRepository):
        read_pickle_table(source, NAME)


def test_a_missing_byte_order_means_little() -> None:
    good = {"data.pkl": stream(("a", pickles.tensor())), "data/0": pickles.DATA, "version": b"3\n"}
    pickles.assert_same(archive_of(good), table(archive_of(good)), loaded_state_dict(archive_of(good)))


def places(archive: bytes) -> dict[str, int]:
    """Where the zip's structures lie in a file of `torch.save`."""
    (directory,) = struct.unpack_from("<I", archive, len(archive) - 6)
    entry = archive.index(b"PK\1\2", archive.index(b"archive/data/0", directory) - 46)
    (local,) = struct.unpack_from("<I", archive, entry + 42)
    ends = len(archive)
    return {"entry": entry, "local": local, "end": ends - 22, "locator": ends - 42, "end64": ends - 98}


FIELDS = {  # structure, offset in it, format, value
    "encrypted": ("entry", 8, "<H", 1),
    "strongly encrypted": ("entry", 8, "<H", 0x40),
    "masked": ("entry", 8, "<H", 0x2000),
    "deflated": ("entry", 10, "<H", 8),
    "packed smaller": ("entry", 20, "<I", 1),
    "size": ("entry", 24, "<I", 1),
    "size that is marked": ("entry", 24, "<I", 0xFFFFFFFF),
    "name length": ("entry", 28, "<H", 3),
    "extra length": ("entry", 30, "<H", 40),
    "comment length": ("entry", 32, "<H", 1),
    "part": ("entry", 34, "<H", 1),
    "a folder's attribute": ("entry", 38, "<I", 0x10),
    "place": ("entry", 42, "<I", 0),
    "place behind": ("entry", 42, "<I", 1 << 30),
    "local magic": ("local", 0, "<I", 0),
    "local flags": ("local", 6, "<H", 1),
    "local method": ("local", 8, "<H", 8),
    "local size": ("local", 22, "<I", 1),
    "local name length": ("local", 26, "<H", 3),
    "local extra length": ("local", 28, "<H", 0xFFFF),
    "local name": ("local", 30, "<H", 0),
    "end magic": ("end", 0, "<I", 0),
    "end part": ("end", 4, "<H", 1),
    "end count here": ("end", 8, "<H", 1),
    "end count": ("end", 10, "<H", 1),
    "end size": ("end", 12, "<I", 46),
    "end place": ("end", 16, "<I", 0),
    "end comment length": ("end", 20, "<H", 1),
    "locator place": ("locator", 8, "<Q", 0),
    "locator parts": ("locator", 16, "<I", 2),
    "locator magic": ("locator", 0, "<I", 0),
    "zip64 magic": ("end64", 0, "<I", 0),
    "zip64 size": ("end64", 4, "<Q", 100),
    "zip64 part": ("end64", 16, "<I", 1),
    "zip64 count": ("end64", 32, "<Q", 1 << 40),
    "zip64 count here": ("end64", 24, "<Q", 1),
    "zip64 directory size": ("end64", 40, "<Q", 46),
    "zip64 directory place": ("end64", 48, "<Q", 1 << 60),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_a_lying_field_is_refused(kind: str) -> None:
    structure, offset, form, value = FIELDS[kind]
    changed = bytearray(GOOD)
    struct.pack_into(form, changed, places(GOOD)[structure] + offset, value)
    assert bytes(changed) != GOOD
    refused(bytes(changed))


def test_a_moved_storage_is_read_from_where_torch_reads_it() -> None:
    """A local header may be followed by fewer extra bytes than torch writes: that, not the alignment, decides."""
    archive = bytearray(saved({"a": torch.arange(8, dtype=torch.uint8)}))
    local = places(bytes(archive))["local"]
    (extra,) = struct.unpack_from("<H", archive, local + 28)
    struct.pack_into("<H", archive, local + 28, extra - 4)
    archive[local + 36 + len("archive/") + extra - 4 :][:4] = b"abcd"
    expected = loaded_state_dict(bytes(archive))
    assert expected["a"].tolist() != list(range(8))
    pickles.assert_same(bytes(archive), table(bytes(archive)), expected)


def test_a_file_of_more_than_four_gigabytes() -> None:
    """Its zip64 fields count; the values between are not there at all."""
    count = (5 << 30) // 4
    pickle = stream(("a", pickles.tensor().replace(b"K\x10", b"\x8a\x05" + count.to_bytes(5, "little"))))
    names = [b"archive/data.pkl", b"archive/data/0", b"archive/data/1"]
    starts, sizes, parts, at = [], [len(pickle), 5 << 30, 8], {}, 0
    for name, size in zip(names, sizes, strict=True):
        starts.append(at)
        parts[at] = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, len(name), 0) + name
        at += len(parts[at]) + size
    parts[starts[0]] += pickle
    directory = b""
    for name, size, start in zip(names, sizes, starts, strict=True):
        marked = [value for value in (size, size, start) if value >= 0xFFFFFFFF]
        extra = struct.pack(f"<2H{len(marked)}Q", 1, 8 * len(marked), *marked) if marked else b""
        small = [min(value, 0xFFFFFFFF) for value in (size, size, start)]
        fields = (b"PK\1\2", 0, 0, 8, 0, 0, 0, 0, *small[:2], len(name), len(extra), 0, 0, 0, 0, small[2])
        directory += struct.pack("<4s6H3I5H2I", *fields) + name + extra
    ends = at + len(directory)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(directory), at)
    tail = struct.pack("<4sIQI", b"PK\6\7", 0, ends, 1)
    tail += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, len(directory), 0xFFFFFFFF, 0)
    parts[at] = directory + end64 + tail

    class Sparse(FolderSource):
        def __init__(self) -> None:
            self.snapshot = RepoSnapshot("a/b", "hub", "0" * 40, (RepoFile(NAME, at + len(parts[at])),))

        def read_range(self, path: str, start: int, stop: int) -> bytes:
            data = bytearray(stop - start)
            for place, part in parts.items():
                low, high = max(place, start), min(place + len(part), stop)
                if low < high:
                    data[low - start : high - start] = part[low - place : high - place]
            return bytes(data)

    (info,) = read_pickle_table(Sparse(), NAME).values()
    assert (info.shape, info.start) == ((2, 3), starts[1] + 30 + len(names[1]))
