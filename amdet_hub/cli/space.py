"""`amdet-hub space` and `amdet-hub space deploy`: the web page, here and on the Hub.

Knows: flags, and what is said while it serves.
"""

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import GroupLayout, HelpLayout, option
from amdet_hub.cli._output import escape, say
from amdet_hub.cli._request import hub_settings
from amdet_hub.errors import ConfigError, TargetError
from amdet_hub.hub import is_repo_id
from amdet_hub.web.settings import SpaceSettings

EPILOG = """
Examples:
  {prog} space --demo                  the page on the demonstration's models, offline
  {prog} space                         the page on the public Hub, for this machine only
  {prog} space deploy owner/name       put the page on the Hub as a Space of your own

Needs the extra packages of the page: pip install 'amdet-hub[space]'. AMDET_SPACE_* variables set its limits
(space/README.md).
Exit codes: 0 served until Ctrl-C, or deployed; 2 usage or error.
"""

DEPLOY_EPILOG = """
Example:
  {prog} space deploy me/was-it-backdoored --private

Writes one commit with the page and this version of amdet-hub. Exit codes: 0 deployed, 2 usage or error.
"""


@click.group(
    cls=GroupLayout,
    epilog=EPILOG,
    invoke_without_command=True,
    short_help="Serve the web page, or deploy it as a Space.",
)
@opt.switch("--demo", section="What to scan", help="Only the demonstration's models, offline.")
@option(
    "--port",
    section="The Hub",
    env=False,
    type=click.IntRange(0, 65535),
    default=None,
    help="Default: a free one from 7860 on.",
)
@option(
    "--endpoint", section="The Hub", metavar="URL", help="Another Hub. Default: HF_ENDPOINT or https://huggingface.co."
)
@opt.verbose_option
@click.pass_context
def space(ctx: click.Context, /, demo: bool, port: int | None, endpoint: str | None, **_: Any) -> None:
    """Serve the web page of amdet-hub on this machine: look up, scan, read and take away, in a browser.

    Ctrl-C ends it.
    """
    if ctx.invoked_subcommand is not None:
        return
    missing = [name for name in ("gradio", "plotly") if importlib.util.find_spec(name) is None]
    if missing:  # said before anything heavy is imported
        raise ConfigError("space", f"{', '.join(missing)} is not installed; run pip install 'amdet-hub[space]'")
    # Read when the Hub's client is imported: visitors never act with our token.
    os.environ.setdefault("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with _settings(demo=demo, endpoint=endpoint) as settings:
        from amdet_hub.web.app import serve

        running = serve(settings, host="127.0.0.1", port=port)
        say(f"The page is at {running.url} for this machine. Ctrl-C ends it.")
        running.serve_until_interrupted()


@contextlib.contextmanager
def _settings(*, demo: bool, endpoint: str | None) -> Iterator[SpaceSettings]:
    if demo:
        from amdet_hub.web.demo import demo_settings

        with (
            tempfile.TemporaryDirectory(prefix="amdet-hub-space-", ignore_cleanup_errors=True) as folder,
            demo_settings(Path(folder)) as (settings, _),
        ):
            yield settings
    else:
        found = SpaceSettings.from_environment()
        yield replace(found, endpoint=endpoint or found.endpoint)


@space.command(cls=HelpLayout, epilog=DEPLOY_EPILOG, short_help="Create or update a Space on the Hub.")
@click.argument("name", metavar="OWNER/NAME")
@opt.switch("--private", section="The Hub", help="Make a new Space private.")
@opt.hub_options
@opt.talk_options
@opt.config_option
def deploy(name: str, private: bool, **flags: Any) -> None:
    """Create the Space OWNER/NAME, or update it, with this version of the page.

    The token needs the right to write there.
    """
    from amdet_hub.web.deploy import deploy_space

    if name.count("/") != 1 or not is_repo_id(name):
        raise TargetError(name, "a Space is named owner/name, of letters, digits, '-', '_' and '.'")
    say(f"Deployed: {escape(deploy_space(name, hub_settings(flags), private=private))}")
