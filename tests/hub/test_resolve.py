from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from amdet_hub.errors import (
    AccessDenied,
    BadRepository,
    FileNotInRepo,
    OfflineMiss,
    RepoGated,
    RepoNotFound,
    RevisionNotFound,
)
from amdet_hub.hub import open_at, open_source, parse_target
from amdet_hub.hub._listings import repo_folder
from amdet_hub.records import FileIssue, HubSecurity
from amdet_hub.testing import LocalHub
from tests.hub.conftest import README, WEIGHTS, Settle

WEIGHT_PATH = "text_encoder/model.safetensors"


def test_a_repository_is_pinned_and_listed(hub: LocalHub, settle: Settle) -> None:
    snapshot = open_source(parse_target("org/m"), settle()).snapshot
    assert (snapshot.repo_id, snapshot.kind, snapshot.commit_sha) == ("org/m", "hub", hub.head("org/m"))
    assert [f.path for f in snapshot.files] == ["README.md", "config.json", WEIGHT_PATH]
    weights = snapshot.file(WEIGHT_PATH)
    assert weights is not None
    assert weights.size_bytes == len(WEIGHTS)
    assert weights.sha256 is not None
    assert len(weights.sha256) == 64
    assert (snapshot.license, snapshot.base_models) == ("mit", ("openai/clip-vit-base-patch32",))
    assert not snapshot.gated
    assert not snapshot.private
    assert not hub.writes


def test_main_may_move_and_nothing_moves_here(hub: LocalHub, settle: Settle) -> None:
    sha = hub.head("org/m")
    moved: list[str] = []

    def move(request: object) -> None:
        if "/tree/" in str(request) and not moved:
            moved.append(hub.commit("org/m", {"config.json": b"{}", WEIGHT_PATH: b"other", "README.md": b"other"}))

    hub.on_request(move)
    source = open_source(parse_target("org/m"), settle())
    assert moved
    assert source.snapshot.commit_sha == sha
    assert source.read_small("README.md", max_bytes=1000) == README
    assert source.read_small("config.json", max_bytes=1000) == b'{"a": 1}'
    assert source.read_range(WEIGHT_PATH, 0, 3) == WEIGHTS[:3]
    assert source.fetch(WEIGHT_PATH).read_bytes() == WEIGHTS
    pinned = [r for r in hub.requests if r.side == "hub"][1:]
    assert pinned
    assert all(sha in r.path for r in pinned)


def test_revisions(hub: LocalHub, settle: Settle) -> None:
    first = hub.head("org/m")
    hub.branch("org/m", "feature/x")
    hub.tag("org/m", "v1")
    second = hub.commit("org/m", {"config.json": b"{}"})
    for asked, sha in [(None, second), ("main", second), ("feature/x", first), ("v1", first), (first, first)]:
        assert open_at("org/m", asked, settle()).snapshot.commit_sha == sha
    for absent in ("nope", "0" * 40):
        with pytest.raises(RevisionNotFound) as caught:
            open_at("org/m", absent, settle())
        assert (caught.value.repo_id, caught.value.revision, caught.value.endpoint) == ("org/m", absent, hub.endpoint)


@pytest.mark.parametrize(("token", "sent"), [(None, False), ("hf_bob", True)])
def test_a_missing_and_a_private_repository_look_the_same(
    hub: LocalHub, settle: Settle, token: str | None, sent: bool
) -> None:
    hub.add_model("org/private", {"config.json": b"{}"}, private=True)
    for repo_id in ("org/private", "org/missing"):
        with pytest.raises(RepoNotFound) as caught:
            open_at(repo_id, None, settle(token=token))
        assert (caught.value.repo_id, caught.value.token_sent) == (repo_id, sent)


def test_a_private_repository_opens_with_the_right_token(hub: LocalHub, settle: Settle) -> None:
    hub.add_model("org/private", {"config.json": b"{}"}, private=True)
    source = open_at("org/private", None, settle(token="hf_owner"))
    assert source.snapshot.private
    assert source.read_small("config.json", max_bytes=9) == b"{}"


