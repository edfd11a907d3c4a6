"""The root command: which verbs there are, and what becomes of an exception. Knows: click.

Refuses to know: what any verb does.
"""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from amdet_hub import __version__
from amdet_hub.cli import (
    action,
    baseline,
    bench,
    cache,
    card,
    demo,
    diff,
    doctor,
    mcp,
    meaning,
    report,
    resolve,
    scan,
    space,
    staged,
    verify,
    watch,
    webhook,
)
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, report_error
from amdet_hub.cli._help import GroupLayout
from amdet_hub.cli._output import escape, say

EPILOG = """
Examples:
  {prog} demo                                      see it work, offline, in about a minute
  {prog} resolve org/model                         what would be scanned, and how long it takes
  {prog} scan org/model                            scan it
  {prog} scan org/model@v1.0 -o json=report.json   a fixed revision; keep the report
  {prog} card push org/model --from report.json    show what a pull request would change

Exit codes:
  0    no backdoor found, or nothing of this kind to scan
  1    backdoor detected
  2    usage or error
  3    inconclusive: something was not, or could not be, looked at
  130  interrupted

Settings: a flag beats an environment variable (AMDET_HUB_PRESET for --preset, and so on), which beats --config FILE.
Without --config, [tool.amdet-hub] of ./pyproject.toml may set device, format and progress; any other key there is an
error. HF_TOKEN and HF_ENDPOINT are read as every Hub client reads them.
AMDET_HUB_DEBUG=1 shows tracebacks. A scan that finds nothing is no proof that there is nothing.

Shell completion: eval "$(_AMDET_HUB_COMPLETE=bash_source amdet-hub)" in ~/.bashrc; zsh_source, fish_source likewise.
The same program is installed as `hf-amdet`. `hf amdet` runs only extensions that `hf extensions install` brought, and
none of this name is published yet: call `hf-amdet`.
"""


class App(GroupLayout):
    """A group that turns every exception into one sentence and an exit code, and never shows a traceback unasked."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run and exit, as click's own `main` does."""
        sys.exit(self.run(args, prog_name=prog_name, **extra))

    def run(self, args: Sequence[str] | None = None, *, prog_name: str | None = None, **extra: Any) -> int:
        """Run one command line. Returns the exit code."""
        _survive_odd_terminals()
        try:
            outcome = super().main(args=args, prog_name=prog_name, standalone_mode=False, **extra)
        except click.Abort:
            click.echo("Interrupted.", err=True)
            return EXIT_INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return EXIT_ERROR
        except click.ClickException as error:
            ctx = getattr(error, "ctx", None)
            say(f"Error: {escape(error.format_message())} [usage-error]")  # escaped: a token may be in the wrong place
            if ctx is not None:
                say(f"{ctx.get_usage()}\nTry '{ctx.command_path} --help' for help.")
            return EXIT_ERROR
        except Exception as error:  # noqa: BLE001 the last net: a sentence instead of a traceback
            return report_error(error)
        return outcome if isinstance(outcome, int) else EXIT_OK


def _survive_odd_terminals() -> None:
    """A terminal that cannot show a letter gets its code instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


@click.group(
    cls=App,
    commands=(
        scan.scan,
        meaning.meaning,
        resolve.resolve,
        card.card,
        verify.verify,
        report.report,
        diff.diff,
        baseline.baseline,
        watch.watch,
        webhook.webhook,
        staged.staged,
        mcp.mcp,
        demo.demo,
        space.space,
        doctor.doctor,
        cache.cache,
        bench.bench,
        action.action,
    ),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
def app() -> None:
    """Was the text encoder of this CLIP-family model backdoored when it was fine-tuned?

    Scans CLIP and SigLIP text encoders (plain models and those inside diffusers pipelines) on the Hugging Face Hub or
    on disk, gives a verdict with its evidence, and can write it to the model card as a pull request. Nothing of a
    repository is ever executed.
    """
