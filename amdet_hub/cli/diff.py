"""`amdet-hub diff`: what changed between two stored reports.

Knows: files in, words out, and what a change exits with.
"""

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_INCONCLUSIVE, EXIT_OK
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit
from amdet_hub.cli._stored import read_report
from amdet_hub.report.diff import diff_as_json, diff_as_text, diff_reports

EPILOG = """
Examples:
  {prog} diff before.json after.json
  {prog} diff before.json after.json -f json

Exit codes: 0 the same findings, 1 the second detects a backdoor where the first did not, 3 other findings differ, 2
usage or error.
Versions, devices and settings are compared and shown; they alone do not change the exit code.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Say what changed between two reports.")
@click.argument("before", metavar="BEFORE.json")
@click.argument("after", metavar="AFTER.json")
@opt.data_format_options
def diff(before: str, after: str, as_json: bool) -> int:
    """Compare two JSON reports: verdicts, towers, references, triggers, meanings, evidence, settings, environment."""
    found = diff_reports(read_report(before), read_report(after))
    emit(diff_as_json(found) if as_json else diff_as_text(found))
    if found.worse:
        return EXIT_DETECTED
    return EXIT_INCONCLUSIVE if found.findings else EXIT_OK
