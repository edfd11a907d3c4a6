"""The addresses of the local Hub that write repositories: create, validate-yaml, preupload, LFS upload, commit, branch, tag.

Knows: the bodies that huggingface_hub 2.4 sends. Refuses to know: sockets, faults, discussions beyond opening a pull
request. Git-ignore rules are not applied: nothing is ever reported as ignored.
Source: huggingface_hub 2.4, `_commit_api.py` and `lfs.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any
from urllib.parse import quote

from amdet_hub.testing.hub_cards import validate_card
from amdet_hub.testing.hub_discussions import DEFAULT_TITLE
from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, json_response
from amdet_hub.testing.hub_routes import MODEL, REPO, REVISION, route
from amdet_hub.testing.hub_storage import Commit, FileEntry, Repository, StaleParent
from amdet_hub.testing.hub_world import HubUser, World

STALE = "A commit has happened since. Please refresh and try again."
"""The real Hub's words for a stale `parent_commit` (HTTP 412)."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def _create_repo(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user = world.user(request)
    if user is None:
        raise HubRefusal(401, "Invalid username or password.")
    asked = request.json()
    kind = asked.get("type") or "model"
    if kind not in ("model", "dataset", "space") or (
        kind == "space" and asked.get("sdk") not in ("gradio", "docker", "static")
    ):
        raise HubRefusal(400, "a repository is a model, a dataset, or a space with its sdk")
    namespace = asked.get("organization") or user.name
    if user.read_only or not user.writes_to(namespace):
        raise HubRefusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    repo_id = f"{namespace}/{asked.get('name')}"
    data = {"url": f"{world.endpoint}/{'' if kind == 'model' else kind + 's/'}{repo_id}", "name": repo_id}
    repo_id = repo_id if kind == "model" else f"{kind}s/{repo_id}"
    if repo_id in world.repositories:
        return json_response({"error": "You already created this model repo", **data}, status=409)
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    repo = world.create(repo_id, private=private)
    attributes = repo.entry(".gitattributes", b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    repo.advance("refs/heads/main", {attributes.path: attributes}, title="initial commit", author="system")
    return json_response(data, changed=True)


def _validate_yaml(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    errors, warnings = validate_card(str(request.json().get("content", "")))
    data = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return json_response(data, status=400 if errors else 200)


def _target(world: World, request: HubRequest, names: dict[str, str]) -> tuple[Repository, HubUser, str]:
    """The repository, the user and the full name of the branch to be written, checked.

    A pull request's branch is open to its author and to the repository's writers, and to nobody once it is closed.
    """
    revision = names["revision"]
    repo, user = world.signed_in(request, names["repo"])
    ref = repo.ref_name(revision)
    pull_request = world.pull_request_of(repo, ref) if ref else None
    if pull_request is None or pull_request.author != user.name:
        world.writer(request, names["repo"])
    world.commit_of(repo, revision)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubRefusal(400, f"'{revision}' is not a branch")
    if pull_request is not None and pull_request.status in ("closed", "merged"):
        raise HubRefusal(403, f"Pull request #{pull_request.number} is {pull_request.status}")
    return repo, user, ref


def _preupload(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    if request.flag("create_pr"):
        repo, _ = world.signed_in(request, names["repo"])
    else:
        repo, _, _ = _target(world, request, names)
    present = world.commit_of(repo, names["revision"]).files
    rows = []
    for asked in request.rows("files"):
        path, size = str(asked.get("path")), _size(asked)
        row = {"path": path, "uploadMode": "lfs" if repo.is_lfs(path, size) else "regular", "shouldIgnore": False}
        if path in present:
            row["oid"] = present[path].etag
        rows.append(row)
    return json_response({"files": rows, "commitOid": world.commit_of(repo, names["revision"]).sha})


# ------------------------------------------------------------ LFS


def _size(asked: dict[str, Any]) -> int:
    size = asked.get("size")
    if not isinstance(size, int) or size < 0:
        raise HubRefusal(400, "'size' must be a number of bytes")
    return size


def _lfs_batch(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    asked = request.json()
    if isinstance(asked.get("ref"), dict):
        _target(world, request, {**names, "revision": str(asked["ref"].get("name"))})
    else:  # the client names no branch when it is about to open a pull request
        world.signed_in(request, names["repo"])
    objects = [_upload_actions(world, names["repo"], str(o.get("oid")), _size(o)) for o in request.rows("objects")]
    data = {"transfer": "basic", "objects": objects}
    return json_response(data, headers={"Content-Type": "application/vnd.git-lfs+json"})


def _upload_actions(world: World, repo_id: str, oid: str, size: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"oid": oid, "size": size}
    if not _SHA256.fullmatch(oid):
        return {**answer, "error": {"code": 422, "message": "oid must be 64 hex digits"}}
    if world.store.get(oid) is not None:
        return answer
    part_bytes = world.settings.multipart_bytes
    if part_bytes is not None and size > part_bytes:
        header = {"chunk_size": str(part_bytes)}
        for number in range(1, -(-size // part_bytes) + 1):
            header[str(number)] = _signed(world, world.lfs_endpoint, f"/upload/{repo_id}/{oid}/{number}")
        upload = {"href": _signed(world, world.endpoint, f"/api/complete_multipart/{repo_id}/{oid}"), "header": header}
    else:
        upload = {"href": _signed(world, world.lfs_endpoint, f"/upload/{repo_id}/{oid}")}
    verify = {"href": f"{world.endpoint}/{repo_id}.git/info/lfs/objects/verify"}
    return {**answer, "actions": {"upload": upload, "verify": verify}}


def _signed(world: World, endpoint: str, path: str) -> str:
    return f"{endpoint}{quote(path)}?Signature={world.sign(path)}"


def _lfs_upload(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    world.check_signature(request)
    if names["part"]:
        world.parts[names["sha256"], int(names["part"])] = request.body
        etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        return HubResponse(200, {"ETag": f'"{etag}"'}, changed=True)
    return _store(world, names["sha256"], request.body)


def _complete_multipart(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    world.check_signature(request)
    numbers = [part.get("partNumber", 0) for part in request.rows("parts")]
    if missing := [n for n in numbers if (names["sha256"], n) not in world.parts]:
        raise HubRefusal(400, f"part {missing[0]} was never uploaded")
    return _store(world, names["sha256"], b"".join(world.parts.pop((names["sha256"], n)) for n in numbers))


def _store(world: World, sha256: str, data: bytes) -> HubResponse:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise HubRefusal(400, "BadDigest: the content does not have the announced sha256")
    world.store.put(data)
    return HubResponse(200, {"ETag": f'"{sha256}"'}, changed=True)


def _lfs_verify(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    world.signed_in(request, names["repo"])
    asked = request.json()
    blob = world.store.get(str(asked.get("oid")))
    if blob is None or blob.size != asked.get("size"):
        raise HubRefusal(422, "the object was not uploaded completely")
    return json_response({})


# ------------------------------------------------------------ commit


def _commit(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    if request.flag("create_pr"):
        return _commit_as_pull_request(world, request, names)
    repo, user, ref = _target(world, request, names)
    header, operations = _operations(request)
    files = _apply(repo, repo.commits[repo.refs[ref]], operations)
    title, message = _words(header)
    try:
        commit = repo.advance(
            ref, files, title=title, message=message, author=user.name, expected=header.get("parentCommit")
        )
    except StaleParent as error:
        raise HubRefusal(412, STALE) from error
    if (pull_request := world.pull_request_of(repo, ref)) is not None:
        pull_request.add_commit(commit)
    return json_response(_committed(world, repo, commit), changed=True)


def _commit_as_pull_request(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    """A commit on a new branch `refs/pr/N`, and the pull request for it."""
    repo, user = world.signed_in(request, names["repo"])
    header, operations = _operations(request)
    base = _pull_request_base(world, repo, names["revision"], header.get("parentCommit"))
    files = _apply(repo, base, operations)
    title, message = _words(header)
    commit = repo.make_commit(files, parent=base.sha, title=title, message=message, author=user.name)
    discussion = world.open_discussion(
        repo, title=title, author=user.name, text=message, is_pull_request=True, status="open"
    )
    discussion.base_sha = base.sha
    discussion.add_commit(commit)
    repo.refs[discussion.ref] = commit.sha
    address = f"{world.endpoint}/{repo.repo_id}/discussions/{discussion.number}"
    return json_response({**_committed(world, repo, commit), "pullRequestUrl": address}, changed=True)


def _pull_request_base(world: World, repo: Repository, revision: str, parent: str | None) -> Commit:
    """Where the pull request starts.

    `create_commit` promises: from `parent_commit`, even when the branch has moved on since.

    `World.settings.strict_pull_requests` refuses that too (412).
    """
    head = world.commit_of(repo, revision)
    if parent is None or head.sha.startswith(parent.lower()):
        return head
    older = [c for c in repo.history(head) if c.sha.startswith(parent.lower())]
    if world.settings.strict_pull_requests or not older:
        raise HubRefusal(412, STALE)
    return older[0]


def _operations(request: HubRequest) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    try:
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        items = [(str(line["key"]), dict(line["value"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise HubRefusal(400, "the commit is not newline-delimited JSON") from error
    if not items or items[0][0] != "header":
        raise HubRefusal(400, "the commit has no header")
    return items[0][1], items[1:]


def _words(header: dict[str, Any]) -> tuple[str, str]:
    return str(header.get("summary") or DEFAULT_TITLE), str(header.get("description") or "")


def _apply(repo: Repository, base: Commit, operations: list[tuple[str, dict[str, Any]]]) -> dict[str, FileEntry]:
    files = dict(base.files)
    for key, value in operations:
        path = str(value.get("path", ""))
        if key == "file":
            files[path] = _regular(repo, path, value)
        elif key == "lfsFile":
            files[path] = _large(repo, path, value)
        elif key in ("deletedFile", "deletedFolder"):
            doomed = (
                [p for p in files if p == path]
                if key == "deletedFile"
                else [p for p in files if p.startswith(path.rstrip("/") + "/")]
            )
            if not doomed:
                raise HubRefusal(404, "A file with this name doesn't exist", code="EntryNotFound")
            for name in doomed:
                del files[name]
        else:
            raise HubRefusal(400, f"unknown operation '{key}'")
    return files


def _checked(path: str) -> str:
    if not path or "\0" in path or any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise HubRefusal(400, f"'{path}' is not a valid path")
    return path


def _regular(repo: Repository, path: str, value: dict[str, Any]) -> FileEntry:
    try:
        content = value["content"]
        data = base64.b64decode(content, validate=True) if value.get("encoding") == "base64" else str(content).encode()
    except (KeyError, TypeError, binascii.Error) as error:
        raise HubRefusal(400, f"the content of '{path}' cannot be read") from error
    if path == "README.md" and (errors := validate_card(data.decode("utf-8", errors="replace"))[0]):
        raise HubRefusal(400, f"Invalid metadata in README.md: {errors[0]}")
    if repo.is_lfs(path, len(data)):
        raise HubRefusal(400, f"'{path}' must be uploaded as an LFS file")
    return repo.entry(_checked(path), data)


def _large(repo: Repository, path: str, value: dict[str, Any]) -> FileEntry:
    blob = repo.store.get(str(value.get("oid")))
    if blob is None:
        raise HubRefusal(400, f"the LFS object of '{path}' was never uploaded")
    return FileEntry(_checked(path), blob, lfs=True)


def _committed(world: World, repo: Repository, commit: Commit) -> dict[str, Any]:
    address = f"{world.endpoint}/{repo.repo_id}/commit/{commit.sha}"
    return {"success": True, "commitOid": commit.sha, "commitUrl": address, "hookOutput": ""}


# ------------------------------------------------------------ branches and tags


def _branch(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.writer(request, names["repo"])
    if names["revision"].startswith("refs/"):
        raise HubRefusal(400, f"Invalid reference for a branch: {names['revision']}")
    return _new_ref(world, repo, f"refs/heads/{names['revision']}", str(request.json().get("startingPoint") or "main"))


def _tag(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.writer(request, names["repo"])
    return _new_ref(world, repo, f"refs/tags/{request.json().get('tag')}", names["revision"])


def _new_ref(world: World, repo: Repository, ref: str, revision: str) -> HubResponse:
    if ref in repo.refs:
        raise HubRefusal(409, "Reference already exists")
    repo.refs[ref] = world.commit_of(repo, revision).sha
    return json_response({}, changed=True)


WRITE_ROUTES = (
    route("POST", "/api/repos/create", _create_repo),
    route("POST", "/api/validate-yaml", _validate_yaml),
    route("POST", f"{MODEL}/preupload/{REVISION}", _preupload),
    route("POST", f"{MODEL}/commit/{REVISION}", _commit),
    route("POST", f"{MODEL}/branch/{REVISION}", _branch),
    route("POST", f"{MODEL}/tag/{REVISION}", _tag),
    route("POST", rf"/{REPO}\.git/info/lfs/objects/batch", _lfs_batch),
    route("POST", rf"/{REPO}\.git/info/lfs/objects/verify", _lfs_verify),
    route("POST", r"/api/complete_multipart/.+/(?P<sha256>[0-9a-f]{64})", _complete_multipart),
    route("PUT", r"/upload/.+?/(?P<sha256>[0-9a-f]{64})(?:/(?P<part>\d+))?", _lfs_upload, side="lfs"),
)
