"""The facts of a report as rows, the same in every form of it.

Knows: which facts are told, in which order, how many of a long list. Refuses to know: where they stand on a page, and
how a form shows text: the `Markup` that each function takes makes hostile text harmless in its own form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from amdet_hub.records import (
    READ_OUT_WORDS,
    ChangedMeaning,
    Environment,
    HubSecurity,
    Lineage,
    ScanReport,
    ScanResult,
    TriggerFinding,
)
from amdet_hub.report import wording
from amdet_hub.report.escape import code_points
from amdet_hub.verdict import TOKENIZER

# A label of ours, and a text that is harmless in the form it was made for.
Row = tuple[str, str]

MEANING_HEAD = ("token", "kind", "said before", "says now", "strength")
EVIDENCE_HEAD = ("finding", "value", "threshold", "outcome", "n", "what it means")
SKIPPED_HEAD = ("component", "code", "detail", "blocks")

_MAX_TOKENS = 16
_MAX_FILES = 12
_MAX_SKIPPED = 20  # a repository with thousands of odd files must not bury the rest
_MAX_GROUPS = 3  # groups of tensors named in a lineage
_MAX_RUNS = 8  # ranges of layers
_MAX_WORDS = 6  # words, settings and tokens of a tokenizer
_MAX_SAID = 3  # texts that a meaning is put into
_MAX_MEANINGS = 8  # tokens whose meaning changed
_MAX_ISSUES = 4  # files the Hub objects to


@dataclass(frozen=True)
class Markup:
    """How one form shows hostile text. Each callable takes the text and `limit`, the most characters of it.

    Attributes:
        code: a name, a path, a digest.
        prose: a sentence.
        quote: a text that a person might type or read, with its ends marked.
    """

    code: Callable[..., str]
    prose: Callable[..., str]
    quote: Callable[..., str]


def headline(report: ScanReport, m: Markup) -> str:
    """The repository, its commit, how many encoders it has, and whether the scan finished."""
    snapshot, partial = report.snapshot, "" if report.complete else f" {wording.PARTIAL}"
    at = f"commit {m.code(snapshot.commit_sha)}" if snapshot.commit_sha else "a local folder without a commit"
    return f"{m.code(snapshot.repo_id)} at {at}. {wording.counts_text(report)}.{partial}"


def run_rows(report: ScanReport, m: Markup) -> list[Row]:
    """When, with which settings and versions: all that a second scan needs to be the same."""
    preset, seed = (m.code(wording.setting(report, name), limit=40) for name in ("preset", "seed"))
    return [
        ("scanned", m.code(report.created, limit=40)),
        ("preset", f"{preset}, seed {seed}"),
        ("settings", f"sha256 {m.code(report.config_fingerprint, limit=80)}"),
        ("made with", m.prose(environment_text(report.environment), limit=600)),
    ]


def context_rows(report: ScanReport, m: Markup) -> list[Row]:
    """Settings that are not the preset's own, and the verdict of the Hub's file scanners, where there are any."""
    rows = []
    if changed := wording.changed_settings(report):
        rows.append(("changed", changed))
    if report.snapshot.security is not None:
        rows.append(("hub's scan", m.prose(security_text(report.snapshot.security), limit=400)))
    return rows


def trigger_rows(result: ScanResult, m: Markup, *, captions: int = 5) -> Iterator[Row]:
    """Each trigger with the names of its odd characters, the texts nearest to its target, and its success."""
    label = "trigger" if result.verdict.label == "backdoor-detected" else "candidate"
    for trigger in result.triggers:
        yield label, trigger_name(trigger, m)
        if said := trigger.nearest_captions[:captions]:
            yield "says", ", ".join(m.quote(caption, limit=120) for caption in said)
        if trigger.read_out != "pooled":
            yield "found at", READ_OUT_WORDS[trigger.read_out]
        yield "success", wording.capture_text(trigger)


def trigger_name(trigger: TriggerFinding | ChangedMeaning, m: Markup) -> str:
    """The text of a trigger or a token, its odd characters by name, its token ids."""
    ids = ", ".join(map(str, trigger.token_ids[:_MAX_TOKENS]))
    ids += ", ..." if len(trigger.token_ids) > _MAX_TOKENS else ""
    tokens = f"(token{'' if len(trigger.token_ids) == 1 else 's'} {ids})"
    if trigger.text is None:
        return f"{tokens}, no tokenizer was at hand"
    return "  ".join([m.quote(trigger.text, limit=120), *(m.code(name) for name in code_points(trigger.text)), tokens])


def meaning_rows(result: ScanResult, m: Markup, *, most: int | None = _MAX_MEANINGS) -> list[tuple[str, ...]]:
    """One row a token whose meaning changed, under `MEANING_HEAD`; the last says how many more there are.

    `most` None leaves none out.
    """
    rows: list[tuple[str, ...]] = [
        (
            trigger_name(one, m),
            wording.TOKEN_CLASS_WORDS[one.token_class],
            *(
                ", ".join(m.quote(said, limit=60) for said in texts[:_MAX_SAID]) or "-"
                for texts in (one.before, one.after)
            ),
            f"{one.strength:,.1f}",
        )
        for one in result.meanings[:most]
    ]
    more = len(result.meanings) - len(rows)
    return [*rows, (f"and {more} more", "", "", "", "")] if more else rows


def taught_rows(result: ScanResult, m: Markup, *, most: int) -> list[Row]:
    """The same as rows of a list, a sentence each."""
    rows = meaning_rows(result, m, most=most)
    return [
        ("taught", f"{name}, {kind}: {before} -> {after}; strength {strength}" if kind else name)
        for name, kind, before, after, strength in rows
    ]


def encoder_rows(result: ScanResult, m: Markup) -> list[Row]:
    """Architecture, digest, files, reference and lineage of one encoder, and the seconds that it took."""
    encoder, reference = result.encoder, result.reference
    dtypes = "".join(f", {m.code(dtype, limit=20)}" for dtype in encoder.dtypes)
    rows = [
        ("encoder", f"{m.code(encoder.architecture)}, {encoder.config.dims}{dtypes}"),
        ("digest", m.code(result.tower_digest, limit=80)),
    ]
    rows += [
        ("file", m.code(file.path) + (f", sha256 {m.code(file.sha256, limit=64)}" if file.sha256 else ""))
        for file in encoder.weight_files[:_MAX_FILES]
    ]
    if len(encoder.weight_files) > _MAX_FILES:
        rows.append(("file", f"and {len(encoder.weight_files) - _MAX_FILES} more"))
    # With a name, the trust says what the note says; without one, the note says why there is none.
    name, trust = wording.reference_name(reference), wording.TRUST_WORDS[reference.trust]
    rows.append(("reference", f"{m.code(name)}, {trust}" if name else m.prose(reference.note or trust)))
    if result.lineage is not None:
        rows.append(("lineage", m.prose(lineage_text(result.lineage), limit=600)))
    rows += tokenizer_rows(result, m)
    if stages := [f"{m.code(stage, limit=40)} {s:.1f}" for stage, s in list(result.timings_s.items())[:20]]:
        rows.append(("seconds", ", ".join(stages)))
    return rows


def tokenizer_rows(result: ScanResult, m: Markup) -> Iterator[Row]:
    """The words that the tokenizer reads as others, the settings that differ, and the tokens that were added."""
    for details in (e.details for e in result.evidence if e.kind == TOKENIZER):
        pairs = [pair for pair in _listed(details, "exchanged") if len(_texts(pair)) == 2]
        words = [f"{m.quote(text, limit=60)} reads as {m.quote(other, limit=60)}" for text, other in pairs]
        if words:
            yield "tokenizer", wording.listed(words, _MAX_WORDS)
        if settings := _texts(_listed(details, "settings")):
            yield (
                "tokenizer",
                f"differs in {wording.listed([m.code(name, limit=80) for name in settings], _MAX_WORDS)}",
            )
        if added := _texts(_listed(details, "added")):
            yield "tokenizer", f"added: {wording.listed([m.quote(token, limit=60) for token in added], _MAX_WORDS)}"


def _listed(details: Mapping[str, Any], key: str) -> Sequence[Any]:
    """A list in the details of a stored report, which may hold anything."""
    value = details.get(key)
    return value if isinstance(value, list | tuple) else ()


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list | tuple) else []


def evidence_rows(result: ScanResult, m: Markup) -> list[tuple[str, ...]]:
    """One row a finding, under `EVIDENCE_HEAD`; the outcome is a bare word of ours."""
    return [
        (
            m.code(e.kind, limit=60),
            m.prose(wording.value_text(e), limit=80),
            wording.threshold_text(e),
            wording.outcome_text(e),
            f"{e.n:,}",
            m.prose(wording.finding_text(e), limit=1000),
        )
        for e in result.evidence
    ]


def skipped_rows(report: ScanReport, m: Markup) -> list[tuple[str, ...]]:
    """One row a part that was not scanned, under `SKIPPED_HEAD`; those that block stand first."""
    skipped = sorted(report.skipped, key=lambda skip: not skip.blocks_clearance)
    rows: list[tuple[str, ...]] = [
        (
            m.code(s.component or s.repo_id),
            s.reason,
            m.prose(s.detail, limit=500),
            "yes" if s.blocks_clearance else "no",
        )
        for s in skipped[:_MAX_SKIPPED]
    ]
    more = len(skipped) - _MAX_SKIPPED
    return [*rows, (f"and {more} more", "", "", "")] if more > 0 else rows


# ---------------------------------------------------------------- texts that the caller escapes


def environment_text(e: Environment) -> str:
    """Versions and hardware in one line. Hostile text in a stored report."""
    processes = f"{e.num_processes} process{'' if e.num_processes == 1 else 'es'}"
    return (
        f"amdet-hub {e.amdet_hub}, torch {e.torch}, transformers {e.transformers}, accelerate {e.accelerate}, "
        f"huggingface_hub {e.huggingface_hub}, Python {e.python}; {e.device}, {e.dtype}, {processes}"
    )


def security_text(security: HubSecurity) -> str:
    """The verdict of the Hub's own file scanners, which look at files and not at weights. Hostile text."""
    found = f"{security.n_issues:,} issue{'' if security.n_issues == 1 else 's'}" if security.n_issues else "no issue"
    named = ", ".join(f"{issue.path} ({issue.level})" for issue in security.issues[:_MAX_ISSUES])
    state = "" if security.scans_done else ", not finished"
    return f"{found}{f': {named}' if named else ''}{state}; files only, context only"


