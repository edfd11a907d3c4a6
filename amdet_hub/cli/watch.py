"""`amdet-hub watch`: scan what changes, again and again. Knows: flags, lines, exit codes.

Refuses to know: when to scan.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, verdict_exit_code, worst
from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import build_scanner
from amdet_hub.cli._values import duration
from amdet_hub.errors import Interrupted
from amdet_hub.records import to_dict

if TYPE_CHECKING:
    from amdet_hub.automation.watch import WatchEvent, WatchSummary

EPILOG = """
Targets:
  org/model   one model
  org/...     every model of a user or an organisation

Examples:
  {prog} watch org/... --once
  {prog} watch org/model other/model --interval 10m --max-scans 20 --results ./watched
  {prog} watch org/... --open-discussions

A commit that leaves the text encoders alone costs one listing. State and reports are in the --results folder; after a
kill, the same command goes on where it was. Each repository that was looked at is one line on stdout, with its verdict
and reason code. A round that finds nothing new names what still stands, on stderr.
Exit codes, of every watched repository as it is now: 0 no backdoor found, or nothing of this kind; 1 backdoor
detected; 2 error; 3 inconclusive; 130 interrupted.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Scan what changes, again and again.")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@opt.scan_options
@opt.download_limit_option
@option(
    "--interval",
    section="Limits",
    type=duration,
    metavar="TIME",
    default="10m",
    show_default=True,
    help="Pause between two rounds.",
)
@opt.switch("--once", section="Limits", help="One round, then end.")
@option("--max-scans", section="Limits", type=click.IntRange(1), metavar="N", help="End after this many scans.")
@option("--max-time", section="Limits", type=duration, metavar="TIME", help="End after this long.")
@option(
    "--results",
    section="Results",
    env=False,
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("amdet-hub-watch"),
    show_default=True,
    help="Folder of state and reports.",
)
@opt.switch(
    "--open-discussions",
    section="Results",
    help="Tell the owner of a detected backdoor in a discussion, once.",
)
@opt.data_format_options
@opt.fail_on_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def watch(ctx: click.Context, /, targets: tuple[str, ...], as_json: bool, **flags: Any) -> int:
    """Look at repositories again and again, and scan what changed."""
    from amdet_hub.automation.watch import WatchConfig
    from amdet_hub.automation.watch import watch as keep_watch

    config = WatchConfig(
        targets,
        flags["results"],
        build_scanner(ctx, flags),
        interval_s=flags["interval"],
        max_scans=flags["max_scans"],
        max_time_s=flags["max_time"],
        once=flags["once"],
        open_discussions=flags["open_discussions"],
    )
    told: set[str] = set()
    with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:

        def tell(event: WatchEvent) -> None:
            progress.close()
            told.add(event.repo_id)
            emit(json.dumps(to_dict(event), ensure_ascii=True) if as_json else _line(event))

        try:
            summary = keep_watch(config, tell, progress=progress)
        except (KeyboardInterrupt, Interrupted):
            progress.close()
            say("Interrupted: what was seen is in the results folder, and the same command goes on from there.")
            return EXIT_INTERRUPTED
    if not flags["quiet"]:
        _say_summary(summary, told)
    codes = [verdict_exit_code("inconclusive", flags["fail_on"]) for _ in summary.pending]
    codes += [
        EXIT_ERROR if seen.verdict is None else verdict_exit_code(seen.verdict, flags["fail_on"])
        for seen in summary.repositories.values()
    ]
    return worst([EXIT_ERROR if summary.failures else EXIT_OK, *codes])


def _line(event: WatchEvent) -> str:
    parts = [f"{escape(event.repo_id)}@{escape(event.commit_sha[:12])}", event.what, event.verdict or ""]
    parts += [escape(text) for text in (event.error, event.discussion) if text]
    return "  ".join([*filter(None, parts), *([f"[{event.code}]"] if event.code else [])])


def _say_summary(summary: WatchSummary, told: set[str]) -> None:
    """The verdicts that still stand, of repositories about which no line was printed, and a count of all."""
    for name, seen in summary.repositories.items():
        if name not in told:
            say(f"{escape(name)}@{escape(seen.commit_sha[:12])}  unchanged  {seen.verdict or 'failed'}  [{seen.code}]")
    counts = Counter(seen.verdict or "not judged" for seen in summary.repositories.values())
    counts["not judged"] += len(summary.pending)
    found = ", ".join(f"{count} {what.replace('-', ' ')}" for what, count in sorted(counts.items()) if count)
    said = f"{counts.total()} repositories watched, {summary.scans} scanned now"
    say(f"Ended ({summary.ended}): {said}. {found}.")
