"""`Scanner`: the one object that owns a scan. Torch-free to import, and as long as only the cache is asked.

Every surface (command line, guard, watch, hook, Action, agents' tools, web page) builds one and calls `resolve`,
`cached` or `scan`. None of them opens a repository, finds encoders or chooses references by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from amdet_hub.config import ScanConfig
from amdet_hub.hub import HubSettings
from amdet_hub.records import SILENT, Environment, Monitor, RepoRef, ResolvedEncoder, ScanOutcome, ScanReport
from amdet_hub.scanner.cache import CachedResult, ResultsCache, TowerDigests
from amdet_hub.scanner.deduplicate import reads_alike, skip_duplicate
from amdet_hub.scanner.environment import describe_environment, utc_now
from amdet_hub.scanner.options import DEFAULT_OPTIONS, ScanOptions, several_processes
from amdet_hub.scanner.resolve import EncoderPair, ResolvedTarget, resolve_target
from amdet_hub.scanner.shared_references import SharedReferences
from amdet_hub.verdict import judge_repository


@dataclass(frozen=True)
class Scanner:
    """How targets are scanned.

    Attributes:
        config: every number that can change a verdict.
        hub: how to reach the Hub, and as whom.
        reference: the clean encoder to compare with; None chooses one for each encoder.
        options: device, dtype, time and memory.
        shared: references that earlier scans of this scanner loaded.
    """

    config: ScanConfig = field(default_factory=lambda: ScanConfig.for_preset("standard"))
    hub: HubSettings = field(default_factory=HubSettings)
    reference: RepoRef | None = None
    options: ScanOptions = DEFAULT_OPTIONS
    shared: SharedReferences = field(default_factory=SharedReferences, repr=False, compare=False)

    def resolve(self, ref: RepoRef) -> ResolvedTarget:
        """The target pinned to a commit, its encoders and their references. Fetches no weights.

        When the time budget ends first, there are no encoders, and what was skipped says so.

        Raises:
            BadRepository: a configuration, index or header is broken or hostile.
            ConfigError: the reference does not fit.
            HubError: something could not be read.
        """
        return resolve_target(ref, self.hub, self.options, named=self.reference)

    def cached(self, target: ResolvedTarget) -> ScanReport | None:
        """The report that earlier scans of these very weights make, None when one of the results is missing.

        Reads listings and our own folder, and fetches no weights. A target without encoders needs no scan: its report
        says why.
        """
        cache = ResultsCache(self.hub)
        found: list[CachedResult] = []
        outcomes: list[ScanOutcome] = []
        seen: dict[TowerDigests, ResolvedEncoder] = {}
        for pair in target.pairs:
            if (digests := cache.digests(pair)) is None:
                return None
            if (earlier := seen.get(digests)) is not None and reads_alike(pair.suspect, earlier, pair.source):
                outcomes.append(skip_duplicate(pair.suspect, earlier, digests.tower))
                continue
            if (one := self.cached_result(pair, digests)) is None:
                return None
            # What was scanned with a projection was scanned without one, too; never the reverse.
            seen |= dict.fromkeys((digests, replace(digests, projection=None)), pair.suspect)
            found.append(one)
            outcomes.append(one.result)
        for pair in target.pairs[:1]:  # all are of one repository
            pair.source.check_unchanged()
        oldest = min(found, key=lambda one: one.created, default=None)
        return self.report(target, outcomes, oldest.environment if oldest is not None else describe_environment())

    def cached_result(self, pair: EncoderPair, digests: TowerDigests) -> CachedResult | None:
        """The result of an earlier scan of this tower in the same context, None when there is none."""
        if (found := ResultsCache(self.hub).find(pair, digests, self.config)) is None:
            return None
        return replace(found, result=replace(found.result, encoder=pair.suspect, cached_at=found.created))

    def scan(self, target: ResolvedTarget, monitor: Monitor = SILENT) -> ScanReport:
        """Scan every encoder of a target. What an earlier scan answered is not scanned again, unless `options.rescan`.

        Args:
            target: from `resolve`.
            monitor: who follows it.

        Returns:
            The report. When the time budget ends first, it is partial (`complete` is False) and inconclusive.

        Raises:
            BadRepository: the weights of the only encoder are broken or hostile.
            ConfigError: the device does not fit.
            ResourceError: disk or memory does not suffice.
            HubError: something could not be read.
            Interrupted: Ctrl-C; carries the partial report.
        """
        # Several processes decide together, in the session: one that alone finds an answer would leave the others.
        ask_cache = not target.pairs or not (several_processes() or self.options.rescan)
        if ask_cache and (report := self.cached(target)) is not None:
            return report
        from amdet_hub.scanner.session import ScanSession

        return ScanSession(self, target, monitor).run()

    def report(
        self,
        target: ResolvedTarget,
        outcomes: Sequence[ScanOutcome],
        environment: Environment,
        *,
        complete: bool = True,
    ) -> ScanReport:
        """The report of these outcomes and of what the target's resolution skipped."""
        everything = (*outcomes, *target.skipped)
        now = utc_now()
        cached = [getattr(outcome, "cached_at", None) or now for outcome in outcomes]
        return ScanReport(
            target=target.ref.raw,
            snapshot=target.snapshot,
            outcomes=everything,
            verdict=judge_repository(everything),
            config=self.config.to_dict(),
            config_fingerprint=self.config.fingerprint(),
            environment=environment,
            created=min(cached, default=now),
            complete=complete and all(skipped.reason != "time-spent" for skipped in target.skipped),
        )