def change_text(lineage: Lineage) -> str:
    """How much of the tower differs from the reference's, in a few words. Hostile text in a stored report."""
    if lineage.relation == "identical":
        return "nothing: identical to the reference, bit for bit"
    if lineage.relation == "cast":
        return (
            f"nothing but the dtype: the reference's weights, cast from {lineage.reference_dtype} to {lineage.dtype}"
        )
    rows = f"{lineage.n_rows_changed:,} of {lineage.n_rows:,}" if lineage.n_rows_changed else "no"
    layers = f"layers {_ranges(lineage.layers_changed)}" if lineage.layers_changed else "no layer"
    return f"{rows} token embedding{'s' if lineage.n_rows_changed else ''}, {layers}"


def lineage_text(lineage: Lineage) -> str:
    """How the tower came from its reference. Hostile text in a stored report."""
    parts = [f"changed: {change_text(lineage)}"]
    if most := sorted(lineage.groups, key=lambda group: -group.relative_change)[:_MAX_GROUPS]:
        parts.append("most: " + ", ".join(f"{group.name} by {100 * group.relative_change:.2g}%" for group in most))
    if lineage.adapter_rank is not None:
        parts.append(f"the layers' changes have rank {lineage.adapter_rank} or less, as a merged LoRA's have")
    elif lineage.n_matrices_changed:
        parts.append("the layers' changes are not of low rank")
    return "; ".join(parts)


def _ranges(numbers: Sequence[int]) -> str:
    """`(0, 1, 2, 5)` as `"0-2, 5"`."""
    # Where numbers follow one another, they grow as their places do.
    grouped = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in grouped]
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs[:_MAX_RUNS]]
    return ", ".join(shown) + (", ..." if len(runs) > _MAX_RUNS else "")
