"""`amdet-hub report`: a stored JSON report in another form. Knows: files in, words out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._output import OutputFile, check_writable, emit
from amdet_hub.errors import ReportError

if TYPE_CHECKING:
    from amdet_hub.records import ScanReport

MAX_REPORT_BYTES = 64 << 20
"""A larger file is not a report of ours."""

EPILOG = """
Examples:
  {prog} report report.json
  {prog} report report.json -f markdown -o json=copy.json

Exit codes: 0 rendered, 2 usage or error. The verdict does not change the exit code here.
"""


@click.command(cls=opt.HelpLayout, epilog=EPILOG, short_help="Render a stored JSON report again.")
@click.argument("path", metavar="REPORT.json")
@opt.format_option
@opt.output_option
@opt.config_option
def report(path: str, output: tuple[OutputFile, ...], **flags: Any) -> int:
    """Print the report stored in REPORT.json ('-' reads stdin) as text, JSON, Markdown, SARIF or HTML."""
    from amdet_hub.cli.scan import render, write_outputs

    check_writable([o.path for o in output])
    stored = read_report(path)
    write_outputs(output, stored)
    emit(render(stored, flags["format"]))
    return 0


def read_report(path: str) -> ScanReport:
    """The report in a file, or on stdin for `-`.

    Raises:
        ReportError: the file cannot be read or is not a report.
    """
    from amdet_hub.report import parse_report

    try:
        if path == "-":
            raw = sys.stdin.buffer.read(MAX_REPORT_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise ReportError(
            f"the report '{path}' cannot be read: {(error.strerror or 'unknown reason').lower()}"
        ) from error
    if len(raw) > MAX_REPORT_BYTES:
        raise ReportError(f"'{path}' is larger than any report ({MAX_REPORT_BYTES >> 20} MiB)")
    try:
        return parse_report(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ReportError(f"'{path}' is not UTF-8 text") from error