def test_a_token_that_is_nobodys_is_refused(settle: Settle) -> None:
    with pytest.raises(AccessDenied) as caught:
        open_at("org/m", None, settle(token="hf_wrong"))
    assert caught.value.status == 401
    assert "hf_wrong" not in str(caught.value)


@pytest.mark.parametrize("token", [None, "hf_bob"])
def test_a_gated_repository_says_where_its_terms_are(hub: LocalHub, settle: Settle, token: str | None) -> None:
    hub.add_model("org/gated", {"README.md": README, "config.json": b"{}"}, gated=True)
    with pytest.raises(RepoGated) as caught:
        open_at("org/gated", None, settle(token=token))
    assert caught.value.terms_url == f"{hub.endpoint}/org/gated"
    hub.grant_access("bob", "org/gated")
    assert open_at("org/gated", None, settle(token="hf_bob")).snapshot.gated


def test_long_listings_come_whole(settle: Settle, tmp_path: Path) -> None:
    with LocalHub(tree_page_size=10) as hub:
        hub.add_model("org/many", {f"d{i % 7}/f{i:03}.txt": b"x" for i in range(64)})
        snapshot = open_at("org/many", None, settle(endpoint=hub.endpoint)).snapshot
        assert len(snapshot.files) == 64
        assert sum("/tree/" in r.path for r in hub.requests) > 5


@pytest.mark.parametrize(
    "paths",
    [
        ("../escape.safetensors",),
        ("a/../../b",),
        ("/etc/passwd",),
        ("a//b",),
        ("a\\b.safetensors",),
        ("nul\0.safetensors",),
        ("new\nline",),
        ("./a",),
        ("C:/a",),
        ("Model.safetensors", "model.safetensors"),
        ("x" * 2000,),
    ],
)
def test_hostile_listings_are_refused(hub: LocalHub, settle: Settle, paths: tuple[str, ...]) -> None:
    hub.add_model("org/bad", dict.fromkeys(paths, b"x"))
    with pytest.raises(BadRepository) as caught:
        open_at("org/bad", None, settle())
    assert caught.value.path in paths


@pytest.mark.parametrize(
    "readme", [b"---\n[broken\n---\n", b"\xff\xfe\x00", b"no yaml", b"---\nlicense: mit\n---\n" + b"x" * (1 << 20)]
)
def test_an_odd_card_is_no_obstacle(hub: LocalHub, settle: Settle, readme: bytes) -> None:
    hub.add_model("org/odd", {"README.md": readme})
    source = open_at("org/odd", None, settle())
    assert source.snapshot.license is None
    assert source.read_small("README.md", max_bytes=2 << 20) == readme


def test_what_is_not_listed_is_not_asked_for(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle())
    hub.forget_requests()
    for path in ("nothing", "../config.json", "text_encoder"):
        with pytest.raises(FileNotInRepo):
            source.read_small(path, max_bytes=9)
        with pytest.raises(FileNotInRepo):
            source.fetch(path)
        with pytest.raises(FileNotInRepo):
            source.read_range(path, 0, 1)
    with pytest.raises(BadRepository, match="larger"):
        source.read_small(WEIGHT_PATH, max_bytes=100)
    assert hub.requests == []


def test_the_second_scan_of_a_commit_needs_no_network(hub: LocalHub, settle: Settle) -> None:
    sha = hub.head("org/m")
    online = open_at("org/m", None, settle())
    online.read_small("config.json", max_bytes=99)
    online.fetch(WEIGHT_PATH)
    hub.forget_requests()
    for revision in (None, sha):
        offline = open_at("org/m", revision, settle(offline=True))
        assert offline.snapshot == online.snapshot
        assert offline.read_small("config.json", max_bytes=99) == b'{"a": 1}'
        assert offline.read_range(WEIGHT_PATH, 1, 4) == WEIGHTS[1:4]
        assert offline.fetch(WEIGHT_PATH).read_bytes() == WEIGHTS
    assert hub.requests == []


