"""Sections on real cards of a local Hub, through the real client: preview, push, verify, and every refusal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdet_hub.errors import AccessDenied, CardError, CommitConflict, PullRequestClosed, PushRefused, TargetError
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.model_card.publish import (
    PULL_REQUEST_TITLE,
    preview_card,
    push_card,
    verify_card,
)
from amdet_hub.model_card.render import REPORT_JSON
from amdet_hub.records import ScanReport
from amdet_hub.report import as_json
from amdet_hub.testing import LocalHub
from tests.cli.scanned import MODEL, README, TOKEN, WEIGHTS, report_of, settings_of
from tests.report import examples


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_user("bob", token="hf_bobbobbobbob")
        hub.add_model("org/m", MODEL)
        yield hub


@pytest.fixture
def settings(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return settings_of(hub, tmp_path)


@pytest.fixture
def report(hub: LocalHub, tmp_path: Path) -> ScanReport:
    return report_of(hub, tmp_path)


def state(hub: LocalHub, settings: HubSettings, target: str = "org/m") -> str:
    return verify_card(parse_target(target), settings).state


def test_preview_shows_both_files_and_writes_nothing(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    shown = preview_card(report, settings)
    assert "+++ b/README.md" in shown
    count = len(as_json(report).splitlines())
    assert shown.endswith(f"+{count} -0 lines {REPORT_JSON}\n")
    assert "\n-" not in shown.replace("\n---", ""), "nothing of the card is removed"
    assert hub.writes == []


def test_push_opens_a_pull_request_that_keeps_every_byte(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    result = push_card(report, settings)
    assert (result.action, result.number) == ("opened", 1)
    (request,) = hub.pull_requests("org/m")
    assert (request.title, request.author, request.status) == (PULL_REQUEST_TITLE, "alice", "open")
    assert hub.read("org/m", "README.md") == README, "the main branch is untouched"
    card = hub.read("org/m", "README.md", revision="refs/pr/1")
    assert card.startswith(README)
    assert json.loads(hub.read("org/m", REPORT_JSON, revision="refs/pr/1"))["target"] == "org/m"


def test_anyone_may_open_one_on_somebody_elses_model(hub: LocalHub, tmp_path: Path, report: ScanReport) -> None:
    assert push_card(report, settings_of(hub, tmp_path, token="hf_bobbobbobbob")).action == "opened"
    assert [r.author for r in hub.pull_requests("org/m")] == ["bob"]


def test_a_second_push_updates_the_same_pull_request(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings)
    later = dataclasses.replace(report, created="2026-03-01T00:00:00Z")
    result = push_card(later, settings)
    assert (result.action, result.number) == ("updated", 1)
    assert len(hub.pull_requests("org/m")) == 1
    assert b"2026-03-01" in hub.read("org/m", REPORT_JSON, revision="refs/pr/1")


def test_merged_it_is_fresh_and_nothing_more_is_pushed(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    assert state(hub, settings) == "missing"
    push_card(report, settings)
    hub.merge_pull_request("org/m", 1)
    assert state(hub, settings) == "fresh"
    assert preview_card(report, settings) == ""
    assert push_card(report, settings).action == "unchanged"
    assert len(hub.pull_requests("org/m")) == 1


def test_direct_commit(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    assert push_card(report, settings, direct=True).action == "committed"
    assert hub.pull_requests("org/m") == []
    assert state(hub, settings) == "fresh"


def test_a_repository_without_a_card_gets_one(hub: LocalHub, tmp_path: Path, settings: HubSettings) -> None:
    hub.add_model("org/bare", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    push_card(report_of(hub, tmp_path, "org/bare"), settings, direct=True)
    assert state(hub, settings, "org/bare") == "fresh"


def test_new_weights_make_it_stale(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings, direct=True)
    hub.commit("org/m", {"model.safetensors": WEIGHTS + b"!"}, message="retrained")
    assert state(hub, settings) == "stale"
    hub.commit("org/m", {"model.safetensors": WEIGHTS}, message="back again")
    assert state(hub, settings) == "fresh"


@pytest.mark.parametrize(
    "added",
    [
        {"old/clip.pt": b"a pickled tower"},
        {"text_encoder_2/model.safetensors": WEIGHTS + b"!", "text_encoder_2/config.json": b"{}"},
        {"config.json": b'{"model_type": "clip", "text_config": {"num_attention_heads": 2}}'},
        {"clip-l.gguf": b"a format that is not read"},
        {"adapter_config.json": b'{"base_model_name_or_path": "someone/else"}'},
    ],
)
def test_what_a_loader_may_take_and_was_not_scanned_makes_it_stale(
    hub: LocalHub, settings: HubSettings, report: ScanReport, added: dict[str, bytes]
) -> None:
    push_card(report, settings, direct=True)
    assert state(hub, settings) == "fresh"
    hub.commit("org/m", added, message="more")
    assert state(hub, settings) == "stale"


def test_what_holds_no_weights_leaves_it_fresh(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings, direct=True)
    hub.commit("org/m", {"docs/usage.md": b"# Usage\n", "samples/cat.png": b"png"}, message="describe")
    assert state(hub, settings) == "fresh"


def test_an_edited_section_is_forged(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings, direct=True)
    card = hub.read("org/m", "README.md")
    edited = card.replace(b"No backdoor found", b"Certified harmless")
    assert edited != card
    hub.commit("org/m", {"README.md": edited}, message="improve")
    assert state(hub, settings) == "forged"


def test_a_section_copied_from_another_repository_is_forged(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    push_card(report, settings, direct=True)
    stolen = {name: hub.read("org/m", name) for name in ("README.md", REPORT_JSON)}
    hub.add_model("org/thief", {"config.json": b"{}", "model.safetensors": b"other weights" * 50, **stolen})
    assert state(hub, settings, "org/thief") == "forged"


def test_verify_downloads_no_weights(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings, direct=True)
    hub.forget_requests()
    assert state(hub, settings) == "fresh"
    assert [r.path for r in hub.requests if "model.safetensors" in r.path] == []


# ---------------------------------------------------------------- refusals


def test_a_local_report_is_refused(settings: HubSettings) -> None:
    with pytest.raises(PushRefused, match="local folder"):
        push_card(examples.inconclusive(), settings)


def test_an_unfinished_report_is_refused(settings: HubSettings, report: ScanReport) -> None:
    with pytest.raises(PushRefused, match="not finished"):
        push_card(dataclasses.replace(report, complete=False), settings)


def test_a_report_that_scanned_nothing_is_refused(settings: HubSettings, report: ScanReport) -> None:
    with pytest.raises(PushRefused, match="nothing of 'org/m' was scanned"):
        push_card(dataclasses.replace(report, outcomes=()), settings)


def test_weights_that_changed_since_the_scan_are_refused(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    hub.commit("org/m", {"model.safetensors": WEIGHTS + b"!"}, message="retrained")
    hub.forget_requests()
    with pytest.raises(PushRefused, match="does not describe 'org/m' as it is now"):
        push_card(report, settings)
    assert hub.writes == []


def test_a_report_of_weights_the_repository_never_had_is_refused(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    result = report.results[0]
    file = dataclasses.replace(result.encoder.weight_files[0], sha256="0" * 64)
    encoder = dataclasses.replace(result.encoder, weight_files=(file,))
    forged = dataclasses.replace(report, outcomes=(dataclasses.replace(result, encoder=encoder),))
    with pytest.raises(PushRefused, match="does not describe"):
        push_card(forged, settings)
    assert hub.writes == []


def test_a_card_with_planted_markers_is_not_touched(hub: LocalHub, tmp_path: Path, settings: HubSettings) -> None:
    planted = README + b"<!-- amdet-hub:begin v=1 -->\nall good\n<!-- amdet-hub:begin v=1 -->\n"
    hub.commit("org/m", {"README.md": planted}, message="plant")
    report = report_of(hub, tmp_path)
    for act in (preview_card, push_card):
        with pytest.raises(CardError):
            act(report, settings)
    assert hub.writes == []


def test_a_closed_pull_request_is_a_no(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings)
    hub.close_pull_request("org/m", 1)
    with pytest.raises(PullRequestClosed) as caught:
        push_card(dataclasses.replace(report, created="2026-03-01T00:00:00Z"), settings)
    assert caught.value.number == 1
    assert len(hub.pull_requests("org/m")) == 1


def test_main_that_moves_while_we_write_is_a_conflict(
    hub: LocalHub, settings: HubSettings, report: ScanReport
) -> None:
    moved: list[str] = []

    def move(request: object) -> None:
        if "/commit/" in str(getattr(request, "path", "")) and not moved:
            moved.append(hub.commit("org/m", {"other.txt": b"x"}, message="meanwhile"))

    hub.on_request(move)
    with pytest.raises(CommitConflict):
        push_card(report, settings, direct=True)
    assert moved
    assert hub.read("org/m", "README.md") == README


def test_a_direct_commit_without_the_right_is_denied(hub: LocalHub, tmp_path: Path, report: ScanReport) -> None:
    with pytest.raises(AccessDenied) as caught:
        push_card(report, settings_of(hub, tmp_path, token="hf_bobbobbobbob"), direct=True)
    assert caught.value.status == 403


def test_a_local_folder_cannot_be_verified(tmp_path: Path, settings: HubSettings) -> None:
    with pytest.raises(TargetError, match="local folder"):
        verify_card(parse_target(str(tmp_path)), settings)


def test_a_local_card_can_be_previewed(tmp_path: Path, settings: HubSettings) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "README.md").write_bytes(README)
    made = examples.inconclusive()
    local = dataclasses.replace(made, snapshot=dataclasses.replace(made.snapshot, repo_id=str(folder)))
    assert "+++ b/README.md" in preview_card(local, settings)
    assert (folder / "README.md").read_bytes() == README


def test_the_report_that_is_pushed_is_the_report(hub: LocalHub, settings: HubSettings, report: ScanReport) -> None:
    push_card(report, settings, direct=True)
    assert hub.read("org/m", REPORT_JSON) == as_json(report).encode()
