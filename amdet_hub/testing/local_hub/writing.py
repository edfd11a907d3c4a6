"""The addresses of the local Hub that write repositories: create, validate-yaml, commit, branch, tag.

Knows: the bodies that huggingface_hub 2.4 sends. Refuses to know: sockets, faults, discussions beyond opening a pull
request. Git-ignore rules are not applied: no file is ever reported as ignored.
Source: huggingface_hub 2.4, `_commit_api.py`.
"""

import base64
import binascii
import json
from typing import Any

from amdet_hub.testing.local_hub.cards import validate_card
from amdet_hub.testing.local_hub.discussions import DEFAULT_TITLE
from amdet_hub.testing.local_hub.messages import HubRefusal, HubResponse, json_response
from amdet_hub.testing.local_hub.routing import MODEL, REVISION, Call, Route
from amdet_hub.testing.local_hub.storage import Commit, FileEntry, Note, Repository
from amdet_hub.testing.local_hub.world import HubUser

# The real Hub's words for a stale `parent_commit` (HTTP 412).
STALE = "A commit has happened since. Please refresh and try again."

_KINDS = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def _create_repo(call: Call) -> HubResponse:
    world, user, asked = call.world, call.user, call.request.json()
    kind = asked.get("type") or "model"
    if kind not in _KINDS or (kind == "space" and asked.get("sdk") not in ("gradio", "docker", "static")):
        raise HubRefusal(400, "a repository is a model, a dataset, or a space with its sdk")
    namespace = asked.get("organization") or user.name
    if user.read_only or not user.writes_to(namespace):
        raise HubRefusal(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    name = f"{namespace}/{asked.get('name')}"
    repo_id = _KINDS[kind] + name
    data = {"url": f"{world.endpoint}/{repo_id}", "name": name}
    if repo_id in world.repositories:
        return json_response({"error": "You already created this model repo", **data}, status=409)
    repo = world.create(repo_id, private=asked.get("visibility") == "private" or bool(asked.get("private")))
    attributes = repo.entry(".gitattributes", _ATTRIBUTES)
    repo.advance("refs/heads/main", {attributes.path: attributes}, Note("initial commit", "system"))
    return json_response(data, changed=True)


def _validate_yaml(call: Call) -> HubResponse:
    errors, warnings = validate_card(str(call.request.json().get("content", "")))
    return json_response(
        {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]},
        status=400 if errors else 200,
    )


def branch_of(call: Call, revision: str) -> tuple[Repository, HubUser, str]:
    """The repository, the user and the full name of the branch to be written, checked.

    A pull request's branch is open to its author and to the repository's writers, and closed once it is.
    """
    repo, user = call.signed_in
    ref = repo.ref_name(revision)
    pull_request = call.world.pull_request_of(repo, ref) if ref else None
    if pull_request is None or pull_request.author != user.name:
        _ = call.writer
    call.commit_of(repo, revision)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubRefusal(400, f"'{revision}' is not a branch")
    if pull_request is not None and pull_request.status in ("closed", "merged"):
        raise HubRefusal(403, f"Pull request #{pull_request.number} is {pull_request.status}")
    return repo, user, ref


def _commit(call: Call) -> HubResponse:
    if call.request.flag("create_pr"):
        return _commit_as_pull_request(call)
    repo, user, ref = branch_of(call, call.names["revision"])
    header, operations = _operations(call)
    files = _apply(repo, repo.commits[repo.refs[ref]], operations)
    if not repo.refs[ref].startswith((header.get("parentCommit") or "").lower()):  # an abbreviated id is enough
        raise HubRefusal(412, STALE)
    commit = repo.advance(ref, files, _note(header, user))
    if (pull_request := call.world.pull_request_of(repo, ref)) is not None:
        pull_request.add_commit(commit)
    return _committed(call, repo, commit)


