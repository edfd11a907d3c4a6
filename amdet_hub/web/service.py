"""What a visitor can ask for, whatever the way in: page, named endpoint, MCP tool or webhook.

Knows: scan, report, cards. Knows no page.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.hub import parse_target
from amdet_hub.hub.publish import PushResult
from amdet_hub.model_card.publish import preview_card, push_card
from amdet_hub.records import ProgressCallback, RepoRef, ScanReport, ScanResult
from amdet_hub.scanner import (
    PairCache,
    Probe,
    ScanOptions,
    TargetPlan,
    check_text,
    plan_target,
    probe_prompt,
    scan_target,
)
from amdet_hub.web import zerogpu
from amdet_hub.web.board import Board
from amdet_hub.web.job_queue import Job, JobQueue, Task, Work
from amdet_hub.web.live_plots import Trace
from amdet_hub.web.result_store import ResultStore, result_key
from amdet_hub.web.settings import PRESETS, SpaceSettings
from amdet_hub.web.visitor import parse_visitor_target


@dataclass(frozen=True)
class Lookup:
    """A repository that was looked up: pinned, nothing scanned yet.

    Attributes:
        ref: the target, pinned to the commit that was shown.
        preset: how it would be scanned.
        plan: what would be scanned.
        key: what the result is stored under.
        earlier: the result of the same towers, when there is one.
    """

    ref: RepoRef
    preset: str
    plan: TargetPlan
    key: str
    earlier: ScanReport | None

    @property
    def estimate_s(self) -> float:
        """Expected seconds of the scan."""
        return sum(one.estimate_s for one in self.plan.encoders)

    @property
    def download_bytes(self) -> int:
        """Bytes of the weight files, each once."""
        return sum({f.path: f.size_bytes for one in self.plan.encoders for f in one.encoder.weight_files}.values())

    @property
    def permalink(self) -> str:
        """The query that leads back to this very commit."""
        sha = self.plan.snapshot.commit_sha
        return f"?model={self.plan.snapshot.repo_id}" + (f"@{sha}" if sha else "")


def config_of(preset: str) -> ScanConfig:
    """The settings of a preset here: with every stage run, also where the verdict is decided before, because the page draws them."""
    return ScanConfig.for_preset(preset).replace(stop_when_decided=False)


@dataclass(frozen=True)
class PromptTrial:
    """A prompt to look at closely.

    `added` None takes the trigger that the scan found; `encoder` is the number of a result of the report.
    """

    prompt: str
    added: str | None
    place: Literal["start", "middle", "end"]
    encoder: int = 0


TRIAL_SHARE = 0.1
"""What a trial takes of a visitor's hour, in scans: it loads what a scan loads, and little more."""


