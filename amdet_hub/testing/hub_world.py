"""Who and what the local Hub holds: users, repositories, their discussions, and who may do what.

Knows: tokens to users, visibility, the refusals of the real Hub. Refuses to know: addresses and bodies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amdet_hub.testing.hub_discussions import Discussion
from amdet_hub.testing.hub_http import HubRefusal, HubRequest
from amdet_hub.testing.hub_storage import LFS_THRESHOLD_BYTES, Clock, Commit, ObjectStore, Repository, UnknownRevision

if TYPE_CHECKING:
    from amdet_hub.testing.hub_jobs import JobRunner, LocalJob


@dataclass(frozen=True)
class HubUser:
    """Somebody with a token.

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
class HubSettings:
    """The numbers of one local Hub."""

    lfs_threshold_bytes: int = LFS_THRESHOLD_BYTES
    tree_page_size: int = 1000
    expanded_page_size: int = 50
    commits_page_size: int = 50
    discussions_page_size: int = 10
    multipart_bytes: int | None = None
    strict_pull_requests: bool = False


class World:
    """The state behind the sockets. Everything that reads or changes it holds `lock`."""

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.clock = Clock()
        self.store = ObjectStore()
        self.users: dict[str, HubUser] = {}
        self.repositories: dict[str, Repository] = {}
        self.discussions: dict[str, list[Discussion]] = {}
        self.jobs: dict[str, LocalJob] = {}
        self.job_runner: JobRunner | None = None
        self.collections: dict[str, list[tuple[str, str]]] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.webhooks: dict[str, list[dict[str, Any]]] = {}
        self.endpoint = ""
        self.lfs_endpoint = ""
        self._secret = secrets.token_bytes(16)

    # ------------------------------------------------------------ what there is

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
            self.settings.lfs_threshold_bytes,
            created=self.clock.tick(),
        )
        self.repositories[repo_id] = repo
        self.discussions[repo_id] = []
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
        for discussion in self.discussions[repo.repo_id]:
            if discussion.number == number:
                return discussion
        raise HubRefusal(404, "Discussion not found")

    def pull_request_of(self, repo: Repository, ref: str) -> Discussion | None:
        """The pull request whose branch is `ref` (`refs/pr/N`), None for any other ref."""
        return next((d for d in self.discussions[repo.repo_id] if d.is_pull_request and d.ref == ref), None)

    def open_discussion(
        self, repo: Repository, *, title: str, author: str, text: str, is_pull_request: bool, status: str
    ) -> Discussion:
        """Add a discussion with its first comment; a pull request's branch is the caller's to make."""
        number = len(self.discussions[repo.repo_id]) + 1
        discussion = Discussion(repo.repo_id, number, title, author, is_pull_request, self.clock.tick(), status)
        discussion.comment(author, text, self.clock.tick())
        self.discussions[repo.repo_id].append(discussion)
        return discussion

    def merge(self, repo: Repository, discussion: Discussion, author: str) -> Commit:
        """Merge a pull request into main.

        Raises:
            MergeConflict: main changed the same files.
        """
        head = repo.commits[repo.refs[discussion.ref]]
        commit = repo.merge("refs/heads/main", head, title=f"{discussion.title} (#{discussion.number})", author=author)
        discussion.merge_commit = commit.sha
        discussion.set_status("merged", author, self.clock.tick())
        return commit

    # ------------------------------------------------------------ who may do what

    def user(self, request: HubRequest) -> HubUser | None:
        """Who asks; None for anybody without a token.

        Raises:
            HubRefusal: 401 without an error code, the token is nobody's. The real Hub refuses such a token even on
                public repositories.
        """
        header = request.headers.get("Authorization")
        if header is None:
            return None
        token = header.removeprefix("Bearer ").strip()
        for user in self.users.values():
            if hmac.compare_digest(user.token.encode(), token.encode()):
                return user
        raise HubRefusal(401, "Invalid credentials in Authorization header")

    def may_read(self, repo: Repository, user: HubUser | None) -> bool:
        """Whether `user` may read the files of a repository that is private or gated."""
        return user is not None and (user.writes_to(repo.namespace) or user.name in repo.readers)

    def visible(self, request: HubRequest, repo_id: str) -> tuple[Repository, HubUser | None]:
        """The repository and who asks for it.

        Raises:
            HubRefusal: it does not exist, or is private and not theirs: 401 without a token, 404 with one. The Hub
                does not say which.
        """
        user = self.user(request)
        repo = self.repositories.get(repo_id)
        if repo is not None and (not repo.private or self.may_read(repo, user)):
            return repo, user
        if user is None:  # the client's own rule for a bare 401 wants an https address, so the code is spelled out
            raise HubRefusal(401, "Invalid username or password.", code="RepoNotFound")
        raise HubRefusal(404, "Repository not found", code="RepoNotFound")

    def readable(self, request: HubRequest, repo_id: str) -> tuple[Repository, HubUser | None]:
        """As `visible`, and the files may be read too.

        Raises:
            HubRefusal: also GatedRepo, 401 without a token and 403 with one that did not accept the terms.
        """
        repo, user = self.visible(request, repo_id)
        if repo.gated and not self.may_read(repo, user):
            where = f"Visit {self.endpoint}/{repo_id} to ask for access."
            raise HubRefusal(
                401 if user is None else 403, f"Access to model {repo_id} is restricted. {where}", code="GatedRepo"
            )
        return repo, user

    def signed_in(self, request: HubRequest, repo_id: str) -> tuple[Repository, HubUser]:
        """The repository and a user whose token may write somewhere: enough to discuss and to open pull requests.

        Raises:
            HubRefusal: 401 without a token, 403 for a read-only one.
        """
        repo, user = self.visible(request, repo_id)
        if user is None:
            raise HubRefusal(401, "Invalid username or password.", code="RepoNotFound")
        if user.read_only:
            raise HubRefusal(403, "Forbidden: this token has no write permission")
        return repo, user

    def writer(self, request: HubRequest, repo_id: str) -> tuple[Repository, HubUser]:
        """The repository and a user who may write to it.

        Raises:
            HubRefusal: 403, they may not.
        """
        repo, user = self.signed_in(request, repo_id)
        if not user.writes_to(repo.namespace):
            hint = "Pass `create_pr=1` as a query parameter to create a Pull Request."
            raise HubRefusal(403, f"Forbidden: you don't have the rights to write to {repo_id}. {hint}")
        return repo, user

    def commit_of(self, repo: Repository, revision: str) -> Commit:
        """The commit that a request's revision names.

        Raises:
            HubRefusal: 404 RevisionNotFound.
        """
        try:
            return repo.resolve(revision)
        except UnknownRevision as error:
            raise HubRefusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound") from error

    # ------------------------------------------------------------ signed addresses of the second host

    def sign(self, path: str) -> str:
        """The signature that opens `path` (decoded) on the LFS host, where no token is ever sent."""
        return hmac.new(self._secret, path.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def check_signature(self, request: HubRequest) -> None:
        """Let only addresses through that this Hub handed out.

        Raises:
            HubRefusal: 403, as an object store answers.
        """
        if not hmac.compare_digest(self.sign(request.path), request.first("Signature")):
            raise HubRefusal(403, "AccessDenied")
