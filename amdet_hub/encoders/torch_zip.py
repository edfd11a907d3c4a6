"""The directory of a zip archive that `torch.save` wrote, read and checked without its tensors. Standard library only.

Knows the zip format as torch writes it, and nothing of pickles. Torch's own reader (miniz) is lenient: it searches for
the end record, skips bytes before the archive, compares names without case and takes the place of a record from its
local header. Every archive that it could read otherwise than this module is refused: one archive that fills the whole
file, no comment, each name once and of the kind that `torch.save` writes, nothing compressed or encrypted, no overlap,
local headers that repeat the directory.

Source: PKWARE's APPNOTE 6.3.10; torch 2.13 `torch/serialization.py` and `caffe2/serialize/inline_container.h`;
miniz 3.0.2, `mz_zip_reader_read_central_dir` and `mz_zip_reader_locate_file`.
"""

import re
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from amdet_hub.encoders.safetensors_header import MAX_TENSORS
from amdet_hub.encoders.strict_json import printable, require
from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoSource

# One storage a tensor, and the six records that describe them.
MAX_ENTRIES = MAX_TENSORS + 6
# 46 bytes and a name of some 30 an entry: 2.3 MB at most for that many. The root's name may be longer.
MAX_DIRECTORY_BYTES = 8 << 20
# Enough for the pickle of a text tower at the start, and for the directory of 1,000 storages at the end.
EDGE_BYTES = 128 << 10
# Local headers that lie closer than this are read in one request; the biases between them are thrown away.
HEAD_GAP_BYTES = 16 << 10
# Most bytes of such a request, so that a file of many small tensors is not read whole into memory.
MOST_HEADS_BYTES = 1 << 20

_NAME = re.compile(
    rb"[^/\0]{1,255}/"  # the root: a file name without its extension; torch's own buffer for all holds 512 bytes
    rb"(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]{1,20})"
)
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q4sIQI")  # the zip64 end record and its locator
_CENTRAL = struct.Struct("<4s4x2H8x2I4H2x2I")  # without versions, time, CRC and internal attributes
_LOCAL = struct.Struct("<4s2x2H8x2I2H")
_MARK16, _MARK32 = 0xFFFF, 0xFFFFFFFF  # "the zip64 record has the value", which needs as much or more
_SIZES_FOLLOW, _UTF8 = 1 << 3, 1 << 11  # the only flags that torch sets
_DOS_FOLDER = 0x10  # an attribute: miniz does not read the content of such an entry
_OTHER_FORMS = (  # offset, the bytes there, and what they show
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "the old pickle format of torch before 1.6"),
    (257, b"ustar", "the old tar format of torch before 0.2"),
    (0, b"\x80", "a bare pickle"),
    (0, b"", "no zip archive of torch.save"),
)


@dataclass(frozen=True)
class Entry:
    """One stored file: its name without the root, its full name, flags and bytes, and where its local header begins.

    `latest_start` is the offset of its first byte if nothing lies between it and what is stored next.
    """

    name: str
    full: bytes
    flags: int
    size_bytes: int
    header: int
    latest_start: int = 0

    @property
    def head_stop(self) -> int:
        """Where its local header and the name in it end."""
        return self.header + _LOCAL.size + len(self.full)


