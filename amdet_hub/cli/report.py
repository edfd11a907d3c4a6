"""`amdet-hub report`: a stored JSON report in another form. Knows: files in, words out."""

from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._delivery import render, write_outputs
from amdet_hub.cli._exit_codes import report_error, worst
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import OutputFile, check_writable, emit
from amdet_hub.cli._stored import read_report

EPILOG = """
Examples:
  {prog} report report.json
  {prog} report report.json -f markdown -o json=copy.json

Exit codes: 0 rendered, 2 usage or error. The verdict does not change the exit code here.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Render a stored JSON report again.")
@click.argument("path", metavar="REPORT.json")
@opt.format_option
@opt.output_option
@opt.verbose_option
@opt.config_option
def report(path: str, output: tuple[OutputFile, ...], **flags: Any) -> int:
    """Print the report stored in REPORT.json ('-' reads stdin) in another form."""
    check_writable(o.path for o in output)
    stored = read_report(path)
    codes = [report_error(error) for error in write_outputs(output, stored)]
    emit(render(stored, flags["format"], verbose=flags["verbose"] > 0))
    return worst(codes)
