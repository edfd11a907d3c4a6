"""Contents, commits and branches of the local Hub: a small git-shaped store. Standard library only.

Knows: blobs, commits, refs, which file is an LFS file, how two histories merge. Refuses to know: HTTP, users,
discussions.

Commit and blob ids are computed from contents and from a logical clock, so the same calls give the same ids on every
run.
"""

import hashlib
import itertools
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

# Names that are LFS files whatever their size: what a new Hub repository's `.gitattributes` says, in short.
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".gguf", ".h5", ".msgpack", ".pkl")

# Any file of this size or more is an LFS file. The real Hub puts the line at 10 MiB; tests want it lower.
LFS_THRESHOLD_BYTES = 1 << 20

CHUNK_BYTES = 1 << 16
_SPOOL_BYTES = 1 << 20  # larger blobs live in a temporary directory, not in memory
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def logical_clock() -> Callable[[], str]:
    """A clock that goes on by a second when it is read, from 2026-01-01, so that dates and ids repeat from run to run.

    It reads as the Hub writes a time: `2026-01-01T00:00:01.000Z`.
    """
    seconds = itertools.count(1)
    return lambda: (_EPOCH + timedelta(seconds=next(seconds))).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def sha1(data: bytes) -> str:
    """The digest that git names things by, in hex."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def git_id(data: bytes) -> str:
    """What git names a file of these bytes by."""
    return sha1(b"blob %d\0" % len(data) + data)


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
        with BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb") as file:
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

    `sha256` is stated, not computed: no test can download and check it.
    """

    head: bytes = field(repr=False)
    size: int
    sha256: str

    def __len__(self) -> int:
        return self.size


class ObjectStore:
    """Every blob ever stored, by sha256. Large ones are files of a temporary directory.

    `close` deletes the directory; so does the end of the process.
    """

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="amdet-local-hub-"))
        self.close = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def put(self, data: bytes | SparseFile) -> Blob:
        """Store `data`; storing it again returns the same blob."""
        head = data.head if isinstance(data, SparseFile) else data
        sha256 = data.sha256 if isinstance(data, SparseFile) else hashlib.sha256(data).hexdigest()
        if sha256 not in self._blobs:
            place = self.folder / sha256
            if spooled := len(data) >= min(_SPOOL_BYTES, len(head) + 1):
                with place.open("wb") as file:
                    file.write(head)
                    file.truncate(len(data))
            self._blobs[sha256] = Blob(sha256, git_id(head), len(data), place if spooled else head)
        return self._blobs[sha256]

    def get(self, sha256: str) -> Blob | None:
        """The blob of this sha256, None when it was never stored."""
        return self._blobs.get(sha256)


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
        facts = f"oid sha256:{self.blob.sha256}\nsize {self.blob.size}\n"
        return f"version https://git-lfs.github.com/spec/v1\n{facts}".encode()

    @property
    def oid(self) -> str:
        """What git knows the file by: the pointer's id for an LFS file."""
        return git_id(self.pointer) if self.lfs else self.blob.git_oid

    @property
    def etag(self) -> str:
        """What the Hub's `resolve` answers as ETag: sha256 of an LFS file, git id of any other."""
        return self.blob.sha256 if self.lfs else self.blob.git_oid


@dataclass(frozen=True)
class Note:
    """What is said with a commit. `sha` stands in for the computed id."""

    title: str
    author: str
    message: str = ""
    sha: str | None = None


@dataclass(frozen=True)
class Commit:
    """One commit: its parent, its complete listing, and who said what when."""

    sha: str
    parent: str | None
    files: Mapping[str, FileEntry]
    note: Note
    date: str


class UnknownRevision(LookupError):
    """No branch, tag, pull-request ref or commit of that name."""


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
    clock: Callable[[], str]
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
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

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

    def make_commit(self, files: Mapping[str, FileEntry], note: Note, *, parent: str | None) -> Commit:
        """Record a commit with exactly `files`; moves no ref."""
        before = self.commits[parent].files if parent else {}
        date = self.clock()
        listing = [(path, files[path].oid) for path in sorted(files)]
        said = json.dumps([self.repo_id, listing, parent, note.title, note.message, note.author, date])
        sha = note.sha or sha1(said.encode())
        dated = {path: replace(entry, commit_sha=sha) for path, entry in sorted(files.items())}
        same = {path: before[path] for path, oid in listing if path in before and before[path].oid == oid}
        self.commits[sha] = Commit(sha, parent, dated | same, note, date)
        return self.commits[sha]

    def advance(self, ref: str, files: Mapping[str, FileEntry], note: Note) -> Commit:
        """Put a commit on top of `ref` (a full ref name) and move it there."""
        commit = self.make_commit(files, note, parent=self.refs.get(ref))
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
        before, after = ({(path, entry.oid) for path, entry in c.files.items()} for c in (old, new))
        return {path for path, _ in before ^ after}

    def merge_base(self, ours: Commit, other: Commit) -> Commit:
        """The newest commit that both histories contain."""
        known = {c.sha for c in self.history(ours)}
        return next(c for c in self.history(other) if c.sha in known)

    def conflicts(self, ours: Commit, other: Commit) -> tuple[str, ...]:
        """Paths that both sides changed since their merge base, to different contents."""
        base = self.merge_base(ours, other)
        both = self.changed_paths(base, ours) & self.changed_paths(base, other)
        return tuple(sorted(both & self.changed_paths(ours, other)))

    def merge(self, ref: str, other: Commit, note: Note) -> Commit:
        """Bring the changes of `other` onto `ref` as one commit, as the Hub merges a pull request.

        Raises:
            MergeConflict: both sides changed the same file.
        """
        ours = self.commits[self.refs[ref]]
        if paths := self.conflicts(ours, other):
            raise MergeConflict(paths)
        changed = self.changed_paths(self.merge_base(ours, other), other)
        files = {path: entry for path, entry in ours.files.items() if path not in changed}
        return self.advance(ref, files | {path: other.files[path] for path in changed & set(other.files)}, note)
