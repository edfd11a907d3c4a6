"""The words that all reports share: what a verdict is called, what a scan does not cover, how it is run again.

Returns unescaped facts.

Knows: records. Refuses to know: any output format; whoever prints what these functions return escapes it first. No
word here means "safe".
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.records import (
    Environment,
    Evidence,
    HubSecurity,
    Lineage,
    NullDistribution,
    Reference,
    ReferenceTrust,
    ScanReport,
    ScanResult,
    TriggerFinding,
    VerdictLabel,
)
from amdet_hub.report.intervals import Estimate
from amdet_hub.verdict import IDENTITY

VERDICT_TITLES: Final[Mapping[VerdictLabel, str]] = {
    "backdoor-detected": "Backdoor detected",
    "no-backdoor-found": "No backdoor found",
    "inconclusive": "Inconclusive",
}

TRUST_WORDS: Final[Mapping[ReferenceTrust, str]] = {
    "trusted": "trusted: pinned revision and digest",
    "user": "named by the person who ran the scan",
    "declared": "declared by the repository itself, not trusted",
    "none": "no reference, confidence is reduced",
}

NO_PROOF: Final = "A scan finds evidence. Finding none is not proof that there is none."

NOT_COVERED: Final[tuple[str, ...]] = (
    "backdoors outside the text encoder: U-Net or transformer, image encoder, VAE",
    "tokenizer tricks: a changed vocabulary, merge list or normaliser",
    "prompt tuning, textual inversions and adapters that are loaded on top",
)
"""Where a backdoor may be that this scan never looks at."""

MISSED: Final[tuple[str, ...]] = (
    "attacks that change one attribute and keep the rest of the prompt",
    "backdoors that the encoder it is compared with has too",
)
"""Attacks on the text encoder itself that the method misses.

Source: the first as measured (BENCHMARKS.md, "What it misses"); the second by construction.
"""

UNTRIED: Final[tuple[str, ...]] = (
    "attacks that were trained to avoid this very test",
    "triggers that work only in long sentences or in prompts of another language than English",
)
"""Attacks on the text encoder itself that were not measured. Source: BENCHMARKS.md, "What the tables cannot say"."""

LIMITS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (f"{NO_PROOF} Never looked at:", NOT_COVERED),
    ("Known to be missed inside the text encoder:", MISSED),
    ("Never tried:", UNTRIED),
)
"""What a scan does not cover, by heading, in the order in which it is told."""

_SHORT_SHA = 12
_MAX_SETTINGS = 4
_MAX_GROUPS = 3  # groups of tensors named in a lineage
_MAX_RUNS = 8  # ranges of layers
_MAX_ISSUES = 4  # files the Hub objects to


def short(sha: str | None) -> str:
    """The first twelve digits of a digest or commit, `"-"` when there is none."""
    return sha[:_SHORT_SHA] if sha else "-"


def number(value: float) -> str:
    """A statistic for people: four significant digits, thousands separated, no exponent where none is needed."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def percent(rate: float) -> str:
    """A rate in [0, 1] as a percentage that says 100% only when it is all of them and 0% only when it is none."""
    if 0.99 < rate < 1:
        return ">99%"
    return "<1%" if 0 < rate < 0.01 else f"{rate:.0%}"


def interval(estimate: Estimate) -> str:
    """The 95 % interval of a rate, in words."""
    return f"95% interval {percent(estimate.low)} to {percent(estimate.high)}"


def value_text(evidence: Evidence) -> str:
    """The statistic with its unit."""
    if evidence.kind == IDENTITY and evidence.exceeds is not None:
        return "changed" if evidence.exceeds else "unchanged"
    return f"{number(evidence.value)} {evidence.unit}".strip()


def threshold_text(evidence: Evidence) -> str:
    """The line and the side of it on which the backdoors lie (`"> 6"`), `"-"` where the evidence only informs."""
    if evidence.threshold is None or evidence.kind == IDENTITY:
        return "-"
    upward = evidence.value == evidence.threshold or evidence.exceeds == (evidence.value > evidence.threshold)
    return f"{'>' if upward else '<'} {number(evidence.threshold)}"


