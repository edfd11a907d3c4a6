"""The local Hub itself: its two hosts, its log, and what a child process needs to use it.

Refuses to know: what any address means (`routing`), and what can go wrong on request (`faults`).
"""

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from amdet_hub.testing.local_hub.contents import Contents
from amdet_hub.testing.local_hub.discussion_routes import DISCUSSION_ROUTES
from amdet_hub.testing.local_hub.faults import FaultControls
from amdet_hub.testing.local_hub.http import HubServer
from amdet_hub.testing.local_hub.messages import HubRefusal, HubRequest, HubResponse, LoggedRequest
from amdet_hub.testing.local_hub.reading import MODEL_ROUTE, READ_ROUTES
from amdet_hub.testing.local_hub.routing import dispatch
from amdet_hub.testing.local_hub.services import SERVICE_ROUTES
from amdet_hub.testing.local_hub.storage import LFS_THRESHOLD_BYTES
from amdet_hub.testing.local_hub.uploads import UPLOAD_ROUTES
from amdet_hub.testing.local_hub.world import HubLimits
from amdet_hub.testing.local_hub.writing import WRITE_ROUTES

ROUTES = (*READ_ROUTES, *WRITE_ROUTES, *UPLOAD_ROUTES, *DISCUSSION_ROUTES, *SERVICE_ROUTES, MODEL_ROUTE)


class LocalHub(FaultControls, Contents):
    """A local Hub; a context manager. `LocalHub()` listens nowhere until it is entered (or `start` is called).

    `Contents` fills it and looks into it; `FaultControls` makes it go wrong (`fail`, `rate_limit`, `drop`, ...).

    Args:
        port: of the Hub; 0 takes a free one.
        lfs_port: of the host that serves LFS files; 0 takes a free one.
        lfs_threshold_bytes: files of this size or more are LFS files, as are all `*.safetensors`, pickles and the
            like.
        tree_page_size: rows per page of a listing (50 at most of an expanded tree).
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
        FaultControls.__init__(self)
        Contents.__init__(self, HubLimits(lfs_threshold_bytes, tree_page_size, multipart_bytes, strict_pull_requests))
        self._ports = (port, lfs_port)
        self._hooks: list[Callable[[LoggedRequest], object]] = []
        self._log: list[LoggedRequest] = []
        self._servers: list[HubServer] = []
        self._errors: list[Exception] = []

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
            self._world.endpoint = f"http://127.0.0.1:{hub.server_port}"
            self._world.lfs_endpoint = f"http://localhost:{lfs.server_port}"
            for server in self._servers:
                server.thread.start()
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
        """What a child process needs in its environment, on top of its own, to use this Hub as `user`.

        None is a visitor without a token. The Hub cache is a temporary directory of this Hub, so that no real token or
        cached file is used.
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

    def on_request(self, hook: Callable[[LoggedRequest], object]) -> None:
        """Call `hook` with every request before it is answered, on the thread that answers: it may move main."""
        self._hooks.append(hook)

    def behave(self) -> None:
        """Forget every fault and hook."""
        super().behave()
        self._hooks.clear()

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request answered so far, in the order of the answers."""
        return list(self._log)

    @property
    def writes(self) -> list[LoggedRequest]:
        """The requests that changed anything: commits, uploads, pull requests, comments, new repositories."""
        return [request for request in self.requests if request.changed]

    def forget_requests(self) -> None:
        """Empty the log."""
        self._log.clear()

    def _answer(self, request: HubRequest) -> HubResponse:
        seen = request.logged()
        try:
            for hook in tuple(self._hooks):
                hook(seen)
            response = self._refused(request) or dispatch(self._world, ROUTES, request)
        # a mistake in a hook or in a route must reach the test, not die in a server thread
        except Exception as error:  # noqa: BLE001
            self._errors.append(error)
            response = HubRefusal(500, "Internal Error - the local Hub failed").response()
        self._distort(request, response)
        # before the answer leaves: a client that has it finds it in the log
        self._log.append(replace(seen, status=response.status, changed=response.changed, length=response.length))
        return response
