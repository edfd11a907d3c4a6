"""`watch` end to end: the Hub's protocol, the demonstration's encoders, nothing replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from amdet_hub.automation.owner_discussion import DISCUSSION_TITLE, discussion_text
from amdet_hub.automation.watch import WatchConfig, WatchEvent, WatchSummary, watch
from amdet_hub.automation.watch_state import STATE_FILE, open_state, report_name
from amdet_hub.errors import OutputError, RepoNotFound, ReportError, TargetError
from amdet_hub.hub import parse_target
from amdet_hub.report import parse_report
from amdet_hub.scanner import Scanner, ScanOptions
from amdet_hub.testing import LocalHub, LoggedRequest
from amdet_hub.testing.models import tiny_clip
from tests.demo_hub import BACKDOORED, BASE, FAST, FINETUNED, demo_hub, files_of, settings_of
from tests.report import examples


@dataclass
class Watcher:
    """A Hub, and `run`, which watches it once and collects the events."""

    hub: LocalHub
    config: WatchConfig

    def run(self, **changes: object) -> tuple[list[WatchEvent], WatchSummary]:
        events: list[WatchEvent] = []
        self.hub.forget_requests()
        summary = watch(replace(self.config, **changes), events.append)  # type: ignore[arg-type]
        return events, summary

    def fetched(self) -> list[str]:
        """Downloads of more than a file's header."""
        return [r.path for r in self.hub.requests if r.side == "lfs" and span(r.range) > 300_000]


def span(asked: str | None) -> float:
    if asked is None:
        return float("inf")
    start, stop = asked.removeprefix("bytes=").split("-")
    return int(stop) - int(start)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalHub, WatchConfig]]:
    """A Hub, and an config whose cache holds the results of its three repositories after the first test."""
    torch.set_num_threads(1)
    with demo_hub() as hub:
        folder = tmp_path_factory.mktemp("watch")
        yield (
            hub,
            WatchConfig(
                ("demo/...",),
                folder / "results",
                Scanner(FAST, settings_of(hub, folder / "cache"), parse_target(BASE), ScanOptions(device="cpu")),
                once=True,
            ),
        )


@pytest.fixture
def watcher(warm: tuple[LocalHub, WatchConfig], tmp_path: Path) -> Watcher:
    hub, config = warm
    return Watcher(hub, replace(config, folder=tmp_path / "results"))


def impatient(scanner: Scanner) -> Scanner:
    return replace(scanner, hub=replace(scanner.hub, max_retries=0))


def verdicts(events: list[WatchEvent]) -> dict[str, tuple[str, str | None]]:
    return {event.repo_id: (event.what, event.verdict) for event in events}


def test_a_namespace_is_scanned_once_and_then_only_what_changed(warm: tuple[LocalHub, WatchConfig]) -> None:
    hub, config = warm
    watcher = Watcher(hub, config)
    events, summary = watcher.run()
    assert verdicts(events) == {
        BACKDOORED: ("scanned", "backdoor-detected"),
        BASE: ("scanned", "no-backdoor-found"),
        FINETUNED: ("scanned", "no-backdoor-found"),
    }
    assert (summary.ended, summary.scans, summary.failures, summary.pending) == ("one round", 3, 0, ())
    report = parse_report((config.folder / report_name(BACKDOORED, hub.head(BACKDOORED))).read_text())
    assert report.results[0].triggers
    assert watcher.fetched()
    assert hub.writes == []

    events, summary = watcher.run()
    assert (events, summary.scans, len(summary.repositories)) == ([], 0, 3)
    assert [r.path for r in hub.requests] == ["/api/models"], "one listing, nothing else"

    # A new commit that leaves the tower alone: no scan, no download.
    head = hub.commit(FINETUNED, {"README.md": b"# new words\n"})
    events, summary = watcher.run()
    assert verdicts(events) == {FINETUNED: ("cached", "no-backdoor-found")}
    assert (summary.scans, watcher.fetched(), events[0].commit_sha) == (0, [], head)

    # New files, old tower: the file is loaded and recognised by its digest.
    weights = hub.read(BACKDOORED, "model.safetensors")
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    padded = json.dumps({**header, "__metadata__": {"note": "another file"}}).encode()
    hub.commit(FINETUNED, {"model.safetensors": len(padded).to_bytes(8, "little") + padded + weights[8 + length :]})
    events, summary = watcher.run()
    assert verdicts(events) == {FINETUNED: ("cached", "backdoor-detected")}
    assert summary.scans == 0
    hub.commit(FINETUNED, files_of("finetuned"))


