"""The addresses of the local Hub that read: who am I, listings, model info, trees, commits, files, and the LFS host.

Knows: the paths, parameters and headers that huggingface_hub 2.4 uses. Refuses to know: sockets, faults.
Source: huggingface_hub 2.4, `hf_api.py` and `file_download.py`.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, quote

from amdet_hub.testing.local_hub import describe
from amdet_hub.testing.local_hub.messages import HubRefusal, HubResponse, file_response, json_response
from amdet_hub.testing.local_hub.routing import MODEL, REPO, REVISION, Call, Route
from amdet_hub.testing.local_hub.storage import FileEntry

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def _whoami(call: Call) -> HubResponse:
    user = call.user
    role = "read" if user.read_only else "write"
    return json_response(
        {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "isPro": False,
            "orgs": [
                {"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name in sorted(user.can_write)
            ],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": role}},
        }
    )


def _owner(call: Call) -> HubResponse:
    """The overview of a user or an organisation; an organisation is a name that owns repositories and has no token."""
    name, is_user = call.names["owner"], call.names["owners"] == "users"
    owners = {repo.namespace for repo in call.world.repositories.values()} - set(call.world.users)
    if name not in (call.world.users if is_user else owners):
        raise HubRefusal(404, f"{'User' if is_user else 'Organization'} not found")
    return json_response({"user" if is_user else "name": name, "fullname": name, "avatarUrl": ""})


def _model_info(call: Call) -> HubResponse:
    repo, request = call.visible, call.request
    commit = call.commit_of(repo)
    info = describe.model_info(repo, commit, blobs=request.flag("blobs"), security=request.flag("securityStatus"))
    if wanted := [*request.query.get("expand", []), *request.query.get("expand[]", [])]:
        info = describe.expanded(info, wanted)
    return json_response(info, headers={"X-Repo-Commit": commit.sha})


def _list_models(call: Call) -> HubResponse:
    """Models by author, part of the name and tags, sorted by name: the real Hub knows downloads."""
    world, request, user = call.world, call.request, call.visitor
    author, search, tags = request.first("author"), request.first("search").lower(), request.query.get("filter", [])
    rows = []
    for repo_id, repo in sorted(world.repositories.items()):
        hidden = repo.private and not world.may_read(repo, user)
        if not hidden and repo_id.count("/") < 2 and author in ("", repo.namespace) and search in repo_id.lower():
            row = describe.model_info(repo, repo.resolve("main"))
            if {*tags} <= {*row["tags"], row.get("library_name"), row.get("pipeline_tag")}:
                rows.append(row)
    return _paged(call, rows, min(request.number("limit", 0) or len(rows), world.limits.tree_page_size))


def _collection(call: Call) -> HubResponse:
    slug = call.names["slug"]
    if slug not in call.world.collections:
        raise HubRefusal(404, "Collection not found")
    rows = enumerate(call.world.collections[slug])
    return json_response(
        {
            "slug": slug,
            "title": slug,
            "owner": {"name": slug.partition("/")[0]},
            "items": [{"_id": f"{i:024x}", "type": kind, "id": name, "position": i} for i, (kind, name) in rows],
            "position": 0,
            "private": False,
            "theme": "blue",
            "upvotes": 0,
            "lastUpdated": "2026-01-01T00:00:00.000Z",
        }
    )


def _paged(call: Call, rows: Sequence[Any], size: int) -> HubResponse:
    """One page of `rows`, and in `Link` the address of the next."""
    request, headers = call.request, {}
    at = request.number("cursor", 0)
    if at + size < len(rows):
        kept = "&".join(part for part in request.raw_query.split("&") if part and not part.startswith("cursor="))
        headers["Link"] = f'<{call.world.endpoint}{request.raw_path}?{kept}&cursor={at + size}>; rel="next"'
    return json_response(rows[at : at + size], headers=headers)


def _tree(call: Call) -> HubResponse:
    repo, limits, expand = call.visible, call.world.limits, call.request.flag("expand")
    folder, recursive = call.names["path"].strip("/"), call.request.flag("recursive")
    rows = describe.tree(repo, call.commit_of(repo), folder, recursive=recursive, expand=expand)
    most = limits.expanded_page_size if expand else limits.tree_page_size
    return _paged(call, rows, min(most, limits.tree_page_size))


def _paths_info(call: Call) -> HubResponse:
    repo, request = call.visible, call.request
    commit = call.commit_of(repo)
    if "json" in (request.headers.get("Content-Type") or ""):
        asked = request.json()
        paths, expand = list(asked.get("paths", [])), bool(asked.get("expand"))
    else:
        form = parse_qs(request.body.decode("utf-8", errors="replace"))
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"
    rows = (describe.path_info(repo, commit, path, expand=expand) for path in paths)
    return json_response([row for row in rows if row is not None])


def _refs(call: Call) -> HubResponse:
    return json_response(describe.refs(call.visible, pull_requests=call.request.flag("include_prs")))


def _commits(call: Call) -> HubResponse:
    repo = call.visible
    formatted = "formatted" in call.request.query.get("expand[]", [])
    rows = [describe.commit_row(c, formatted=formatted) for c in repo.history(call.commit_of(repo))]
    return _paged(call, rows, call.world.limits.commits_page_size)


def _auth_check(call: Call) -> HubResponse:
    _ = call.writer if call.names["write"] else call.readable
    return json_response({})


def _entry(call: Call) -> tuple[FileEntry, dict[str, str]]:
    commit = call.commit_of(call.readable)
    headers, entry = {"X-Repo-Commit": commit.sha}, commit.files.get(call.names["path"])
    if entry is None:
        raise HubRefusal(404, "Entry not found", code="EntryNotFound", headers=headers)
    return entry, headers


def _resolve(call: Call) -> HubResponse:
    """A plain file at once, as older Hubs did (a redirect would lose `X-Repo-Commit`); an LFS file by redirect."""
    entry, headers = _entry(call)
    headers |= {"ETag": f'"{entry.etag}"', **_TEXT}
    if not entry.lfs:
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{quote(entry.path.rpartition('/')[2])}"
        return file_response(call.request, entry.blob, headers)
    path = f"/{call.repo_id}/{entry.blob.sha256}/{entry.path}"
    location = f"{call.world.lfs_endpoint}{quote(path)}?Signature={call.world.sign(path)}"
    headers |= {
        "X-Linked-Size": str(entry.blob.size),
        "X-Linked-ETag": f'"{entry.etag}"',
        "Accept-Ranges": "bytes",
        "Location": location,
    }
    return HubResponse(302, headers, f"Found. Redirecting to {location}".encode())


def _raw(call: Call) -> HubResponse:
    entry, headers = _entry(call)
    if not entry.lfs:
        return file_response(call.request, entry.blob, headers)
    return HubResponse(200, {**_TEXT, **headers}, entry.pointer)


def _lfs_content(call: Call) -> HubResponse:
    call.check_signature()
    blob = call.world.store.get(call.names["sha256"])
    if blob is None:
        raise HubRefusal(404, "NoSuchKey")
    return file_response(call.request, blob, {"ETag": f'"{blob.sha256}"', "Content-Type": "application/octet-stream"})


READ_ROUTES = (
    Route("GET", "/api/whoami-v2", _whoami),
    Route("GET", "/api/(?P<owners>users|organizations)/(?P<owner>[^/]+)/overview", _owner),
    Route("GET", "/api/models", _list_models),
    Route("GET", "/api/collections/(?P<slug>[^/]+/[^/]+)", _collection),
    Route("GET", f"{MODEL}/revision/{REVISION}", _model_info),
    Route("GET", f"{MODEL}/tree/{REVISION}(?:/(?P<path>.*))?", _tree),
    Route("POST", f"{MODEL}/paths-info/{REVISION}", _paths_info),
    Route("GET", f"{MODEL}/refs", _refs),
    Route("GET", f"{MODEL}/commits/{REVISION}", _commits),
    Route("GET", f"{MODEL}/auth-check(?P<write>/write)?", _auth_check),
    Route("GET", f"{REPO}/resolve/{REVISION}/(?P<path>.+)", _resolve),
    Route("GET", f"{REPO}/raw/{REVISION}/(?P<path>.+)", _raw),
    Route("GET", r"/.+?/(?P<sha256>[0-9a-f]{64})/.+", _lfs_content, side="lfs"),
)

# Comes last: its pattern would also take `/api/models/gpt2/refs` for a repository `gpt2/refs`.
MODEL_ROUTE = Route("GET", MODEL, _model_info)
