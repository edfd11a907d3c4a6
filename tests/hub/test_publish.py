from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from amdet_hub.errors import (
    AccessDenied,
    BadRepository,
    CardError,
    CommitConflict,
    HubUnavailable,
    OfflineMiss,
    PullRequestClosed,
    RateLimited,
    RepoNotFound,
)
from amdet_hub.hub import HubSettings, PushResult
from amdet_hub.hub.publish import Proposal, push_files
from amdet_hub.testing import LocalHub
from tests.hub.conftest import README, WEIGHTS, Settle

TITLE = "Add a report"


def push(hub: LocalHub, settings: HubSettings, content: bytes, **options: Any) -> PushResult:
    files = {"README.md": content, "amdet-hub.json": b'{"n": %d}' % len(content)}
    options = {"title": TITLE, "description": "What it says", "parent_commit": hub.head("org/m"), **options}
    direct = options.pop("direct", False)
    return push_files(Proposal("org/m", files, **options), settings, direct=direct)


@pytest.fixture
def alice(settle: Settle) -> HubSettings:
    return settle(token="hf_alice")


def test_a_pull_request_is_opened_then_updated_in_place(hub: LocalHub, alice: HubSettings) -> None:
    main = hub.head("org/m")
    opened = push(hub, alice, README + b"one\n")
    assert opened == PushResult("opened", f"{hub.endpoint}/org/m/discussions/1", 1)
    (first,) = hub.pull_requests("org/m")
    assert (first.title, first.author, first.status, first.description) == (TITLE, "alice", "open", "What it says")

    assert push(hub, alice, README + b"two\n", description="What it says now") == PushResult("updated", opened.url, 1)
    (second,) = hub.pull_requests("org/m")
    assert second.head_sha != first.head_sha
    assert second.description == "What it says now"
    assert hub.read("org/m", "README.md", revision="refs/pr/1") == README + b"two\n"
    assert hub.read("org/m", "text_encoder/model.safetensors", revision="refs/pr/1") == WEIGHTS

    writes = len(hub.writes)
    assert push(hub, alice, README + b"two\n") == PushResult("unchanged", opened.url, 1)
    assert len(hub.writes) == writes
    assert hub.head("org/m") == main


def test_only_our_own_pull_request_of_that_title_is_touched(hub: LocalHub, alice: HubSettings, settle: Settle) -> None:
    push(hub, settle(token="hf_bob"), README + b"bob\n")
    push(hub, alice, README + b"else\n", title="Something else")
    assert push(hub, alice, README + b"alice\n").number == 3
    assert [(p.author, p.title) for p in hub.pull_requests("org/m")] == [
        ("bob", TITLE),
        ("alice", "Something else"),
        ("alice", TITLE),
    ]
    assert hub.read("org/m", "README.md", revision="refs/pr/1") == README + b"bob\n"


def test_a_no_is_a_no(hub: LocalHub, alice: HubSettings) -> None:
    push(hub, alice, README + b"one\n")
    hub.close_pull_request("org/m", 1)
    writes = len(hub.writes)
    with pytest.raises(PullRequestClosed) as caught:
        push(hub, alice, README + b"two\n")
    assert (caught.value.number, caught.value.repo_id) == (1, "org/m")
    assert len(hub.writes) == writes


def test_after_a_merge_a_new_one_may_be_opened(hub: LocalHub, alice: HubSettings) -> None:
    push(hub, alice, README + b"one\n")
    hub.merge_pull_request("org/m", 1)
    writes = len(hub.writes)
    assert push(hub, alice, README + b"one\n") == PushResult("unchanged", None, None)
    assert len(hub.writes) == writes
    assert push(hub, alice, README + b"two\n").action == "opened"
    assert [p.status for p in hub.pull_requests("org/m")] == ["merged", "open"]


def test_what_main_holds_already_is_not_pushed(hub: LocalHub, alice: HubSettings) -> None:
    # by git id, and by the sha256 of an LFS file
    files = {"README.md": README, "text_encoder/model.safetensors": WEIGHTS}
    result = push_files(Proposal("org/m", files, TITLE, "", hub.head("org/m")), alice)
    assert result == PushResult("unchanged", None, None)
    assert hub.writes == []


def test_a_stale_parent_writes_nothing(hub: LocalHub, alice: HubSettings, settle: Settle) -> None:
    stale = hub.head("org/m")
    hub.commit("org/m", {"README.md": b"the owner was here"})
    for settings, direct in ((alice, False), (settle(token="hf_owner"), True)):
        with pytest.raises(CommitConflict) as caught:
            push(hub, settings, README + b"one\n", parent_commit=stale, direct=direct)
        assert caught.value.parent_commit == stale
    assert hub.writes == []
    assert hub.pull_requests("org/m") == []


