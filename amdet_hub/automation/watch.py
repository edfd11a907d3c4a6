"""Look at repositories again and again, and scan what changed: a new commit whose towers were not judged before.

Knows: what is new, what it may cost, whom to tell. Refuses to know: how anything is printed. A commit that leaves the
towers alone is answered from the kept results (`amdet_hub.scanner.known`), so that a new README costs one listing.
What fails for a passing reason is tried again at the next round; what is broken is noted and left alone until its
owner changes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from amdet_hub.automation.watch_state import SeenRepository, WatchState, open_state, report_name
from amdet_hub.config import ScanConfig
from amdet_hub.errors import (
    AmdetError,
    BadRepository,
    ConfigError,
    HubError,
    HubUnavailable,
    NothingToScan,
    RateLimited,
    ResourceError,
    TargetError,
)
from amdet_hub.hub import HubSettings, is_repo_id
from amdet_hub.records import ProgressCallback, RepoRef, ScanReport, VerdictLabel, fingerprint, to_dict
from amdet_hub.report import as_json, as_markdown
from amdet_hub.scanner.cache import judged_by
from amdet_hub.scanner.estimate import DEFAULT_OPTIONS, ScanOptions
from amdet_hub.scanner.known import Known, open_known

EVERY_MODEL = "/..."
"""Behind a namespace: all of its models."""

DISCUSSION_TITLE = "amdet-hub: a backdoor was detected in the text encoder"
MAX_DISCUSSION = 60_000
"""Characters of a discussion's text; the Hub refuses longer ones."""

What = Literal["scanned", "known", "nothing to scan", "failed", "unfinished"]


@dataclass(frozen=True)
class WatchConfig:
    """What is watched, and how.

    Attributes:
        targets: `org/model` for one model, `org/...` for all of a namespace.
        folder: where state and reports go.
        config: every number that can change a verdict.
        settings: how to reach the Hub, as whom.
        reference: the clean encoder to compare with; None chooses one for each model.
        options: device, dtype, time and memory of each scan.
        interval_s: seconds between two rounds.
        max_scans: scans after which the watch ends; None means no limit. Answers from kept results cost nothing.
        max_time_s: seconds after which it ends; a scan under way is stopped, and made again by the next watch.
        once: one round only.
        open_discussions: tell the owner of a detected backdoor in a discussion on the repository.
    """

    targets: tuple[str, ...]
    folder: Path
    config: ScanConfig
    settings: HubSettings
    reference: RepoRef | None = None
    options: ScanOptions = DEFAULT_OPTIONS
    interval_s: float = 600.0
    max_scans: int | None = None
    max_time_s: float | None = None
    once: bool = False
    open_discussions: bool = False


@dataclass(frozen=True)
class WatchEvent:
    """One repository that was looked at. `error` and `repo_id` are hostile text."""

    repo_id: str
    commit_sha: str
    what: What
    verdict: VerdictLabel | None = None
    report: str | None = None
    error: str | None = None
    discussion: str | None = None


@dataclass(frozen=True)
class WatchSummary:
    """How a watch ended.

    Attributes:
        ended: why.
        repositories: what is known of the present commit of every watched repository.
        pending: repositories whose present commit was not judged.
        scans: how many were made.
        failures: passing failures of the last round.
    """

    ended: Literal["one round", "max scans", "max time"]
    repositories: dict[str, SeenRepository]
    pending: tuple[str, ...]
    scans: int
    failures: int


