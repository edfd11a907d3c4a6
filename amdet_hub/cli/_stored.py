"""Files that an earlier run wrote, read back: reports and baselines. Knows: sizes. Refuses to know: their form."""

import datetime
from pathlib import Path

from amdet_hub.cli._output import read_text
from amdet_hub.errors import ReportError
from amdet_hub.records import ScanReport
from amdet_hub.report import parse_report
from amdet_hub.report.as_json import MAX_REPORT_BYTES
from amdet_hub.report.baselines import MAX_BASELINE_BYTES, Baseline, parse_baseline


def read_report(path: str) -> ScanReport:
    """The report in a file, or on stdin for `-`. Raises: ReportError."""
    return parse_report(read_text(path, "report", MAX_REPORT_BYTES))


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file. Raises: ReportError."""
    text = read_text(str(path), "baseline", MAX_BASELINE_BYTES)
    try:
        return parse_baseline(text)
    except ReportError as error:
        raise ReportError(f"'{path}': {error}") from error


def today() -> datetime.date:
    """The day in UTC, by which acceptances expire."""
    return datetime.datetime.now(datetime.UTC).date()
