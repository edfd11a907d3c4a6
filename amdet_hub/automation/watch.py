"""Look at repositories again and again, and scan what changed: a new commit whose towers were not judged before.

Knows: what is new, what it may cost, whom to tell. Refuses to know: how anything is printed. A commit that leaves the
towers alone is answered from the cached results (`Scanner.cached`), so that a new README costs one listing.
What fails for a passing reason is tried again at the next round; what is broken is noted and left alone until its
owner changes it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from amdet_hub.automation.owner_discussion import tell_owner_of
from amdet_hub.automation.watch_state import SeenRepository, WatchState, open_state, report_name
from amdet_hub.automation.watch_targets import EVERY_MODEL, parse_watched
from amdet_hub.errors import (
    AmdetError,
    BadRepository,
    ConfigError,
    HubError,
    HubUnavailable,
    RateLimited,
    ResourceError,
    TargetError,
)
from amdet_hub.records import (
    SILENT,
    Monitor,
    ProgressCallback,
    RepoRef,
    ScanReport,
    VerdictLabel,
    fingerprint,
    to_dict,
)
from amdet_hub.report import as_json
from amdet_hub.scanner.cache import judged_by
from amdet_hub.scanner.scanner import Scanner

What = Literal["scanned", "cached", "not scanned", "failed", "unfinished"]


@dataclass(frozen=True)
class WatchConfig:
    """The repositories that are watched, and how.

    Attributes:
        targets: `org/model` for one model, `org/...` for all of a namespace.
        folder: where state and reports go.
        scanner: how each of them is scanned.
        interval_s: seconds between two rounds.
        max_scans: scans after which the watch ends; None means no limit. Answers from the cache cost nothing.
        max_time_s: seconds after which it ends; a scan under way is stopped, and made again by the next watch.
        once: one round only.
        open_discussions: tell the owner of a detected backdoor in a discussion on the repository.
    """

    targets: tuple[str, ...]
    folder: Path
    scanner: Scanner
    interval_s: float = 600.0
    max_scans: int | None = None
    max_time_s: float | None = None
    once: bool = False
    open_discussions: bool = False


@dataclass(frozen=True)
class WatchEvent:
    """One repository that was looked at.

    `code` is the verdict's reason code, or the error's. `error` and `repo_id` are hostile text.
    """

    repo_id: str
    commit_sha: str
    what: What
    verdict: VerdictLabel | None = None
    code: str | None = None
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
    config: WatchConfig,
    tell: Callable[[WatchEvent], None],
    *,
    progress: ProgressCallback = SILENT.progress,
    sleep: Callable[[float], None] = time.sleep,
) -> WatchSummary:
    """Look, scan and note, until one round is done or the budget is spent.

    Args:
        config: what to watch, and how.
        tell: called after each repository that was new or had failed, once its state is on disk.
        progress: called as `progress(stage, done, total)` during scans.
        sleep: waits between rounds.

    Raises:
        TargetError: a target is no repository and no namespace, or a namespace without models that can be seen.
        OutputError: the folder cannot be written, or another watch uses it.
        ReportError: the state in the folder cannot be read.
        HubError: at the first round, the Hub or a named repository cannot be read.
    """
    parse_watched(config.targets)
    with open_state(config.folder) as state:
        return _Watch(config, state, tell, progress, sleep).run()


class _OutOfTime(Exception):
    """The watch's own time ended."""


