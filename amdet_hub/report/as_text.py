"""A `ScanReport` for a terminal: the first thing a person sees. Knows: what to say first.

Refuses to know: whether there is a terminal.

Order: what was scanned, the verdict and its reasons, then one block for each encoder (trigger, evidence, reference),
what was not scanned, what no scan covers, and the command that runs it again. Plain ASCII layout; colour only on
request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from amdet_hub.records import ScanReport, ScanResult, SkippedScan, TriggerFinding, Verdict, VerdictLabel
from amdet_hub.report import wording
from amdet_hub.report.escape import code_points, unactionable, visible
from amdet_hub.report.text_layout import Paint, column_widths, hanging, pad, rule, table_row, wrap

SIGNS: Final[Mapping[VerdictLabel, str]] = {
    "backdoor-detected": "[!]",
    "no-backdoor-found": "[-]",
    "inconclusive": "[?]",
}
# No green: nothing a scan finds deserves it.
_COLOURS: Final[Mapping[VerdictLabel, str]] = {
    "backdoor-detected": "red",
    "no-backdoor-found": "cyan",
    "inconclusive": "yellow",
}
_MIN_WIDTH, _MAX_WIDTH = 60, 160
_LABEL = 11
_INDENT = 2
_MAX_CAPTIONS = 5
_MAX_FILES = 4
_MAX_SKIPPED = 20  # a repository with thousands of odd files must not bury the rest


def as_text(report: ScanReport, *, color: bool = False, width: int = 100) -> str:
    """The report as lines of at most `width` columns (60 to 160; the command to copy may be longer) with a final newline.

    Args:
        report: what to show.
        color: paint with SGR codes; without it the text is free of control characters whatever the repository holds.
        width: columns of the terminal.
    """
    width = min(max(width, _MIN_WIDTH), _MAX_WIDTH)
    paint = Paint(color)
    blocks = [_header(report, paint, width), _banner(report, paint, width)]
    blocks += [_encoder(result, report, paint, width) for result in report.results]
    blocks += [_skipped(report, paint, width), _closing(report, paint, width)]
    return "\n\n".join("\n".join(unactionable(line) for line in block) for block in blocks if block) + "\n"


def _header(report: ScanReport, paint: Paint, width: int) -> list[str]:
    snapshot = report.snapshot
    where = f"commit {visible(snapshot.commit_sha, limit=64)}" if snapshot.commit_sha else "local folder, no commit"
    changed = wording.changed_settings(report)
    facts = [
        f"amdet-hub {visible(report.environment.amdet_hub, limit=40)}",
        f"preset {visible(wording.setting(report, 'preset'), limit=40)}"
        + (f" (changed: {changed})" if changed else ""),
        f"seed {visible(wording.setting(report, 'seed'), limit=40)}",
        visible(report.created, limit=40),
    ]
    lines = [paint(line, "bold") for line in wrap(visible(snapshot.repo_id), width)]
    lines += wrap(f"{where}; {wording.counts_text(report)}", width)
    return lines + [paint(line, "dim") for line in wrap(", ".join(facts), width)]


def _banner(report: ScanReport, paint: Paint, width: int) -> list[str]:
    colour = _COLOURS[report.verdict.label]
    lines = [paint(f" {_title(report.verdict)} ", f"banner-{colour}") if paint.enabled else _title(report.verdict)]
    if not report.complete:
        lines += [
            paint(line, "yellow")
            for line in wrap("Partial report: the scan did not finish. What it had found by then is below.", width)
        ]
    return lines + _reasons(report.verdict.reasons, width)


def _title(verdict: Verdict) -> str:
    confidence = ", reduced confidence" if verdict.confidence == "reduced" else ""
    return f"{SIGNS[verdict.label]} {wording.VERDICT_TITLES[verdict.label].upper()}{confidence}"


def _reasons(reasons: Sequence[str], width: int) -> list[str]:
    return [
        line
        for reason in reasons
        for line in hanging("*", visible(reason, limit=600), indent=_INDENT, label_width=2, width=width)
    ]


def _encoder(result: ScanResult, report: ScanReport, paint: Paint, width: int) -> list[str]:
    tail = _title(result.verdict)
    *lines, last = rule(visible(result.encoder.label, limit=120), tail, width)
    lines.append(last.removesuffix(tail) + paint(tail, _COLOURS[result.verdict.label]))
    lines += _reasons(wording.new_reasons(result, report), width)
    for trigger in result.triggers:
        lines += _trigger(
            trigger, "trigger" if result.verdict.label == "backdoor-detected" else "candidate", paint, width
        )
    lines += _facts(result, width)
    if result.evidence:
        lines += ["", *_evidence(result, paint, width)]
    return lines


def _field(label: str, text: str, width: int) -> list[str]:
    return hanging(label, text, indent=_INDENT, label_width=_LABEL, width=width)


def _trigger(trigger: TriggerFinding, label: str, paint: Paint, width: int) -> list[str]:
    ids = ", ".join(str(i) for i in trigger.token_ids[:16]) + (", ..." if len(trigger.token_ids) > 16 else "")
    shown = f'"{visible(trigger.text, limit=120)}"' if trigger.text is not None else "(no tokenizer, token ids only)"
    lines = [
        paint(line, "bold")
        for line in _field(label, f"{shown}   token{'' if len(trigger.token_ids) == 1 else 's'} {ids}", width)
    ]
    for name in code_points(trigger.text or ""):
        lines += _field("", name, width)
    lines += _field("", wording.capture_text(trigger), width)
    if trigger.nearest_captions:
        captions = ", ".join(f'"{visible(c, limit=120)}"' for c in trigger.nearest_captions[:_MAX_CAPTIONS])
        lines += _field("", f"nearest to its target, as a hint: {captions}", width)
    return lines


def _facts(result: ScanResult, width: int) -> list[str]:
    encoder, reference = result.encoder, result.reference
    name = wording.reference_name(reference, shorten=True)
    trust = wording.TRUST_WORDS[reference.trust]
    # With a name, the trust says what the note says; without one, the note says why there is none.
    lines = _field("reference", f"{visible(name)} ({trust})" if name else visible(reference.note) or trust, width)
    if result.lineage is not None:
        lines += _field("lineage", visible(wording.lineage_text(result.lineage), limit=600), width)
    dtypes = "/".join(visible(d, limit=20) for d in encoder.dtypes)
    lines += _field(
        "tower", f"{visible(encoder.architecture)}, {encoder.config.dims}" + (f", {dtypes}" if dtypes else ""), width
    )
    lines += _field("digest", visible(result.tower_digest, limit=80), width)
    for i, file in enumerate(encoder.weight_files[:_MAX_FILES]):
        lines += _field("" if i else "files", visible(file.path), width)
    if len(encoder.weight_files) > _MAX_FILES:
        lines += _field("", f"and {len(encoder.weight_files) - _MAX_FILES} more", width)
    if result.timings_s:
        stages = ", ".join(
            f"{visible(stage, limit=40)} {seconds:.1f} s" for stage, seconds in result.timings_s.items()
        )
        lines += _field("time", stages, width)
    return lines


def _evidence(result: ScanResult, paint: Paint, width: int) -> list[str]:
    head = ("finding", "value", "threshold", "outcome")
    rows = [
        (
            visible(e.kind, limit=60),
            visible(wording.value_text(e), limit=60),
            wording.threshold_text(e),
            wording.outcome_text(e),
        )
        for e in result.evidence
    ]
    widths = column_widths([head, *rows], indent=_INDENT, width=width, last_minimum=16)
    lines = [paint(line, "dim") for line in table_row(head, widths, indent=_INDENT)]
    for evidence, row in zip(result.evidence, rows, strict=True):
        style = _COLOURS["backdoor-detected"] if wording.outcome_text(evidence) == "beyond" else None
        lines += [paint(line, style) for line in table_row(row, widths, indent=_INDENT)]
        summary = hanging(
            "",
            visible(wording.finding_text(evidence, figures=True), limit=1000),
            indent=_INDENT + 2,
            label_width=0,
            width=width,
        )
        lines += [paint(line, "dim") for line in summary]
    return lines


def _skipped(report: ScanReport, paint: Paint, width: int) -> list[str]:
    if not report.skipped:
        return []
    lines = [paint("not scanned", "bold")]
    for skip in _most_telling(report.skipped):
        blocking = " This keeps the verdict from being better than inconclusive." if skip.blocks_clearance else ""
        text = f"{visible(skip.component or skip.repo_id)}: {skip.reason}. {visible(skip.detail, limit=500)}{blocking}"
        lines += hanging("*", text, indent=_INDENT, label_width=2, width=width)
    if len(report.skipped) > _MAX_SKIPPED:
        lines.append(f"  * and {len(report.skipped) - _MAX_SKIPPED} more")
    return lines


def _most_telling(skipped: Sequence[SkippedScan]) -> list[SkippedScan]:
    return sorted(skipped, key=lambda skip: not skip.blocks_clearance)[:_MAX_SKIPPED]


def _closing(report: ScanReport, paint: Paint, width: int) -> list[str]:
    lines = _plain("not covered", "; ".join(wording.NOT_COVERED) + f". {wording.NO_PROOF}", width)
    if report.snapshot.security is not None:
        lines += _plain("hub's scan", visible(wording.security_text(report.snapshot.security), limit=400), width)
    lines += _plain("made with", visible(wording.environment_text(report.environment)), width)
    command = visible(
        wording.reproduce_command(report), limit=1000
    )  # on one line whatever the width: it is there to be copied
    return [*lines, f"{pad('run again', _LABEL + _INDENT)}{command}"]


def _plain(label: str, text: str, width: int) -> list[str]:
    return hanging(label, text, indent=0, label_width=_LABEL + _INDENT, width=width)