def test_a_budget_of_scans_ends_it_and_the_next_one_goes_on(
    warm: tuple[LocalHub, WatchConfig], tmp_path: Path
) -> None:
    hub, config = warm
    for name in ("a", "b"):
        hub.add_model(f"budget/{name}", files_of("base"))
    scanner = replace(config.scanner, hub=settings_of(hub, tmp_path / "cache"))
    watcher = Watcher(
        hub,
        replace(config, targets=("budget/...",), folder=tmp_path / "r", scanner=scanner, max_scans=1, once=False),
    )
    events, summary = watcher.run()
    assert (summary.ended, [e.repo_id for e in events], summary.pending) == ("max scans", ["budget/a"], ("budget/b",))
    events, summary = watcher.run(once=True)
    assert (verdicts(events), summary.pending) == ({"budget/b": ("cached", "no-backdoor-found")}, ())


def test_a_budget_of_time_leaves_what_was_not_finished(watcher: Watcher, tmp_path: Path) -> None:
    cold = replace(watcher.config.scanner, hub=settings_of(watcher.hub, tmp_path / "cold"))
    events, summary = watcher.run(max_time_s=0.001, scanner=cold, once=False, targets=(BACKDOORED,))
    assert summary.ended == "max time"
    assert summary.pending == (BACKDOORED,)
    assert [e.what for e in events] in ([], ["unfinished"])
    assert not (watcher.config.folder / STATE_FILE).exists()


def test_discussions_are_opened_only_when_asked_and_only_once(watcher: Watcher, tmp_path: Path) -> None:
    hub = watcher.hub
    events, _ = watcher.run(targets=(BACKDOORED, FINETUNED))
    assert verdicts(events)[BACKDOORED] == ("cached", "backdoor-detected")
    assert hub.writes == []
    events, _ = watcher.run(targets=(BACKDOORED, FINETUNED), folder=tmp_path / "other", open_discussions=True)
    ((number, title, author, text),) = hub.discussions(BACKDOORED)
    assert title.startswith(DISCUSSION_TITLE)
    assert author == "alice"
    assert "BACKDOOR DETECTED" in text.upper()
    assert f"amdet-hub scan {BACKDOORED}" in text
    assert hub.discussions(FINETUNED) == []
    (told,) = [e for e in events if e.discussion]
    assert told.discussion == f"{hub.endpoint}/{BACKDOORED}/discussions/{number}"
    watcher.run(targets=(BACKDOORED,), folder=tmp_path / "third", open_discussions=True)
    assert len(hub.discussions(BACKDOORED)) == 1
    assert hub.pull_requests(BACKDOORED) == []


def test_without_a_token_the_finding_is_kept_and_the_failure_said(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = watcher.config.scanner
    stranger = replace(scanner, hub=replace(scanner.hub, token=None))
    events, summary = watcher.run(targets=(BACKDOORED,), open_discussions=True, scanner=stranger)
    assert events[0].verdict == "backdoor-detected"
    assert "the owner was not told" in str(events[0].error)
    assert summary.repositories[BACKDOORED].verdict == "backdoor-detected"


def test_broken_repositories_are_noted_and_passing_failures_tried_again(watcher: Watcher) -> None:
    hub = watcher.hub
    hub.add_model("mixed/broken", {"config.json": b"{", "model.safetensors": b"x" * 64})
    weights = save({"encoder.layer.0.output.dense.weight": torch.zeros(4, 4)})
    hub.add_model("mixed/words", {"config.json": b'{"model_type": "bert"}', "model.safetensors": weights})
    hub.add_model("mixed/copy", files_of("base"))
    hub.fail("mixed/copy/tree/", status=503)
    quick = impatient(watcher.config.scanner)
    rounds = 0

    def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        assert seconds == 7
        hub.behave()
        if rounds == 2:
            raise KeyboardInterrupt

    events: list[WatchEvent] = []
    config = replace(watcher.config, targets=("mixed/...",), scanner=quick, once=False, interval_s=7, max_scans=1)
    with pytest.raises(KeyboardInterrupt):
        watch(config, events.append, sleep=sleep)
    assert [(e.repo_id, e.what) for e in events] == [
        ("mixed/broken", "failed"),
        ("mixed/copy", "failed"),
        ("mixed/words", "not scanned"),
        ("mixed/copy", "cached"),
    ], "cached: the same tower as demo/base"
    _, summary = watcher.run(targets=("mixed/...",))
    assert summary.repositories["mixed/broken"].verdict is None
    words = summary.repositories["mixed/words"]
    assert (words.verdict, words.code) == ("nothing-to-scan", "not-clip-family")
    assert summary.pending == ()


@pytest.mark.parametrize(("stop", "exit_code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_kill_loses_one_scan_at_most(
    warm: tuple[LocalHub, WatchConfig], tmp_path: Path, stop: signal.Signals, exit_code: int
) -> None:
    hub, _ = warm
    org = stop.name.lower()
    for name in ("one", "two"):
        hub.add_model(f"{org}/{name}", files_of("base"))
    command = [
        sys.executable,
        "-m",
        "amdet_hub",
        "watch",
        f"{org}/...",
        "--once",
        "--json",
        "--reference",
        BASE,
        "--device",
        "cpu",
        "-q",
    ]
    command += ["--results", str(tmp_path / "results")]
    environment = {**os.environ, **hub.environment(), "AMDET_HUB_CACHE": str(tmp_path / "own")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill(request: LoggedRequest) -> None:
        if f"/{org}/two/" in request.path and process.poll() is None:
            process.send_signal(stop)

    hub.on_request(kill)
    out, _ = process.communicate(timeout=240)
    hub.behave()
    assert process.returncode == exit_code
    assert [json.loads(line)["repo_id"] for line in out.splitlines()] == [f"{org}/one"]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["repo_id"] for line in again.stdout.splitlines()] == [f"{org}/two"]
    with open_state(tmp_path / "results") as state:
        assert [state.seen(f"{org}/{name}") is not None for name in ("one", "two")] == [True, True]
    assert not list((tmp_path / "results").rglob("*.tmp"))


def test_two_watches_cannot_share_a_folder(tmp_path: Path) -> None:
    with open_state(tmp_path), pytest.raises(OutputError, match="another watch"), open_state(tmp_path):
        pass
    with open_state(tmp_path):
        pass


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"schema_version": "0"}', '{"schema_version": "1.0", "repositories": {"a/b": {}}}']
)
def test_a_damaged_state_is_said_and_not_overwritten(watcher: Watcher, damage: str) -> None:
    watcher.config.folder.mkdir()
    path = watcher.config.folder / STATE_FILE
    path.write_text(damage)
    with pytest.raises(ReportError):
        watcher.run()
    assert path.read_text() == damage


