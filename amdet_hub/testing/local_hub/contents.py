"""What a test puts into a local Hub, and what it finds there; the part of `LocalHub` that does so.

Refuses to know: sockets and requests.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from amdet_hub.testing.local_hub.discussions import LocalPullRequest
from amdet_hub.testing.local_hub.storage import Commit, Note, SparseFile
from amdet_hub.testing.local_hub.world import HubLimits, HubUser, JobRunner, LocalJob, World

# Who commits when a test does.
SYSTEM = "system"


class Contents:
    """The users, repositories, pull requests, collections, jobs and webhooks of a local Hub."""

    def __init__(self, limits: HubLimits) -> None:
        self._world = World(limits)

    def add_user(self, name: str, *, token: str, can_write: Iterable[str] = (), read_only: bool = False) -> None:
        """Let `token` sign in as `name`.

        They may write to their own namespace and to `can_write`, and open pull requests anywhere.
        """
        self._world.users[name] = HubUser(name, token, frozenset(can_write), read_only)

    def add_model(
        self,
        repo_id: str,
        files: Path | str | Mapping[str, bytes] | Mapping[str, bytes | SparseFile],
        *,
        private: bool = False,
        gated: bool = False,
        commit_sha: str | None = None,
    ) -> str:
        """Create a repository with one commit and return that commit's id.

        Args:
            repo_id: `org/name`, or a legacy single name.
            files: a folder (everything below it but `.git` and `.cache`), or contents by path. Hostile paths are taken
                as they are. A `SparseFile` has any size and takes no room.
            private: only writers of the namespace, and users given `grant_access`, can see it.
            gated: every visitor sees the listing, only those same users get files.
            commit_sha: 40 hex digits, to stand in for a real repository at a pinned revision; None computes the id.

        Raises:
            ValueError: there is a repository of that name.
        """
        contents = files if isinstance(files, Mapping) else _read_folder(Path(files))
        with self._world.lock:
            repo = self._world.create(repo_id, private=private, gated=gated)
            entries = {path: repo.entry(path, data) for path, data in contents.items()}
            return repo.advance("refs/heads/main", entries, Note("initial commit", SYSTEM, sha=commit_sha)).sha

    def grant_access(self, user: str, repo_id: str) -> None:
        """Let `user` read a private or gated repository, as one who was invited or accepted the terms."""
        self._world.repository(repo_id).readers.add(user)

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        message: str = "Update",
        revision: str = "main",
        delete: Iterable[str] = (),
        author: str = SYSTEM,
    ) -> str:
        """Write `files` on top of a branch (or of `refs/pr/N`) under the client, and return the new commit's id."""
        with self._world.lock:
            repo = self._world.repository(repo_id)
            head, ref, deleted = repo.resolve(revision), repo.ref_name(revision), set(delete)
            if ref is None:
                raise ValueError(f"'{revision}' is not a branch")
            kept = {path: entry for path, entry in head.files.items() if path not in deleted}
            kept |= {path: repo.entry(path, data) for path, data in files.items()}
            return repo.advance(ref, kept, Note(message, author)).sha

    def tag(self, repo_id: str, name: str, *, revision: str = "main") -> None:
        """Name a commit."""
        self._world.repository(repo_id).refs[f"refs/tags/{name}"] = self.head(repo_id, revision)

    def branch(self, repo_id: str, name: str, *, revision: str = "main") -> None:
        """Start a branch."""
        self._world.repository(repo_id).refs[f"refs/heads/{name}"] = self.head(repo_id, revision)

    def head(self, repo_id: str, revision: str = "main") -> str:
        """The commit id of a revision."""
        return self._commit(repo_id, revision).sha

    def read(self, repo_id: str, path: str, *, revision: str = "main") -> bytes:
        """The content of one file.

        Raises:
            KeyError: the revision has no such file.
        """
        return self._commit(repo_id, revision).files[path].blob.read()

    def files(self, repo_id: str, revision: str = "main") -> list[str]:
        """The paths of a revision, sorted."""
        return sorted(self._commit(repo_id, revision).files)

    def _commit(self, repo_id: str, revision: str) -> Commit:
        with self._world.lock:
            return self._world.repository(repo_id).resolve(revision)

    def pull_requests(self, repo_id: str) -> list[LocalPullRequest]:
        """Every pull request of a repository, oldest first, closed and merged ones too."""
        with self._world.lock:
            repo = self._world.repository(repo_id)
            return [d.as_local(repo) for d in self._world.discussions[repo_id] if d.is_pull_request]

    def close_pull_request(self, repo_id: str, number: int, *, user: str = SYSTEM) -> None:
        """The owner says no."""
        with self._world.lock:
            repo = self._world.repository(repo_id)
            self._world.discussion(repo, number).set_status("closed", user, self._world.clock())

    def merge_pull_request(self, repo_id: str, number: int, *, user: str = SYSTEM) -> str:
        """The owner says yes; returns the id of the merge commit on main.

        Raises:
            MergeConflict: main changed the same files since.
        """
        with self._world.lock:
            repo = self._world.repository(repo_id)
            return self._world.merge(repo, self._world.discussion(repo, number), user).sha

    def discussions(self, repo_id: str) -> list[tuple[int, str, str, str]]:
        """Every discussion that is no pull request: (number, title, author, first comment), oldest first."""
        with self._world.lock:
            found = self._world.discussions[repo_id]
            return [(d.number, d.title, d.author, d.comments[0]) for d in found if not d.is_pull_request]

    def add_collection(self, slug: str, items: Iterable[str]) -> None:
        """Create a collection, `org/title-0123456789abcdef01234567`.

        An item is a model's id, or `"dataset:org/name"` and the like.
        """
        rows = [item.partition(":") for item in items]
        self._world.collections[slug] = [(kind, name) if colon else ("model", kind) for kind, colon, name in rows]

    def report_issues(self, repo_id: str, issues: Mapping[str, str]) -> None:
        """What the Hub's own file scanners say of a repository: level (`"unsafe"`, `"suspicious"`) by path."""
        self._world.repository(repo_id).issues = dict(issues)

    def run_jobs(self, runner: JobRunner) -> None:
        """Take jobs, and let `runner` run them; without one a job is refused for want of credit."""
        self._world.job_runner = runner

    @property
    def jobs(self) -> list[LocalJob]:
        """Every job that was started, oldest first."""
        return list(self._world.jobs.values())

    def webhooks(self, user: str) -> list[dict[str, Any]]:
        """The webhooks that a user made, as the Hub describes them."""
        with self._world.lock:
            return [dict(hook) for hook in self._world.webhooks.get(user, [])]


def _read_folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise ValueError(f"'{folder}' is not a folder")
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {p.as_posix(): (folder / p).read_bytes() for p in paths if p.parts[0] not in (".git", ".cache")}
