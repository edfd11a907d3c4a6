"""Some tensors of a file instead of the whole file: planned, fetched by ranges in parallel, cached, found again.

A partial file lies in `own_cache(settings)/towers`, by endpoint, by the id that the listing states for the whole file
(sha256, or git's) and by the tensors in it. The start of a file, where its header is, is cached beside it, so that a
scan can be repeated offline.

What is verified: the commit (pinned), the file's id in the Hub's own answer where it names one, the range and the size
of the file that every answer promises, and its length. What cannot be: the sha256 of the whole file, of which only a
part is here. Against a repository's owner that changes nothing, because a Hub checks the sha256 of what is uploaded;
it is the Hub itself (and TLS to it) that is believed. Where a pinned sha256 is the point, as for trusted references,
`fetch` gets the whole file. Ids of one endpoint say nothing at another: hence the folder of each.
"""

import contextlib
import contextvars
import hashlib
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub.errors import ResourceError
from amdet_hub.files import read_at_most, write_atomically
from amdet_hub.hub import _byte_ranges as _spans
from amdet_hub.hub import _client
from amdet_hub.hub._byte_ranges import Span
from amdet_hub.hub._errors import disk_error
from amdet_hub.hub._partial_file import Growing, PartialFile, tensors_digest
from amdet_hub.hub.download import Downloads, RangesNotServed
from amdet_hub.hub.settings import HubSettings, own_cache
from amdet_hub.hub.time_limit import time_limit
from amdet_hub.records import SILENT, FetchPlan, ProgressCallback, RepoFile, TensorInfo

# A whole file can be checked against its sha256; less than this saved is not worth giving that up.
LEAST_SAVING_BYTES = 4 << 20
# Above this share of the file, the whole file is fetched.
MOST_SHARE = 0.8
# Most bytes that are cached of the start of a file. Real headers stay below 1 MB; a longer one is read again, and a
# repository of them fills no disk.
MAX_HEAD_BYTES = 4 << 20
_THREADS = 4
_TICK_S = 0.2  # how often progress is said


