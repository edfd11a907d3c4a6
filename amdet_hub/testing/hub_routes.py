"""The addresses of the local Hub that read: who am I, model info, tree, refs, commits, files, and the second host that serves LFS files.

Knows: the paths, parameters and headers that huggingface_hub 2.4 uses. Refuses to know: sockets, faults.
Source: huggingface_hub 2.4, `hf_api.py` and `file_download.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from amdet_hub.testing import hub_describe
from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, Side, file_response, json_response
from amdet_hub.testing.hub_storage import Commit, FileEntry
from amdet_hub.testing.hub_world import World

Handler = Callable[[World, HubRequest, dict[str, str]], HubResponse]

REPO = r"(?P<repo>[^/]+/[^/]+|[^/]+)"
REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"
MODEL = f"/api/models/{REPO}"


@dataclass(frozen=True)
class Route:
    """One address: the methods it takes, the pattern of its still encoded path, and what answers.

    Named groups arrive decoded.
    """

    side: Side
    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    handler: Handler


def route(methods: str, pattern: str, handler: Handler, *, side: Side = "hub") -> Route:
    """A route; `methods` is a list separated by spaces."""
    return Route(side, tuple(methods.split()), re.compile(pattern), handler)


def dispatch(world: World, routes: Sequence[Route], request: HubRequest) -> HubResponse:
    """The answer of the first route that fits, or the refusal it raises; 404 when none fits."""
    method = "GET" if request.method == "HEAD" else request.method
    for candidate in routes:
        if candidate.side != request.side or method not in candidate.methods:
            continue
        if match := candidate.pattern.fullmatch(request.raw_path):
            names = {name: unquote(value or "") for name, value in match.groupdict().items()}
            try:
                with world.lock:
                    return candidate.handler(world, request, names)
            except HubRefusal as refusal:
                return refusal.response()
    return HubRefusal(404, "Sorry, we can't find the page you are looking for.").response()


def _whoami(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user = world.user(request)
    if user is None:
        raise HubRefusal(401, "Invalid username or password.")
    role = "read" if user.read_only else "write"
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name in sorted(user.can_write)]
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    data = {
        "type": "user",
        "id": user.name,
        "name": user.name,
        "fullname": user.name,
        "isPro": False,
        "orgs": orgs,
        "auth": access,
    }
    return json_response(data)


def _model_info(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    commit = world.commit_of(repo, names.get("revision") or "main")
    info = hub_describe.model_info(repo, commit, blobs=request.flag("blobs"), security=request.flag("securityStatus"))
    if wanted := [*request.query.get("expand", []), *request.query.get("expand[]", [])]:
        info = hub_describe.expanded(info, wanted)
    return json_response(info, headers={"X-Repo-Commit": commit.sha})


def _list_models(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    """Models by author, part of the name and tags, in the order of their names (the real Hub knows downloads), a page at a time."""
    user = world.user(request)
    author, search, tags = (
        request.first("author"),
        request.first("search").lower(),
        set(request.query.get("filter", [])),
    )
    rows = []
    for repo_id, repo in sorted(world.repositories.items()):
        hidden = repo.private and not world.may_read(repo, user)
        if not hidden and repo_id.count("/") < 2 and author in ("", repo.namespace) and search in repo_id.lower():
            row = hub_describe.model_info(repo, repo.resolve("main"))
            if tags <= {*row["tags"], row.get("library_name"), row.get("pipeline_tag")}:
                rows.append(row)
    return _paged(
        world, request, rows, min(request.number("limit", len(rows)) or len(rows), world.settings.tree_page_size)
    )


def _collection(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    slug = names["slug"]
    if slug not in world.collections:
        raise HubRefusal(404, "Collection not found")
    items = [
        {"_id": f"{i:024x}", "type": kind, "id": name, "position": i}
        for i, (kind, name) in enumerate(world.collections[slug])
    ]
    data = {
        "slug": slug,
        "title": slug,
        "owner": {"name": slug.partition("/")[0]},
        "items": items,
        "lastUpdated": "2026-01-01T00:00:00.000Z",
    }
    return json_response({**data, "position": 0, "private": False, "theme": "blue", "upvotes": 0})


def _owner(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    """The overview of a user or an organisation; an organisation is a name that owns repositories and has no token."""
    name, is_user = names["owner"], names["kind"] == "users"
    owns = any(repo.namespace == name for repo in world.repositories.values())
    if (name in world.users) is not is_user or not (is_user or owns):
        raise HubRefusal(404, f"{'User' if is_user else 'Organization'} not found")
    return json_response({"user" if is_user else "name": name, "fullname": name, "avatarUrl": ""})


def _paged(world: World, request: HubRequest, rows: Sequence[Any], size: int) -> HubResponse:
    """One page of `rows`, and in `Link` the address of the next."""
    at = request.number("cursor", 0)
    headers = {}
    if at + size < len(rows):
        kept = "&".join(part for part in request.raw_query.split("&") if part and not part.startswith("cursor="))
        headers["Link"] = f'<{world.endpoint}{request.raw_path}?{kept}&cursor={at + size}>; rel="next"'
    return json_response(rows[at : at + size], headers=headers)


def _tree(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    commit = world.commit_of(repo, names["revision"])
    expand = request.flag("expand")
    rows = hub_describe.tree(
        repo, commit, names["path"].strip("/"), recursive=request.flag("recursive"), expand=expand
    )
    return _paged(world, request, rows, world.settings.expanded_page_size if expand else world.settings.tree_page_size)


def _paths_info(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    commit = world.commit_of(repo, names["revision"])
    if "json" in (request.headers.get("Content-Type") or ""):
        asked = request.json()
        paths, expand = list(asked.get("paths", [])), bool(asked.get("expand"))
    else:
        form = parse_qs(request.body.decode("utf-8", errors="replace"))
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    rows = []
    for path in paths:
        if path in commit.files:
            rows.append(hub_describe.file_info(repo, commit.files[path], expand=expand))
        elif row := hub_describe.folder_info(repo, commit, path.rstrip("/"), expand=expand):
            rows.append(row)
    return json_response(rows)


def _refs(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    return json_response(hub_describe.refs(repo, pull_requests=request.flag("include_prs")))


def _commits(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    history = list(repo.history(world.commit_of(repo, names["revision"])))
    formatted = "formatted" in request.query.get("expand[]", [])
    rows = [hub_describe.commit_row(commit, formatted=formatted) for commit in history]
    return _paged(world, request, rows, world.settings.commits_page_size)


def _auth_check(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    if names["write"]:
        world.writer(request, names["repo"])
    else:
        world.readable(request, names["repo"])
    return json_response({})


def _entry(world: World, request: HubRequest, names: dict[str, str]) -> tuple[Commit, FileEntry, dict[str, str]]:
    repo, _ = world.readable(request, names["repo"])
    commit = world.commit_of(repo, names["revision"])
    headers = {"X-Repo-Commit": commit.sha}
    entry = commit.files.get(names["path"])
    if entry is None:
        raise HubRefusal(404, "Entry not found", code="EntryNotFound", headers=headers)
    return commit, entry, headers


def _resolve(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    """A plain file at once, as older Hubs did (a redirect on the same host would lose `X-Repo-Commit`); an LFS file by redirect."""
    _, entry, headers = _entry(world, request, names)
    headers["ETag"] = f'"{entry.etag}"'
    if not entry.lfs:
        name = quote(entry.path.rpartition("/")[2])
        headers.update(
            {"Content-Type": "text/plain; charset=utf-8", "Content-Disposition": f"inline; filename*=UTF-8''{name}"}
        )
        return file_response(request, entry.blob, headers)
    path = f"/{names['repo']}/{entry.blob.sha256}/{entry.path}"
    headers.update(
        {
            "X-Linked-Size": str(entry.blob.size),
            "X-Linked-ETag": f'"{entry.etag}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "text/plain; charset=utf-8",
            "Location": f"{world.lfs_endpoint}{quote(path)}?Signature={world.sign(path)}",
        }
    )
    return HubResponse(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


def _raw(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    _, entry, headers = _entry(world, request, names)
    if not entry.lfs:
        return file_response(request, entry.blob, headers)
    return HubResponse(200, {"Content-Type": "text/plain; charset=utf-8", **headers}, entry.pointer)


def _lfs_content(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    world.check_signature(request)
    blob = world.store.get(names["sha256"])
    if blob is None:
        raise HubRefusal(404, "NoSuchKey")
    return file_response(request, blob, {"ETag": f'"{blob.sha256}"', "Content-Type": "application/octet-stream"})


READ_ROUTES = (
    route("GET", "/api/whoami-v2", _whoami),
    route("GET", "/api/models", _list_models),
    route("GET", "/api/collections/(?P<slug>[^/]+/[^/]+)", _collection),
    route("GET", "/api/(?P<kind>users|organizations)/(?P<owner>[^/]+)/overview", _owner),
    route("GET", f"{MODEL}/revision/{REVISION}", _model_info),
    route("GET", f"{MODEL}/tree/{REVISION}(?:/(?P<path>.*))?", _tree),
    route("POST", f"{MODEL}/paths-info/{REVISION}", _paths_info),
    route("GET", f"{MODEL}/refs", _refs),
    route("GET", f"{MODEL}/commits/{REVISION}", _commits),
    route("GET", f"{MODEL}/auth-check(?P<write>/write)?", _auth_check),
    route("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)", _resolve),
    route("GET", f"/{REPO}/raw/{REVISION}/(?P<path>.+)", _raw),
    route("GET", r"/.+?/(?P<sha256>[0-9a-f]{64})/.+", _lfs_content, side="lfs"),
)

MODEL_ROUTE = route("GET", MODEL, _model_info)
"""Comes last: its pattern would also take `/api/models/gpt2/refs` for a repository `gpt2/refs`."""