class TorchZip:
    """A checked directory; `entries` has the stored files by their names without the root.

    Args:
        source, path: where the file is.

    Raises:
        BadRepository: the file is not listed, is no archive of `torch.save`, or could be read in two ways.
        HubError: it could not be read.
    """

    def __init__(self, source: RepoSource, path: str) -> None:
        listed = source.snapshot.file(path)
        if listed is None:
            raise BadRepository(path, "it is not in the repository")
        self._source, self._path, self._size = source, path, listed.size_bytes
        self._known: dict[int, bytes] = {}
        self._known[0] = self._bytes(0, min(EDGE_BYTES, self._size))
        form = next(form for at, start, form in _OTHER_FORMS if self._known[0].startswith(start, at))
        require(self._known[0].startswith(b"PK\3\4"), path, f"it is {form}, which is not read")
        late = max(0, self._size - EDGE_BYTES)
        self._known[late] = self._bytes(late, self._size)
        start, stop, count = self._directory()
        self.entries = _parse_directory(self._bytes(start, stop), count, start, path)
        self.starts([next(iter(self.entries))])

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of a stored file. Raises: BadRepository where it is missing or larger."""
        require(name in self.entries, self._path, f"its zip archive holds no '{name}'")
        size = self.entries[name].size_bytes
        require(size <= max_bytes, self._path, f"'{name}' has {size:,} bytes, more than {max_bytes:,}")
        start = self.starts([name])[name]
        return self._bytes(start, start + size)

    def starts(self, names: Collection[str]) -> Mapping[str, int]:
        """Name of every stored file -> offset of its first byte in the whole file.

        Those of `names` come from their local headers, which are checked; the others are where they begin if nothing
        lies between them and what is stored next.

        Raises:
            BadRepository: a local header is not what the directory says.
        """
        found = {name: entry.latest_start for name, entry in self.entries.items()}
        for group in _groups([entry for name, entry in self.entries.items() if name in names]):
            base = group[0].header
            heads = self._bytes(base, group[-1].head_stop)
            for entry in group:
                found[entry.name] = self._start(entry, heads[entry.header - base : entry.head_stop - base])
        return found

    def _start(self, entry: Entry, head: bytes) -> int:
        magic, flags, method, *sizes, name_bytes, extra_bytes = _LOCAL.unpack_from(head)
        require(
            (magic, flags, method, name_bytes) == (b"PK\3\4", entry.flags, 0, len(entry.full))
            and head[_LOCAL.size :] == entry.full
            and all(size in (0, _MARK32, entry.size_bytes) for size in sizes),
            self._path,
            f"the local header of '{entry.name}' is not what the directory says",
        )
        start: int = entry.head_stop + extra_bytes
        require(start <= entry.latest_start, self._path, f"'{entry.name}' overlaps what lies behind it")
        return start

    def _directory(self) -> tuple[int, int, int]:
        """Start and stop of the central directory, and the number of its entries."""
        stop = self._size - _END.size
        require(stop >= 0, self._path, "its zip archive ends early")
        end = _END.unpack(self._bytes(stop, self._size))
        *_, count, size, start, _ = end
        tail = self._bytes(max(0, stop - _END64.size), stop)
        if tail[-20:-16] == b"PK\6\7" and len(tail) == _END64.size:
            stop -= _END64.size
            end64 = _END64.unpack(tail)
            count, size, start = end64[7:10]
            stated = (b"PK\6\6", 44, *end64[2:4], 0, 0, count, count, size, start, b"PK\6\7", 0, stop, 1)
            require(end64 == stated, self._path, "its zip64 records disagree")
        else:
            require(count < _MARK16 and max(size, start) < _MARK32, self._path, "its zip64 records are missing")
        shorts = (min(count, _MARK16), min(count, _MARK16), min(size, _MARK32), min(start, _MARK32))
        require(
            end == (b"PK\5\6", 0, 0, *shorts, 0), self._path, "no zip archive of one part ends where the file ends"
        )
        require(start + size == stop, self._path, "its zip directory does not end where the end record begins")
        require(
            count <= MAX_ENTRIES and size <= MAX_DIRECTORY_BYTES, self._path, f"its zip archive lists {count:,} files"
        )
        return start, stop, count

    def _bytes(self, start: int, stop: int) -> bytes:
        """A range of the file, from what is known of its two ends where that suffices."""
        for at, known in self._known.items():
            if at <= start and stop <= at + len(known):
                return known[start - at : stop - at]
        data = self._source.read_range(self._path, start, stop)
        require(len(data) == stop - start, self._path, f"it ends early ({len(data)} of {stop - start} bytes)")
        return data


def _groups(entries: list[Entry]) -> list[list[Entry]]:
    """Those whose local headers are read in one request; `entries` in file order."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if (
            not groups
            or entry.header - groups[-1][-1].header > HEAD_GAP_BYTES
            or entry.header - groups[-1][0].header > MOST_HEADS_BYTES
        ):
            groups.append([])
        groups[-1].append(entry)
    return groups


def _parse_directory(raw: bytes, count: int, start: int, path: str) -> dict[str, Entry]:
    """Name without the root -> entry, in file order, none of which overlap; the bytes `raw` begin at `start`."""
    found: dict[str, Entry] = {}
    at = 0
    for _ in range(count):
        require(at + _CENTRAL.size <= len(raw), path, "its zip directory ends early")
        magic, flags, method, packed, size, name_bytes, extra_bytes, *comment_disk, attributes, header = (
            _CENTRAL.unpack_from(raw, at)
        )
        name_stop = at + _CENTRAL.size + name_bytes
        full, extra = raw[at + _CENTRAL.size : name_stop], raw[name_stop : name_stop + extra_bytes]
        at = name_stop + extra_bytes
        broken = magic != b"PK\1\2" or any(comment_disk) or attributes & _DOS_FOLDER or at > len(raw)
        require(not broken, path, "its zip directory is broken")
        name = _short_name(full, path)
        size, packed, header = _widened((size, packed, header), extra, path)
        require(
            method == 0 and packed == size and not flags & ~(_SIZES_FOLLOW | _UTF8),
            path,
            f"'{name}' is compressed or encrypted",
        )
        require(name not in found, path, f"its zip archive holds '{name}' twice")
        found[name] = Entry(name, full, flags, size, header)
    require(at == len(raw), path, "its zip directory is longer than its entries")
    roots = {entry.full.partition(b"/")[0] for entry in found.values()}
    require(len(roots) == 1, path, "its zip archive has files outside its one folder")
    ordered = sorted(found.values(), key=lambda entry: entry.header)
    require(ordered[0].header == 0, path, "its zip archive does not start with a stored file")
    stops = [*(entry.header for entry in ordered[1:]), start]
    placed = {e.name: replace(e, latest_start=stop - e.size_bytes) for e, stop in zip(ordered, stops, strict=True)}
    for name, entry in placed.items():
        require(entry.head_stop <= entry.latest_start, path, f"'{name}' overlaps what lies behind it")
    return placed


def _short_name(full: bytes, path: str) -> str:
    """A name without its root, which is one of those that `torch.save` writes."""
    said = printable(full.decode("utf-8", "replace"))
    require(
        re.match(rb"[^/]*/(code/|constants\.pkl)", full) is None,
        path,
        f"it is a TorchScript archive ('{said}'), which holds a program and is not read",
    )
    require(_NAME.fullmatch(full) is not None, path, f"its zip archive holds '{said}', which torch.save never writes")
    return full.partition(b"/")[2].decode()


def _widened(fields: tuple[int, int, int], extra: bytes, path: str) -> Iterable[int]:
    """These fields of an entry, those that are marked taken from its zip64 extra field, which is all of `extra`."""
    marked = fields.count(_MARK32)
    head = struct.pack("<2H", 1, 8 * marked) if marked else b""
    require(extra.startswith(head) and len(extra) == len(head) + 8 * marked, path, "its zip directory is broken")
    large = iter(struct.unpack(f"<{marked}Q", extra[len(head) :]))
    return [next(large) if field == _MARK32 else field for field in fields]