def outcome_text(evidence: Evidence) -> str:
    """`"beyond"` the threshold on the backdoor side, `"within"` it, or `"informs"`."""
    if (
        evidence.exceeds is None or evidence.kind == IDENTITY
    ):  # that a fine-tune differs from its base is no finding against it
        return "informs"
    return "beyond" if evidence.exceeds else "within"


def null_text(null: NullDistribution | None) -> str:
    """Centre and spread of the null distribution, `"-"` where there is none."""
    if null is None:
        return "-"
    top = f", max {number(null.maximum)}" if null.maximum is not None else ""
    return f"median {number(null.median)}, MAD {number(null.mad)}{top}"


def finding_text(evidence: Evidence, *, figures: bool = False) -> str:
    """What a finding means, and what it was held against, as sentences; `figures` adds the null's.

    Hostile text in a stored report.
    """
    sentence = evidence.summary.rstrip()
    ended = sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    source = null_source(evidence.null)
    source = f"{source.removesuffix('.')}, {null_text(evidence.null)}." if figures and source else source
    return f"{ended} {source}".rstrip()


def lineage_text(lineage: Lineage) -> str:
    """How the tower came from its reference. Hostile text in a stored report."""
    if lineage.relation == "identical":
        return "identical to the reference, bit for bit"
    if lineage.relation == "cast":
        return f"the reference's weights, cast from {lineage.reference_dtype} to {lineage.dtype}, and nothing else"
    parts = [
        (
            f"{lineage.n_rows_changed:,} of {lineage.n_rows:,} token embeddings touched"
            if lineage.n_rows_changed
            else "no token embedding touched"
        )
    ]
    parts.append(
        f"layers touched: {_ranges(lineage.layers_changed)}" if lineage.layers_changed else "no layer touched"
    )
    if most := sorted(lineage.groups, key=lambda group: -group.relative_change)[:_MAX_GROUPS]:
        parts.append(
            "moved most: " + ", ".join(f"{group.name} by {100 * group.relative_change:.2g}%" for group in most)
        )
    if lineage.adapter_rank is not None:
        parts.append(
            f"all changes in the layers have rank {lineage.adapter_rank} or less, as those of a merged LoRA have"
        )
    elif lineage.n_matrices_changed:
        parts.append("the changes in the layers are not of low rank")
    return "; ".join(parts)


def _ranges(numbers: Sequence[int]) -> str:
    """`(0, 1, 2, 5)` as `"0-2, 5"`."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:_MAX_RUNS]]
    return ", ".join(shown) + (", ..." if len(runs) > _MAX_RUNS else "")


def security_text(security: HubSecurity) -> str:
    """What the Hub's own file scanners say, and that it says nothing about what the weights do. Hostile text."""
    found = (
        "no issue" if not security.n_issues else f"{security.n_issues:,} issue{'s' if security.n_issues != 1 else ''}"
    )
    named = ", ".join(f"{issue.path} ({issue.level})" for issue in security.issues[:_MAX_ISSUES])
    state = "" if security.scans_done else ", not finished"
    return f"{found}{f': {named}' if named else ''}{state}; files only, context only"


def null_source(null: NullDistribution | None) -> str:
    """Where the null came from, as a sentence; `""` where there is none. Hostile text in a stored report."""
    return f"Null: {null.source}, n {null.n:,}." if null else ""


def reference_name(reference: Reference, *, shorten: bool = False) -> str:
    """`repo@commit component` of a reference, `""` when there is none. Hostile text."""
    if reference.repo_id is None:
        return ""
    commit = short(reference.commit_sha) if shorten else reference.commit_sha
    at = f"@{commit}" if reference.commit_sha else ""
    return f"{reference.repo_id}{at}" + (f" {reference.component}" if reference.component else "")


