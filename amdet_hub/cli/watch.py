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
from amdet_hub.cli._delivery import verdict_exit_code
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, worst
from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import build_scanner
from amdet_hub.cli._values import Duration
from amdet_hub.errors import Interrupted
from amdet_hub.records import to_dict

if TYPE_CHECKING:
    from amdet_hub.automation.watch import WatchConfig, WatchEvent, WatchSummary
    from amdet_hub.hub.webhooks import WebhookPlan

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
    "--interval", section="Limits", type=Duration(), default="10m", show_default=True, help="Pause between two rounds."
)
@opt.switch("--once", section="Limits", help="One round, then end.")
@option("--max-scans", section="Limits", type=click.IntRange(1), metavar="N", help="End after this many scans.")
@option("--max-time", section="Limits", type=Duration(), help="End after this long.")
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


def _exit_code(summary: WatchSummary, fail_on: str) -> int:
    codes = [EXIT_ERROR] if summary.failures else [EXIT_OK]
    if summary.pending:
        codes.append(verdict_exit_code("inconclusive", fail_on))
    for seen in summary.repositories.values():
        if seen.verdict is not None:
            codes.append(verdict_exit_code(seen.verdict, fail_on))
        elif not seen.nothing_to_scan:
            codes.append(verdict_exit_code("inconclusive", fail_on))
    return worst(codes)


@click.group(
    cls=opt.GroupLayout, epilog=WEBHOOK_EPILOG, short_help="Let the Hub say what changed.", no_args_is_help=True
)
def webhook() -> None:
    """Set up a webhook of the Hub, so that nobody has to poll."""


@webhook.command(cls=opt.HelpLayout, epilog=WEBHOOK_EPILOG, short_help="Create a webhook.")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@opt.option("--url", section="What it does", env=False, metavar="URL", help="Send what happened to this address.")
@opt.option("--job", section="What it does", env=False, metavar="JOB_ID", help="Run this Job again.")
@opt.option(
    "--job-secret",
    section="What it does",
    env=False,
    multiple=True,
    metavar="NAME",
    help="Give the Job this environment variable of yours as a secret. Repeatable.",
)
@opt.option(
    "--user", section="What to watch", env=False, is_flag=True, default=False, help="In org/..., org is a user."
)
@opt.option(
    "--yes",
    section="What it does",
    env=False,
    is_flag=True,
    default=False,
    help="Create it; without this it is only shown.",
)
@opt.hub_options
@opt.talk_options
@opt.config_option
def create(targets: tuple[str, ...], yes: bool, **flags: Any) -> int:
    """Create a webhook for every push to TARGET (org/model, or org/... for all models of a namespace)."""
    from amdet_hub.hub.webhooks import ensure_webhook, fresh_secret

    set_up_logging(flags["verbose"])
    secret = os.environ.get(SECRET_VARIABLE) or None
    made_secret = fresh_secret() if secret is None and flags["url"] else None
    plan = _webhook_plan(targets, flags, secret or made_secret)
    watched = ", ".join(f"{kind} {escape(name)}" for kind, name in plan.watched)
    where = f"sends to {escape(plan.url)}" if plan.url else f"runs job {escape(plan.job_id or '')}"
    if not yes:
        emit(f"Would create a webhook that watches {watched} and {where}. Nothing was created: add --yes.")
        return EXIT_OK
    made = ensure_webhook(plan, opt.hub_settings(flags))
    emit(
        f"{'Created' if made.created else 'There is already'} webhook {escape(made.id)}: watches {watched} and"
        f" {where}."
    )
    if made.created and made_secret:
        emit(f"Its secret, shown this once: {made_secret}")
    return EXIT_OK


def _webhook_plan(targets: tuple[str, ...], flags: dict[str, Any], secret: str | None) -> WebhookPlan:
    from amdet_hub.automation.watch import parse_watched
    from amdet_hub.hub.webhooks import WebhookPlan

    namespace = "user" if flags["user"] else "org"
    watched = tuple((namespace if kind == "namespace" else "model", name) for kind, name in parse_watched(targets))
    missing = [name for name in flags["job_secret"] if not os.environ.get(name)]
    if missing:
        raise ConfigError("--job-secret", f"the environment has no {missing[0]}")
    secrets = {name: os.environ[name] for name in flags["job_secret"]}
    return WebhookPlan(watched, flags["url"], flags["job"], secret, secrets)  # type: ignore[arg-type]  # the literals come from two tables
