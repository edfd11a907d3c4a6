"""Every frozen record that crosses a wall between rooms, and its dictionary form. Standard library only.

The data flows one way: `"org/model@rev"` -> `RepoRef` (asked) -> `RepoSnapshot` (pinned to one commit, no tensors) ->
`ResolvedEncoder` -> (tensors, in `amdet_hub.encoders` and `amdet_hub.detect`, never here) -> `Evidence` -> `Verdict`
-> `ScanResult | SkippedScan` -> `ScanReport`.

Round-trip law, tested: `from_dict(type(r), to_dict(r)) == r` for every record `r`, and `to_dict(r)` is plain JSON
data.
"""

from amdet_hub.records.codec import fingerprint, from_dict, to_dict
from amdet_hub.records.encoder import Adapter, Reference, ResolvedEncoder, TowerConfig
from amdet_hub.records.evidence import (
    ChangedMeaning,
    Evidence,
    GroupDistance,
    Lineage,
    NullDistribution,
    TriggerFinding,
    Verdict,
)
from amdet_hub.records.monitor import SILENT, Monitor
from amdet_hub.records.reason_codes import REASONS, Reason, ReasonCode, SkipReason
from amdet_hub.records.report import Environment, ScanOutcome, ScanReport, ScanResult, SkippedScan
from amdet_hub.records.repository import (
    FetchPlan,
    FileIssue,
    HubSecurity,
    RepoFile,
    RepoRef,
    RepoSnapshot,
    RepoSource,
    TensorInfo,
)
from amdet_hub.records.words import (
    LATER,
    READ_OUT_WORDS,
    SCHEMA_VERSION,
    AdapterNaming,
    Confidence,
    Family,
    KeyLayout,
    ProgressCallback,
    ReadOut,
    ReferenceTrust,
    RepoKind,
    TokenClass,
    VerdictLabel,
)

__all__ = [
    "LATER",
    "READ_OUT_WORDS",
    "REASONS",
    "SCHEMA_VERSION",
    "SILENT",
    "Adapter",
    "AdapterNaming",
    "ChangedMeaning",
    "Confidence",
    "Environment",
    "Evidence",
    "Family",
    "FetchPlan",
    "FileIssue",
    "GroupDistance",
    "HubSecurity",
    "KeyLayout",
    "Lineage",
    "Monitor",
    "NullDistribution",
    "ProgressCallback",
    "ReadOut",
    "Reason",
    "ReasonCode",
    "Reference",
    "ReferenceTrust",
    "RepoFile",
    "RepoKind",
    "RepoRef",
    "RepoSnapshot",
    "RepoSource",
    "ResolvedEncoder",
    "ScanOutcome",
    "ScanReport",
    "ScanResult",
    "SkipReason",
    "SkippedScan",
    "TensorInfo",
    "TokenClass",
    "TowerConfig",
    "TriggerFinding",
    "Verdict",
    "VerdictLabel",
    "fingerprint",
    "from_dict",
    "to_dict",
]