def _commit_as_pull_request(call: Call) -> HubResponse:
    repo, user = call.signed_in
    header, operations = _operations(call)
    base = _pull_request_base(call, repo, header.get("parentCommit"))
    note = _note(header, user)
    commit = repo.make_commit(_apply(repo, base, operations), note, parent=base.sha)
    discussion = call.world.open_discussion(repo, note, pull_request=True, status="open")
    discussion.base_sha, repo.refs[discussion.ref] = base.sha, commit.sha
    discussion.add_commit(commit)
    return _committed(
        call, repo, commit, pullRequestUrl=f"{call.world.endpoint}/{repo.repo_id}/discussions/{discussion.number}"
    )


def _pull_request_base(call: Call, repo: Repository, parent: str | None) -> Commit:
    """Where the pull request starts.

    `create_commit` promises: from `parent_commit`, even when the branch has moved on since. `strict_pull_requests`
    refuses that too (412).
    """
    head = call.commit_of(repo)
    if parent is None or head.sha.startswith(parent.lower()):
        return head
    older = next((c for c in repo.history(head) if c.sha.startswith(parent.lower())), None)
    if call.world.limits.strict_pull_requests or older is None:
        raise HubRefusal(412, STALE)
    return older


def _operations(call: Call) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    try:
        lines = [json.loads(line) for line in call.request.body.splitlines() if line.strip()]
        items = [(str(line["key"]), dict(line["value"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise HubRefusal(400, "the commit is not newline-delimited JSON") from error
    if not items or items[0][0] != "header":
        raise HubRefusal(400, "the commit has no header")
    return items[0][1], items[1:]


def _note(header: dict[str, Any], user: HubUser) -> Note:
    return Note(str(header.get("summary") or DEFAULT_TITLE), user.name, str(header.get("description") or ""))


def _apply(repo: Repository, base: Commit, operations: list[tuple[str, dict[str, Any]]]) -> dict[str, FileEntry]:
    files = dict(base.files)
    for key, value in operations:
        path = str(value.get("path", ""))
        if key in ("file", "lfsFile"):
            files[path] = _regular(repo, path, value) if key == "file" else _large(repo, path, value)
        elif key in ("deletedFile", "deletedFolder"):
            folder = path.rstrip("/") + "/"
            kept = {
                p: e for p, e in files.items() if not (p == path if key == "deletedFile" else p.startswith(folder))
            }
            if len(kept) == len(files):
                raise HubRefusal(404, "A file with this name doesn't exist", code="EntryNotFound")
            files = kept
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


def _committed(call: Call, repo: Repository, commit: Commit, **more: str) -> HubResponse:
    return json_response(
        {
            "success": True,
            "commitOid": commit.sha,
            "commitUrl": f"{call.world.endpoint}/{repo.repo_id}/commit/{commit.sha}",
            "hookOutput": "",
            **more,
        },
        changed=True,
    )


def _branch(call: Call) -> HubResponse:
    name = call.names["revision"]
    if name.startswith("refs/"):
        raise HubRefusal(400, f"Invalid reference for a branch: {name}")
    return _new_ref(call, f"refs/heads/{name}", str(call.request.json().get("startingPoint") or "main"))


def _tag(call: Call) -> HubResponse:
    return _new_ref(call, f"refs/tags/{call.request.json().get('tag')}", call.names["revision"])


def _new_ref(call: Call, ref: str, revision: str) -> HubResponse:
    repo, _ = call.writer
    if ref in repo.refs:
        raise HubRefusal(409, "Reference already exists")
    repo.refs[ref] = call.commit_of(repo, revision).sha
    return json_response({}, changed=True)


WRITE_ROUTES = (
    Route("POST", "/api/repos/create", _create_repo),
    Route("POST", "/api/validate-yaml", _validate_yaml),
    Route("POST", f"{MODEL}/commit/{REVISION}", _commit),
    Route("POST", f"{MODEL}/branch/{REVISION}", _branch),
    Route("POST", f"{MODEL}/tag/{REVISION}", _tag),
)
