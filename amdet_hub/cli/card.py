"""`amdet-hub card preview|push`: the scan's section on the model card.

Knows: what is shown before anything is written.
"""

import shlex
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import GroupLayout, HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import hub_settings, parse_request
from amdet_hub.cli._stored import read_report
from amdet_hub.cli._targets import parse_targets
from amdet_hub.errors import ConfigError, TargetError
from amdet_hub.hub import HubSettings
from amdet_hub.model_card.publish import check_pushable, preview_card, push_card
from amdet_hub.records import ScanReport

PREVIEW_EPILOG = """
Examples:
  {prog} card preview --from report.json
  {prog} card preview org/model          scans it first

Exit codes: 0 shown, 2 usage or error, 130 interrupted. The verdict does not change the exit code here.
"""

PUSH_EPILOG = """
Examples:
  {prog} card push org/model --from report.json                  show the changes, write nothing
  {prog} card push org/model --from report.json --yes            open the pull request, or update the open one
  {prog} card push org/model --from report.json --commit --yes   commit to the main branch (your own model)

An earlier pull request that its owner closed is not opened again. Exit codes: 0 done (or shown), 2 refused or error.
"""

from_option = option(
    "--from",
    "source",
    section="What to scan",
    env=False,
    metavar="REPORT.json",
    help="A JSON report that `scan` wrote; '-' reads stdin.",
)


@click.group(cls=GroupLayout, short_help="Put the result on the model card.", no_args_is_help=True)
def card() -> None:
    """Show or push the section that a scan adds to the model card. Every other byte of the card stays as it is."""


@card.command(cls=HelpLayout, epilog=PREVIEW_EPILOG, short_help="Show the changes of a push.")
@click.argument("target", metavar="[TARGET]", required=False)
@from_option
@opt.target_options
@opt.scan_options
@opt.download_limit_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def preview(ctx: click.Context, /, target: str | None, source: str | None, **flags: Any) -> None:
    """Print the changes that a push would make, and write nothing."""
    if source is not None:
        settings = hub_settings(flags)
        report = _report_about(target, source, flags)
    elif target is not None:
        request = parse_request(ctx, [target], flags)
        settings = request.scanner.hub
        with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:
            report = request.scan(request.refs[0], progress)
    else:
        raise ConfigError("card preview", "needs a TARGET to scan, or --from with a report")
    _show_changes(report, settings, quiet=flags["quiet"])


@card.command(cls=HelpLayout, epilog=PUSH_EPILOG, short_help="Open or update a pull request with the section.")
@click.argument("target", metavar="TARGET")
@from_option
@opt.switch("--yes", section="Results", help="Really write. Without it the changes are only shown.")
@opt.switch("--commit", section="Results", help="Commit to the main branch instead of a pull request.")
@opt.hub_options
@opt.talk_options
@opt.config_option
def push(target: str, source: str | None, yes: bool, commit: bool, **flags: Any) -> None:
    """Open one pull request with the scan's section on TARGET's card, or update the open one.

    A dry run unless --yes is given.
    """
    if source is None:
        first = f"first `amdet-hub scan {shlex.quote(target)} -o json=report.json`, then push that report"
        raise ConfigError("--from", f"is needed: {first}")
    report = _report_about(target, source, flags)
    check_pushable(report)
    settings = hub_settings(flags)
    _show_changes(report, settings, quiet=flags["quiet"])
    if not yes:
        done = "commit this to the main branch" if commit else "open or update the pull request"
        say(f"Nothing was written. To {done}, add --yes.")
        return
    result = push_card(report, settings, direct=commit)
    number = f" #{result.number}" if result.number is not None else ""
    place = f"the open pull request{number}" if number else "the card"
    words = {
        "opened": f"Opened pull request{number}",
        "updated": f"Updated pull request{number}",
        "committed": "Committed to the main branch",
        "unchanged": f"Nothing was written: {place} says this already",
    }
    say(f"{words[result.action]}{f': {escape(result.url)}' if result.url else '.'}")


def _report_about(target: str | None, source: str, flags: Any) -> ScanReport:
    """A stored report, if it is about the repository that the command line names.

    Raises:
        ReportError: it cannot be read.
        TargetError: it is about another repository, which a push would not mean.
    """
    report = read_report(source)
    if target is not None:
        (ref,) = parse_targets([target], {"endpoint": flags.get("endpoint")})
        if (ref.kind, ref.repo_id) != (report.snapshot.kind, report.snapshot.repo_id):
            raise TargetError(target, f"the report is about '{report.snapshot.repo_id}'")
    return report


def _show_changes(report: ScanReport, settings: HubSettings, *, quiet: bool) -> None:
    """The changes on stdout, already harmless; a word on stderr when there are none."""
    if changes := preview_card(report, settings):
        emit(changes)
    elif not quiet:
        say("The card says this already: nothing would change.")
