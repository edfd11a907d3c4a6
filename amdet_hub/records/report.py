"""Results of one scan, and the circumstances that made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amdet_hub.records.encoder import Reference, ResolvedEncoder
from amdet_hub.records.evidence import ChangedMeaning, Evidence, Lineage, TriggerFinding, Verdict
from amdet_hub.records.reason_codes import SkipReason
from amdet_hub.records.repository import RepoSnapshot
from amdet_hub.records.words import LATER, SCHEMA_VERSION


@dataclass(frozen=True)
class Environment:
    """Versions and hardware that made a result. Never holds host names, user names or paths."""

    amdet_hub: str
    python: str
    torch: str
    transformers: str
    accelerate: str
    huggingface_hub: str
    device: str
    dtype: str
    num_processes: int
    num_threads: int


@dataclass(frozen=True)
class ScanResult:
    """One encoder, scanned (or answered by identity), with everything needed to run the scan again.

    `batch_sizes` records what the out-of-memory retry settled on per stage. `timings_s` are seconds per stage: the
    only fields, with the report's `created`, that differ between two runs of the same scan on the same machine.
    `lineage` is None without a reference. `cached_at` is when an earlier scan made this result (RFC 3339 UTC), None
    where this scan did. `meanings` are the tokens whose meaning changed, characters that hide first, then the
    strongest.
    """

    encoder: ResolvedEncoder
    tower_digest: str
    reference: Reference
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    triggers: tuple[TriggerFinding, ...] = ()
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["result"] = "result"
    lineage: Lineage | None = field(default=None, metadata=LATER)
    cached_at: str | None = field(default=None, metadata=LATER)
    meanings: tuple[ChangedMeaning, ...] = field(default=(), metadata=LATER)

    @property
    def named_triggers(self) -> tuple[TriggerFinding | ChangedMeaning, ...]:
        """The triggers; of an attribute trigger the character, which comes first of all meanings."""
        return self.triggers or (self.meanings[:1] if self.verdict.code == "attribute-trigger" else ())


@dataclass(frozen=True)
class SkippedScan:
    """An encoder or component that was not scanned, and why.

    `blocks_clearance` is True when it is of a CLIP family (or may be), so that the report cannot say "no backdoor
    found" of the repository.
    """

    repo_id: str
    component: str
    reason: SkipReason
    detail: str
    blocks_clearance: bool
    kind: Literal["skipped"] = "skipped"


ScanOutcome = ScanResult | SkippedScan


@dataclass(frozen=True)
class ScanReport:
    """Everything one `scan` of one target found. `complete` is False for the partial report of an interrupted scan.

    `config` is `ScanConfig.to_dict()` of the run and `config_fingerprint` its sha256; `created` is RFC 3339 UTC.
    """

    target: str
    snapshot: RepoSnapshot
    outcomes: tuple[ScanOutcome, ...]
    verdict: Verdict
    config: Mapping[str, Any]
    config_fingerprint: str
    environment: Environment
    created: str
    complete: bool = True
    schema_version: str = SCHEMA_VERSION

    @property
    def cached(self) -> bool:
        """Whether every result was made by an earlier scan."""
        return bool(self.results) and all(r.cached_at is not None for r in self.results)

    @property
    def results(self) -> tuple[ScanResult, ...]:
        """The outcomes that were scanned."""
        return tuple(o for o in self.outcomes if isinstance(o, ScanResult))

    @property
    def skipped(self) -> tuple[SkippedScan, ...]:
        """The outcomes that were not."""
        return tuple(o for o in self.outcomes if isinstance(o, SkippedScan))
