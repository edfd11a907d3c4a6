"""`amdet-hub baseline`: accept findings for a time, list them, see which have expired.

Knows: files, dates, exit codes.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_INCONCLUSIVE, EXIT_OK
from amdet_hub.cli._output import check_writable, emit, escape, say, write_whole
from amdet_hub.cli.report import read_report
from amdet_hub.errors import ConfigError, ReportError

if TYPE_CHECKING:
    from amdet_hub.records import ScanReport
    from amdet_hub.report.baselines import Acceptance, Baseline

EPILOG = """
Examples:
  {prog} baseline add baseline.json --from report.json --reason "our own red-team model" --expires 2030-01-31
  {prog} scan org/model --baseline baseline.json
  {prog} baseline check baseline.json

An accepted finding is bound to the digest of one tower. It is still reported; it no longer fails the exit code, until it expires.
Exit codes: 0 done, 3 `check` found an expired one, 2 usage or error.
"""


@click.group(cls=opt.GroupLayout, epilog=EPILOG, short_help="Accept findings for a time.", no_args_is_help=True)
def baseline() -> None:
    """Keep a file of accepted findings, each with a tower's digest, a reason and an expiry date."""


@baseline.command(cls=opt.HelpLayout, epilog=EPILOG, short_help="Accept the findings of a report.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@opt.option(
    "--from",
    "report_path",
    section="What to accept",
    env=False,
    required=True,
    metavar="REPORT.json",
    help="The report.",
)
@opt.option("--reason", section="What to accept", env=False, required=True, help="Why it is accepted.")
@opt.option(
    "--expires",
    section="What to accept",
    env=False,
    required=True,
    metavar="DATE",
    help="Last day it holds, e.g. 2030-01-31.",
)
def add(path: Path, report_path: str, reason: str, expires: str) -> int:
    """Accept every detected or inconclusive encoder of a report, and write FILE."""
    from amdet_hub.report.baselines import NO_BASELINE, acceptances_of, baseline_as_json

    accepted = acceptances_of(read_report(report_path), reason=reason, expires=expires)
    if not accepted[0].holds_on(today()):
        raise ConfigError("--expires", f"{expires} is past")
    check_writable([path])
    before = read_baseline(path) if path.exists() else NO_BASELINE
    write_whole(path, baseline_as_json(before.with_accepted(accepted)))
    for one in accepted:
        say(f"Accepted until {one.expires}: {one.verdict} of tower {one.tower_digest[:12]}.")
    return EXIT_OK


@baseline.command(name="list", cls=opt.HelpLayout, epilog=EPILOG, short_help="Show what is accepted.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@opt.json_option
def show(path: Path, as_json: bool) -> int:
    """Show every accepted finding of FILE."""
    found, day = read_baseline(path), today()
    if as_json:
        from amdet_hub.records import to_dict

        emit(json.dumps([{**to_dict(a), "holds": a.holds_on(day)} for a in found.accepted], indent=2))
    else:
        emit("\n".join(_line(a, day) for a in found.accepted) or "Nothing is accepted.")
    return EXIT_OK


@baseline.command(cls=opt.HelpLayout, epilog=EPILOG, short_help="Say which acceptances have expired.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
def check(path: Path) -> int:
    """Exit 3 when an accepted finding of FILE has expired."""
    found, day = read_baseline(path), today()
    expired = [a for a in found.accepted if not a.holds_on(day)]
    emit("\n".join(_line(a, day) for a in expired) or f"All {len(found.accepted)} accepted findings hold.")
    return EXIT_INCONCLUSIVE if expired else EXIT_OK


def today() -> datetime.date:
    """The day in UTC, by which acceptances expire."""
    return datetime.datetime.now(datetime.UTC).date()


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        ReportError: the file cannot be read or is no baseline.
    """
    from amdet_hub.report.baselines import MAX_BASELINE_BYTES, parse_baseline

    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BASELINE_BYTES + 1)
    except OSError as error:
        raise ReportError(
            f"the baseline '{path}' cannot be read: {(error.strerror or 'unknown reason').lower()}"
        ) from error
    if len(raw) > MAX_BASELINE_BYTES:
        raise ReportError(f"'{path}' is larger than any baseline ({MAX_BASELINE_BYTES >> 20} MiB)")
    try:
        return parse_baseline(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ReportError(f"'{path}' is not UTF-8 text") from error
    except ReportError as error:
        raise ReportError(f"'{path}': {error}") from error


def say_accepted(baseline: Baseline, report: ScanReport) -> None:
    """On stderr: which findings of a report are accepted, and which were."""
    day = today()
    for result in report.results:
        if (found := baseline.acceptance_of(result, day)) is not None:
            say(
                f"{escape(result.encoder.label)}: {result.verdict.label}, {_state(found, day)}: {escape(found.reason)}"
            )


def _state(acceptance: Acceptance, day: datetime.date) -> str:
    if acceptance.holds_on(day):
        return f"accepted until {acceptance.expires}, so it does not fail"
    return f"its acceptance expired on {acceptance.expires}, so it counts again"


def _line(acceptance: Acceptance, day: datetime.date) -> str:
    state = "until" if acceptance.holds_on(day) else "EXPIRED"
    return (
        f"{acceptance.tower_digest[:12]}  {acceptance.verdict:<17}  {state} {acceptance.expires}  "
        f"{escape(acceptance.target)}: {escape(acceptance.reason)}"
    )
