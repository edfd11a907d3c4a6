"""Contents, commits and branches of the local Hub: a small git-shaped store. Standard library only.

Knows: blobs, commits, refs, which file is an LFS file, how two histories merge. Refuses to know: HTTP, users,
discussions.

Commit and blob ids are computed from contents and from a logical clock, so the same calls give the same ids on every
run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gguf", ".h5", ".msgpack", ".pkl")
"""Names that are LFS files whatever their size: what a new Hub repository's `.gitattributes` says, in short."""

LFS_THRESHOLD_BYTES = 1 << 20
"""Any file of this size or more is an LFS file. The real Hub puts the line at 10 MiB; tests want it lower."""

CHUNK_BYTES = 1 << 16
_SPOOL_BYTES = 1 << 20  # larger blobs live in a temporary directory, not in memory
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A logical clock: one second per tick since 2026-01-01, so that dates and commit ids repeat from run to run."""

    def __init__(self) -> None:
        self._ticks = 0

    def tick(self) -> str:
        """The next moment, as the Hub writes it: `2026-01-01T00:00:01.000Z`."""
        self._ticks += 1
        return (_EPOCH + timedelta(seconds=self._ticks)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(frozen=True)
class Blob:
    """Some bytes. `sha256` is their LFS id, `git_oid` their git id (sha1 with git's header), both in hex."""

    sha256: str
    git_oid: str
    size: int
    source: bytes | Path = field(repr=False)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes `start:stop` in pieces of at most 64 KiB."""
        stop = self.size if stop is None else min(stop, self.size)
        if isinstance(self.source, bytes):
            for at in range(start, stop, CHUNK_BYTES):
                yield self.source[at : min(at + CHUNK_BYTES, stop)]
            return
        with self.source.open("rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(CHUNK_BYTES, stop - start))):
                start += len(piece)
                yield piece

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes `start:stop` at once."""
        return b"".join(self.chunks(start, stop))


@dataclass(frozen=True)
class SparseFile:
    """A file of any size that takes no room: its first bytes, then zeros.

    `sha256` is stated, not computed: nobody can download and check it.
    """

    head: bytes = field(repr=False)
    size: int
    sha256: str

    def __len__(self) -> int:
        return self.size


class ObjectStore:
    """Every blob ever stored, by sha256. Large ones are files of a temporary directory that `close` deletes."""

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}
        self._folder: Path | None = None

    def put(self, data: bytes | SparseFile) -> Blob:
        """Store `data`; storing it again returns the same blob."""
        if isinstance(data, SparseFile):
            return self._put_sparse(data)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._blobs:
            git_oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            source: bytes | Path = data
            if len(data) >= _SPOOL_BYTES:
                source = self.folder / sha256
                source.write_bytes(data)
            self._blobs[sha256] = Blob(sha256, git_oid, len(data), source)
        return self._blobs[sha256]

    def _put_sparse(self, data: SparseFile) -> Blob:
        if data.sha256 not in self._blobs:
            path = self.folder / data.sha256
            with path.open("wb") as file:
                file.write(data.head)
                file.truncate(data.size)
            self._blobs[data.sha256] = Blob(data.sha256, data.sha256[:40], data.size, path)
        return self._blobs[data.sha256]

    def get(self, sha256: str) -> Blob | None:
        """The blob of this sha256, None when it was never stored."""
        return self._blobs.get(sha256)

    @property
    def folder(self) -> Path:
        """The temporary directory, made on first use."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="amdet-local-hub-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def close(self) -> None:
        """Forget every blob and delete the temporary directory."""
        self._blobs.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


@dataclass(frozen=True)
class FileEntry:
    """One file of a commit. `commit_sha` is the commit that last changed it."""

    path: str
    blob: Blob
    lfs: bool
    commit_sha: str = ""

    @property
    def pointer(self) -> bytes:
        """The git-lfs pointer file that git holds in place of the content."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.blob.sha256}\nsize {self.blob.size}\n".encode()

    @property
    def oid(self) -> str:
        """What git knows the file by: the pointer's id for an LFS file."""
        if not self.lfs:
            return self.blob.git_oid
        return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer, usedforsecurity=False).hexdigest()

    @property
    def etag(self) -> str:
        """What the Hub's `resolve` answers as ETag: sha256 of an LFS file, git id of any other."""
        return self.blob.sha256 if self.lfs else self.blob.git_oid


@dataclass(frozen=True)
class Commit:
    """One commit: its parent, its complete listing, and who said what when."""

    sha: str
    parent: str | None
    files: Mapping[str, FileEntry]
    title: str
    message: str
    author: str
    date: str


class UnknownRevision(LookupError):
    """No branch, tag, pull-request ref or commit of that name."""


class StaleParent(ValueError):
    """The branch is not where the writer thought it was."""