@pytest.mark.parametrize(
    "target", ["./folder", "org/../x", "...", "/...", "a/b/...", "org/model@v1", "https://hub/org/model", "a b/..."]
)
def test_what_cannot_be_watched_is_refused(watcher: Watcher, target: str) -> None:
    with pytest.raises(TargetError):
        watcher.run(targets=(target,))
    assert not watcher.config.folder.exists()


def test_a_repository_that_is_not_there_is_an_error_at_once(watcher: Watcher) -> None:
    with pytest.raises(RepoNotFound):
        watcher.run(targets=("demo/none",))


def test_a_report_that_is_too_long_is_left_out_of_the_discussion() -> None:
    report = examples.backdoored()
    long = replace(report, verdict=replace(report.verdict, reasons=("word " * 100,) * 300))
    assert len(discussion_text(report)) > 1000
    assert "too long for a discussion" in discussion_text(long)
    assert len(discussion_text(long)) < 1000


def test_an_empty_namespace_is_no_success(watcher: Watcher) -> None:
    watcher.hub.add_user("empty", token="hf_emptyempty")
    with pytest.raises(TargetError):
        watcher.run(targets=("empty/...",))


def test_another_question_is_asked_again(watcher: Watcher) -> None:
    assert len(watcher.run(targets=(BASE,))[0]) == 1
    assert watcher.run(targets=(BASE,))[0] == []
    events, summary = watcher.run(
        targets=(BASE,), scanner=replace(watcher.config.scanner, config=FAST.replace(seed=3))
    )
    assert ([e.what for e in events], summary.scans) == (["scanned"], 1)


def test_a_reference_that_does_not_fit_fails_one_model_and_not_the_watch(watcher: Watcher, tmp_path: Path) -> None:
    tiny_clip(tmp_path / "tiny")
    watcher.hub.add_model("sizes/a-tiny", tmp_path / "tiny")
    watcher.hub.add_model("sizes/copy", files_of("base"))
    events, summary = watcher.run(targets=("sizes/...",))
    assert [(e.repo_id, e.what) for e in events] == [("sizes/a-tiny", "failed"), ("sizes/copy", "cached")]
    assert "reference" in str(events[0].error)
    assert summary.repositories["sizes/a-tiny"].verdict is None


def test_an_owner_that_could_not_be_told_is_told_later(watcher: Watcher) -> None:
    hub = watcher.hub
    hub.add_model("told/later", files_of("backdoored"))
    hub.fail("/told/later/discussions", status=503, method="POST", times=1)
    quick = impatient(watcher.config.scanner)
    events, summary = watcher.run(targets=("told/later",), scanner=quick, open_discussions=True)
    assert ([e.what for e in events], summary.pending, summary.failures) == (["failed"], ("told/later",), 1)
    events, _ = watcher.run(targets=("told/later",), scanner=quick, open_discussions=True)
    assert [(e.what, e.verdict) for e in events] == [("cached", "backdoor-detected")]
    assert len(hub.discussions("told/later")) == 1