def capture_text(trigger: TriggerFinding) -> str:
    """How often a recovered trigger takes a prompt over, by place."""
    if not trigger.n_prompts:
        return "was not tried on held-out prompts"
    places = (
        (trigger.success_start_rate, "at the start"),
        (trigger.success_middle_rate, "in the middle"),
        (trigger.success_end_rate, "at the end"),
    )
    return (
        "captures "
        + ", ".join(f"{percent(r)} {where}" for r, where in places)
        + f" ({trigger.n_prompts:,} held-out prompts)"
    )


def environment_text(environment: Environment) -> str:
    """Versions and hardware in one line."""
    e = environment
    processes = f"{e.num_processes} process{'' if e.num_processes == 1 else 'es'}"
    return (
        f"amdet-hub {e.amdet_hub}, torch {e.torch}, transformers {e.transformers}, accelerate {e.accelerate}, "
        f"huggingface_hub {e.huggingface_hub}, Python {e.python}; {e.device}, {e.dtype}, {processes}"
    )


def new_reasons(result: ScanResult, report: ScanReport) -> list[str]:
    """An encoder's reasons that stand neither over the report, where they carry its name, nor in its evidence.

    Hostile text.
    """
    said = {
        *report.verdict.reasons,
        *(reason.removeprefix(f"{result.encoder.label}: ") for reason in report.verdict.reasons),
    }
    said.update(evidence.summary for evidence in result.evidence)
    return [reason for reason in result.verdict.reasons if reason not in said]


def counts_text(report: ScanReport) -> str:
    """`"2 text encoders scanned, 1 component skipped"`."""
    scanned, skipped = len(report.results), len(report.skipped)
    text = f"{scanned} text encoder{'' if scanned == 1 else 's'} scanned"
    return text + (f", {skipped} component{'' if skipped == 1 else 's'} skipped" if skipped else "")


def setting(report: ScanReport, name: str) -> str:
    """One setting of the run as text, `"unknown"` where the report does not hold it.

    Hostile text: a stored report may say anything.
    """
    value = report.config.get(name)
    return str(value) if isinstance(value, str | int) else "unknown"


def changed_settings(report: ScanReport) -> str:
    """The settings that are not the preset's own, `"sweep.n_prompts, sweep.copies and 3 more"`; `""` when there are none.

    The preset's are those of this version, so that an older report may show settings whose defaults have changed
    since. Holds no hostile text.
    """
    try:
        own = ScanConfig.for_preset(setting(report, "preset")).to_dict()
    except ConfigError:
        return ""
    names = []
    for part, values in own.items():
        said = report.config.get(part)
        if isinstance(values, dict) and isinstance(said, Mapping):
            names += [f"{part}.{name}" for name, value in values.items() if name in said and said[name] != value]
    more = f" and {len(names) - _MAX_SETTINGS} more" if len(names) > _MAX_SETTINGS else ""
    return ", ".join(names[:_MAX_SETTINGS]) + more


def pinned_target(report: ScanReport) -> str:
    """What was scanned, pinned: `org/model@commit`, or the local path."""
    snapshot = report.snapshot
    return f"{snapshot.repo_id}@{snapshot.commit_sha}" if snapshot.commit_sha else snapshot.repo_id


def reproduce_command(report: ScanReport) -> str:
    """The command line that runs the same scan again, quoted for a POSIX shell."""
    words = [
        "amdet-hub",
        "scan",
        pinned_target(report),
        "--preset",
        setting(report, "preset"),
        "--seed",
        setting(report, "seed"),
    ]
    named = {f"{r.repo_id}@{r.commit_sha}" if r.commit_sha else str(r.repo_id) for r in _user_references(report)}
    if len(named) == 1:
        words += ["--reference", named.pop()]
    elif report.results and all(r.reference.trust == "none" for r in report.results):
        words.append("--no-reference")
    return shlex.join(words)


def _user_references(report: ScanReport) -> list[Reference]:
    return [r.reference for r in report.results if r.reference.trust == "user" and r.reference.repo_id]