class TensorDownloads:
    """Partial files of one pinned repository; thread-safe.

    Args:
        downloads: moves the bytes, and holds the budget.
        settings: where the cache is, and whether the network may be used.
    """

    def __init__(self, downloads: Downloads, settings: HubSettings) -> None:
        self._downloads, self._settings = downloads, settings
        endpoint = hashlib.sha256(_client.endpoint_of(settings).encode()).hexdigest()[:16]
        self._folder = own_cache(settings) / "towers" / endpoint
        self._verified: set[tuple[Path, int, int]] = set()  # path, size and time of change when it was hashed

    def fetch(
        self, file: RepoFile, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        """A local file with these tensors.

        It is the whole file where that is cached, or little larger, where the server knows no ranges, and where this
        disk does not take the partial one.

        Raises:
            DownloadCorrupt: an answer is not what was asked for, by its headers or its length.
            OfflineMiss: offline and not cached.
            ResourceError: disk or byte budget do not suffice.
            HubError: anything else between us and the Hub.
        """
        report = progress or SILENT.progress
        partial = self._partial(file, tensors)
        if partial is None or self._downloads.cached(file) is not None:
            return self._downloads.fetch(file, report)
        if not self._is_whole(partial):
            self._downloads.require_network(file)
            try:
                self._get(file, partial, report)
            except RangesNotServed:
                partial.discard()
                return self._downloads.fetch(file, report)
            except OSError as error:
                return self._instead(file, disk_error(error, partial.data_bytes), report)
            except ResourceError as error:
                return self._instead(file, error, report)
        report("download", partial.data_bytes, partial.data_bytes)
        return partial.place

    def _instead(self, file: RepoFile, error: ResourceError, report: ProgressCallback) -> Path:
        """The whole file, which another disk may take. Raises: `error`, which needs less, where none does."""
        if error.resource != "disk":
            raise error
        try:
            return self._downloads.fetch(file, report)
        except ResourceError:
            raise error from error.__cause__

    def plan(self, file: RepoFile, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        """What `fetch` (of the whole file for None) would transfer now."""
        if self._downloads.cached(file) is not None:
            return FetchPlan(0, 0, whole=True)
        partial = self._partial(file, tensors) if tensors is not None else None
        if partial is None:
            return FetchPlan(file.size_bytes, 1, whole=True)
        if partial.seems_whole():
            return FetchPlan(0, 0, whole=False)
        parts = _parts(partial, [span for span, _ in partial.rows()])
        return FetchPlan(sum(part.size_bytes for part in parts), len(parts), whole=False)

    def head(self, file: RepoFile, start: int, stop: int) -> bytes | None:
        """Bytes of the start of a file that were read before, None when not all of them are cached."""
        data = self._head(file)
        return data[start:stop] if 0 <= start <= min(stop, file.size_bytes) <= len(data) else None

    def keep_head(self, file: RepoFile, start: int, data: bytes) -> None:
        """Cache bytes that follow on those cached already. Best effort: a read-only cache costs the offline mode."""
        place, known = self._head_place(file), self._head(file)
        whole = known[:start] + data
        if place is not None and start <= len(known) < len(whole) <= MAX_HEAD_BYTES:
            with contextlib.suppress(OSError):
                write_atomically(place, hashlib.sha256(whole).digest() + whole)

    def _partial(self, file: RepoFile, tensors: Mapping[str, TensorInfo]) -> PartialFile | None:
        """The local file of these tensors, None when the whole file is the better choice."""
        folder = self._folder_of(file)
        if folder is None:
            return None
        partial = PartialFile(folder / f"{tensors_digest(tensors)}.safetensors", tensors)
        planned = sum(span.size_bytes for span in _spans.merged(partial.pieces))
        if planned > MOST_SHARE * file.size_bytes or file.size_bytes - planned < LEAST_SAVING_BYTES:
            return None
        return partial

    def _folder_of(self, file: RepoFile) -> Path | None:
        known = file.sha256 or file.blob_id
        # The id comes from a listing: it names a folder only when it is nothing but hex digits.
        return (
            self._folder / known
            if known and len(known) <= 64 and all(c in "0123456789abcdef" for c in known)
            else None
        )

    def _head_place(self, file: RepoFile) -> Path | None:
        folder = self._folder_of(file)
        return folder / "head" if folder is not None and file.path.endswith(".safetensors") else None

    def _head(self, file: RepoFile) -> bytes:
        place = self._head_place(file)
        with contextlib.suppress(OSError):
            content = b"" if place is None else read_at_most(place, 32 + MAX_HEAD_BYTES)
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                return content[32:]
        return b""

    def _is_whole(self, partial: PartialFile) -> bool:
        try:
            facts = partial.place.stat()
        except OSError:
            return False
        state = (partial.place, facts.st_size, facts.st_mtime_ns)
        if state not in self._verified:
            if not partial.is_whole():
                return False
            self._verified.add(state)
        return True

    def _get(self, file: RepoFile, partial: PartialFile, report: ProgressCallback) -> None:
        partial.place.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(partial.place.with_suffix(".lock")):
            if self._is_whole(partial):  # another process was faster
                return
            with contextlib.closing(Growing(partial)) as growing:
                parts = _parts(partial, growing.done)
                needed = sum(part.size_bytes for part in parts)
                self._downloads.require_disk(needed, self._folder)
                self._downloads.spend(needed)
                transfer = _Transfer(self._downloads, file, growing, needed, report)
                try:
                    transfer.run(parts)
                finally:
                    self._downloads.spend(transfer.received - needed)  # what was not fetched after all
                growing.finish()


class _Transfer:
    """One file's parts on their way, several at once. `received` counts the bytes that came."""

    def __init__(
        self,
        downloads: Downloads,
        file: RepoFile,
        growing: Growing,
        needed: int,
        report: ProgressCallback,
    ) -> None:
        self._downloads, self._file, self._growing, self._needed = downloads, file, growing, needed
        self._report = report
        self._lock = threading.Lock()
        self.received = 0

    def run(self, parts: list[Span]) -> None:
        """Fetch every part. The first error ends the others; the bytes that came stay.

        Progress is said on this thread.
        """
        with time_limit(None) as limit, ThreadPoolExecutor(_THREADS, thread_name_prefix="amdet-hub-range") as pool:
            pending: set[Future[None]] = {
                pool.submit(contextvars.copy_context().run, self._fetch, part) for part in parts
            }
            try:
                while pending:
                    finished, pending = wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                    self._report("download", min(self.received, self._needed), self._needed)
                    for future in finished:
                        future.result()
            except BaseException:
                limit.end()
                for future in pending:
                    future.cancel()
                raise

    def _fetch(self, part: Span) -> None:
        with self._growing.writing(part) as write:

            def take(chunk: bytes) -> None:
                write(chunk)
                with self._lock:
                    self.received += len(chunk)

            self._downloads.stream_range(self._file, part, take)


def _parts(partial: PartialFile, done: list[Span]) -> list[Span]:
    return _spans.divided(_spans.without(_spans.merged(partial.pieces), done), _spans.PART_BYTES)
