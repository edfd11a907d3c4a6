"""`amdet-hub card preview|push`: the scan's section on the model card.

Knows: what is shown before anything is written.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli.report import read_report
from amdet_hub.cli.scan import scan_one, set_up_logging, understand
from amdet_hub.errors import ConfigError, TargetError

if TYPE_CHECKING:
    from amdet_hub.records import ScanReport

PREVIEW_EPILOG = """
Examples:
  {prog} card preview --from report.json
  {prog} card preview org/model          scans it first

Exit codes: 0 shown, 2 usage or error, 130 interrupted. The verdict does not change the exit code here.
"""

PUSH_EPILOG = """
Examples:
  {prog} card push org/model --from report.json                  show the diff, write nothing
  {prog} card push org/model --from report.json --yes            open the pull request, or update the open one
  {prog} card push org/model --from report.json --commit --yes   commit to the main branch (your own model)

An earlier pull request that its owner closed is not opened again. Exit codes: 0 done (or shown), 2 refused or error.
"""

from_option = opt.option(
    "--from",
    "report_path",
    section="What to scan",
    env=False,
    metavar="REPORT.json",
    help="A JSON report that `scan` wrote; '-' reads stdin.",
)


@click.group(cls=opt.GroupLayout, short_help="Put the result on the model card.")
def card() -> None:
    """Show or push the section that a scan adds to the model card. Every other byte of the card stays as it is."""


@card.command(cls=opt.HelpLayout, epilog=PREVIEW_EPILOG, short_help="Show what a push would change.")
@click.argument("target", metavar="[TARGET]", required=False)
@from_option
@opt.target_options
@opt.scan_options
@opt.download_limit_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def preview(ctx: click.Context, /, target: str | None, report_path: str | None, **flags: Any) -> int:
    """Print the diff that a push would make, and write nothing."""
    from amdet_hub.model_card.publish import preview_card

    set_up_logging(flags["verbose"])
    if report_path is not None:
        report = read_report(report_path)
        settings = opt.hub_settings(flags)
        if target is not None:
            check_same_repository(target, report, flags)
    elif target is not None:
        request = understand(ctx, [target], {**flags, "output": (), "format": "text", "fail_on": "never"})
        with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:
            report = scan_one(request, request.refs[0], progress)
        settings = request.settings
    else:
        raise ConfigError("card preview", "needs a TARGET to scan, or --from with a report")
    show_diff(preview_card(report, settings), quiet=flags["quiet"])
    return 0


@card.command(cls=opt.HelpLayout, epilog=PUSH_EPILOG, short_help="Open or update a pull request with the section.")
@click.argument("target", metavar="TARGET")
@from_option
@opt.option(
    "--yes",
    section="Results",
    env=False,
    is_flag=True,
    default=False,
    help="Really write. Without it only the diff is shown.",
)
@opt.option(
    "--commit",
    section="Results",
    env=False,
    is_flag=True,
    default=False,
    help="Commit to the main branch instead of a pull request.",
)
@opt.hub_options
@opt.talk_options
@opt.config_option
def push(target: str, report_path: str | None, yes: bool, commit: bool, **flags: Any) -> int:
    """Open one pull request with the scan's section on TARGET's card, or update the open one.

    A dry run unless --yes is given.
    """
    from amdet_hub.model_card.publish import check_pushable, preview_card, push_card

    set_up_logging(flags["verbose"])
    if report_path is None:
        raise ConfigError(
            "--from",
            f"is needed: first `amdet-hub scan {shlex.quote(target)} -o json=report.json`, then push that report",
        )
    report = read_report(report_path)
    check_same_repository(target, report, flags)
    check_pushable(report)
    settings = opt.hub_settings(flags)
    show_diff(preview_card(report, settings), quiet=flags["quiet"])
    if not yes:
        say(
            "Nothing was written. To"
            f" {'commit this to the main branch' if commit else 'open or update the pull request'}, add --yes."
        )
        return 0
    result = push_card(report, settings, direct=commit)
    pull_request = f"pull request #{result.number}" if result.number is not None else "pull request"
    words = {
        "opened": f"Opened {pull_request}",
        "updated": f"Updated {pull_request}",
        "committed": "Committed to the main branch",
        "unchanged": (
            f"Nothing was written: {'the card' if result.number is None else f'the open {pull_request}'} says this"
            " already"
        ),
    }
    say(f"{words[result.action]}{f': {escape(result.url)}' if result.url else '.'}")
    return 0


def check_same_repository(target: str, report: ScanReport, flags: Any) -> None:
    """The repository named on the command line is the one the report is about: nobody pushes to another one by mistake.

    Raises:
        TargetError: it is not.
    """
    ref = opt.parse_targets([target], {"endpoint": flags.get("endpoint")})[0]
    if (ref.kind, ref.repo_id) != (report.snapshot.kind, report.snapshot.repo_id):
        raise TargetError(target, f"the report is about '{report.snapshot.repo_id}'")


def show_diff(diff: str, *, quiet: bool) -> None:
    """The diff on stdout, already harmless; a word on stderr when there is none."""
    if diff:
        emit(diff)
    elif not quiet:
        say("The card says this already: nothing would change.")
