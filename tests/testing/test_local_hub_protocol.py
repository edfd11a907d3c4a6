"""Requests that the real client never makes: each is refused in words, none changes anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils._http import get_session

from amdet_hub.testing import LocalHub

DATA = b"w" * 50
OID = hashlib.sha256(DATA).hexdigest()
MODEL = "/api/models/org/m"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub(multipart_bytes=40) as hub:
        hub.add_user("alice", token="hf_alice", can_write=("org",))
        hub.add_model("org/m", {"README.md": b"---\na: 1\n---\n", "model.safetensors": b"weights"})
        yield hub


def _call(hub: LocalHub, method: str, path: str, body: Any = None, *, token: bool = True) -> tuple[int, str]:
    headers = {"Authorization": "Bearer hf_alice"} if token else {}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = get_session().request(method, hub.endpoint + path, content=content, headers=headers)
    return response.status_code, response.text


def _commit(hub: LocalHub, *operations: dict[str, Any]) -> tuple[int, str]:
    lines = [{"key": "header", "value": {"summary": "x"}}, *operations]
    return _call(hub, "POST", f"{MODEL}/commit/main", b"\n".join(json.dumps(line).encode() for line in lines))


def _file(path: str, content: str = "eA==", encoding: str = "base64") -> dict[str, Any]:
    return {"key": "file", "value": {"path": path, "content": content, "encoding": encoding}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/commit/main", b"{", "newline-delimited"),
        ("/commit/main", b'{"key": "file", "value": {"path": "a"}}', "no header"),
        ("/commit/main", b"[1]", "newline-delimited"),
        ("/preupload/main", {"files": [1]}, "list of objects"),
        ("/preupload/main", {"files": [{"path": "a", "size": "big"}]}, "number of bytes"),
        ("/preupload/main", [1], "not a JSON object"),
        ("/discussions", {"title": "ab"}, "3 to 200"),
        ("/branch/refs%2Fpr%2F1", {}, "Invalid reference"),
    ],
)
def test_a_body_that_makes_no_sense(hub: LocalHub, path: str, body: Any, words: str) -> None:
    status, text = _call(hub, "POST", MODEL + path, body)
    assert status == 400
    assert words in text
    assert hub.writes == []


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (_file("../escape"), "not a valid path"),
        (_file("/etc/passwd"), "not a valid path"),
        (_file(".git/config"), "not a valid path"),
        (_file("a", "!!!"), "cannot be read"),
        (_file("README.md", "---\nx: [\n---\n", "utf-8"), "Invalid metadata"),
        (_file("b.safetensors"), "LFS file"),
        ({"key": "lfsFile", "value": {"path": "b.safetensors", "oid": "0" * 64}}, "never uploaded"),
        ({"key": "explode", "value": {}}, "unknown operation"),
    ],
)
def test_an_operation_that_is_refused(hub: LocalHub, operation: dict[str, Any], words: str) -> None:
    before = hub.head("org/m")
    status, text = _commit(hub, operation)
    assert status == 400
    assert words in text
    assert hub.head("org/m") == before


def test_a_plain_text_operation_is_taken(hub: LocalHub) -> None:
    assert (
        _commit(hub, _file("note.txt", "häh", "utf-8"), {"key": "deletedFile", "value": {"path": "README.md"}})[0]
        == 200
    )
    assert hub.read("org/m", "note.txt") == "häh".encode()
    assert hub.files("org/m") == ["model.safetensors", "note.txt"]


def test_uploads_are_checked(hub: LocalHub) -> None:
    batch = "/org/m.git/info/lfs/objects/batch"
    status, text = _call(
        hub,
        "POST",
        batch,
        {"objects": [{"oid": OID, "size": 50}, {"oid": "x", "size": 1}, {"oid": "a" * 64, "size": 1}]},
    )
    assert status == 200
    large, bad, small = json.loads(text)["objects"]
    assert bad["error"]["code"] == 422
    session = get_session()
    assert session.put(small["actions"]["upload"]["href"], content=b"other").status_code == 400
    assert session.put(small["actions"]["upload"]["href"].partition("?")[0], content=b"a").status_code == 403
    upload = large["actions"]["upload"]
    assert upload["header"]["chunk_size"] == "40"
    assert session.put(upload["header"]["1"], content=DATA[:40]).headers["ETag"]
    parts = {"oid": OID, "parts": [{"partNumber": 1}, {"partNumber": 2}]}
    assert session.post(upload["href"], json=parts).status_code == 400
    assert (
        session.put(upload["header"]["2"], content=iter([DATA[40:45], DATA[45:]])).status_code == 200
    )  # a chunked body
    verify = large["actions"]["verify"]["href"].removeprefix(hub.endpoint)
    assert _call(hub, "POST", verify, {"oid": OID, "size": 50})[0] == 422
    assert session.post(upload["href"], json=parts).status_code == 200
    assert _call(hub, "POST", verify, {"oid": OID, "size": 50})[0] == 200
    assert _call(hub, "POST", batch, {"objects": [{"oid": OID, "size": 50}]}, token=False)[0] == 401
    again = json.loads(_call(hub, "POST", batch, {"objects": [{"oid": OID, "size": 50}]})[1])["objects"]
    assert again == [{"oid": OID, "size": 50}]


def test_raw_gives_the_pointer_and_json_lists_paths(hub: LocalHub) -> None:
    status, text = _call(hub, "GET", "/org/m/raw/main/model.safetensors", token=False)
    assert (status, text.splitlines()[1]) == (200, f"oid sha256:{hashlib.sha256(b'weights').hexdigest()}")
    assert _call(hub, "GET", "/org/m/raw/main/README.md") == (200, "---\na: 1\n---\n")
    response = get_session().post(
        hub.endpoint + MODEL + "/paths-info/main", json={"paths": ["README.md"], "expand": True}
    )
    assert [row["path"] for row in response.json()] == ["README.md"]


def test_the_end_of_a_pull_request(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token="hf_alice")
    api.create_pull_request("org/m", "Draft", description="later")
    one = f"{MODEL}/discussions/1"
    hub.commit("org/m", {"new.txt": b"1"}, revision="refs/pr/1", delete=("README.md",))
    hub.commit("org/m", {"README.md": b"changed"})
    assert _call(hub, "POST", f"{one}/merge")[0] == 409
    assert _call(hub, "POST", f"{one}/status", {"status": "gone"})[0] == 400
    hub.commit("org/m", {"README.md": b"---\na: 1\n---\n"})
    assert _call(hub, "POST", f"{one}/merge", {"comment": "thanks"})[0] == 200
    assert hub.files("org/m") == ["model.safetensors", "new.txt"]
    assert hub.pull_requests("org/m")[0].comments == ("thanks",)
    assert _call(hub, "POST", f"{one}/merge")[0] == 400
    assert _call(hub, "POST", f"{one}/status", {"status": "closed"})[0] == 400
    assert _call(hub, "POST", f"{one}/comment/abc/edit", {"content": "x"})[0] == 404
    assert "-a: 1" in (api.get_discussion_details("org/m", 1).diff or "")


def test_who_may_create_and_what(hub: LocalHub) -> None:
    assert _call(hub, "POST", "/api/repos/create", {"name": "x"}, token=False)[0] == 401
    assert _call(hub, "POST", "/api/repos/create", {"name": "x", "type": "bucket"})[0] == 400
    assert _call(hub, "POST", "/api/repos/create", {"name": "x", "type": "space"})[0] == 400, "a Space needs its sdk"
    assert _call(hub, "GET", "/api/whoami-v2", token=False)[0] == 401
    assert _call(hub, "GET", f"{MODEL}/auth-check/write")[0] == 200
    assert _call(hub, "POST", f"{MODEL}/tag/main", {"tag": "v1"})[0] == 200
    assert _call(hub, "POST", f"{MODEL}/tag/main", {"tag": "v1"})[0] == 409


def test_the_tests_own_calls_say_what_is_missing(hub: LocalHub) -> None:
    with pytest.raises(KeyError, match="holds no 'org/absent'"):
        hub.head("org/absent")
    with pytest.raises(LookupError):
        hub.head("org/m", "nowhere")
    with pytest.raises(ValueError, match="not a branch"):
        hub.commit("org/m", {"a": b""}, revision=hub.head("org/m"))
    hub.commit("org/m", {"a.bin": b"", "b.bin": b"1"}, message="Empty files are never LFS")
    info = HfApi(endpoint=hub.endpoint, token=False).model_info("org/m", files_metadata=True)
    assert {s.rfilename: s.lfs is not None for s in info.siblings or []} == {
        "README.md": False,
        "a.bin": False,
        "b.bin": True,
        "model.safetensors": True,
    }