class MergeConflict(ValueError):
    """Both sides changed the same files; `paths` names them."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"both sides changed {', '.join(paths)}")
        self.paths = paths


@dataclass
class Repository:
    """A model repository. `readers` are users who may read it though it is private or gated.

    `refs` maps full names (`refs/heads/main`, `refs/tags/v1`, `refs/pr/1`) to commit ids.
    `issues` are what the Hub's file scanners object to: level by path.
    """

    repo_id: str
    store: ObjectStore
    clock: Clock
    private: bool = False
    gated: bool = False
    lfs_threshold_bytes: int = LFS_THRESHOLD_BYTES
    readers: set[str] = field(default_factory=set)
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    created: str = ""
    issues: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The user or organisation that owns it ("" for a legacy single-name repository)."""
        return self.repo_id.removeprefix("datasets/").removeprefix("spaces/").rpartition("/")[0]

    def is_lfs(self, path: str, size: int) -> bool:
        """Whether a file of this name and size is stored as LFS. Empty files never are, as on the Hub."""
        return size > 0 and (size >= self.lfs_threshold_bytes or path.lower().endswith(LFS_SUFFIXES))

    def entry(self, path: str, data: bytes | SparseFile) -> FileEntry:
        """Store `data` and describe it as the file `path`."""
        return FileEntry(path, self.store.put(data), self.is_lfs(path, len(data)))

    def ref_name(self, revision: str) -> str | None:
        """The full ref that `revision` names, None when it is a commit id or unknown."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return name
        return None

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, tag, `refs/pr/N`, or (abbreviated, at least 7 digits) commit id.

        Raises:
            UnknownRevision: there is none, or the abbreviation fits several.
        """
        if (name := self.ref_name(revision)) is not None:
            return self.commits[self.refs[name]]
        found = [c for sha, c in self.commits.items() if len(revision) >= 7 and sha.startswith(revision.lower())]
        if len(found) != 1:
            raise UnknownRevision(revision)
        return found[0]

    def make_commit(
        self,
        files: Mapping[str, FileEntry],
        *,
        parent: str | None,
        title: str,
        message: str = "",
        author: str,
        sha: str | None = None,
    ) -> Commit:
        """Record a commit with exactly `files`; moves no ref. `sha` None computes the id."""
        before = self.commits[parent].files if parent else {}
        date = self.clock.tick()
        listing = [(path, files[path].oid) for path in sorted(files)]
        sha = (
            sha
            or hashlib.sha1(
                json.dumps([self.repo_id, listing, parent, title, message, author, date]).encode(),
                usedforsecurity=False,
            ).hexdigest()
        )
        kept = {path: self._dated(entry, before.get(path), sha) for path, entry in sorted(files.items())}
        self.commits[sha] = Commit(sha, parent, kept, title, message, author, date)
        return self.commits[sha]

    @staticmethod
    def _dated(entry: FileEntry, before: FileEntry | None, sha: str) -> FileEntry:
        if before is not None and before.oid == entry.oid:
            return before
        return FileEntry(entry.path, entry.blob, entry.lfs, sha)

    def advance(
        self,
        ref: str,
        files: Mapping[str, FileEntry],
        *,
        title: str,
        message: str = "",
        author: str,
        expected: str | None = None,
        sha: str | None = None,
    ) -> Commit:
        """Put a commit on top of `ref` (a full ref name) and move it there. `sha` None computes its id.

        Raises:
            StaleParent: `expected` (an abbreviated id is enough) is not where the ref is.
        """
        head = self.refs.get(ref)
        if expected is not None and (head is None or not head.startswith(expected.lower())):
            raise StaleParent(ref)
        commit = self.make_commit(files, parent=head, title=title, message=message, author=author, sha=sha)
        self.refs[ref] = commit.sha
        return commit

    def history(self, commit: Commit) -> Iterator[Commit]:
        """`commit` and its ancestors, newest first."""
        at: Commit | None = commit
        while at is not None:
            yield at
            at = self.commits[at.parent] if at.parent else None

    def changed_paths(self, old: Commit, new: Commit) -> set[str]:
        """Paths that differ between two commits (added, removed or with another content)."""
        paths = set(old.files) | set(new.files)
        return {
            p
            for p in paths
            if (old.files[p].oid if p in old.files else None) != (new.files[p].oid if p in new.files else None)
        }

    def merge_base(self, ours: Commit, theirs: Commit) -> Commit:
        """The newest commit that both histories contain."""
        known = {c.sha for c in self.history(ours)}
        return next(c for c in self.history(theirs) if c.sha in known)

    def conflicts(self, ours: Commit, theirs: Commit) -> tuple[str, ...]:
        """Paths that both sides changed since their merge base, to different contents."""
        base = self.merge_base(ours, theirs)
        both = self.changed_paths(base, ours) & self.changed_paths(base, theirs)
        return tuple(sorted(both & self.changed_paths(ours, theirs)))

    def merge(self, ref: str, theirs: Commit, *, title: str, author: str) -> Commit:
        """Bring the changes of `theirs` onto `ref` as one commit, as the Hub merges a pull request.

        Raises:
            MergeConflict: both sides changed the same file.
        """
        ours = self.commits[self.refs[ref]]
        if paths := self.conflicts(ours, theirs):
            raise MergeConflict(paths)
        base = self.merge_base(ours, theirs)
        files = dict(ours.files)
        for path in self.changed_paths(base, theirs):
            if path in theirs.files:
                files[path] = theirs.files[path]
            else:
                files.pop(path, None)
        return self.advance(ref, files, title=title, author=author)
