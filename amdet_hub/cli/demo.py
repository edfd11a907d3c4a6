"""`amdet-hub demo`: the offline demonstration. Knows: where its words go."""

from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit
from amdet_hub.cli._progress import Progress, choose_mode

EPILOG = """
Exit codes: 0 both verdicts were right and the pull request is there, 1 otherwise, 130 interrupted.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="See it work, offline, in about a minute.")
@opt.talk_options
@opt.config_option
def demo(**flags: Any) -> int:
    """Scan a backdoored and a harmless fine-tune of a small encoder, over HTTP from a Hub on this machine.

    It ends with a pull request there. Needs no network and no account.
    """
    from amdet_hub.demo.run import run_demo

    with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:

        def say_between_bars(text: str) -> None:
            progress.close()
            emit(text)

        return run_demo(say_between_bars, progress)
