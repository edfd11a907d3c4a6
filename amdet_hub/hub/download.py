"""The bytes of one pinned Hub repository: whole files, each checked, into the Hub cache, and ranges.

Knows: sizes, sha256 of LFS files and git ids of all others, which the listing states; free disk; the budget. The token
goes to the Hub's own host only: the HTTP library drops it on a redirect to another origin (tested). Refuses to know:
what a file means.
"""

import contextlib
import hashlib
import io
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub import __version__
from amdet_hub.errors import DownloadCorrupt, HubError, OfflineMiss, ResourceError
from amdet_hub.hub import _client
from amdet_hub.hub._byte_ranges import Span
from amdet_hub.hub._errors import Question, disk_error
from amdet_hub.hub._listings import repo_folder
from amdet_hub.hub.settings import HubSettings
from amdet_hub.records import ProgressCallback, RepoFile
from amdet_hub.records.monitor import SILENT

# Left free beside a download: a full disk harms more than a refused scan.
_DISK_RESERVE_BYTES = 16 << 20

# A server may answer a range with the whole file; so many bytes of its start are read to get at the range.
_MAX_UNRANGED_BYTES = 32 << 20


class RangesNotServed(HubError):
    """The server answers a request for a part of a file with the whole file."""


class Downloads:
    """Moves files of one repository at one commit; thread-safe.

    Args:
        repo_id: the repository; readable afterwards.
        commit_sha: 40 hex digits.
        settings: how to reach the Hub, where its cache is, and the byte budget, which is spent over the life of this
            object.
    """

    def __init__(self, repo_id: str, commit_sha: str, settings: HubSettings) -> None:
        self.repo_id, self._sha, self._settings = repo_id, commit_sha, settings
        self._endpoint = _client.endpoint_of(settings)
        self._cache = _client.cache_of(settings)
        self._spent_bytes = 0
        self._verified: dict[str, tuple[int, int]] = {}  # path -> size and time of change when it was hashed
        self._lock = threading.Lock()

    def fetch(self, file: RepoFile, progress: ProgressCallback | None = None) -> Path:
        """The whole file in the cache, verified; downloaded only when it is not there yet.

        Raises:
            DownloadCorrupt: size or hash differ from the listing's; nothing is cached.
            OfflineMiss: offline and not in the cache.
            ResourceError: disk or byte budget do not suffice.
            HubError: anything else between us and the Hub.
        """
        report = progress or SILENT.progress
        try:
            place = self.cached(file)
            if place is None or self._damage(file, place) is not None:
                if place is not None:  # damaged on this disk: fetch it anew
                    self._discard(place)
                self.require_network(file)
                self.require_disk(file.size_bytes, self._cache)
                self.spend(file.size_bytes)
                report("download", 0, file.size_bytes)
                place = self._download(file, report)
                if (damage := self._damage(file, place)) is not None:
                    self._discard(place)
                    raise self._corrupt(file, *damage)
        except OSError as error:
            raise disk_error(error, file.size_bytes) from error
        report("download", file.size_bytes, file.size_bytes)
        return place

    def read(self, file: RepoFile) -> bytes:
        """The content of a small file, verified; past the cache where this disk does not take it.

        Raises: as `fetch`, and no ResourceError for a disk.
        """
        try:
            return self.fetch(file).read_bytes()
        except ResourceError as error:
            if error.resource != "disk":
                raise
        content = self._received(file, 0, file.size_bytes)
        if (damage := _mismatch(file, io.BytesIO(content), len(content))) is not None:
            raise self._corrupt(file, *damage)
        return content

    def cached(self, file: RepoFile) -> Path | None:
        """Where the file lies in the cache, unverified; None when it does not."""
        found = try_to_load_from_cache(self.repo_id, file.path, cache_dir=self._cache, revision=self._sha)
        return Path(found) if isinstance(found, str) else None

    def read_range(self, file: RepoFile, start: int, stop: int) -> bytes:
        """Bytes `start <= i < stop` of a file, cut at its end; from the cache where it is there whole.

        Raises:
            DownloadCorrupt: the answer is not these bytes, by its headers or its length.
            OfflineMiss: offline and not in the cache.
            ResourceError: the byte budget does not suffice.
            HubError: anything else between us and the Hub.
        """
        start, stop = max(start, 0), min(stop, file.size_bytes)
        if start >= stop:
            return b""
        cached = self.cached(file)
        with contextlib.suppress(OSError):
            if cached is not None and cached.stat().st_size == file.size_bytes:
                with cached.open("rb") as stream:
                    stream.seek(start)
                    return stream.read(stop - start)
        self.require_network(file)
        return self._received(file, start, stop)

    def _received(self, file: RepoFile, start: int, stop: int) -> bytes:
        self.spend(stop - start)
        data = bytearray()
        self.stream_range(file, Span(start, stop), data.extend, strict=False)
        return bytes(data)

    def stream_range(self, file: RepoFile, span: Span, sink: Callable[[bytes], None], *, strict: bool = True) -> None:
        """Hand the bytes of a span of a file to `sink`, in order and each once, over the network.

        The budget is the caller's affair. A connection that breaks is taken up where it was. `sink` may raise, which
        ends it. Without `strict`, the start of an answer that is the whole file will do.

        Raises:
            DownloadCorrupt: the answer is not these bytes, by its headers or its length.
            RangesNotServed: the server answers with the whole file.
            HubError: anything else between us and the Hub.
            ResourceError: `sink` met a full disk.
        """
        at = span.start

        def request() -> None:
            nonlocal at
            for chunk in self._answer(file, Span(at, span.stop), strict=strict) if at < span.stop else ():
                sink(chunk)
                at += len(chunk)

        _client.ask(self._question(file, span.size_bytes), self._settings, request)

    def _answer(self, file: RepoFile, span: Span, *, strict: bool) -> Iterator[bytes]:
        start, stop = span.start, span.stop
        url = hf_hub_url(self.repo_id, file.path, revision=self._sha, endpoint=self._endpoint)
        headers = {
            **build_hf_headers(
                token=self._settings.token, library_name=_client.LIBRARY_NAME, library_version=__version__
            ),
            "range": f"bytes={start}-{stop - 1}",
        }
        with get_session().stream("GET", url, headers=headers) as response:
            if response.is_error:
                response.read()  # the error's words are in the body
            hf_raise_for_status(response)
            for answer in (*response.history, response):
                self._check_identity(file, answer.headers)
            whole = response.status_code == 200
            if whole and (strict or stop > _MAX_UNRANGED_BYTES):
                raise RangesNotServed(
                    f"the server sends '{file.path}' only whole", repo_id=self.repo_id, endpoint=self._endpoint
                )
            promised = f"bytes {start}-{stop - 1}/{file.size_bytes}"
            given = response.headers.get("content-range", f"HTTP {response.status_code}")
            if not whole and (response.status_code != 206 or given != promised):
                raise self._corrupt(file, promised, given[:100])
            # as it comes: nothing waits in a buffer when the connection breaks
            yield from self._wanted(file, response.iter_raw(), span, whole=whole)

    def _wanted(self, file: RepoFile, chunks: Iterator[bytes], span: Span, *, whole: bool) -> Iterator[bytes]:
        """The span's bytes, of a body that is the whole file or no more than the span."""
        came, skip, size = 0, span.start if whole else 0, span.size_bytes
        for chunk in chunks:
            kept = chunk[skip:]
            skip -= len(chunk) - len(kept)
            if came + len(kept) > size and not whole:
                raise self._corrupt(file, f"{size:,} bytes", "more")
            yield kept[: size - came]
            came += len(kept)
            if whole and came >= size:
                return
        if came != size:
            raise self._corrupt(file, f"{size:,} bytes", f"{came:,} bytes")

    def _check_identity(self, file: RepoFile, headers: Mapping[str, str]) -> None:
        """Refuse an answer that says itself that it is of another commit, or of a file other than the listing's."""
        commit = headers.get("x-repo-commit", self._sha)
        if commit != self._sha:
            raise self._corrupt(file, f"commit {self._sha}", f"commit {commit[:60]}")
        etag = headers.get("x-linked-etag", file.sha256 or "").removeprefix("W/").strip('"')
        if file.sha256 is not None and etag != file.sha256:
            raise self._corrupt(file, f"etag {file.sha256}", f"etag {etag[:80]}")

    def _corrupt(self, file: RepoFile, expected: str, actual: str) -> DownloadCorrupt:
        return DownloadCorrupt(self.repo_id, file.path, expected=expected, actual=actual, endpoint=self._endpoint)

    def _download(self, file: RepoFile, report: ProgressCallback) -> Path:
        def count(done_bytes: int) -> None:
            report("download", min(done_bytes, file.size_bytes), file.size_bytes)

        def request() -> str:
            return hf_hub_download(
                self.repo_id,
                file.path,
                revision=self._sha,
                endpoint=self._endpoint,
                token=self._settings.token,
                cache_dir=self._cache,
                etag_timeout=self._settings.timeout_s,
                tqdm_class=_client.silent_progress(count),
                library_name=_client.LIBRARY_NAME,
                library_version=__version__,
            )

        return Path(_client.ask(self._question(file, file.size_bytes), self._settings, request))

    def _question(self, file: RepoFile, size_bytes: int) -> Question:
        return Question(
            f"read '{self.repo_id}'", self._endpoint, self.repo_id, self._sha, file.path, size_bytes=size_bytes
        )

    def require_network(self, file: RepoFile) -> None:
        """Check that the network may be used. Raises: OfflineMiss."""
        if _client.is_offline(self._settings):
            raise OfflineMiss(self.repo_id, file.path)

    def spend(self, size_bytes: int) -> None:
        """Take bytes from the budget, or give back (negative) what was not needed. Raises: ResourceError."""
        limit = self._settings.max_download_bytes
        with self._lock:
            needed = self._spent_bytes + size_bytes
            if limit is not None and size_bytes > 0 and needed > limit:
                raise ResourceError(
                    "download",
                    f"'{self.repo_id}' would cost more than may be downloaded",
                    needed=needed,
                    available=limit,
                )
            self._spent_bytes = needed

    def require_disk(self, size_bytes: int, folder: Path) -> None:
        """Check that so much fits where `folder` is or will be, with a reserve. Raises: ResourceError."""
        there = next((p for p in (folder, *folder.parents) if p.exists()), None)  # the cache is made on first use
        needed = size_bytes + _DISK_RESERVE_BYTES
        if there is not None and (free := shutil.disk_usage(there).free) < needed:
            raise ResourceError(
                "disk", f"there is too little space in '{folder}' for the download", needed=needed, available=free
            )

    def _damage(self, file: RepoFile, place: Path) -> tuple[str, str] | None:
        """What was expected and what is there, None when the file is the one that the listing states."""
        facts = place.stat()
        state = (facts.st_size, facts.st_mtime_ns)
        if self._verified.get(file.path) == state:
            return None
        with place.open("rb") as stream:
            damage = _mismatch(file, stream, facts.st_size)
        if damage is None:
            self._verified[file.path] = state
        return damage

    def _discard(self, place: Path) -> None:
        """Delete a cached file: the name in the snapshot, and the blob that it links to."""
        blobs = (repo_folder(self._cache, self.repo_id) / "blobs").resolve()
        blob = place.resolve()
        place.unlink(missing_ok=True)
        if blob.parent == blobs:  # never follow a link out of this repository's own cache
            blob.unlink(missing_ok=True)


def _mismatch(file: RepoFile, stream: io.BufferedReader | io.BytesIO, size_bytes: int) -> tuple[str, str] | None:
    """What the listing states of a file, and what its bytes are instead; None where they agree."""
    if size_bytes != file.size_bytes:
        return f"{file.size_bytes:,} bytes", f"{size_bytes:,} bytes"
    name, expected, state = "sha256", file.sha256, hashlib.sha256()
    if expected is None:
        state = hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)
        name, expected = "git id", file.blob_id
    if expected is None:
        return None
    actual = hashlib.file_digest(stream, lambda: state).hexdigest()
    return None if actual == expected else (f"{name} {expected}", f"{name} {actual}")
