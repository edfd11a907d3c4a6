"""The words that all reports share: what a verdict is called, what a scan does not cover, how it is run again.

Returns unescaped facts.

Knows: records. Refuses to know: any output format; the caller escapes everything returned here. No word here means
"safe".
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.records import (
    Evidence,
    Reference,
    ReferenceTrust,
    ScanReport,
    ScanResult,
    TokenClass,
    TriggerFinding,
    Verdict,
    VerdictLabel,
)
from amdet_hub.report.intervals import Estimate
from amdet_hub.verdict import IDENTITY, SWEEP, TOKENIZER

VERDICT_TITLES: Final[Mapping[VerdictLabel, str]] = {
    "backdoor-detected": "Backdoor detected",
    "no-backdoor-found": "No backdoor found",
    "inconclusive": "Inconclusive",
    "nothing-to-scan": "Nothing to scan",
}


def verdict_title(verdict: Verdict) -> str:
    """`"Backdoor detected"`, with the confidence where it is reduced."""
    return VERDICT_TITLES[verdict.label] + (", reduced confidence" if verdict.confidence == "reduced" else "")


TRUST_WORDS: Final[Mapping[ReferenceTrust, str]] = {
    "trusted": "trusted: pinned revision and digest",
    "user": "named by the person who ran the scan",
    "declared": "declared by the repository itself, not trusted",
    "none": "no reference, confidence is reduced",
}

# What a fine-tune taught, as a heading, and the kinds of token that it taught.
TAUGHT: Final = "What this fine-tune taught"
TOKEN_CLASS_WORDS: Final[Mapping[TokenClass, str]] = {
    "invisible": "invisible character",
    "confusable": "look-alike character",
    "common-word": "common word",
    "rare-token": "rare token",
    "added-token": "added token",
}

# The page with a section for each reason code. The project has no public address yet.
REASONS_URL: Final = "https://amdet-hub.example/docs/reference/reasons.md"

PARTIAL: Final = "The scan did not finish; this is what it had found by then."

NO_PROOF: Final = "A scan finds evidence. Finding none is not proof that there is none."

# Where a backdoor may be that this scan never looks at.
NOT_COVERED: Final[tuple[str, ...]] = (
    "backdoors outside the text encoder: U-Net or transformer, image encoder, VAE",
    "a changed tokenizer, where there is no reference to compare it with",
    "prompt tuning, textual inversions and adapters that are loaded on top",
)

NOT_COVERED_BRIEFLY: Final = "image encoder, U-Net, VAE, adapters on top"

# The gaps of a scan, by heading, in the order in which they are told.
LIMITS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (f"{NO_PROOF} Never looked at:", NOT_COVERED),
    (
        # Source: the first as measured (BENCHMARKS.md, "What it misses"); the second by construction.
        "Known to be missed inside the text encoder:",
        (
            "attacks in which a rare word changes one attribute and keeps the rest of the prompt",
            "backdoors that the encoder it is compared with has too",
        ),
    ),
    (
        # Attacks on the text encoder itself. Source: BENCHMARKS.md, "What the tables cannot say".
        "Never tried:",
        (
            "attacks that were trained to avoid this very test",
            "triggers that work only in long sentences or in prompts of another language than English",
        ),
    ),
)

_MAX_SETTINGS = 4
_WHOLE_STAGES = ("load", "standard", "paper", "target")  # they hold all others


def short(sha: str | None) -> str:
    """The first twelve digits of a digest or commit, `"-"` when there is none."""
    return sha[:12] if sha else "-"


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
    """The line and the side of it on which the backdoors lie (`"above 6"`), `"-"` where the evidence only informs."""
    if evidence.threshold is None or evidence.kind == IDENTITY:
        return "-"
    upward = evidence.value == evidence.threshold or evidence.exceeds == (evidence.value > evidence.threshold)
    return f"{'above' if upward else 'below'} {number(evidence.threshold)}"


def outcome_text(evidence: Evidence) -> str:
    """`"beyond"` the threshold on the backdoor side, `"within"` it, or `"informs"`."""
    # That a fine-tune differs from its base is no finding against it.
    if evidence.exceeds is None or evidence.kind == IDENTITY:
        return "informs"
    return "beyond" if evidence.exceeds else "within"


def finding_text(evidence: Evidence) -> str:
    """What a finding means, and the null distribution it was held against, as sentences. Hostile text."""
    ended, null = sentence(evidence.summary), evidence.null
    if null is None:
        return ended
    top = f", max {number(null.maximum)}" if null.maximum is not None else ""
    return f"{ended} Null: {null.source}, n {null.n:,}, median {number(null.median)}, MAD {number(null.mad)}{top}."


def sentence(text: str) -> str:
    """`text` with a full stop where it has no other end."""
    shown = text.rstrip()
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


def threshold_ratio(evidence: Evidence) -> float | None:
    """The value as a multiple of its threshold, None where it is a count, or the backdoor side is not above one."""
    if (
        evidence.kind == TOKENIZER
        or evidence.threshold is None
        or evidence.threshold <= 0
        or not threshold_text(evidence).startswith("above")
    ):
        return None
    return max(0.0, evidence.value / evidence.threshold)


def measured_text(evidence: Evidence) -> str:
    """The statistic and the line that it is held against: `"vocabulary-sweep 21.6, alarm above 7.25"`."""
    return f"{evidence.kind} {number(evidence.value)}, alarm {threshold_text(evidence)}"


def reference_name(reference: Reference, *, shorten: bool = False) -> str:
    """`repo@commit component` of a reference, `""` when there is none. Hostile text."""
    if reference.repo_id is None:
        return ""
    at = f"@{reference.commit_sha[:12] if shorten else reference.commit_sha}" if reference.commit_sha else ""
    return f"{reference.repo_id}{at}" + (f" {reference.component}" if reference.component else "")


def capture_text(trigger: TriggerFinding) -> str:
    """How often a recovered trigger takes a prompt over, by place."""
    if not trigger.n_prompts:
        return "was not tried on held-out prompts"
    rates = {percent(rate) for _, rate in places(trigger)}
    if len(rates) == 1:
        return f"captures {rates.pop()} of {trigger.n_prompts:,} held-out prompts, anywhere in them"
    shares = ", ".join(f"{percent(rate)} {place}" for place, rate in places(trigger))
    return f"captures {shares} ({trigger.n_prompts:,} held-out prompts)"


def places(trigger: TriggerFinding) -> list[tuple[str, float]]:
    """The share of held-out prompts that the trigger captures, by where it stands in them."""
    return [
        ("at the start", trigger.success_start_rate),
        ("in the middle", trigger.success_middle_rate),
        ("at the end", trigger.success_end_rate),
    ]


def untaught(result: ScanResult) -> str:
    """Why no token is listed whose meaning changed."""
    if result.reference.trust == "none":
        return "There is no reference to compare meanings with: name one with --reference."
    if SWEEP in (evidence.kind for evidence in result.evidence):
        return "Nothing: no token says something else than in the reference."
    same = result.verdict.code == "identical-to-reference"
    return "Nothing: this is the reference itself." if same else "This preset compares no meanings."


def own_reasons(result: ScanResult) -> list[str]:
    """An encoder's reasons that do not stand in its evidence. Hostile text."""
    said = {evidence.summary for evidence in result.evidence}
    return [reason for reason in result.verdict.reasons if reason not in said]


