"""Several scans as one short Markdown text: a job's summary, or a comment on a pull request.

Verdict, picture and evidence; the rest is folded away.

The picture is made of block characters in a code block: neither a job summary nor a comment shows inline SVG or
embedded images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amdet_hub.records import Evidence, ScanReport, ScanResult, VerdictLabel
from amdet_hub.report import wording
from amdet_hub.report.as_markdown import as_markdown, bullets, evidence_table, joined, table, verdict_words
from amdet_hub.report.escape import code_span, code_text, prose

_BAR_COLUMNS = 30
_MAX_DETAILS_CHARS = 40_000
_MARKS: dict[VerdictLabel, str] = {
    "backdoor-detected": ":x:",
    "no-backdoor-found": ":white_check_mark:",
    "inconclusive": ":grey_question:",
    "nothing-to-scan": ":white_circle:",
}


@dataclass(frozen=True)
class SummaryRow:
    """One target: its report, or the sentence that says why there is none.

    `note` is said beside a report as well, `""` is silence.
    """

    target: str
    report: ScanReport | None
    note: str = ""


def as_summary(rows: Sequence[SummaryRow], verdict: str) -> str:
    """The summary, with a final newline.

    Args:
        rows: what was looked at; the worst first reads best.
        verdict: of all together, a verdict's label or other plain words of ours.
    """
    return joined(
        [
            f"### amdet-hub: {verdict.replace('-', ' ').capitalize()}",
            table(("target", "verdict", "trigger", "tower"), [_row(row) for row in rows]),
            *(block for row in rows if row.report is not None for block in _details(row.report)),
            f"{wording.NO_PROOF} It looks at text encoders only.",
        ]
    )


def _row(row: SummaryRow) -> tuple[str, str, str, str]:
    if row.report is None:
        return code_span(row.target, limit=120), f":warning: {prose(row.note, limit=400)}", "", ""
    triggers = [t for result in row.report.results for t in result.named_triggers]
    named = ", ".join(code_span(t.text, limit=60) if t.text is not None else "token ids only" for t in triggers[:3])
    towers = ", ".join(code_span(wording.short(r.tower_digest)) for r in row.report.results[:4])
    said = f". {prose(row.note, limit=200)}" if row.note else ""
    return (
        code_span(row.target, limit=120),
        f"{_MARKS[row.report.verdict.label]} {verdict_words(row.report.verdict)}{said}",
        named,
        towers,
    )


def _details(report: ScanReport) -> list[str]:
    blocks = [
        f"#### {code_span(report.snapshot.repo_id, limit=120)}",
        bullets(report.verdict.reasons[:5]),
    ]
    for result in report.results:
        if picture := _picture(result):
            blocks += [
                f"{code_span(result.encoder.label, limit=80)}: {verdict_words(result.verdict)}",
                f"```text\n{picture}\n```",
            ]
        blocks.append(evidence_table(result))
    whole = as_markdown(report)
    if len(whole) <= _MAX_DETAILS_CHARS:
        blocks.append(f"<details><summary>The whole report</summary>\n\n{whole}\n</details>")
    return blocks


def _picture(result: ScanResult) -> str:
    lines = [
        f"{f'prompts taken over {place}':<33} {_bar(rate)} {wording.percent(rate)}"
        for trigger in result.triggers[:1]
        for place, rate in wording.places(trigger)
    ]
    ratios = ((e, wording.threshold_ratio(e)) for e in result.evidence)
    return "\n".join([*lines, *(_ratio_line(e, ratio) for e, ratio in ratios if ratio is not None)])


def _ratio_line(evidence: Evidence, ratio: float) -> str:
    """A bar of twice the threshold; `|` marks the threshold in its middle."""
    cells = list(_bar(ratio / 2))
    cells[_BAR_COLUMNS // 2] = "|"
    line = wording.threshold_text(evidence)
    words = f"{wording.value_text(evidence)}, threshold {line}: {wording.outcome_text(evidence)}"
    return f"{code_text(evidence.kind, limit=28):<33} {''.join(cells)} {code_text(words, limit=120)}"


def _bar(rate: float) -> str:
    filled = round(max(0.0, min(1.0, rate)) * _BAR_COLUMNS)
    return "█" * filled + "░" * (_BAR_COLUMNS - filled)