def test_the_clients_own_offline_switch_is_honoured(
    hub: LocalHub, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = open_at("org/m", None, settle())
    hub.forget_requests()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_at("org/m", None, settle()).snapshot == online.snapshot
    with pytest.raises(OfflineMiss):
        open_at("org/m", None, settle()).fetch(WEIGHT_PATH)
    assert hub.requests == []


def test_offline_without_the_cache_says_so(hub: LocalHub, settle: Settle, tmp_path: Path) -> None:
    with pytest.raises(OfflineMiss):
        open_at("org/m", None, settle(offline=True))
    open_at("org/m", "main", settle())
    for revision in (None, "v1", "0" * 40):
        with pytest.raises(OfflineMiss):
            open_at("org/m", revision, settle(offline=True))
    with pytest.raises(OfflineMiss):  # another Hub's main may be another commit
        open_at("org/m", "main", settle(offline=True, endpoint="http://127.0.0.1:9"))
    source = open_at("org/m", "main", settle(offline=True))
    for read in (lambda: source.fetch(WEIGHT_PATH), lambda: source.read_range(WEIGHT_PATH, 0, 1)):
        with pytest.raises(OfflineMiss) as caught:
            read()
        assert caught.value.path == WEIGHT_PATH


def test_a_damaged_kept_listing_is_not_there(hub: LocalHub, settle: Settle, tmp_path: Path) -> None:
    open_at("org/m", None, settle())
    folder = repo_folder(tmp_path / "cache", "org/m") / ".amdet-hub"
    listing = folder / f"{hub.head('org/m')}.json"
    good = listing.read_text()
    for damage in (
        good[:-9],
        "[]",
        good.replace("config.json", "../x"),
        good.replace('"version": 1', '"version": 2'),
        good.replace("org/m", "org/n"),
    ):
        listing.write_text(damage)
        with pytest.raises(OfflineMiss):
            open_at("org/m", None, settle(offline=True))
    listing.write_text(good)
    assert open_at("org/m", None, settle(offline=True)).snapshot.files


def test_a_cache_that_cannot_be_written_only_costs_the_offline_mode(
    hub: LocalHub, settle: Settle, tmp_path: Path
) -> None:
    folder = repo_folder(tmp_path / "cache", "org/m")
    folder.mkdir(parents=True)
    (folder / ".amdet-hub").write_bytes(b"a file where a folder should be")
    assert open_at("org/m", None, settle()).snapshot.files


def test_what_the_hubs_own_scanners_say_is_kept(hub: LocalHub, settle: Settle) -> None:
    assert open_at("org/m", None, settle()).snapshot.security == HubSecurity(True, 0)
    hub.report_issues("org/m", {f"{i}.bin": "unsafe" for i in range(30)})
    security = open_at("org/m", None, settle()).snapshot.security
    assert security is not None
    assert (security.scans_done, security.n_issues, len(security.issues)) == (True, 30, 20)
    assert security.issues[0] == FileIssue("0.bin", "unsafe")
    assert open_at("org/m", None, settle(offline=True)).snapshot.security == security


@pytest.mark.parametrize("stated", [None, [], {}, {"filesWithIssues": 3}, {"scansDone": True}, "safe"])
def test_a_status_that_cannot_be_read_is_none(stated: object) -> None:
    from amdet_hub.hub.remote import _security

    assert _security(stated) is None


def test_odd_rows_of_a_status_are_counted_and_not_shown() -> None:
    from amdet_hub.hub.remote import _security

    rows = [{"path": "a", "level": 3}, 7, None, {"path": "x" * 9000, "level": "y" * 900}]
    security = _security({"scansDone": "yes", "filesWithIssues": rows})
    assert security == HubSecurity(False, 4, (FileIssue("x" * 1024, "y" * 40),))
