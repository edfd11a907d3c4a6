"""The bytes of one pinned Hub repository: whole files into the Hub cache, and ranges.

Every byte of a whole file is checked.

Knows: sizes, sha256 of LFS files and git ids of all others, which the listing states; free disk; the budget. The token
goes to the Hub's own host only: the HTTP library drops it on a redirect to another origin (tested). Refuses to know:
what a file means.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub import __version__
from amdet_hub.errors import DownloadCorrupt, HubError, OfflineMiss, ResourceError
from amdet_hub.hub import _client
from amdet_hub.hub._errors import Question
from amdet_hub.hub._listings import repo_folder
from amdet_hub.hub.settings import HubSettings
from amdet_hub.records import ProgressCallback, RepoFile

_CHUNK_BYTES = 1 << 20
_DISK_MARGIN_BYTES = 16 << 20
"""Left free beside a download: a full disk harms more than a refused scan."""

_MAX_UNRANGED_BYTES = 32 << 20
"""A server may answer a range with the whole file; so many bytes of its start are read to get at the range, and no more."""


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
            DownloadCorrupt: size or hash differ from the listing's; nothing is kept.
            OfflineMiss: offline and not in the cache.
            ResourceError: disk or byte budget do not suffice.
            HubError: anything else between us and the Hub.
        """
        cached = self.cached(file)
        if cached is not None and self._damage(file, cached) is None:
            _report(progress, file.size_bytes, file.size_bytes)
            return cached
        if cached is not None:  # damaged on this disk: fetch it anew
            self._discard(cached)
        if _client.is_offline(self._settings):
            raise OfflineMiss(self.repo_id, file.path)
        self.spend(file.size_bytes)
        self.require_disk(file.size_bytes, self._cache)
        place = self._download(file, progress)
        if (damage := self._damage(file, place)) is not None:
            self._discard(place)
            raise DownloadCorrupt(
                self.repo_id, file.path, expected=damage[0], actual=damage[1], endpoint=self._endpoint
            )
        _report(progress, file.size_bytes, file.size_bytes)
        return place

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
        if cached is not None and cached.stat().st_size == file.size_bytes:
            with cached.open("rb") as stream:
                stream.seek(start)
                return stream.read(stop - start)
        if _client.is_offline(self._settings):
            raise OfflineMiss(self.repo_id, file.path)
        self.spend(stop - start)
        data = bytearray()
        self._stream(file, start, stop, data.extend, strict=False)
        return bytes(data)

    def stream_range(self, file: RepoFile, start: int, stop: int, sink: Callable[[bytes], None]) -> None:
        """Hand bytes `start <= i < stop` of a file to `sink`, in order and each once, over the network.

        The budget is the caller's affair.

        A connection that breaks is taken up where it was. `sink` may raise, which ends it.

        Raises:
            DownloadCorrupt: the answer is not these bytes, by its headers or its length.
            RangesNotServed: the server answers with the whole file.
            HubError: anything else between us and the Hub.
            ResourceError: `sink` met a full disk.
        """
        self._stream(file, start, stop, sink, strict=True)

    def _stream(self, file: RepoFile, start: int, stop: int, sink: Callable[[bytes], None], *, strict: bool) -> None:
        at = start

        def request() -> None:
            nonlocal at
            for chunk in self._answer(file, at, stop, strict=strict) if at < stop else ():
                sink(chunk)
                at += len(chunk)

        _client.ask(self._question(file, size_bytes=stop - start), self._settings, request)

    def _answer(self, file: RepoFile, start: int, stop: int, *, strict: bool) -> Iterator[bytes]:
        """The bytes of one range as one request brings them.

        Without `strict`, the start of an answer that is the whole file will do.
        """
        url = hf_hub_url(self.repo_id, file.path, revision=self._sha, endpoint=self._endpoint)
        headers = _client.headers_of(self._settings) | {
            "range": f"bytes={start}-{stop - 1}",
            "accept-encoding": "identity",
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
            if (packing := response.headers.get("content-encoding", "identity")) != "identity":
                raise self._corrupt(file, "plain bytes", f"content-encoding {packing[:40]}")
            raw = (
                response.iter_raw()
            )  # as sent and as it comes: nothing is unpacked, and nothing waits in a buffer when the connection breaks
            yield from self._wanted(file, raw, skip=start if whole else 0, size=stop - start, whole=whole)

    def _wanted(
        self, file: RepoFile, chunks: Iterator[bytes], *, skip: int, size: int, whole: bool
    ) -> Iterator[bytes]:
        """Of a body, the `size` bytes behind the first `skip`.

        A body that is not the whole file may hold no more than that.
        """
        came = 0
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
        commit, etag = headers.get("x-repo-commit"), headers.get("x-linked-etag")
        if commit is not None and commit != self._sha:
            raise self._corrupt(file, f"commit {self._sha}", f"commit {commit[:60]}")
        if etag is not None and file.sha256 is not None:
            stated = etag.removeprefix("W/").strip('"')
            if stated != file.sha256:
                raise self._corrupt(file, f"etag {file.sha256}", f"etag {stated[:80]}")

    def _corrupt(self, file: RepoFile, expected: str, actual: str) -> DownloadCorrupt:
        return DownloadCorrupt(self.repo_id, file.path, expected=expected, actual=actual, endpoint=self._endpoint)

    def _download(self, file: RepoFile, progress: ProgressCallback | None) -> Path:
        def count(done_bytes: int) -> None:
            _report(progress, min(done_bytes, file.size_bytes), file.size_bytes)

        bar = _client.silent_progress(count if progress is not None else None)

        def request() -> str:
            return hf_hub_download(
                self.repo_id,
                file.path,
                revision=self._sha,
                endpoint=self._endpoint,
                token=self._settings.token,
                cache_dir=self._cache,
                etag_timeout=self._settings.timeout_s,
                tqdm_class=bar,
                library_name=_client.LIBRARY_NAME,
                library_version=__version__,
            )

        _report(progress, 0, file.size_bytes)
        return Path(_client.ask(self._question(file, size_bytes=file.size_bytes), self._settings, request))

    def _question(self, file: RepoFile, *, size_bytes: int) -> Question:
        action = f"read '{self.repo_id}'"
        return Question(action, self._endpoint, self.repo_id, self._sha, file.path, size_bytes=size_bytes)

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
        """Check that so much fits where `folder` is or will be. Raises: ResourceError."""
        there = next((p for p in (folder, *folder.parents) if p.exists()), None)  # the cache is made on first use
        if there is None:
            return
        free = shutil.disk_usage(there).free
        if free < size_bytes + _DISK_MARGIN_BYTES:
            raise ResourceError(
                "disk", f"there is too little space in '{folder}' for the download", needed=size_bytes, available=free
            )

    def _damage(self, file: RepoFile, place: Path) -> tuple[str, str] | None:
        """What was expected and what is there, None when the file is the one that the listing states."""
        facts = place.stat()
        state = (facts.st_size, facts.st_mtime_ns)
        with self._lock:
            if self._verified.get(file.path) == state:
                return None
        if facts.st_size != file.size_bytes:
            return f"{file.size_bytes:,} bytes", f"{facts.st_size:,} bytes"
        if (expected := file.sha256) is not None:
            actual = _digest(place, hashlib.sha256())
            if actual != expected:
                return f"sha256 {expected}", f"sha256 {actual}"
        elif (expected := file.blob_id) is not None:
            actual = _digest(place, hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False))
            if actual != expected:
                return f"git id {expected}", f"git id {actual}"
        with self._lock:
            self._verified[file.path] = state
        return None

    def _discard(self, place: Path) -> None:
        """Delete a cached file: the name in the snapshot, and the blob that it links to."""
        blobs = (repo_folder(self._cache, self.repo_id) / "blobs").resolve()
        blob = place.resolve()
        place.unlink(missing_ok=True)
        if blob.parent == blobs:  # never follow a link out of this repository's own cache
            blob.unlink(missing_ok=True)


def _digest(place: Path, state: hashlib._Hash) -> str:
    with place.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()


def _report(progress: Callable[[str, int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress("download", done, total)
