"""The state of the local Hub: users, repositories, their discussions, and who may do what.

Knows: tokens to users, visibility, the refusals of the real Hub. Refuses to know: addresses and bodies.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.testing.local_hub.discussions import Discussion
from amdet_hub.testing.local_hub.messages import HubRefusal
from amdet_hub.testing.local_hub.storage import (
    LFS_THRESHOLD_BYTES,
    Commit,
    Note,
    ObjectStore,
    Repository,
    logical_clock,
)


@dataclass(frozen=True)
class HubUser:
    """A user with a token.

    `can_write` are namespaces (their own is always one); `read_only` is a token without write rights.
    """

    name: str
    token: str = field(repr=False)
    can_write: frozenset[str] = frozenset()
    read_only: bool = False

    def writes_to(self, namespace: str) -> bool:
        """Whether the user owns or may write to this namespace."""
        return namespace in self.can_write or namespace == self.name


@dataclass(frozen=True)
class HubLimits:
    """The numbers of one local Hub."""

    lfs_threshold_bytes: int = LFS_THRESHOLD_BYTES
    tree_page_size: int = 1000
    multipart_bytes: int | None = None
    strict_pull_requests: bool = False
    expanded_page_size: int = 50
    commits_page_size: int = 50
    discussions_page_size: int = 10


@dataclass
class LocalJob:
    """One job as it was asked for.

    `stage` becomes COMPLETED or ERROR when its runner ends, CANCELED when the client says so.
    """

    id: str
    owner: str
    command: list[str]
    environment: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    flavor: str
    timeout_s: int | None
    stage: str = "RUNNING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)


# Called in a thread with the job and a function that takes a line of its log; returns the exit code.
JobRunner = Callable[[LocalJob, Callable[[str], None]], int]


@dataclass
class World:
    """The state behind the sockets. Everything that reads or changes it holds `lock`."""

    limits: HubLimits
    lock: threading.RLock = field(default_factory=threading.RLock)
    clock: Callable[[], str] = field(default_factory=logical_clock)
    store: ObjectStore = field(default_factory=ObjectStore)
    users: dict[str, HubUser] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    discussions: dict[str, list[Discussion]] = field(default_factory=dict)
    jobs: dict[str, LocalJob] = field(default_factory=dict)
    job_runner: JobRunner | None = None
    collections: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    webhooks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    endpoint: str = ""
    lfs_endpoint: str = ""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def create(self, repo_id: str, *, private: bool = False, gated: bool = False) -> Repository:
        """A new, empty repository.

        Raises:
            ValueError: there is one of that name.
        """
        if repo_id in self.repositories:
            raise ValueError(f"the local Hub already holds '{repo_id}'")
        repo = Repository(
            repo_id,
            self.store,
            self.clock,
            private,
            gated,
            self.limits.lfs_threshold_bytes,
            created=self.clock(),
        )
        self.repositories[repo_id], self.discussions[repo_id] = repo, []
        return repo

    def repository(self, repo_id: str) -> Repository:
        """The repository, for the test's own calls (no access rules).

        Raises:
            KeyError: there is none of that name.
        """
        if repo_id not in self.repositories:
            raise KeyError(f"the local Hub holds no '{repo_id}'")
        return self.repositories[repo_id]

    def discussion(self, repo: Repository, number: int) -> Discussion:
        """Discussion or pull request `number`.

        Raises:
            HubRefusal: 404, there is none.
        """
        found = self.discussions[repo.repo_id]
        if not 0 < number <= len(found):
            raise HubRefusal(404, "Discussion not found")
        return found[number - 1]

    def pull_request_of(self, repo: Repository, ref: str) -> Discussion | None:
        """The pull request whose branch is `ref` (`refs/pr/N`), None for any other ref."""
        return next((d for d in self.discussions[repo.repo_id] if d.is_pull_request and d.ref == ref), None)

    def open_discussion(self, repo: Repository, note: Note, *, pull_request: bool, status: str) -> Discussion:
        """Add a discussion with its first comment; a pull request's branch is the caller's to make."""
        number, date = len(self.discussions[repo.repo_id]) + 1, self.clock()
        discussion = Discussion(repo.repo_id, number, note.title, note.author, pull_request, date, status)
        discussion.comment(note.author, note.message, self.clock())
        self.discussions[repo.repo_id].append(discussion)
        return discussion

    def merge(self, repo: Repository, discussion: Discussion, author: str) -> Commit:
        """Merge a pull request into main.

        Raises:
            MergeConflict: main changed the same files.
        """
        commit = repo.merge(
            "refs/heads/main",
            repo.commits[repo.refs[discussion.ref]],
            Note(f"{discussion.title} (#{discussion.number})", author),
        )
        discussion.merge_commit = commit.sha
        discussion.set_status("merged", author, self.clock())
        return commit

    def may_read(self, repo: Repository, user: HubUser | None) -> bool:
        """Whether `user` may read the files of a repository that is private or gated."""
        return user is not None and (user.writes_to(repo.namespace) or user.name in repo.readers)

    def sign(self, path: str) -> str:
        """The signature that opens `path` (decoded) on the LFS host, where no token is ever sent."""
        return hmac.new(self.secret, path.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]
