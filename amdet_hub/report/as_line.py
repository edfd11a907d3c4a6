"""A `ScanReport` as one row of a table of many targets. Knows: its columns. Refuses to know: the other rows."""

from amdet_hub.records import ScanReport
from amdet_hub.report import wording
from amdet_hub.report.escape import code_points, unactionable, visible
from amdet_hub.report.text_layout import pad

# Of verdict, code, trigger and seconds; the target takes what it needs.
_COLUMNS = (17, 24, 12, 9)


def as_table_row(report: ScanReport) -> str:
    """Verdict, code, first trigger, seconds and target of a report in fixed columns, with a line end.

    A longer cell moves the rest of its row to the right.
    """
    verdict, snapshot = report.verdict, report.snapshot
    target = visible(snapshot.repo_id, limit=120) + (
        f"@{visible(wording.short(snapshot.commit_sha))}" if snapshot.commit_sha else ""
    )
    cells = (verdict.label, verdict.code, _trigger(report), wording.seconds_text(report) or "-")
    return unactionable("  ".join([*map(pad, cells, _COLUMNS), target])) + "\n"


def _trigger(report: ScanReport) -> str:
    """The first trigger of a detection, in quotes, with its first odd character's number; `"-"` without one."""
    detected = [r for r in report.results if r.verdict.label == "backdoor-detected"]
    found = [t for r in detected for t in r.named_triggers if t.token_ids]
    if not found:
        return "-"
    text, ids = found[0].text, found[0].token_ids
    if text is None:
        return f"token {ids[0]}"
    odd = code_points(text)
    return f'"{visible(text, limit=60)}"' + (f" {odd[0].split(' ')[0]}" if odd else "")