def watch(
    order: WatchConfig,
    tell: Callable[[WatchEvent], None],
    *,
    progress: ProgressCallback | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> WatchSummary:
    """Look, scan and note, until the order is fulfilled or its budget is spent.

    Args:
        order: what to watch.
        tell: called after each repository that was new or had failed, once its state is on disk.
        progress: called as `progress(stage, done, total)` during scans.
        sleep: waits between rounds.

    Raises:
        TargetError: a target is no repository and no namespace.
        OutputError: the folder cannot be written, or another watch uses it.
        ReportError: the state in the folder cannot be read.
        NothingToScan: at the first round, a namespace has no models that can be seen.
        HubError: at the first round, the Hub or a named repository cannot be read.
    """
    parse_watched(order.targets)
    with open_state(order.folder) as state:
        return _Watch(order, state, tell, progress, sleep).run()


def parse_watched(targets: Sequence[str]) -> tuple[tuple[Literal["namespace", "model"], str], ...]:
    """Targets as (kind, name), each once. Raises: TargetError."""
    found: list[tuple[Literal["namespace", "model"], str]] = []
    for target in dict.fromkeys(targets):
        namespace = target.removesuffix(EVERY_MODEL)
        if namespace != target and is_repo_id(namespace) and "/" not in namespace:
            found.append(("namespace", namespace))
        elif is_repo_id(target):
            found.append(("model", target))
        else:
            raise TargetError(
                target, "a watch takes org/model for one model, or org/... for all models of a namespace"
            )
    return tuple(found)


class _OutOfTime(Exception):
    """The watch's own time ended."""


class _Watch:
    def __init__(
        self,
        order: WatchConfig,
        state: WatchState,
        tell: Callable[[WatchEvent], None],
        progress: ProgressCallback | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._order, self._state, self._tell, self._progress, self._sleep = order, state, tell, progress, sleep
        self._started = time.monotonic()
        self._scans = 0
        self._failures = 0
        self._watched: dict[str, str] = {}
        self._question = fingerprint(
            {
                "config": order.config.fingerprint(),
                "reference": to_dict(order.reference),
                "use_reference": order.options.use_reference,
                "judged_by": judged_by(),
            }
        )

    def run(self) -> WatchSummary:
        first = True
        while True:
            try:
                self._round(first=first)
            except _OutOfTime:
                return self._summary("max time")
            if self._spent():
                return self._summary("max scans")
            if self._order.once:
                return self._summary("one round")
            first = False
            if not self._wait():
                return self._summary("max time")

    def _summary(self, ended: Literal["one round", "max scans", "max time"]) -> WatchSummary:
        known = {
            repo_id: seen
            for repo_id, commit_sha in self._watched.items()
            if (seen := self._state.seen(repo_id)) is not None
            and (seen.commit_sha, seen.question) == (commit_sha, self._question)
        }
        pending = tuple(repo_id for repo_id in self._watched if repo_id not in known)
        return WatchSummary(ended, known, pending, self._scans, self._failures)

    def _left_s(self) -> float | None:
        if self._order.max_time_s is None:
            return None
        return self._order.max_time_s - (time.monotonic() - self._started)

    def _check_time(self) -> None:
        left = self._left_s()
        if left is not None and left <= 0:
            raise _OutOfTime

    def _spent(self) -> bool:
        return self._order.max_scans is not None and self._scans >= self._order.max_scans

    def _wait(self) -> bool:
        """Sleep until the next round. False when the time ends before it."""
        left = self._left_s()
        if left is not None and left <= self._order.interval_s:
            return False
        self._sleep(self._order.interval_s)
        return True

    def _round(self, *, first: bool) -> None:
        self._failures = 0
        self._watched.update(self._heads(first=first))
        for repo_id, commit_sha in self._watched.items():
            self._check_time()
            seen = self._state.seen(repo_id)
            if seen is None or (seen.commit_sha, seen.question) != (commit_sha, self._question):
                if self._spent():
                    return
                self._look(repo_id, commit_sha)

    def _heads(self, *, first: bool) -> Iterator[tuple[str, str]]:
        """Every watched repository and its present commit.

        Failures of later rounds are told and passed over: the next round asks again.
        """
        from amdet_hub.hub.discussions import head_of, models_of

        settings, given = self._order.settings, set()
        for kind, name in parse_watched(self._order.targets):
            try:
                heads = models_of(name, settings) if kind == "namespace" else {name: head_of(name, settings)}
            except HubError as error:
                if first:
                    raise
                self._fail(name, "", error)
                continue
            if first and not heads:
                raise NothingToScan(f"{name}{EVERY_MODEL}", ("no models that can be seen",))
            for repo_id, commit_sha in heads.items():
                if repo_id not in given:
                    given.add(repo_id)
                    yield repo_id, commit_sha

    def _fail(self, repo_id: str, commit_sha: str, error: AmdetError) -> None:
        self._failures += 1
        self._tell(WatchEvent(repo_id, commit_sha, "failed", error=str(error)))

    def _look(self, repo_id: str, commit_sha: str) -> None:
        ref = RepoRef("hub", repo_id, repo_id, revision=commit_sha)
        try:
            report, what = self._report(ref)
        except NothingToScan as error:
            self._note(WatchEvent(repo_id, commit_sha, "nothing to scan", error=str(error)), ())
        except (HubUnavailable, RateLimited, ResourceError) as error:
            self._fail(repo_id, commit_sha, error)
        except (BadRepository, HubError, ConfigError) as error:
            if (
                isinstance(error, ConfigError) and error.name != "reference"
            ):  # a reference may fit some of the models, a device none
                raise
            self._note(WatchEvent(repo_id, commit_sha, "failed", error=str(error)), ())
        else:
            if report.complete:
                self._finish(report, repo_id, commit_sha, what)
            else:
                self._tell(WatchEvent(repo_id, commit_sha, "unfinished", report.verdict.label))
                self._check_time()

    def _report(self, ref: RepoRef) -> tuple[ScanReport, What]:
        order, left = self._order, self._left_s()
        options = order.options
        if left is not None:
            timeout_s = left if options.timeout_s is None else min(left, options.timeout_s)
            options = replace(options, timeout_s=timeout_s)
        known: Known = open_known(
            ref, config=order.config, settings=order.settings, reference=order.reference, options=options
        )
        report = known.recall() or known.recall_by_digest(self._progress)
        if report is not None:
            return report, "known"
        self._scans += 1
        return known.scan(self._progress), "scanned"

    def _finish(self, report: ScanReport, repo_id: str, commit_sha: str, what: What) -> None:
        name = report_name(repo_id, commit_sha)
        self._state.write(name, as_json(report))
        discussion = error = None
        if self._order.open_discussions and report.verdict.label == "backdoor-detected":
            try:
                discussion = self._tell_owner(report)
            except (HubUnavailable, RateLimited) as problem:
                self._fail(
                    repo_id, commit_sha, problem
                )  # not noted: the next round finds the kept result, and tries to tell again
                return
            except HubError as problem:
                error = f"the owner was not told: {problem}"
        event = WatchEvent(repo_id, commit_sha, what, report.verdict.label, name, error, discussion)
        self._note(event, tuple(sorted({r.tower_digest for r in report.results})))

    def _note(self, event: WatchEvent, towers: tuple[str, ...]) -> None:
        seen = SeenRepository(
            commit_sha=event.commit_sha,
            verdict=event.verdict,
            towers=towers,
            report=event.report,
            error=event.error,
            discussion=event.discussion,
            nothing_to_scan=event.what == "nothing to scan",
            question=self._question,
        )
        self._state.record(event.repo_id, seen)
        self._tell(event)

    def _tell_owner(self, report: ScanReport) -> str | None:
        """One discussion for each tower: its digest is in the title, by which an earlier one is found again."""
        from amdet_hub.hub.discussions import tell_owner

        digest = next(r.tower_digest for r in report.results if r.verdict.label == "backdoor-detected")
        title = f"{DISCUSSION_TITLE} (tower {digest[:12]})"
        return tell_owner(
            report.snapshot.repo_id, title=title, text=discussion_text(report), settings=self._order.settings
        )


def discussion_text(report: ScanReport) -> str:
    """What the owner is told: how sure it is, the report, and how to check it. Repository text in it is escaped."""
    opening = (
        "An automatic scan of this repository's text encoder found what looks like a backdoor. This is a finding with"
        " evidence, not an accusation: a fine-tune can carry it without its author's knowledge, and the scan has false"
        " alarms.\n\nThe report is below, with the command that repeats the scan. If it is wrong, closing this"
        " discussion is enough.\n\n"
    )
    body = as_markdown(report)
    if len(opening) + len(body) > MAX_DISCUSSION:
        body = "The report is too long for a discussion. `amdet-hub scan` on this repository prints it."
    return opening + body
