"""The pieces of Markdown that the report and the model-card section share: headline, facts, triggers, evidence table.

Knows: tables, lists and code spans of GitHub Flavored Markdown. Refuses to know: cards, markers, whole documents.
Whatever a repository wrote stands in code spans, where Markdown renders nothing: no link, no image, no HTML, no
mention.
"""

from __future__ import annotations

from collections.abc import Sequence

from amdet_hub.records import ScanReport, ScanResult, SkippedScan, TriggerFinding, Verdict
from amdet_hub.report import wording
from amdet_hub.report.escape import code_points, code_span, code_text, prose

_MAX_FILES = 12
_MAX_CAPTIONS = 5
_MAX_SKIPPED = 20  # a repository with thousands of odd files must not bury the rest


def headline(report: ScanReport) -> str:
    """The verdict in bold and what it is about, as one paragraph."""
    snapshot = report.snapshot
    at = f"commit {code_span(snapshot.commit_sha)}" if snapshot.commit_sha else "a local folder without a commit"
    partial = " The scan did not finish; this is what it had found by then." if not report.complete else ""
    return (
        f"**{verdict_words(report.verdict)}** in {code_span(snapshot.repo_id)} at {at}."
        f" {wording.counts_text(report)}.{partial}"
    )


def verdict_words(verdict: Verdict) -> str:
    """`"Backdoor detected"`, with the confidence where it is reduced."""
    return wording.VERDICT_TITLES[verdict.label] + (" (reduced confidence)" if verdict.confidence == "reduced" else "")


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"* {prose(sentence)}" for sentence in sentences)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. The cells are Markdown already; hostile text in them has been through `code_span` or `prose`."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def fenced(command: str) -> str:
    """One command line in a fenced block."""
    return f"```bash\n{code_text(command, limit=1000)}\n```"


def run_rows(report: ScanReport) -> list[tuple[str, str]]:
    """When, with which versions and settings: what one needs to run the scan again."""
    return [
        ("scanned", code_span(report.created, limit=40)),
        (
            "preset",
            (
                f"{code_span(wording.setting(report, 'preset'), limit=40)}, seed"
                f" {code_span(wording.setting(report, 'seed'), limit=40)}"
            ),
        ),
        ("settings sha256", code_span(report.config_fingerprint, limit=80)),
        ("made with", prose(wording.environment_text(report.environment))),
    ]


def encoder_blocks(result: ScanResult, report: ScanReport, *, level: int) -> list[str]:
    """Everything about one encoder: heading, reasons, facts, triggers, evidence table and what each finding means."""
    blocks = [f"{'#' * level} {code_span(result.encoder.label)}: {verdict_words(result.verdict)}"]
    if reasons := wording.new_reasons(result, report):
        blocks.append(bullets(reasons))
    blocks += [_trigger(trigger, result) for trigger in result.triggers]
    blocks.append(table(("", ""), fact_rows(result)))
    if result.evidence:
        blocks += [
            evidence_table(result),
            "\n".join(f"* {code_span(e.kind, limit=60)}: {prose(wording.finding_text(e))}" for e in result.evidence),
        ]
    return blocks


def fact_rows(result: ScanResult) -> list[tuple[str, str]]:
    """Tower, digest, files and reference of one encoder."""
    encoder, reference = result.encoder, result.reference
    dtypes = ", ".join(code_span(d, limit=20) for d in encoder.dtypes)
    rows = [
        ("encoder", f"{code_span(encoder.architecture)}, {encoder.config.dims}" + (f", {dtypes}" if dtypes else "")),
        ("tower digest", code_span(result.tower_digest, limit=80)),
    ]
    rows += [
        ("file", code_span(file.path) + (f", sha256 {code_span(file.sha256, limit=64)}" if file.sha256 else ""))
        for file in encoder.weight_files[:_MAX_FILES]
    ]
    if len(encoder.weight_files) > _MAX_FILES:
        rows.append(("file", f"and {len(encoder.weight_files) - _MAX_FILES} more"))
    name = wording.reference_name(reference)
    trust = wording.TRUST_WORDS[reference.trust]
    rows.append(
        ("reference", f"{code_span(name)}, {trust}" if name else prose(reference.note) if reference.note else trust)
    )
    if result.lineage is not None:
        rows.append(("lineage", prose(wording.lineage_text(result.lineage), limit=600)))
    return rows


def security_rows(report: ScanReport) -> list[tuple[str, str]]:
    """What the Hub's own scanners say of the files, where they say something."""
    security = report.snapshot.security
    return (
        [("the Hub's own scan of files", prose(wording.security_text(security), limit=400))]
        if security is not None
        else []
    )


def evidence_table(result: ScanResult) -> str:
    """The findings, one row each, with threshold and null."""
    rows = [
        (
            code_span(e.kind, limit=60),
            prose(wording.value_text(e), limit=80),
            prose_math(wording.threshold_text(e)),
            wording.outcome_text(e).replace("beyond", "**beyond**"),
            wording.null_text(e.null) if e.null else "",
            f"{e.n:,}",
        )
        for e in result.evidence
    ]
    return table(("finding", "value", "threshold", "outcome", "null", "n"), rows)


def prose_math(comparison: str) -> str:
    """`"> 6"` as Markdown; an angle bracket would open HTML or a quotation."""
    return {">": "above", "<": "below"}.get(comparison[:1], "") + comparison[1:] if comparison != "-" else ""


def _trigger(trigger: TriggerFinding, result: ScanResult) -> str:
    name = "Recovered trigger" if result.verdict.label == "backdoor-detected" else "Unconfirmed candidate"
    shown = code_span(trigger.text, limit=120) if trigger.text is not None else "(no tokenizer, token ids only)"
    ids = ", ".join(str(i) for i in trigger.token_ids[:16]) + (", ..." if len(trigger.token_ids) > 16 else "")
    lines = [
        f"**{name}:** {shown}, token id{'' if len(trigger.token_ids) == 1 else 's'} {ids}. It"
        f" {wording.capture_text(trigger)}."
    ]
    if names := code_points(trigger.text or ""):
        lines.append("Characters outside ASCII: " + ", ".join(code_span(name) for name in names) + ".")
    if trigger.nearest_captions:
        captions = ", ".join(code_span(c, limit=120) for c in trigger.nearest_captions[:_MAX_CAPTIONS])
        lines.append(f"Nearest to its target, as a hint: {captions}.")
    return " ".join(lines)


def skipped_blocks(skipped: Sequence[SkippedScan], *, level: int) -> list[str]:
    """What was not scanned, and why; nothing when everything was."""
    if not skipped:
        return []
    rows: list[tuple[str, str, str, str]] = [
        (
            code_span(s.component or s.repo_id),
            s.reason,
            prose(s.detail, limit=500),
            "yes" if s.blocks_clearance else "no",
        )
        for s in sorted(skipped, key=lambda skip: not skip.blocks_clearance)[:_MAX_SKIPPED]
    ]
    if len(skipped) > _MAX_SKIPPED:
        rows.append((f"and {len(skipped) - _MAX_SKIPPED} more", "", "", ""))
    return [f"{'#' * level} Not scanned", table(("component", "reason", "detail", "keeps the verdict open"), rows)]


def not_covered() -> str:
    """What no scan of this kind looks at, what it is known to miss, and what nobody has tried."""
    return "\n\n".join("\n".join([heading, "", *(f"* {item}" for item in items)]) for heading, items in wording.LIMITS)
