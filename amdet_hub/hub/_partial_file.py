"""Some tensors of a safetensors file as a safetensors file of their own, written piece by piece.

Standard library only; knows no network.

While it grows it is a `.part` file with a journal of the ranges that are in it, each with the sha256 of its bytes, so
that a killed download goes on where it was. When it is whole it gets its header, which holds the sha256 of everything
behind it, and its name.

Source: the safetensors format description: 8 bytes length (little endian), JSON, then the data.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amdet_hub.files import read_at_most
from amdet_hub.hub._byte_ranges import Piece, Span, within
from amdet_hub.hub.cache import remove
from amdet_hub.records import TensorInfo

# In the file's metadata: the sha256 (64 hex digits) of all bytes behind the header.
DIGEST_KEY = "amdet_hub_sha256"
_CHUNK_BYTES = 1 << 20
_MAX_JOURNAL_BYTES = 16 << 20


def tensors_digest(tensors: Mapping[str, TensorInfo]) -> str:
    """sha256 (64 hex digits) of what is wanted: names, dtypes, shapes and places.

    With the file's own id, it names a local file.
    """
    rows = sorted([name, t.dtype, list(t.shape), t.start, t.stop] for name, t in tensors.items())
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogatepass")).hexdigest()


class PartialFile:
    """The local file of some tensors: where its bytes go, and whether it is whole.

    Args:
        place: the path of the finished file.
        tensors: entries of a checked header; they stay in the order of the repository's file.
    """

    def __init__(self, place: Path, tensors: Mapping[str, TensorInfo]) -> None:
        self.place = place
        self.part = place.with_suffix(".part")  # the file while it grows
        self.journal = place.with_suffix(".journal")  # one JSON row `[start, stop, sha256]` for each range in `part`
        self._entries: dict[str, Any] = {}
        pieces, at = [], 0
        for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop, item[0])):
            self._entries[name] = {
                "dtype": info.dtype,
                "shape": list(info.shape),
                "data_offsets": [at, at + info.size_bytes],
            }
            pieces.append(Piece(info.start, info.stop, at))
            at += info.size_bytes
        self.pieces: tuple[Piece, ...] = tuple(pieces)
        self.data_bytes = at
        self.data_start = len(self._header("0" * 64))

    def seems_whole(self) -> bool:
        """Whether the finished file is there and has its size; its bytes are not read."""
        try:
            return self.place.stat().st_size == self.data_start + self.data_bytes
        except OSError:
            return False

    def is_whole(self) -> bool:
        """Whether the finished file is there and holds what was written into it, by its own sha256."""
        if not self.seems_whole():
            return False
        with contextlib.suppress(OSError), self.place.open("rb") as stream:
            header = stream.read(self.data_start)
            return header == self._header(hashlib.file_digest(stream, "sha256").hexdigest())
        return False

    def discard(self) -> None:
        """Delete what is there of it, finished or not, where this disk lets us."""
        for path in (self.place, self.part, self.journal):
            remove(path)

    def _header(self, digest: str) -> bytes:
        text = json.dumps({"__metadata__": {DIGEST_KEY: digest}, **self._entries}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def rows(self) -> Iterator[tuple[Span, str]]:
        """The ranges that the journal says are in the part file, with their sha256; not verified."""
        try:
            if not self.part.is_file():
                return
            lines = read_at_most(self.journal, _MAX_JOURNAL_BYTES).decode("ascii", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):  # a line that was cut short is a range that is not there
                start, stop, digest = json.loads(line)
                if type(start) is int and type(stop) is int and 0 <= start < stop:
                    yield Span(start, stop), digest


class Growing:
    """A part file that is being written, to be closed. Raises OSError.

    `done` are the ranges that were in it when it was opened, verified.
    """

    def __init__(self, partial: PartialFile) -> None:
        self._partial = partial
        self._lock = threading.Lock()
        partial.place.parent.mkdir(parents=True, exist_ok=True)
        partial.part.touch()
        self.done = [span for span, digest in partial.rows() if self._stored(span) == digest]
        if not self.done:
            partial.journal.unlink(missing_ok=True)
        self._journal = partial.journal.open("a", encoding="ascii")
        self._journal.write("\n")  # a line that was cut short ends here
        self.close = self._journal.close

    @contextlib.contextmanager
    def writing(self, span: Span) -> Iterator[Callable[[bytes], None]]:
        """A function that takes the bytes of a span in order; the journal says afterwards how many it got."""
        partial, digest, at = self._partial, hashlib.sha256(), span.start
        pieces = within(partial.pieces, span)
        with partial.part.open("r+b") as stream:

            def take(chunk: bytes) -> None:
                nonlocal at
                for piece in within(pieces, Span(at, at + len(chunk))):
                    data = chunk[piece.start - at : piece.stop - at]
                    stream.seek(partial.data_start + piece.to)
                    stream.write(data)
                    digest.update(data)
                at += len(chunk)

            try:
                yield take
            finally:
                stream.flush()
                if at > span.start:
                    with self._lock:
                        self._journal.write(json.dumps([span.start, at, digest.hexdigest()]) + "\n")
                        self._journal.flush()

    def finish(self) -> None:
        """Write the header and give the file its name. Raises: OSError."""
        partial = self._partial
        with partial.part.open("r+b") as stream:
            stream.truncate(partial.data_start + partial.data_bytes)
            stream.seek(partial.data_start)
            header = partial._header(hashlib.file_digest(stream, "sha256").hexdigest())
            stream.seek(0)
            stream.write(header)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial.part, partial.place)
        self._journal.close()
        partial.journal.unlink(missing_ok=True)

    def _stored(self, span: Span) -> str:
        """sha256 of a range's bytes as they lie in the part file, without the gaps between tensors."""
        digest = hashlib.sha256()
        with self._partial.part.open("rb") as stream:
            for piece in within(self._partial.pieces, span):
                stream.seek(self._partial.data_start + piece.to)
                left = piece.stop - piece.start
                while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
                    digest.update(chunk)
                    left -= len(chunk)
        return digest.hexdigest()
