"""`amdet-hub baseline`: accept findings for a time, list them, see which have expired.

Knows: files, dates, exit codes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_INCONCLUSIVE, EXIT_OK
from amdet_hub.cli._help import GroupLayout, HelpLayout, option
from amdet_hub.cli._output import check_writable, emit, escape, say, write_whole
from amdet_hub.cli._stored import read_baseline, read_report, today
from amdet_hub.errors import ConfigError
from amdet_hub.records import to_dict
from amdet_hub.report.baselines import NO_BASELINE, Acceptance, acceptances_of, baseline_as_json

EPILOG = """
Examples:
  {prog} baseline add baseline.json --from report.json --reason "our own red-team model" --expires 2030-01-31
  {prog} scan org/model --baseline baseline.json
  {prog} baseline check baseline.json

An accepted finding is bound to the digest of one tower. It is still reported, and does not fail the exit code until it
expires.
Exit codes: 0 done, 3 `check` found an expired one, 2 usage or error.
"""


_SECTION = "What to accept"


@click.group(cls=GroupLayout, epilog=EPILOG, short_help="Accept findings for a time.", no_args_is_help=True)
def baseline() -> None:
    """Keep a file of accepted findings, each with a tower's digest, a reason and an expiry date."""


@baseline.command(cls=HelpLayout, epilog=EPILOG, short_help="Accept the findings of a report.")
@opt.file_argument
@option("--from", "source", section=_SECTION, env=False, required=True, metavar="REPORT.json", help="The report.")
@option("--reason", section=_SECTION, env=False, required=True, help="Why it is accepted.")
@option(
    "--expires",
    section=_SECTION,
    env=False,
    required=True,
    metavar="DATE",
    help="Last day it holds, e.g. 2030-01-31.",
)
def add(path: Path, source: str, reason: str, expires: str) -> None:
    """Accept every detected or inconclusive encoder of a report, and write FILE."""
    accepted = acceptances_of(read_report(source), reason=reason, expires=expires)
    if not accepted[0].holds_on(today()):
        raise ConfigError("--expires", f"{expires} is past")
    check_writable([path])
    before = read_baseline(path) if path.exists() else NO_BASELINE
    write_whole(path, baseline_as_json(before.with_accepted(accepted)))
    for one in accepted:
        say(f"Accepted until {one.expires}: {one.verdict} of tower {one.tower_digest[:12]}.")


@baseline.command(name="list", cls=HelpLayout, epilog=EPILOG, short_help="Show what is accepted.")
@opt.file_argument
@opt.data_format_options
def show(path: Path, as_json: bool) -> None:
    """Show every accepted finding of FILE."""
    emit(_shown(read_baseline(path).accepted, as_json=as_json, empty="Nothing is accepted."))


@baseline.command(cls=HelpLayout, epilog=EPILOG, short_help="Say which acceptances have expired.")
@opt.file_argument
@opt.data_format_options
def check(path: Path, as_json: bool) -> int:
    """Exit 3 when an accepted finding of FILE has expired, and show those that have."""
    found = read_baseline(path).accepted
    expired = [one for one in found if not one.holds_on(today())]
    emit(_shown(expired, as_json=as_json, empty=f"All {len(found)} accepted findings hold."))
    return EXIT_INCONCLUSIVE if expired else EXIT_OK


def _shown(accepted: Sequence[Acceptance], *, as_json: bool, empty: str) -> str:
    day = today()
    if as_json:
        return json.dumps([{**to_dict(one), "holds": one.holds_on(day)} for one in accepted], indent=2)
    lines = [
        f"{one.tower_digest[:12]}  {one.verdict:<17}  {'until' if one.holds_on(day) else 'EXPIRED'} {one.expires}"
        f"  {escape(one.target)}: {escape(one.reason)}"
        for one in accepted
    ]
    return "\n".join(lines) or empty
