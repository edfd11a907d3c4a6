"""A `ScanReport` as one line, for a list of many. Knows: what matters most. Refuses to know: how many there are."""

from __future__ import annotations

from amdet_hub.records import ScanReport, TriggerFinding
from amdet_hub.report import wording
from amdet_hub.report.as_text import SIGNS
from amdet_hub.report.escape import code_points, unactionable, visible

_MAX_TRIGGERS = 2


def as_line(report: ScanReport) -> str:
    """Verdict, repository and commit; the triggers of a detection; what kept an inconclusive one open.

    Without a line end.
    """
    verdict, snapshot = report.verdict, report.snapshot
    at = f"@{wording.short(snapshot.commit_sha)}" if snapshot.commit_sha else ""
    parts = [
        f"{SIGNS[verdict.label]} {visible(snapshot.repo_id, limit=120)}{at}:"
        f" {wording.VERDICT_TITLES[verdict.label].lower()}"
    ]
    if verdict.confidence == "reduced":
        parts.append("reduced confidence")
    triggers = [t for r in report.results if r.verdict.label == "backdoor-detected" for t in r.triggers]
    parts += [_named(trigger) for trigger in triggers[:_MAX_TRIGGERS] if trigger.token_ids]
    if not report.complete:
        parts.append("not finished")
    if blocking := sum(skip.blocks_clearance for skip in report.skipped):
        parts.append(f"{blocking} of its encoders not scanned")
    return unactionable(", ".join(parts))


def _named(trigger: TriggerFinding) -> str:
    """The trigger's text, with the name of its first character that only looks plain; its first token where there is no text."""
    if trigger.text is None:
        return f"token {trigger.token_ids[0]}"
    names = code_points(trigger.text)
    return f'trigger "{visible(trigger.text, limit=60)}"' + (f" ({names[0]})" if names else "")
