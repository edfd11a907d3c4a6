"""One scan under way: accelerator, deadline, the pairs one after the other, and the partial report of an early end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from accelerate.utils import broadcast_object_list

from amdet_hub.encoders.digest import projection_digest
from amdet_hub.encoders.load import LoadedTower
from amdet_hub.errors import AmdetError, BadRepository, HubError, Interrupted, ResourceError
from amdet_hub.hub.time_limit import TimeSpent, time_limit
from amdet_hub.records import Environment, Monitor, ScanOutcome, ScanReport, ScanResult, SkippedScan, SkipReason
from amdet_hub.scanner.cache import CachedResult, ResultsCache, TowerDigests
from amdet_hub.scanner.deduplicate import TowerDeduplicator
from amdet_hub.scanner.environment import describe_environment, utc_now
from amdet_hub.scanner.file_contents import unchanged
from amdet_hub.scanner.pair_scan import PairScan
from amdet_hub.scanner.resolve import EncoderPair, ResolvedTarget
from amdet_hub.scanner.runtime import AcceleratedWorkers, make_accelerator, scan_device, sweep_dtype

if TYPE_CHECKING:
    from amdet_hub.scanner.scanner import Scanner


class ScanSession:
    """One scan of one target. `run` it once.

    Args:
        scanner: how it is scanned.
        target: what is scanned.
        monitor: who follows it.
    """

    def __init__(self, scanner: Scanner, target: ResolvedTarget, monitor: Monitor) -> None:
        self._started = time.monotonic() - target.resolve_s
        self.target, self.monitor = target, monitor
        self.accelerator = make_accelerator(scanner.options.device)
        if self.accelerator.num_processes > 1:  # on several machines each has a seed of its own
            (seed,) = broadcast_object_list([scanner.config.seed])
            scanner = replace(scanner, config=scanner.config.replace(seed=seed))
        self.scanner = scanner
        self.device = scan_device(self.accelerator, scanner.options.device)
        self.dtype = sweep_dtype(self.device, scanner.options.dtype)
        self.cache = ResultsCache(scanner.hub)
        self._outcomes: list[ScanOutcome] = []
        self._duplicates = TowerDeduplicator()
        self._complete = True

    def run(self) -> ScanReport:
        """Scan the pairs in order. Raises: as `Scanner.scan`."""
        budget_s = self.scanner.options.timeout_s
        try:
            with time_limit(None if budget_s is None else budget_s - (time.monotonic() - self._started)):
                self._scan_pairs()
        except TimeSpent:
            self._stop("time-spent")
        except KeyboardInterrupt:
            self._stop("interrupted")
            raise Interrupted(self.report()) from None
        return self.report()

    def report(self) -> ScanReport:
        """Everything found so far."""
        return self.scanner.report(self.target, self._outcomes, self.environment, complete=self._complete)

    @property
    def environment(self) -> Environment:
        """Versions and hardware of this scan."""
        return describe_environment(
            device=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            dtype=str(self.dtype).removeprefix("torch."),
            processes=int(self.accelerator.num_processes),
            threads=torch.get_num_threads(),
        )

    def workers(self, hidden_size: int) -> AcceleratedWorkers:
        """What a detector shares its work with, within this scan's time budget."""
        options, stage = self.scanner.options, self.monitor.stage
        return AcceleratedWorkers(self.accelerator, options, stage, started=self._started, hidden_size=hidden_size)

    def in_turn(self, load: Callable[[], LoadedTower]) -> LoadedTower:
        """Run one load in the main process first: the others find the files in the cache."""
        with self.accelerator.local_main_process_first():
            try:
                return load()
            except (AmdetError, TimeSpent) as error:
                # raised below: accelerate's context lets the others in only when its body ends well
                problem: Exception = error
        raise problem

    def cached(self, pair: EncoderPair, digests: TowerDigests) -> ScanResult | None:
        """What an earlier scan found of this tower in the same context; the same answer in every process."""
        found = None if self.scanner.options.rescan else self.scanner.cached_result(pair, digests)
        if self.accelerator.num_processes > 1:
            (found,) = broadcast_object_list([found])
        return found.result if found is not None else None

    def _scan_pairs(self) -> None:
        """One that cannot be read does not cost the others their result, unless there is no other result.

        Raises:
            AmdetError: nothing could be scanned; the first pair's error.
            TimeSpent: the budget ended.
        """
        errors: list[AmdetError] = []
        for number, pair in enumerate(self.target.pairs):
            try:
                self._outcomes.append(self._scan_pair(pair, self.target.pairs[number + 1 :]))
            except (BadRepository, HubError, ResourceError) as error:
                errors.append(error)
                self._outcomes.append(_skipped(pair, "unreadable", str(error)))
        if errors and not any(isinstance(outcome, ScanResult) for outcome in self._outcomes):
            raise errors[0]

    def _scan_pair(self, pair: EncoderPair, to_come: tuple[EncoderPair, ...]) -> ScanOutcome:
        scan = PairScan(self, pair)
        with unchanged(pair):
            suspect = scan.load_suspect()
            digests = TowerDigests(suspect.digest, projection_digest(suspect.tensors))
            duplicate = self._duplicates.duplicate_of(pair.suspect, suspect, pair.source)
            outcome = duplicate or self.cached(pair, digests) or scan.scan(suspect)
        if isinstance(outcome, SkippedScan):
            self._store(pair, digests, None)
            return outcome
        # A result that other files led to: these are remembered too, so that the next scan need not load them.
        self._store(pair, digests, outcome if outcome.cached_at is None else None)
        self._duplicates.add(pair.suspect, suspect, [later.suspect for later in to_come])
        return outcome

    def _store(self, pair: EncoderPair, digests: TowerDigests, result: ScanResult | None) -> None:
        if not self.accelerator.is_main_process:
            return
        if result is None:
            self.cache.remember(pair, digests)
        else:
            self.cache.store(pair, digests, self.scanner.config, CachedResult(result, self.environment, utc_now()))

    def _stop(self, why: SkipReason) -> None:
        self._complete = False
        said = "the time budget ended" if why == "time-spent" else "interrupted"
        self._outcomes += [_skipped(pair, why, said) for pair in self.target.pairs[len(self._outcomes) :]]


def _skipped(pair: EncoderPair, why: SkipReason, detail: str) -> SkippedScan:
    return SkippedScan(pair.suspect.repo_id, pair.suspect.component, why, detail, blocks_clearance=True)
