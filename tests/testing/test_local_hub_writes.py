"""Writing to the local Hub with the real client: commits, LFS uploads, pull requests, discussions."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.community import DiscussionComment, DiscussionCommit, DiscussionStatusChange
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

from amdet_hub.testing import LocalHub
from amdet_hub.testing.local_hub import MergeConflict

README = b"---\nlicense: mit\n---\nhello\n"
FILES = {"README.md": README, "config.json": b"{}", "old/a.txt": b"a", "old/b.txt": b"b"}

# huggingface_hub 2.4 uploads LFS files with an argument that its own HTTP library deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token="hf_alice", can_write=("org",))
        hub.add_user("bob", token="hf_bob")
        hub.add_user("carol", token="hf_carol", can_write=("org",), read_only=True)
        hub.add_model("org/m", FILES)
        yield hub


@pytest.fixture
def alice(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_alice")


@pytest.fixture
def bob(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_bob")


def _add(path: str, data: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, data)


def test_a_direct_commit_of_every_operation(hub: LocalHub, alice: HfApi) -> None:
    before = hub.head("org/m")
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        _add("config.json", b"[]"),
        _add("model.safetensors", b"w" * 3000),
        CommitOperationCopy("README.md", "COPY.md"),
        CommitOperationDelete("old/", is_folder=True),
    ]
    info = alice.create_commit(
        "org/m", operations, commit_message="All", commit_description="why", parent_commit=before
    )
    assert info.oid == hub.head("org/m") != before
    assert info.pr_url is None
    assert hub.files("org/m") == ["COPY.md", "README.md", "config.json", "model.safetensors"]
    assert hub.read("org/m", "model.safetensors") == b"w" * 3000
    assert hub.read("org/m", "COPY.md") == README
    commit = alice.list_repo_commits("org/m")[0]
    assert (commit.title, commit.message, commit.authors) == ("All", "why", ["alice"])
    assert [r.path for r in hub.writes][-1] == "/api/models/org/m/commit/main"
    upload = next(r for r in hub.requests if r.method == "PUT")
    assert (upload.side, upload.had_token, upload.changed) == ("lfs", False, True)


def test_a_stale_parent_is_refused_and_nothing_is_written(hub: LocalHub, alice: HfApi) -> None:
    stale = hub.head("org/m")
    moved = hub.commit("org/m", {"config.json": b"[1]"})
    with pytest.raises(HfHubHTTPError) as refused:
        alice.create_commit("org/m", [_add("a.txt", b"1")], commit_message="Late", parent_commit=stale)
    assert refused.value.response.status_code == 412
    assert "A commit has happened since" in str(refused.value)
    assert hub.head("org/m") == moved
    assert hub.writes == []


def test_unchanged_content_makes_no_commit(hub: LocalHub, bob: HfApi) -> None:
    info = bob.create_commit("org/m", [_add("README.md", README)], commit_message="Same", create_pr=True)
    assert info.oid == hub.head("org/m")
    assert info.pr_url is None
    assert hub.pull_requests("org/m") == []
    assert hub.writes == []


def test_who_may_commit(hub: LocalHub, bob: HfApi) -> None:
    operations = [_add("a.txt", b"1")]
    with pytest.raises(HfHubHTTPError) as refused:
        bob.create_commit("org/m", operations, commit_message="No")
    assert refused.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as read_only:
        HfApi(endpoint=hub.endpoint, token="hf_carol").create_commit(
            "org/m", operations, commit_message="No", create_pr=True
        )
    assert read_only.value.response.status_code == 403
    with pytest.raises(RepositoryNotFoundError) as anonymous:
        HfApi(endpoint=hub.endpoint, token=False).create_commit(
            "org/m", operations, commit_message="No", create_pr=True
        )
    assert anonymous.value.response.status_code == 401
    assert hub.writes == []


def test_a_pull_request_is_opened_updated_and_merged(hub: LocalHub, alice: HfApi, bob: HfApi) -> None:
    main = hub.head("org/m")
    new = README + b"more\n"
    info = bob.create_commit(
        "org/m",
        [_add("README.md", new)],
        commit_message="Add words",
        commit_description="Please",
        create_pr=True,
        parent_commit=main,
    )
    assert (info.pr_num, info.pr_revision) == (1, "refs/pr/1")
    assert info.pr_url == f"{hub.endpoint}/org/m/discussions/1"
    assert hub.head("org/m") == main
    assert hub.read("org/m", "README.md", revision="refs/pr/1") == new
    (request,) = hub.pull_requests("org/m")
    assert (request.number, request.title, request.author, request.status) == (1, "Add words", "bob", "open")
    assert (request.description, request.head_sha) == ("Please", info.oid)

    update = bob.create_commit(
        "org/m",
        [_add("README.md", new + b"!\n")],
        commit_message="Again",
        revision="refs/pr/1",
        parent_commit=info.oid,
    )
    assert hub.pull_requests("org/m")[0].head_sha == update.oid
    details = bob.get_discussion_details("org/m", 1)
    assert details.target_branch == "refs/heads/main"
    assert details.conflicting_files == []
    assert details.diff is not None
    assert "+more" in details.diff
    assert "+!" in details.diff
    assert [e.oid for e in details.events if isinstance(e, DiscussionCommit)] == [info.oid, update.oid]

    hub.commit("org/m", {"config.json": b"[2]"})
    alice.merge_pull_request("org/m", 1)
    assert hub.read("org/m", "README.md") == new + b"!\n"
    assert hub.read("org/m", "config.json") == b"[2]"
    merged = bob.get_discussion_details("org/m", 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", hub.head("org/m"))


def test_a_stale_pull_request_starts_where_the_client_says(hub: LocalHub, bob: HfApi) -> None:
    stale = hub.head("org/m")
    hub.commit("org/m", {"README.md": README + b"owner\n", "new.txt": b"new"})
    info = bob.create_commit(
        "org/m", [_add("README.md", README + b"bob\n")], commit_message="Late", create_pr=True, parent_commit=stale
    )
    assert "new.txt" not in hub.files("org/m", "refs/pr/1")
    assert bob.get_discussion_details("org/m", info.pr_num or 0).conflicting_files == ["README.md"]
    with pytest.raises(MergeConflict, match=r"README\.md"):
        hub.merge_pull_request("org/m", 1)
    with pytest.raises(HfHubHTTPError) as unknown:
        bob.create_commit(
            "org/m", [_add("x.txt", b"x")], commit_message="Lost", create_pr=True, parent_commit="f" * 40
        )
    assert unknown.value.response.status_code == 412


def test_a_strict_hub_refuses_a_stale_pull_request() -> None:
    with LocalHub(strict_pull_requests=True) as hub:
        hub.add_user("bob", token="hf_bob")
        stale = hub.add_model("org/m", FILES)
        hub.commit("org/m", {"a.txt": b"1"})
        with pytest.raises(HfHubHTTPError) as refused:
            HfApi(endpoint=hub.endpoint, token="hf_bob").create_commit(
                "org/m", [_add("b.txt", b"2")], commit_message="Late", create_pr=True, parent_commit=stale
            )
        assert refused.value.response.status_code == 412
        assert hub.pull_requests("org/m") == []


def test_a_closed_pull_request_takes_no_more_commits(hub: LocalHub, bob: HfApi) -> None:
    bob.create_commit("org/m", [_add("a.txt", b"1")], commit_message="One", create_pr=True)
    hub.close_pull_request("org/m", 1)
    assert hub.pull_requests("org/m")[0].status == "closed"
    with pytest.raises(HfHubHTTPError) as refused:
        bob.create_commit("org/m", [_add("a.txt", b"2")], commit_message="Two", revision="refs/pr/1")
    assert refused.value.response.status_code == 403


def test_someone_elses_pull_request_is_not_bobs_to_change(hub: LocalHub, alice: HfApi, bob: HfApi) -> None:
    alice.create_commit("org/m", [_add("a.txt", b"1")], commit_message="One", create_pr=True)
    for attempt in (
        lambda: bob.create_commit("org/m", [_add("a.txt", b"2")], commit_message="Two", revision="refs/pr/1"),
        lambda: bob.change_discussion_status("org/m", 1, "closed"),
        lambda: bob.merge_pull_request("org/m", 1),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            attempt()
        assert refused.value.response.status_code == 403


def test_the_list_of_discussions_is_filtered_and_paged(hub: LocalHub, alice: HfApi, bob: HfApi) -> None:
    for number in range(1, 13):
        bob.create_discussion("org/m", f"Question {number}")
    alice.create_commit("org/m", [_add("a.txt", b"1")], commit_message="By alice", create_pr=True)
    bob.create_commit("org/m", [_add("a.txt", b"2")], commit_message="By bob", create_pr=True)
    bob.create_pull_request("org/m", "A draft of bob")
    alice.change_discussion_status("org/m", 14, "closed", comment="no thanks")

    def numbers(**filters: str) -> list[int]:
        return [d.num for d in bob.get_repo_discussions("org/m", **filters)]  # type: ignore[arg-type]

    assert numbers() == list(range(15, 0, -1))
    assert numbers(discussion_type="pull_request") == [15, 14, 13]
    assert numbers(discussion_type="pull_request", author="bob") == [15, 14]
    assert numbers(discussion_type="pull_request", discussion_status="open") == [15, 13]
    assert numbers(discussion_status="closed") == [14]
    assert len(numbers(discussion_type="discussion")) == 12
    assert [p.status for p in hub.pull_requests("org/m")] == ["open", "closed", "draft"]
    assert hub.pull_requests("org/m")[1].comments == ("no thanks",)


def test_comments(hub: LocalHub, alice: HfApi, bob: HfApi) -> None:
    bob.create_discussion("org/m", "A question", description="Why?")
    comment = alice.comment_discussion("org/m", 1, "Because")
    edited = alice.edit_discussion_comment("org/m", 1, comment.id, "Because!")
    assert (edited.content, edited.edited, edited.number_of_edits) == ("Because!", True, 1)
    with pytest.raises(HfHubHTTPError) as refused:
        bob.edit_discussion_comment("org/m", 1, comment.id, "Never")
    assert refused.value.response.status_code == 403
    assert bob.rename_discussion("org/m", 1, "A better question").new_title == "A better question"
    assert isinstance(bob.change_discussion_status("org/m", 1, "closed"), DiscussionStatusChange)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert alice.hide_discussion_comment("org/m", 1, comment.id).hidden
    details = bob.get_discussion_details("org/m", 1)
    assert (details.title, details.status, details.is_pull_request) == ("A better question", "closed", False)
    texts = [e.content for e in details.events if isinstance(e, DiscussionComment)]
    assert texts == ["Why?", ""]


@pytest.mark.parametrize("size", [99, 100, 101, 250])
def test_multipart_uploads(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    with LocalHub(multipart_bytes=100) as hub:
        hub.add_user("alice", token="hf_alice", can_write=("org",))
        hub.add_model("org/m", FILES)
        HfApi(endpoint=hub.endpoint, token="hf_alice").create_commit(
            "org/m", [_add("m.safetensors", data)], commit_message="Big"
        )
        assert hub.read("org/m", "m.safetensors") == data
        assert sum(r.method == "PUT" for r in hub.requests) == (1 if size <= 100 else -(-size // 100))
        assert not any(r.had_token for r in hub.requests if r.side == "lfs")


def test_a_file_upload_from_disk(hub: LocalHub, alice: HfApi, tmp_path: Path) -> None:
    data = b"q" * (1 << 20)
    (tmp_path / "weights.dat").write_bytes(data)
    alice.upload_folder(repo_id="org/m", folder_path=tmp_path, path_in_repo="sub")
    info = alice.get_paths_info("org/m", ["sub/weights.dat"])[0]
    assert info.lfs.sha256 == hashlib.sha256(data).hexdigest()  # type: ignore[union-attr]
    assert hub.read("org/m", "sub/weights.dat") == data


def test_a_readme_is_checked_before_it_is_taken(hub: LocalHub, alice: HfApi) -> None:
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        alice.create_commit("org/m", [_add("README.md", b"---\na: [\n---\n")], commit_message="Broken")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        alice.create_commit("org/m", [_add("README.md", b"plain\n")], commit_message="Plain")
    assert hub.read("org/m", "README.md") == b"plain\n"


def test_bad_commits(hub: LocalHub, alice: HfApi) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        alice.create_commit("org/m", [CommitOperationDelete("absent.txt")], commit_message="Delete")
    hub.tag("org/m", "v1")
    with pytest.raises(BadRequestError, match="not a branch"):
        alice.create_commit("org/m", [_add("a.txt", b"1")], commit_message="Tag", revision="v1")
    assert hub.writes == []


def test_new_repositories_branches_and_tags(hub: LocalHub, alice: HfApi, bob: HfApi) -> None:
    assert alice.create_repo("org/new", private=True).repo_id == "org/new"
    assert hub.files("org/new") == [".gitattributes"]
    assert alice.create_repo("org/new", exist_ok=True).repo_id == "org/new"
    with pytest.raises(HfHubHTTPError) as taken:
        alice.create_repo("org/new")
    assert taken.value.response.status_code == 409
    with pytest.raises(HfHubHTTPError) as foreign:
        bob.create_repo("org/other")
    assert foreign.value.response.status_code == 403
    with pytest.raises(RepositoryNotFoundError):
        bob.model_info("org/new")
    alice.create_branch("org/m", branch="next")
    alice.create_tag("org/m", tag="v1")
    alice.create_commit("org/m", [_add("a.txt", b"1")], commit_message="On next", revision="next")
    assert "a.txt" in hub.files("org/m", "next")
    assert "a.txt" not in hub.files("org/m", "v1")
