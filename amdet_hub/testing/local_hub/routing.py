"""From an address of the local Hub to what answers it, and who may ask.

A route is the methods it takes, a pattern of the still encoded path, and a handler of a `Call`. Refuses to know:
sockets, faults, bodies. Datasets and Spaces are addressed like models, under a prefix of their own; such a repository
is held under `datasets/owner/name` or `spaces/owner/name`, which is also how a test names it
(`hub.read("spaces/me/app", "app.py")`). Nothing of a Space is built or run.
"""

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from amdet_hub.testing.local_hub.messages import HubRefusal, HubRequest, HubResponse, Side
from amdet_hub.testing.local_hub.storage import Commit, Repository, UnknownRevision
from amdet_hub.testing.local_hub.world import HubUser, World

_NAME = r"(?P<repo>[^/]+/[^/]+|[^/]+)"
REPO = rf"/(?:(?P<kind>datasets|spaces)/)?{_NAME}"
MODEL = rf"/api/(?P<kind>models|datasets|spaces)/{_NAME}"
REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"


@dataclass(frozen=True)
class Call:
    """One request: what it asks, of which Hub, and the names in its address, decoded.

    Every property raises the `HubRefusal` with which the real Hub says no.
    """

    world: World
    request: HubRequest
    names: dict[str, str]

    @property
    def repo_id(self) -> str:
        """The repository's id, with its prefix where it is no model."""
        kind = self.names.get("kind")
        return f"{kind}/{self.names['repo']}" if kind in ("datasets", "spaces") else self.names["repo"]

    @property
    def visitor(self) -> HubUser | None:
        """Who asks; None without a token. A token of no user is refused even on public repositories (401)."""
        header = self.request.headers.get("Authorization")
        if header is None:
            return None
        token = header.removeprefix("Bearer ").strip().encode()
        for user in self.world.users.values():
            if hmac.compare_digest(user.token.encode(), token):
                return user
        raise HubRefusal(401, "Invalid credentials in Authorization header")

    @property
    def user(self) -> HubUser:
        """Who asks, with a token (else 401)."""
        user = self.visitor
        if user is None:
            raise HubRefusal(401, "Invalid username or password.")
        return user

    @property
    def visible(self) -> Repository:
        """The repository. One that is absent, or private and not theirs: 401 without a token, 404 with one."""
        user, repo = self.visitor, self.world.repositories.get(self.repo_id)
        if repo is not None and (not repo.private or self.world.may_read(repo, user)):
            return repo
        if user is None:  # the client's own rule for a bare 401 wants an https address, so the code is spelled out
            raise HubRefusal(401, "Invalid username or password.", code="RepoNotFound")
        raise HubRefusal(404, "Repository not found", code="RepoNotFound")

    @property
    def readable(self) -> Repository:
        """The repository, whose files may be read too: a gated one is refused (401, 403) before terms are accepted."""
        repo, user = self.visible, self.visitor
        if repo.gated and not self.world.may_read(repo, user):
            raise HubRefusal(
                401 if user is None else 403,
                f"Access to model {self.repo_id} is restricted. Visit {self.world.endpoint}/{self.repo_id} to ask.",
                code="GatedRepo",
            )
        return repo

    @property
    def signed_in(self) -> tuple[Repository, HubUser]:
        """The repository and a user whose token may write somewhere: enough to discuss and to open pull requests."""
        repo, user = self.visible, self.visitor
        if user is None:
            raise HubRefusal(401, "Invalid username or password.", code="RepoNotFound")
        if user.read_only:
            raise HubRefusal(403, "Forbidden: this token has no write permission")
        return repo, user

    @property
    def writer(self) -> tuple[Repository, HubUser]:
        """The repository and a user who may write to it (else 403)."""
        repo, user = self.signed_in
        if not user.writes_to(repo.namespace):
            raise HubRefusal(
                403,
                f"Forbidden: you don't have the rights to write to {self.repo_id}."
                " Pass `create_pr=1` as a query parameter to create a Pull Request.",
            )
        return repo, user

    def commit_of(self, repo: Repository, revision: str = "") -> Commit:
        """The commit of `revision`, or else of the one in the address, or else of main (404 RevisionNotFound)."""
        revision = revision or self.names.get("revision") or "main"
        try:
            return repo.resolve(revision)
        except UnknownRevision as error:
            raise HubRefusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound") from error

    def check_signature(self) -> None:
        """Let only addresses through that this Hub handed out (403, as an object store answers)."""
        if not hmac.compare_digest(self.world.sign(self.request.path), self.request.first("Signature")):
            raise HubRefusal(403, "AccessDenied")


@dataclass(frozen=True)
class Route:
    """One address: the method it takes, the pattern of its still encoded path, and what answers."""

    method: str
    pattern: str
    handler: Callable[[Call], HubResponse]
    side: Side = "hub"


def dispatch(world: World, routes: Sequence[Route], request: HubRequest) -> HubResponse:
    """The answer of the first route that fits, or the refusal it raises; 404 when none fits."""
    method = "GET" if request.method == "HEAD" else request.method
    for route in routes:
        match = re.fullmatch(route.pattern, request.raw_path)
        if match is not None and (route.side, route.method) == (request.side, method):
            names = {name: unquote(value or "") for name, value in match.groupdict().items()}
            try:
                with world.lock:
                    return route.handler(Call(world, request, names))
            except HubRefusal as refusal:
                return refusal.response()
    return HubRefusal(404, "Sorry, we can't find the page you are looking for.").response()