class ScanService:
    """Everything behind the page. One for each running Space; `close` it at the end.

    Args:
        settings: what this Space allows.
        board: where public scans are listed, None for the one that the settings name.
        gpu: how a GPU is borrowed for a scan (`amdet_hub.web.zerogpu`), None where the machine has what it has.
    """

    def __init__(self, settings: SpaceSettings, board: Board | None = None, gpu: zerogpu.Steps | None = None) -> None:
        self.settings = settings
        self.gpu = gpu
        self.store = ResultStore(settings.data_dir / "results")
        self.board = board or Board(settings.board_repo, token=settings.board_token, endpoint=settings.endpoint)
        self.jobs = JobQueue(
            size=settings.queue_size, per_owner=settings.per_visitor, per_owner_hour=settings.per_visitor_hour
        )
        self._pairs = PairCache()

    def look_up(self, text: str, preset: str, *, token: str | None = None) -> Lookup:
        """Resolve a target without fetching weights.

        Raises:
            TargetError: the text names no Hub model.
            NothingToScan: there is no supported text encoder in it.
            BadRepository: its files are broken or hostile.
            ConfigError: the preset is none that is offered here.
            HubError: the Hub could not be asked.
        """
        if preset not in PRESETS:
            raise ConfigError("preset", f"'{preset[:40]}' is none of {', '.join(PRESETS)}")
        ref = parse_visitor_target(text, endpoint=self.settings.endpoint)
        plan = plan_target(
            ref,
            config=config_of(preset),
            settings=self.settings.hub(token),
            reference=self._reference(),
            options=self._options(),
        )
        pinned = replace(ref, revision=plan.snapshot.commit_sha, raw=ref.raw.removeprefix("hf://"))
        key = result_key(plan, preset)
        return Lookup(pinned, preset, plan, key, self.store.get(key))

    def start(
        self,
        found: Lookup,
        owner: str,
        *,
        token: str | None = None,
        then: Callable[[ScanReport], object] | None = None,
        visitor: bool = True,
    ) -> Job:
        """Queue the scan of what was looked up.

        Args:
            found: what to scan.
            owner: who asks, for the limits.
            token: to read the Hub with.
            then: gets the report of a scan that ended well.
            visitor: whether somebody waits, whose share of a lent GPU may be used.

        Raises:
            QueueRefused: the line is full, or this owner has asked for enough.
        """
        trace = Trace()
        scan = (
            self._lent_scan(found, token, trace)
            if self.gpu is not None and visitor
            else self._own_scan(found, token, trace)
        )

        def work(progress: ProgressCallback) -> ScanReport:
            report = scan(progress)
            if self.store.put(found.key, report):
                self.board.add(report)
            if then is not None:
                then(report)
            return report

        return self.jobs.submit(Job(owner, work, estimate_s=found.estimate_s, trace=trace))

    def _own_scan(self, found: Lookup, token: str | None, trace: Trace) -> Work:
        """On this machine's own hardware."""
        return lambda progress: scan_target(
            found.ref,
            config=config_of(found.preset),
            settings=self.settings.hub(token),
            reference=self._reference(),
            options=replace(self._options(), on_measure=trace.add),
            progress=progress,
        )

    def _lent_scan(self, found: Lookup, token: str | None, trace: Trace) -> Work:
        """On a GPU that is lent for this scan, in the name of whoever's request this is."""
        assert self.gpu is not None
        steps, asked_in = self.gpu, contextvars.copy_context()
        seconds = zerogpu.seconds_for(found.plan, found.preset)
        scan = zerogpu.GpuScan(
            found.ref, config_of(found.preset), self.settings.hub(token), self._reference(), seconds
        )
        return lambda progress: asked_in.run(zerogpu.scan_on_gpu, steps, scan, progress, trace.add)

    def look_closer(
        self, found: Lookup, report: ScanReport, trial: PromptTrial, owner: str, *, token: str | None = None
    ) -> Task[Probe]:
        """Queue a look at one prompt in what a report is about, as it was looked up.

        Towers of public models are kept for the next prompt; those of gated and private ones are let go.

        Raises:
            ConfigError: the text is empty or too long, or the report has no such encoder.
            QueueRefused: as `start`.
        """
        check_text("prompt", trial.prompt)
        if trial.added is not None:
            check_text("added", trial.added)
        if not 0 <= trial.encoder < len(report.results):
            raise ConfigError("encoder", "the report has no such encoder")
        result = _as_looked_up(report.results[trial.encoder], found)
        kept = PairCache(0) if found.plan.snapshot.private or found.plan.snapshot.gated else self._pairs

        def work(progress: ProgressCallback) -> Probe:
            settings, options = self.settings.hub(token), self._options()
            return probe_prompt(
                result,
                trial.prompt,
                added=trial.added,
                place=trial.place,
                settings=settings,
                options=options,
                progress=progress,
                kept=kept,
            )

        return self.jobs.submit(Task(owner, work, share=TRIAL_SHARE))

    def diff(self, report: ScanReport, token: str) -> str:
        """What a pull request of the visitor would change, as a unified diff; `""` when nothing.

        Raises: CardError; HubError.
        """
        return preview_card(report, self.settings.hub(token))

    def propose(self, report: ScanReport, token: str) -> PushResult:
        """Open or update the visitor's pull request.

        Raises: CardError; PullRequestClosed; CommitConflict; HubError.
        """
        return push_card(report, self.settings.hub(token))

    def propose_as_webhook(self, report: ScanReport) -> None:
        """Propose a detection in the name of the webhook's own account, if it has one.

        Anything else is on the page for who asks.
        """
        if self.settings.webhook_token and report.verdict.label == "backdoor-detected":
            self.propose(report, self.settings.webhook_token)

    def close(self) -> None:
        """Stop the worker."""
        self.jobs.close()

    def _reference(self) -> RepoRef | None:
        return (
            parse_target(f"hf://{self.settings.reference}", endpoint=self.settings.endpoint)
            if self.settings.reference
            else None
        )

    def _options(self) -> ScanOptions:
        return ScanOptions(timeout_s=self.settings.budget_s, device="cpu" if self.gpu is not None else "auto")


def _as_looked_up(result: ScanResult, found: Lookup) -> ScanResult:
    """The result with the repositories that the visitor looked up: a result of the same weights may have been another model's."""
    name = (result.encoder.component, result.encoder.variant)
    planned = next((one for one in found.plan.encoders if (one.encoder.component, one.encoder.variant) == name), None)
    if planned is None:
        raise ConfigError("encoder", "the repository has no such encoder")
    reference = result.reference
    if reference.trust != "none":
        reference = replace(planned.reference, tower_digest=reference.tower_digest)
    return replace(result, encoder=planned.encoder, reference=reference)
