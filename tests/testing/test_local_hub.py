"""Reading from the local Hub with the real client: listings, files, ranges, access rules."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from amdet_hub.testing import LocalHub

README = b"---\nlicense: mit\nbase_model: org/base\ntags: [clip]\n---\n# Model\n"
WEIGHTS = bytes(range(256)) * 8
FILES = {
    "README.md": README,
    "config.json": b"{}",
    "text_encoder/model.safetensors": WEIGHTS,
    "text_encoder/config.json": b"{}\n",
}


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token="hf_alice", can_write=("org",))
        hub.add_user("bob", token="hf_bob")
        hub.add_model("org/m", FILES)
        yield hub


def _api(hub: LocalHub, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


def _json(hub: LocalHub, path: str) -> Any:
    return get_session().get(hub.endpoint + path).json()


def test_model_info_and_its_card(hub: LocalHub) -> None:
    info = _api(hub).model_info("org/m", files_metadata=True)
    assert info.sha == hub.head("org/m")
    assert (info.id, info.author, info.private, info.gated) == ("org/m", "org", False, False)
    assert info.card_data is not None
    assert (info.card_data.license, info.card_data.base_model) == ("mit", "org/base")
    assert _json(hub, "/api/models/org/m")["cardData"] == {
        "license": "mit",
        "base_model": "org/base",
        "tags": ["clip"],
    }
    assert info.siblings is not None
    weights = next(s for s in info.siblings if s.rfilename == "text_encoder/model.safetensors")
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    readme = next(s for s in info.siblings if s.rfilename == "README.md")
    assert readme.lfs is None
    assert readme.blob_id == hashlib.sha1(b"blob %d\0" % len(README) + README).hexdigest()


def test_expand_answers_only_what_was_asked(hub: LocalHub) -> None:
    info = _api(hub).model_info("org/m", expand=["sha", "baseModels"])
    assert info.sha == hub.head("org/m")
    assert info.siblings is None
    assert _json(hub, "/api/models/org/m?expand=baseModels")["baseModels"] == {
        "relation": "finetune",
        "models": [{"id": "org/base"}],
    }


@pytest.mark.parametrize(
    "readme",
    [
        b"no front matter",
        b"---\nbroken: [\n---\n",
        b"---\n- a\n- list\n---\n",
        b"---\n---\n",
        b"\xff\xfe---\n\x00",
        b"---\na: &a [*a]\n---\n",
        b"---\n"
        + b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 9))
        + b"---\n",
        b"---\nday: 2026-13-99\n---\n",
    ],
)
def test_an_odd_card_does_not_hide_the_model(hub: LocalHub, readme: bytes) -> None:
    hub.add_model("org/odd", {"README.md": readme})
    info = _api(hub).model_info("org/odd")
    assert info.card_data is None
    assert hub.read("org/odd", "README.md") == readme


def test_card_values_that_json_has_not_become_text_or_null(hub: LocalHub) -> None:
    hub.add_model(
        "org/dates", {"README.md": "\ufeff---\r\nday: 2026-01-02\r\nnan: .nan\r\n1: one\r\n---\r\n".encode()}
    )
    assert _json(hub, "/api/models/org/dates")["cardData"] == {"day": "2026-01-02", "nan": None, "1": "one"}


def test_tree_paths_and_refs(hub: LocalHub) -> None:
    api = _api(hub)
    shallow = list(api.list_repo_tree("org/m"))
    assert [entry.path for entry in shallow] == ["README.md", "config.json", "text_encoder"]
    assert isinstance(shallow[2], RepoFolder)
    deep = list(api.list_repo_tree("org/m", recursive=True, expand=True))
    weights = deep[-1]
    assert isinstance(weights, RepoFile)
    assert weights.path == "text_encoder/model.safetensors"
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert weights.last_commit is not None
    assert weights.last_commit.oid == hub.head("org/m")
    assert [e.path for e in api.list_repo_tree("org/m", "text_encoder")] == [
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
    ]
    found = api.get_paths_info("org/m", ["README.md", "text_encoder", "absent"], expand=True)
    assert [(type(e), e.path) for e in found] == [(RepoFile, "README.md"), (RepoFolder, "text_encoder")]
    hub.tag("org/m", "v1")
    hub.branch("org/m", "next")
    refs = api.list_repo_refs("org/m", include_pull_requests=True)
    assert {r.name: r.target_commit for r in refs.branches} == dict.fromkeys(("main", "next"), hub.head("org/m"))
    assert [r.ref for r in refs.tags] == ["refs/tags/v1"]
    assert refs.pull_requests == []
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("org/m", "nowhere"))


def test_a_large_tree_comes_in_pages() -> None:
    with LocalHub(tree_page_size=7) as hub:
        names = [f"folder/file-{i:03}.txt" for i in range(20)]
        hub.add_model("org/many", {name: name.encode() for name in names})
        listed = [e.path for e in _api(hub).list_repo_tree("org/many", recursive=True)]
        assert listed == ["folder", *names]
        assert sum(r.path.startswith("/api/models/org/many/tree") for r in hub.requests) == 3


def test_history(hub: LocalHub) -> None:
    first = hub.head("org/m")
    second = hub.commit("org/m", {"config.json": b"[]"}, message="Change", delete=("text_encoder/config.json",))
    commits = _api(hub).list_repo_commits("org/m")
    assert [(c.commit_id, c.title) for c in commits] == [(second, "Change"), (first, "initial commit")]
    assert "text_encoder/config.json" not in hub.files("org/m")
    assert hub.files("org/m", first) == sorted(FILES)
    info = _api(hub).get_paths_info("org/m", ["README.md", "config.json"], expand=True)
    assert [e.last_commit.oid for e in info if e.last_commit] == [first, second]


def test_commit_ids_repeat_from_hub_to_hub() -> None:
    with LocalHub() as one, LocalHub() as other:
        assert one.add_model("org/m", FILES) == other.add_model("org/m", FILES)
        assert one.commit("org/m", {"a": b"1"}) == other.commit("org/m", {"a": b"1"})


def test_download_keeps_the_token_at_home(hub: LocalHub, tmp_path: Path) -> None:
    path = hf_hub_download(
        "org/m", "text_encoder/model.safetensors", endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_bob"
    )
    assert Path(path).read_bytes() == WEIGHTS
    by_side = {side: [r.had_token for r in hub.requests if r.side == side] for side in ("hub", "lfs")}
    assert all(by_side["hub"])
    assert by_side["lfs"] == [False]
    lfs = next(r for r in hub.requests if r.side == "lfs")
    assert hub.lfs_endpoint == f"http://{lfs.host}"
    assert lfs.host.startswith("localhost:")
    assert lfs.path.endswith("text_encoder/model.safetensors")
    assert "hf_bob" not in repr(hub.requests)
    assert hub.writes == []


def test_snapshot_of_a_pinned_commit_ignores_a_moving_main(hub: LocalHub, tmp_path: Path) -> None:
    pinned = hub.head("org/m")

    def move(request: object) -> None:
        if hub.head("org/m") == pinned:
            hub.commit("org/m", {"README.md": b"moved", "text_encoder/model.safetensors": b"other"})

    hub.on_request(move)
    folder = Path(snapshot_download("org/m", revision=pinned, endpoint=hub.endpoint, cache_dir=tmp_path))
    assert (folder / "text_encoder/model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "README.md").read_bytes() == README
    assert hub.head("org/m") != pinned
    hub.behave()
    again = hf_hub_download("org/m", "README.md", endpoint=hub.endpoint, cache_dir=tmp_path)
    assert Path(again).read_bytes() == b"moved"


@pytest.mark.parametrize("path", ["config.json", "text_encoder/model.safetensors"])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=1-", 1, None), ("bytes=-1", -1, None), ("bytes=0-100000", 0, None)],
)
def test_ranges(hub: LocalHub, path: str, asked: str, start: int, stop: int | None) -> None:
    url = hf_hub_url("org/m", path, endpoint=hub.endpoint)
    whole = FILES[path]
    response = get_session().get(url, headers={"range": asked})
    hf_raise_for_status(response)
    assert response.status_code == 206
    assert response.content == whole[start:stop]
    first = start % len(whole)
    assert response.headers["Content-Range"] == f"bytes {first}-{first + len(response.content) - 1}/{len(whole)}"
    assert response.headers["Content-Length"] == str(len(response.content))
    assert hub.requests[-1].range == asked


def test_a_range_behind_the_end_and_several_ranges(hub: LocalHub) -> None:
    url = hf_hub_url("org/m", "text_encoder/model.safetensors", endpoint=hub.endpoint)
    response = get_session().get(url, headers={"range": "bytes=999999-"})
    assert (response.status_code, response.headers["Content-Range"]) == (416, f"bytes */{len(WEIGHTS)}")
    response = get_session().get(url, headers={"range": "bytes=0-1,5-6"})
    assert (response.status_code, response.content) == (200, WEIGHTS)


def test_resolve_headers_of_both_kinds_of_file(hub: LocalHub) -> None:
    session = get_session()
    plain = session.head(hf_hub_url("org/m", "README.md", endpoint=hub.endpoint), follow_redirects=False)
    assert plain.status_code == 200
    assert plain.headers["X-Repo-Commit"] == hub.head("org/m")
    assert plain.headers["Content-Length"] == str(len(README))
    assert plain.headers["ETag"].strip('"') == hashlib.sha1(b"blob %d\0" % len(README) + README).hexdigest()
    large = session.head(
        hf_hub_url("org/m", "text_encoder/model.safetensors", endpoint=hub.endpoint), follow_redirects=False
    )
    assert large.status_code == 302
    assert large.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert large.headers["X-Linked-ETag"].strip('"') == hashlib.sha256(WEIGHTS).hexdigest()
    assert large.headers["Location"].startswith(hub.lfs_endpoint)
    unsigned = session.get(large.headers["Location"].partition("?")[0])
    assert unsigned.status_code == 403


def test_safetensors_header_over_ranges(hub: LocalHub) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    hub.add_model("org/st", {"model.safetensors": len(header).to_bytes(8, "little") + header + b"\0\0\0\0"})
    metadata = _api(hub).parse_safetensors_file_metadata("org/st", "model.safetensors")
    assert metadata.parameter_count == {"F32": 1}


@pytest.mark.parametrize("revision", ["main", "v1", "next", "refs/pr/1", None])
def test_every_kind_of_revision(hub: LocalHub, revision: str | None) -> None:
    hub.tag("org/m", "v1")
    hub.branch("org/m", "next")
    _api(hub, "hf_bob").create_pull_request("org/m", "Something")
    url = hf_hub_url("org/m", "README.md", revision=revision or hub.head("org/m")[:10], endpoint=hub.endpoint)
    assert get_session().get(url).content == README


def test_a_folder_becomes_a_model(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"x")
    (tmp_path / "sub" / "big.txt").write_bytes(b"z" * (1 << 20))
    sha = hub.add_model("gpt2", tmp_path)
    info = _api(hub).model_info("gpt2", files_metadata=True)
    assert (info.id, info.sha) == ("gpt2", sha)
    assert info.siblings is not None
    assert [(s.rfilename, s.lfs is not None) for s in info.siblings] == [("sub/big.txt", True)]
    assert hub.read("gpt2", "sub/big.txt") == b"z" * (1 << 20)
    assert [r.name for r in _api(hub).list_repo_refs("gpt2").branches] == ["main"]
    url = hf_hub_url("gpt2", "sub/big.txt", endpoint=hub.endpoint)
    assert get_session().get(url, headers={"range": "bytes=70000-139999"}).content == b"z" * 70000
    with pytest.raises(ValueError, match="already holds"):
        hub.add_model("gpt2", tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        hub.add_model("org/none", tmp_path / "nowhere")


def test_hostile_names_survive_the_trip(hub: LocalHub) -> None:
    names = ["../escape.json", "a b/ü%2f#?.json", "x\r\nX-Evil: 1.json"]
    hub.add_model("org/hostile", dict.fromkeys(names, b"{}"))
    info = _api(hub).model_info("org/hostile")
    assert info.siblings is not None
    assert {s.rfilename for s in info.siblings} == set(names)
    for name in names[1:]:
        response = get_session().get(hf_hub_url("org/hostile", name, endpoint=hub.endpoint))
        assert (response.status_code, response.content) == (200, b"{}")
        assert "X-Evil" not in response.headers


def test_a_child_process_sees_this_hub_and_only_this(hub: LocalHub, tmp_path: Path) -> None:
    code = (
        "from huggingface_hub import HfApi, hf_hub_download\n"
        "print(HfApi().whoami()['name'], open(hf_hub_download('org/m', 'config.json')).read())"
    )
    env = {**os.environ, "HF_TOKEN": "hf_real", **hub.environment("alice")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "alice {}\n"
    assert hub.environment()["HF_TOKEN"] == ""
    assert all(not r.path.startswith("/api/agent-harnesses") for r in hub.requests)


def test_many_clients_at_once(hub: LocalHub) -> None:
    url = hf_hub_url("org/m", "text_encoder/model.safetensors", endpoint=hub.endpoint)
    bodies: list[bytes] = []

    def fetch() -> None:
        with urllib.request.urlopen(url) as response:
            bodies.append(response.read())

    threads = [threading.Thread(target=fetch) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [WEIGHTS] * 16
    assert len(hub.requests) == 32


def test_importing_it_brings_no_torch() -> None:
    code = (
        "import sys; from amdet_hub.testing import LocalHub; print([m for m in ('torch', 'transformers',"
        " 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
