"""The service behind every way in: page, named endpoint, MCP tool and webhook. Knows the scanner, and no page."""

from __future__ import annotations

import contextvars
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.hub import parse_target
from amdet_hub.records import Monitor, RepoSnapshot, ScanReport
from amdet_hub.scanner import ResolvedTarget, Scanner, ScanOptions
from amdet_hub.scanner.estimate import estimate_seconds
from amdet_hub.web import zerogpu
from amdet_hub.web.board import Board
from amdet_hub.web.job_queue import Job, JobQueue, ScanJob
from amdet_hub.web.settings import PRESETS, SpaceSettings
from amdet_hub.web.visitor import parse_visitor_target

if TYPE_CHECKING:
    from amdet_hub.scanner import PairCache, Probe


@dataclass(frozen=True)
class Lookup:
    """A repository that was looked up: pinned, nothing scanned yet.

    Attributes:
        scanner: how it would be scanned, with the visitor's own token.
        target: what would be scanned.
        earlier: the report that needs no scan: of earlier scans of the same weights, or of a repository that holds
            nothing to scan.
    """

    scanner: Scanner
    target: ResolvedTarget
    earlier: ScanReport | None

    @property
    def snapshot(self) -> RepoSnapshot:
        """The pinned repository."""
        return self.target.snapshot

    @property
    def public(self) -> bool:
        """Whether everybody may read it. Results and towers of other repositories are stored for no other visitor."""
        return not self.snapshot.private and not self.snapshot.gated

    @property
    def estimate_s(self) -> float:
        """Expected seconds of the scan."""
        return sum(
            estimate_seconds(pair.suspect.config, pair.reference, self.scanner.config) for pair in self.target.pairs
        )

    @property
    def download_bytes(self) -> int:
        """Bytes of the weight files, each once."""
        files = {file.path: file for pair in self.target.pairs for file in pair.suspect.weight_files}
        return sum(file.size_bytes for file in files.values())


@dataclass(frozen=True)
class PromptTrial:
    """A prompt to inspect.

    `added` None takes the trigger that the scan found; `encoder` is the number of a result of the report.
    """

    prompt: str
    added: str | None
    place: Literal["start", "middle", "end"]
    encoder: int = 0


# What a trial takes of a visitor's hour, in scans: it loads as much as a scan, and computes little more.
TRIAL_SHARE = 0.1


class ScanService:
    """Everything behind the page. One for each running Space; `close` it at the end.

    Args:
        settings: what this Space allows.
        board: where public scans are listed, None for the one that the settings name.
        gpu: how a GPU is borrowed for a scan (`amdet_hub.web.zerogpu`), None where the machine has its own hardware.
    """

    def __init__(
        self, settings: SpaceSettings, board: Board | None = None, gpu: zerogpu.ScanStream | None = None
    ) -> None:
        self.settings = settings
        self.gpu = gpu
        self.board = board or Board(settings.board_repo, settings.hub(settings.board_token or None))
        self._pairs: PairCache | None = None  # made with the first trial, because it loads torch
        self.jobs = JobQueue(
            size=settings.queue_size, per_owner=settings.per_visitor, per_owner_hour=settings.per_visitor_hour
        )

    def look_up(self, text: str, preset: str, *, token: str | None = None) -> Lookup:
        """Resolve a target without fetching weights.

        Raises:
            TargetError: the text names no Hub model.
            BadRepository: its files are broken or hostile.
            ConfigError: the preset is none that is offered here.
            HubError: the Hub could not be asked.
        """
        if preset not in PRESETS:
            raise ConfigError("preset", f"'{preset[:40]}' is none of {', '.join(PRESETS)}")
        settings = self.settings
        reference = (
            parse_target(f"hf://{settings.reference}", endpoint=settings.endpoint) if settings.reference else None
        )
        scanner = Scanner(
            # every stage is run, also where the verdict is decided before, because the page draws them
            ScanConfig.for_preset(preset, seed=settings.seed).replace(stop_when_decided=False),
            settings.hub(token),
            reference,
            ScanOptions(timeout_s=settings.budget_s, device="cpu" if self.gpu is not None else "auto"),
        )
        target = scanner.resolve(parse_visitor_target(text, endpoint=settings.endpoint))
        lookup = Lookup(scanner, target, None)
        return replace(lookup, earlier=scanner.cached(target)) if lookup.public or not target.pairs else lookup

    def start(
        self,
        lookup: Lookup,
        owner: str,
        *,
        rescan: bool = False,
        visitor: bool = True,
        then: Callable[[ScanReport], object] = lambda report: None,
    ) -> ScanJob:
        """Queue the scan of a lookup.

        Args:
            lookup: what to scan.
            owner: who asks, for the limits.
            rescan: whether a result of an earlier scan is no answer.
            visitor: whether a visitor waits, whose share of a borrowed GPU may be used.
            then: gets the report of a scan that ended well.

        Raises:
            QueueRefused: the line is full, or this owner has asked for enough.
        """
        asked_in = contextvars.copy_context()  # ZeroGPU reads from it whose share the scan takes

        def work(monitor: Monitor) -> ScanReport:
            with _results_of(lookup) as scanner:
                scanner = replace(scanner, options=replace(scanner.options, rescan=rescan))
                if self.gpu is not None and visitor:
                    report = asked_in.run(
                        zerogpu.collect_scan, self.gpu, zerogpu.GpuScan.of(scanner, lookup.target), monitor
                    )
                else:
                    report = scanner.scan(lookup.target, monitor)
            self.board.add(report)
            then(report)
            return report

        return self.jobs.submit(ScanJob(owner, work, estimate_s=lookup.estimate_s))

    def inspect_prompt(self, lookup: Lookup, report: ScanReport, trial: PromptTrial, owner: str) -> Job[Probe]:
        """Queue the inspection of one prompt in an encoder of a report of `lookup`.

        Towers of public models stay loaded for the next prompt; those of gated and private ones are let go.

        Raises:
            ConfigError: the text is empty or too long, or the report has no such encoder.
            QueueRefused: as `start`.
        """
        from amdet_hub.scanner import PairCache, PromptInspector, check_text

        check_text("prompt", trial.prompt)
        if trial.added is not None:
            check_text("added", trial.added)
        if not 0 <= trial.encoder < len(report.results):
            raise ConfigError("encoder", "the report has no such encoder")
        result, scanner = report.results[trial.encoder], lookup.scanner
        self._pairs = self._pairs or PairCache()
        inspector = PromptInspector(scanner.hub, scanner.options, self._pairs if lookup.public else PairCache(0))

        def work(monitor: Monitor) -> Probe:
            return inspector.inspect(
                result, trial.prompt, added=trial.added, place=trial.place, progress=monitor.progress
            )

        return self.jobs.submit(Job(owner, work, share=TRIAL_SHARE))

    def close(self) -> None:
        """Stop the worker."""
        self.jobs.close()


@contextmanager
def _results_of(lookup: Lookup) -> Iterator[Scanner]:
    """The lookup's scanner, which stores results of gated and private models for no longer than this scan."""
    if lookup.public:
        yield lookup.scanner
        return
    with tempfile.TemporaryDirectory(prefix="amdet-hub-private-", ignore_cleanup_errors=True) as folder:
        yield replace(lookup.scanner, hub=replace(lookup.scanner.hub, cache_dir=Path(folder)))
