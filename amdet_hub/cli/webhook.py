"""`amdet-hub webhook`: let the Hub say what changed. Knows: flags, and what is shown before anything is created."""

import os
from typing import Any

import click

from amdet_hub.automation.watch_targets import parse_watched
from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import GroupLayout, HelpLayout, option
from amdet_hub.cli._output import emit, escape
from amdet_hub.cli._request import hub_settings
from amdet_hub.errors import ConfigError

EPILOG = """
Examples:
  {prog} webhook create org/... --job 66f1c0ffee --job-secret HF_TOKEN
  {prog} webhook create org/model --url https://example.org/scan --yes

With --job the Hub runs that Job again for each change, with WEBHOOK_REPO_ID in its environment; its command may be
  amdet-hub watch "$WEBHOOK_REPO_ID" --once --open-discussions
With --url the receiver must compare the secret, which is read from AMDET_HUB_WEBHOOK_SECRET; without it one is made
and shown once.
Without --yes nothing is created.
Exit codes: 0 done or shown, 2 usage or error.
"""

SECRET_VARIABLE = "AMDET_HUB_WEBHOOK_SECRET"  # the variable's name


@click.group(cls=GroupLayout, epilog=EPILOG, short_help="Let the Hub say what changed.", no_args_is_help=True)
def webhook() -> None:
    """Set up a webhook of the Hub, so that no watch has to poll."""


@webhook.command(cls=HelpLayout, epilog=EPILOG, short_help="Create a webhook.")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@option("--url", section="What it does", env=False, metavar="URL", help="Send what happened to this address.")
@option("--job", section="What it does", env=False, metavar="JOB_ID", help="Run this Job again.")
@option(
    "--job-secret",
    section="What it does",
    env=False,
    multiple=True,
    metavar="NAME",
    help="Give the Job this environment variable of yours as a secret. Repeatable.",
)
@opt.switch("--user", section="What to watch", help="In org/..., org is a user.")
@opt.switch("--yes", section="What it does", help="Create it; without this it is only shown.")
@opt.hub_options
@opt.talk_options
@opt.config_option
def create(targets: tuple[str, ...], yes: bool, **flags: Any) -> None:
    """Create a webhook for every push to TARGET (org/model, or org/... for all models of a namespace)."""
    from amdet_hub.hub.webhooks import WebhookPlan, ensure_webhook, fresh_secret

    namespace = "user" if flags["user"] else "org"
    pairs = tuple((namespace if kind == "namespace" else "model", name) for kind, name in parse_watched(targets))
    missing = [name for name in flags["job_secret"] if not os.environ.get(name)]
    if missing:
        raise ConfigError("--job-secret", f"the environment has no {missing[0]}")
    job_secrets = {name: os.environ[name] for name in flags["job_secret"]}
    secret = os.environ.get(SECRET_VARIABLE) or None
    made_secret = fresh_secret() if secret is None and flags["url"] else None
    plan = WebhookPlan(pairs, flags["url"], flags["job"], secret or made_secret, job_secrets)  # type: ignore[arg-type]  # the literals come from two tables
    watched = ", ".join(f"{kind} {escape(name)}" for kind, name in pairs)
    where = f"sends to {escape(plan.url)}" if plan.url else f"runs job {escape(plan.job_id or '')}"
    if not yes:
        emit(f"Would create a webhook that watches {watched} and {where}. Nothing was created: add --yes.")
        return
    made = ensure_webhook(plan, hub_settings(flags))
    said = "Created" if made.created else "There is already"
    emit(f"{said} webhook {escape(made.id)}: watches {watched} and {where}.")
    if made.created and made_secret:
        emit(f"Its secret, shown this once: {made_secret}")
