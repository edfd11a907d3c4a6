"""The addresses of the local Hub that take files before a commit names them: preupload, LFS batch, upload, verify.

Source: huggingface_hub 2.4, `_commit_api.py` and `lfs.py`.
"""

import hashlib
import re
from typing import Any
from urllib.parse import quote

from amdet_hub.testing.local_hub.messages import HubRefusal, HubResponse, json_response
from amdet_hub.testing.local_hub.routing import MODEL, REPO, REVISION, Call, Route
from amdet_hub.testing.local_hub.writing import branch_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


def _preupload(call: Call) -> HubResponse:
    repo, *_ = call.signed_in if call.request.flag("create_pr") else branch_of(call, call.names["revision"])
    commit, rows = call.commit_of(repo), []
    for asked in call.request.rows("files"):
        path, size = str(asked.get("path")), _size(asked)
        rows.append(
            {
                "path": path,
                "uploadMode": "lfs" if repo.is_lfs(path, size) else "regular",
                "shouldIgnore": False,
                **({"oid": commit.files[path].etag} if path in commit.files else {}),
            }
        )
    return json_response({"files": rows, "commitOid": commit.sha})


def _size(asked: dict[str, Any]) -> int:
    size = asked.get("size")
    if not isinstance(size, int) or size < 0:
        raise HubRefusal(400, "'size' must be a number of bytes")
    return size


def _lfs_batch(call: Call) -> HubResponse:
    ref = call.request.json().get("ref")
    if isinstance(ref, dict):
        branch_of(call, str(ref.get("name")))
    else:  # the client names no branch when it is about to open a pull request
        _ = call.signed_in
    return json_response(
        {
            "transfer": "basic",
            "objects": [_upload_actions(call, str(o.get("oid")), _size(o)) for o in call.request.rows("objects")],
        },
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


def _upload_actions(call: Call, oid: str, size: int) -> dict[str, Any]:
    world, answer, name = call.world, {"oid": oid, "size": size}, f"{call.repo_id}/{oid}"
    if not _SHA256.fullmatch(oid):
        return {**answer, "error": {"code": 422, "message": "oid must be 64 hex digits"}}
    if world.store.get(oid) is not None:
        return answer

    def signed(endpoint: str, path: str) -> str:
        return f"{endpoint}{quote(path)}?Signature={world.sign(path)}"

    upload: dict[str, Any] = {"href": signed(world.lfs_endpoint, f"/upload/{name}")}
    part_bytes = world.limits.multipart_bytes
    if part_bytes is not None and size > part_bytes:
        upload = {"href": signed(world.endpoint, f"/api/complete_multipart/{name}")}
        upload["header"] = {
            "chunk_size": str(part_bytes),
            **{
                str(n): signed(world.lfs_endpoint, f"/upload/{name}/{n}") for n in range(1, -(-size // part_bytes) + 1)
            },
        }
    return {
        **answer,
        "actions": {
            "upload": upload,
            "verify": {"href": f"{world.endpoint}/{call.repo_id}.git/info/lfs/objects/verify"},
        },
    }


def _lfs_upload(call: Call) -> HubResponse:
    call.check_signature()
    sha256, part, body = call.names["sha256"], call.names["part"], call.request.body
    if not part:
        return _store(call, body)
    call.world.parts[sha256, int(part)] = body
    return HubResponse(200, {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}, changed=True)


def _complete_multipart(call: Call) -> HubResponse:
    call.check_signature()
    parts, asked = call.world.parts, call.request.rows("parts")
    keys = [(call.names["sha256"], part.get("partNumber", 0)) for part in asked]
    if missing := [number for sha256, number in keys if (sha256, number) not in parts]:
        raise HubRefusal(400, f"part {missing[0]} was never uploaded")
    return _store(call, b"".join(parts.pop(key) for key in keys))


def _store(call: Call, data: bytes) -> HubResponse:
    if hashlib.sha256(data).hexdigest() != call.names["sha256"]:
        raise HubRefusal(400, "BadDigest: the content does not have the announced sha256")
    call.world.store.put(data)
    return HubResponse(200, {"ETag": f'"{call.names["sha256"]}"'}, changed=True)


def _lfs_verify(call: Call) -> HubResponse:
    _, asked = call.signed_in, call.request.json()
    blob = call.world.store.get(str(asked.get("oid")))
    if blob is None or blob.size != asked.get("size"):
        raise HubRefusal(422, "the object was not uploaded completely")
    return json_response({})


UPLOAD_ROUTES = (
    Route("POST", f"{MODEL}/preupload/{REVISION}", _preupload),
    Route("POST", rf"{REPO}\.git/info/lfs/objects/batch", _lfs_batch),
    Route("POST", rf"{REPO}\.git/info/lfs/objects/verify", _lfs_verify),
    Route("POST", r"/api/complete_multipart/.+/(?P<sha256>[0-9a-f]{64})", _complete_multipart),
    Route("PUT", r"/upload/.+?/(?P<sha256>[0-9a-f]{64})(?:/(?P<part>\d+))?", _lfs_upload, side="lfs"),
)