class _Watch:
    def __init__(
        self,
        config: WatchConfig,
        state: WatchState,
        tell: Callable[[WatchEvent], None],
        progress: ProgressCallback,
        sleep: Callable[[float], None],
    ) -> None:
        self._config, self._state, self._tell, self._progress, self._sleep = config, state, tell, progress, sleep
        self._deadline = time.monotonic() + (math.inf if config.max_time_s is None else config.max_time_s)
        self._scans = self._failures = 0
        self._watched: dict[str, str] = {}
        scanner = config.scanner
        self._question = fingerprint(
            {
                "config": scanner.config.fingerprint(),
                "reference": to_dict(scanner.reference),
                "use_reference": scanner.options.use_reference,
                "judged_by": judged_by(),
            }
        )

    def run(self) -> WatchSummary:
        try:
            self._round(first=True)
            while not (self._spent() or self._config.once):
                self._wait()
                self._round(first=False)
        except _OutOfTime:
            return self._summary("max time")
        return self._summary("max scans" if self._spent() else "one round")

    def _summary(self, ended: Literal["one round", "max scans", "max time"]) -> WatchSummary:
        known = {
            repo_id: seen
            for repo_id, commit_sha in self._watched.items()
            if (seen := self._state.seen(repo_id)) is not None
            and (seen.commit_sha, seen.question) == (commit_sha, self._question)
        }
        return WatchSummary(
            ended, known, tuple(name for name in self._watched if name not in known), self._scans, self._failures
        )

    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def _check_time(self) -> None:
        if self._left_s() <= 0:
            raise _OutOfTime

    def _spent(self) -> bool:
        return self._config.max_scans is not None and self._scans >= self._config.max_scans

    def _wait(self) -> None:
        """Sleep until the next round. Raises: _OutOfTime, at once, when the time ends before it."""
        if self._left_s() <= self._config.interval_s:
            raise _OutOfTime
        self._sleep(self._config.interval_s)

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
        from amdet_hub.hub.listing import commit_of, model_commits

        settings, given = self._config.scanner.hub, set()
        for kind, name in parse_watched(self._config.targets):
            try:
                heads = (
                    model_commits(name, settings) if kind == "namespace" else {name: commit_of(name, None, settings)}
                )
            except HubError as error:
                if first:
                    raise
                self._fail(name, "", error)
                continue
            if first and not heads:
                raise TargetError(f"{name}{EVERY_MODEL}", "it has no models that can be seen")
            for repo_id, commit_sha in heads.items():
                if repo_id not in given:
                    given.add(repo_id)
                    yield repo_id, commit_sha

    def _fail(self, repo_id: str, commit_sha: str, error: AmdetError) -> None:
        self._failures += 1
        self._tell(WatchEvent(repo_id, commit_sha, "failed", code=error.code, error=str(error)))

    def _look(self, repo_id: str, commit_sha: str) -> None:
        try:
            report = self._report(RepoRef("hub", repo_id, repo_id, revision=commit_sha))
        except (HubUnavailable, RateLimited, ResourceError) as error:
            self._fail(repo_id, commit_sha, error)
        except (BadRepository, HubError, ConfigError) as error:
            # A reference may fit some of the models, a device none.
            if isinstance(error, ConfigError) and error.name != "reference":
                raise
            self._note(WatchEvent(repo_id, commit_sha, "failed", code=error.code, error=str(error)), ())
        else:
            if report.complete:
                self._finish(report, repo_id, commit_sha)
            else:
                self._tell(WatchEvent(repo_id, commit_sha, "unfinished", report.verdict.label, report.verdict.code))
                self._check_time()

    def _report(self, ref: RepoRef) -> ScanReport:
        scanner, left = self._config.scanner, self._left_s()
        if left < math.inf:
            options = replace(scanner.options, timeout_s=min(left, scanner.options.timeout_s or left))
            scanner = replace(scanner, options=options)
        report = scanner.scan(scanner.resolve(ref), Monitor(self._progress))
        self._scans += bool(report.results) and not report.cached
        return report

    def _finish(self, report: ScanReport, repo_id: str, commit_sha: str) -> None:
        name = report_name(repo_id, commit_sha)
        self._state.write(name, as_json(report))
        discussion = error = None
        if self._config.open_discussions and report.verdict.label == "backdoor-detected":
            try:
                discussion = tell_owner_of(report, self._config.scanner.hub)
            except (HubUnavailable, RateLimited) as problem:
                # Not noted: the next round finds the cached result, and tries to tell again.
                self._fail(repo_id, commit_sha, problem)
                return
            except HubError as problem:
                error = f"the owner was not told: {problem}"
        what: What = "cached" if report.cached else "scanned" if report.results else "not scanned"
        verdict = report.verdict
        self._note(
            WatchEvent(repo_id, commit_sha, what, verdict.label, verdict.code, name, error, discussion),
            tuple(sorted({r.tower_digest for r in report.results})),
        )

    def _note(self, event: WatchEvent, towers: tuple[str, ...]) -> None:
        self._state.record(
            event.repo_id,
            SeenRepository(
                commit_sha=event.commit_sha,
                verdict=event.verdict,
                code=event.code,
                towers=towers,
                report=event.report,
                error=event.error,
                discussion=event.discussion,
                question=self._question,
            ),
        )
        self._tell(event)
