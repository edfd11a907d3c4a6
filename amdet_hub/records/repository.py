"""What was asked, and what the repository holds: `RepoRef` -> `RepoSnapshot`, and how its files are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from amdet_hub.records.words import LATER, ProgressCallback, RepoKind


@dataclass(frozen=True)
class RepoRef:
    """A scan target as asked, before anything was looked up.

    `repo_id` is `org/name` (or a legacy single name) for kind "hub", else the path as given. `revision` None means the
    default branch. `subfolder` ("" = root) and `filename` (one `.safetensors` file) narrow the search. `raw` is what
    the user typed, or a URI that says the same where a folder was given apart.
    """

    kind: RepoKind
    repo_id: str
    raw: str
    revision: str | None = None
    subfolder: str = ""
    filename: str | None = None


@dataclass(frozen=True)
class RepoFile:
    """One file of a repository.

    `sha256` (64 hex) is known for LFS files and local files already hashed, else None; `blob_id` is git's id.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    blob_id: str | None = None


@dataclass(frozen=True)
class FileIssue:
    """A file that the Hub's own scanners object to.

    Both are hostile text: `level` is the Hub's word (`"unsafe"`), `path` the owner's.
    """

    path: str
    level: str


@dataclass(frozen=True)
class HubSecurity:
    """What the Hub's own scanners of files (viruses, pickle imports) say of a repository's main branch.

    Context; it never changes a verdict.

    `scans_done` is False while they are at work. `issues` are those found, at most 20; `n_issues` counts all.
    """

    scans_done: bool
    n_issues: int
    issues: tuple[FileIssue, ...] = ()


@dataclass(frozen=True)
class RepoSnapshot:
    """A repository pinned to one commit: its listing and the few facts of its card that the scan uses.

    All strings are hostile text.

    `commit_sha` is 40 hex digits for a Hub repository and None for a local folder. `base_models` are the card's
    claims, never trusted. `security` is None where the Hub says nothing, and for a local folder.
    """

    repo_id: str
    kind: RepoKind
    commit_sha: str | None
    files: tuple[RepoFile, ...]
    base_models: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    license: str | None = None
    security: HubSecurity | None = field(default=None, metadata=LATER)

    def file(self, path: str) -> RepoFile | None:
        """The listed file at exactly `path`, or None."""
        return self._by_path.get(path)

    @cached_property
    def _by_path(self) -> dict[str, RepoFile]:
        return {f.path: f for f in reversed(self.files)}  # asked for often: some listings have 50,000 rows


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checked table: stored dtype in safetensors' spelling (`"F16"`), shape, byte offsets in the file.

    The values lie row by row, those of a `column_major` matrix column by column.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    column_major: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor as stored."""
        return self.stop - self.start


@dataclass(frozen=True)
class FetchPlan:
    """What getting a file, or some tensors of it, would cost now: bytes over the network, and in how many requests.

    `whole` is True when the whole file would travel or is here already. Nothing travels where `transfer_bytes` is 0.
    """

    transfer_bytes: int
    n_requests: int
    whole: bool


class RepoSource(Protocol):
    """Read access to one pinned repository, on the Hub or on disk.

    Implemented by `amdet_hub.hub`, used by `amdet_hub.encoders`.
    """

    @property
    def snapshot(self) -> RepoSnapshot:
        """The pinned listing."""

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        """Whole content of a small file.

        Raises: FileNotInRepo; BadRepository when larger than `max_bytes`; any HubError.
        """

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes `start <= i < stop` of a file, fewer only at its end.

        Raises: FileNotInRepo; DownloadCorrupt; any HubError.
        """

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        """A local path of the whole file, checked against its size and, where known, its sha256.

        Raises: ResourceError (disk); any HubError.
        """

    def fetch_tensors(
        self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        """A local safetensors file with these tensors of a file, or the whole file where it is here or little larger.

        `tensors` are entries of the file's checked header: the bytes of no others are relied on. Raises: as `fetch`.
        """

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        """What `fetch_tensors` (`fetch` for None) would transfer now; asks nothing. Raises: FileNotInRepo."""

    def check_unchanged(self) -> None:
        """Raise FileChanged if a file that was read is another one now."""