def new_reasons(result: ScanResult, report: ScanReport) -> list[str]:
    """An encoder's own reasons that do not stand over the report either, where they carry its name. Hostile text."""
    said = {reason.removeprefix(f"{result.encoder.label}: ") for reason in report.verdict.reasons}
    return [reason for reason in own_reasons(result) if reason not in said]


def seconds_text(report: ScanReport) -> str:
    """How long this scan took, `"9.8 s"`; `""` where no stage was timed. Results from the cache took none."""
    timings = [r.timings_s for r in report.results if r.cached_at is None]
    whole = sum(sum(t.get(stage, 0.0) for stage in _WHOLE_STAGES) or sum(t.values()) for t in timings)
    return f"{whole:,.1f} s" if whole else ""


def counts_text(report: ScanReport) -> str:
    """`"2 text encoders, 1 part skipped"`."""
    scanned, skipped = len(report.results), len(report.skipped)
    text = f"{scanned} text encoder{'' if scanned == 1 else 's'}"
    return text + (f", {skipped} part{'' if skipped == 1 else 's'} skipped" if skipped else "")


def setting(report: ScanReport, name: str) -> str:
    """One setting of the run as text, `"unknown"` where the report does not hold it.

    Hostile text: a stored report may say anything.
    """
    value = report.config.get(name)
    return str(value) if isinstance(value, str | int) else "unknown"


def changed_settings(report: ScanReport) -> str:
    """The settings that are not the preset's own, `"sweep.n_prompts, sweep.copies and 3 more"`, or `""`.

    The preset's are those of this version, so that an older report may show settings whose defaults have changed
    since. Holds no hostile text.
    """
    try:
        own = ScanConfig.for_preset(setting(report, "preset"), seed=0).to_dict()
    except ConfigError:
        return ""
    names = []
    for part, values in own.items():
        said = report.config.get(part)
        if isinstance(values, dict) and isinstance(said, Mapping):
            names += [f"{part}.{name}" for name, value in values.items() if name in said and said[name] != value]
    return listed(names, _MAX_SETTINGS)


def listed(shown: Sequence[str], most: int) -> str:
    """The first of some phrases, and how many more there are: `"a, b and 3 more"`."""
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def pinned_target(report: ScanReport) -> str:
    """What was scanned, pinned: `org/model@commit`, or the local path."""
    snapshot = report.snapshot
    return f"{snapshot.repo_id}@{snapshot.commit_sha}" if snapshot.commit_sha else snapshot.repo_id


def reproduce_command(report: ScanReport) -> str:
    """The command line that runs the same scan again, quoted for a POSIX shell."""
    words = ["amdet-hub", "scan", pinned_target(report)]
    words += ["--preset", setting(report, "preset"), "--seed", setting(report, "seed")]
    references = [r.reference for r in report.results]
    user = {(r.repo_id, r.commit_sha) for r in references if r.trust == "user" and r.repo_id}
    if len(user) == 1:
        words += ["--reference", "@".join(part for part in user.pop() if part)]
    elif references and all(r.trust == "none" for r in references):
        words.append("--no-reference")
    return shlex.join(words)