def test_main_that_moves_at_the_last_moment_is_a_conflict_too(hub: LocalHub, settle: Settle) -> None:
    def move(request: Any) -> None:
        if "/commit/" in request.path:
            hub.commit("org/m", {"README.md": b"faster"})

    parent = hub.head("org/m")
    hub.on_request(move)
    with pytest.raises(CommitConflict):
        push(hub, settle(token="hf_owner"), README + b"one\n", parent_commit=parent, direct=True)
    assert hub.read("org/m", "README.md") == b"faster"


def test_a_direct_commit(hub: LocalHub, settle: Settle) -> None:
    result = push(hub, settle(token="hf_owner"), README + b"one\n", direct=True)
    assert (result.action, result.number) == ("committed", None)
    assert result.url is not None
    assert hub.head("org/m") in result.url
    assert hub.read("org/m", "README.md") == README + b"one\n"
    assert hub.pull_requests("org/m") == []


@pytest.mark.parametrize(
    ("token", "direct", "status"),
    [(None, False, 401), ("hf_wrong", False, 401), ("hf_reader", False, 403), ("hf_alice", True, 403)],
)
def test_who_may_not_write_is_told_so(
    hub: LocalHub, settle: Settle, token: str | None, direct: bool, status: int
) -> None:
    with pytest.raises(AccessDenied) as caught:
        push(hub, settle(token=token), README + b"one\n", direct=direct)
    assert caught.value.status == status
    assert hub.writes == []
    assert hub.read("org/m", "README.md") == README


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf---\r\nlicense: mit\r\n# kept: 0.70\r\n---\r\n\r\ntext",
        b"no front matter, no final newline",
        "---\ntags: ['a', \"b\"]\n---\n\n\tü\u2028x\n\n\n".encode(),
    ],
)
def test_every_byte_of_a_card_arrives(hub: LocalHub, alice: HubSettings, content: bytes) -> None:
    assert push(hub, alice, content).action == "opened"
    assert hub.read("org/m", "README.md", revision="refs/pr/1") == content


def test_a_card_that_the_hub_refuses(hub: LocalHub, alice: HubSettings) -> None:
    with pytest.raises(CardError, match=r"metadata at the top of README\.md"):
        push(hub, alice, b"---\nlicense: [broken\n---\n")
    assert hub.writes == []


def test_an_unclear_answer_to_a_write_is_not_asked_again(hub: LocalHub, settle: Settle) -> None:
    settings = settle(token="hf_alice", max_retries=3)
    hub.fail("/commit/", status=503, times=1)
    with pytest.raises(HubUnavailable):
        push(hub, settings, README + b"one\n")
    assert len([r for r in hub.requests if "/commit/" in r.path]) == 1
    assert push(hub, settings, README + b"one\n").action == "opened"
    assert len(hub.pull_requests("org/m")) == 1


def test_a_server_error_before_the_write_passes(hub: LocalHub, settle: Settle) -> None:
    for text in ("/api/whoami-v2", "/paths-info/", "/discussions"):
        hub.fail(text, status=502, times=1)
    assert push(hub, settle(token="hf_alice", max_retries=1), README + b"one\n").action == "opened"


def test_a_rate_limited_write(hub: LocalHub, alice: HubSettings) -> None:
    hub.rate_limit("/commit/", retry_after_s=120, times=1)
    with pytest.raises(RateLimited) as caught:
        push(hub, alice, README + b"one\n")
    assert caught.value.retry_after_s == 120


def test_a_repository_that_is_not_there(alice: HubSettings) -> None:
    with pytest.raises(RepoNotFound):
        push_files(Proposal("org/none", {"README.md": b"x"}, TITLE, "", "0" * 40), alice)


def test_offline_and_nonsense_are_refused(hub: LocalHub, settle: Settle, alice: HubSettings) -> None:
    with pytest.raises(OfflineMiss):
        push(hub, settle(token="hf_alice", offline=True), README)
    with pytest.raises(BadRepository):
        Proposal("org/m", {"../x": b""}, TITLE, "", "0" * 40)
    sound = Proposal("org/m", {"a": b""}, TITLE, "", "0" * 40)
    nonsense: list[dict[str, Any]] = [{"files": {}}, {"title": " "}, {"parent_commit": "main"}]
    for odd in nonsense:
        with pytest.raises(ValueError, match="a proposal needs"):
            replace(sound, **odd)
    assert hub.requests == []
