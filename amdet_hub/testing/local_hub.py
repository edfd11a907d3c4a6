"""A Hugging Face Hub on loopback, for tests: real sockets, the real client, and everything that can go wrong on request.

Knows: how to start, fill, observe, disturb and stop a local Hub. Refuses to know: torch, the rest of this package, any
network but loopback. Mocks of the client's HTTP library rot (it was requests, then httpx, then httpx2); a socket does
not. Works with any client of the Hub's API.

The Hub answers on `127.0.0.1`, its LFS files come from `localhost`: two hosts, as on the real Hub, so that a test can
see that the token never leaves the first. Commit ids and dates come from a logical clock, so they repeat from run to
run.

A fixture for your own tests:

    import pytest
    from amdet_hub.testing import LocalHub

    @pytest.fixture
    def hub():
        with LocalHub() as hub:
            hub.add_user("alice", token="hf_alice")
            hub.add_model("org/model", {"config.json": b"{}", "model.safetensors": b"..."})
            yield hub

    def test_nothing_is_written(hub, tmp_path):
        path = hf_hub_download("org/model", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path)
        assert open(path, "rb").read() == b"{}"
        assert hub.writes == []

    def test_in_a_child_process(hub):
        subprocess.run(["hf", "download", "org/model"], env={**os.environ, **hub.environment("alice")}, check=True)

huggingface_hub reads its environment once, when it is imported: pass `endpoint=` in this process, or use
`environment()` for a child. Models, and the files of datasets and Spaces (`hub_typed_routes`); no Xet (set
`HF_HUB_DISABLE_XET=1`), no git over HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from amdet_hub.testing.hub_commit_routes import WRITE_ROUTES
from amdet_hub.testing.hub_discussion_routes import DISCUSSION_ROUTES
from amdet_hub.testing.hub_discussions import LocalPullRequest
from amdet_hub.testing.hub_faults import FaultControls
from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, HubServer, LoggedRequest
from amdet_hub.testing.hub_jobs import JOB_ROUTES
from amdet_hub.testing.hub_routes import MODEL_ROUTE, READ_ROUTES, dispatch
from amdet_hub.testing.hub_storage import LFS_THRESHOLD_BYTES, Commit, SparseFile
from amdet_hub.testing.hub_surroundings import SurroundingControls
from amdet_hub.testing.hub_typed_routes import typed_info, typed_routes
from amdet_hub.testing.hub_webhooks import WEBHOOK_ROUTES
from amdet_hub.testing.hub_world import HubSettings, HubUser, World

ROUTES = (
    *typed_routes(WRITE_ROUTES),
    *READ_ROUTES,
    *WRITE_ROUTES,
    *DISCUSSION_ROUTES,
    *JOB_ROUTES,
    *WEBHOOK_ROUTES,
    typed_info(MODEL_ROUTE.handler),
    MODEL_ROUTE,
)
SYSTEM = "system"
"""Who commits when a test does."""


class LocalHub(FaultControls, SurroundingControls):
    """A local Hub; a context manager. `LocalHub()` listens nowhere until it is entered (or `start` is called).

    What can be made to go wrong (`fail`, `rate_limit`, `drop`, `truncate`, `corrupt`, `slow`, ...) is in
    `FaultControls`; collections and jobs are in `SurroundingControls`.

    Args:
        port: of the Hub; 0 takes a free one.
        lfs_port: of the host that serves LFS files; 0 takes a free one.
        lfs_threshold_bytes: files of this size or more are LFS files, as are all `*.safetensors`, pickles and the
            like.
        tree_page_size: rows per page of a tree listing (50 at most when expanded).
        multipart_bytes: LFS uploads above this size go in parts; None sends each whole.
        strict_pull_requests: refuse (412) a pull request whose `parent_commit` is no longer the head. The client's
            documentation promises that it is opened from that commit instead, and so it is by default.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        lfs_port: int = 0,
        lfs_threshold_bytes: int = LFS_THRESHOLD_BYTES,
        tree_page_size: int = 1000,
        multipart_bytes: int | None = None,
        strict_pull_requests: bool = False,
    ) -> None:
        super().__init__()
        settings = HubSettings(
            lfs_threshold_bytes=lfs_threshold_bytes,
            tree_page_size=tree_page_size,
            expanded_page_size=min(50, tree_page_size),
            multipart_bytes=multipart_bytes,
            strict_pull_requests=strict_pull_requests,
        )
        self._ports = (port, lfs_port)
        self._world = World(settings)
        self._hooks: list[Callable[[LoggedRequest], object]] = []
        self._log: list[LoggedRequest] = []
        self._log_lock = threading.Lock()
        self._servers: list[HubServer] = []
        self._errors: list[Exception] = []

    # ------------------------------------------------------------ life

    def start(self) -> Self:
        """Listen. Starting twice does nothing."""
        if not self._servers:
            hub = HubServer("hub", self._ports[0], self._answer)
            try:
                lfs = HubServer("lfs", self._ports[1], self._answer)
            except OSError:
                hub.server_close()
                raise
            self._servers = [hub, lfs]
            self._world.endpoint, self._world.lfs_endpoint = (
                f"http://127.0.0.1:{hub.port}",
                f"http://localhost:{lfs.port}",
            )
            hub.start()
            lfs.start()
        return self

    def close(self) -> None:
        """Hang up, stop, and delete the temporary files. Closing twice does nothing."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        self._world.store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self._errors:
            raise RuntimeError("the local Hub failed while it was answering") from self._errors[0]

    @property
    def endpoint(self) -> str:
        """Address of the Hub, `http://127.0.0.1:PORT`.

        Raises:
            RuntimeError: it was not started.
        """
        return self._started(self._world.endpoint)

    @property
    def lfs_endpoint(self) -> str:
        """Address of the host that serves LFS files, `http://localhost:PORT`.

        Raises:
            RuntimeError: it was not started.
        """
        return self._started(self._world.lfs_endpoint)

    @staticmethod
    def _started(address: str) -> str:
        if not address:
            raise RuntimeError("the local Hub was not started: use it as a context manager, or call start()")
        return address

    def environment(self, user: str | None = None) -> dict[str, str]:
        """What a child process needs in its environment, on top of its own, to use this Hub as `user` (None: nobody).

        Its Hub cache is a temporary directory of this Hub, so that no real token or cached file is used.
        """
        home = self._world.store.folder / "hf-home"
        home.mkdir(exist_ok=True)
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_TOKEN": self._world.users[user].token if user else "",
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_OIDC_RESOURCE": "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "DISABLE_SAFETENSORS_CONVERSION": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    # ------------------------------------------------------------ contents

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
            gated: everybody sees the listing, only those same users get files.
            commit_sha: 40 hex digits, to stand in for a real repository at a pinned revision; None computes the id.

        Raises:
            ValueError: there is a repository of that name.
        """
        contents = files if isinstance(files, Mapping) else _read_folder(Path(files))
        with self._world.lock:
            repo = self._world.create(repo_id, private=private, gated=gated)
            entries = {path: repo.entry(path, data) for path, data in contents.items()}
            return repo.advance("refs/heads/main", entries, title="initial commit", author=SYSTEM, sha=commit_sha).sha

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
            head, ref = repo.resolve(revision), repo.ref_name(revision)
            if ref is None:
                raise ValueError(f"'{revision}' is not a branch")
            doomed = set(delete)
            kept = {path: entry for path, entry in head.files.items() if path not in doomed}
            kept.update({path: repo.entry(path, data) for path, data in files.items()})
            return repo.advance(ref, kept, title=message, author=author).sha

    def tag(self, repo_id: str, name: str, *, revision: str = "main") -> None:
        """Name a commit."""
        self._point(repo_id, f"refs/tags/{name}", revision)

    def branch(self, repo_id: str, name: str, *, revision: str = "main") -> None:
        """Start a branch."""
        self._point(repo_id, f"refs/heads/{name}", revision)

    def _point(self, repo_id: str, ref: str, revision: str) -> None:
        with self._world.lock:
            repo = self._world.repository(repo_id)
            repo.refs[ref] = repo.resolve(revision).sha

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

    # ------------------------------------------------------------ pull requests

    def pull_requests(self, repo_id: str) -> list[LocalPullRequest]:
        """Every pull request of a repository, oldest first, closed and merged ones too."""
        with self._world.lock:
            repo = self._world.repository(repo_id)
            return [d.as_local(repo) for d in self._world.discussions[repo_id] if d.is_pull_request]

    def close_pull_request(self, repo_id: str, number: int, *, user: str = SYSTEM) -> None:
        """The owner says no."""
        with self._world.lock:
            discussion = self._world.discussion(self._world.repository(repo_id), number)
            discussion.set_status("closed", user, self._world.clock.tick())

    def merge_pull_request(self, repo_id: str, number: int, *, user: str = SYSTEM) -> str:
        """The owner says yes; returns the id of the merge commit on main.

        Raises:
            MergeConflict: main changed the same files since.
        """
        with self._world.lock:
            repo = self._world.repository(repo_id)
            return self._world.merge(repo, self._world.discussion(repo, number), user).sha

    # ------------------------------------------------------------ what happened

    def on_request(self, hook: Callable[[LoggedRequest], object]) -> None:
        """Call `hook` with every request before it is answered, on the thread that answers: it may move main under the client."""
        self._hooks.append(hook)

    def behave(self) -> None:
        """Forget every fault and hook."""
        super().behave()
        self._hooks.clear()

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request answered so far, in the order of the answers."""
        with self._log_lock:
            return list(self._log)

    @property
    def writes(self) -> list[LoggedRequest]:
        """The requests that changed anything: commits, uploads, pull requests, comments, new repositories."""
        return [request for request in self.requests if request.changed]

    def forget_requests(self) -> None:
        """Empty the log."""
        with self._log_lock:
            self._log.clear()

    def _answer(self, request: HubRequest) -> HubResponse:
        seen = request.logged()
        try:
            for hook in tuple(self._hooks):
                hook(seen)
            response = self._faults.refuse(request) or dispatch(self._world, ROUTES, request)
        except Exception as error:  # noqa: BLE001 (a mistake in a hook or in a route must reach the test, not die in a server thread)
            self._errors.append(error)
            response = HubRefusal(500, "Internal Error - the local Hub failed").response()
        self._faults.distort(request, response)
        with self._log_lock:  # before the answer leaves: whoever got it finds it in the log
            self._log.append(replace(seen, status=response.status, changed=response.changed, length=response.length))
        return response


def _read_folder(folder: Path) -> dict[str, bytes]:
    """Contents by path of every file below `folder`."""
    if not folder.is_dir():
        raise ValueError(f"'{folder}' is not a folder")
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    relative = ((path.relative_to(folder), path) for path in paths)
    return {name.as_posix(): path.read_bytes() for name, path in relative if name.parts[0] not in (".git", ".cache")}
