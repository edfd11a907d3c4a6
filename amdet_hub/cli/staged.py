"""`amdet-hub staged`: what pre-commit runs on the files of a commit.

Knows: which changed files fail a commit, and with which words.
"""

import os
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._delivery import exit_code_beyond, render
from amdet_hub.cli._exit_codes import EXIT_OK, report_error, verdict_exit_code, worst
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import Request, parse_request
from amdet_hub.errors import AmdetError, Interrupted
from amdet_hub.github_action.lfs import read_pointer
from amdet_hub.github_action.targets import find_targets
from amdet_hub.records import RepoRef

EPILOG = """
Examples:
  {prog} staged --preset quick -- models/clip/model.safetensors
  {prog} staged -- $(git diff --cached --name-only)

Options stand before the files. Each checkpoint is one line on stdout, with its verdict and reason code; the reports of
those that fail go to stderr. A checkpoint whose weights were scanned before is answered at once, and one that holds
nothing of this kind passes. Weights that cannot be looked at are inconclusive: formats that are not read, and a Git
LFS pointer without its content (run `git lfs pull`).
Exit codes: 0 no backdoor found, 1 backdoor detected, 2 error, 3 inconclusive.
"""


@click.command(
    cls=HelpLayout,
    epilog=EPILOG,
    short_help="Scan the checkpoints that changed files belong to.",
    context_settings={"allow_interspersed_args": False},  # a committed file may be called --config=...
)
@click.argument("files", metavar="FILE...", nargs=-1)
@opt.scan_options
@opt.fail_on_option
@opt.baseline_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def staged(ctx: click.Context, /, files: tuple[str, ...], **flags: Any) -> int:
    """Scan the checkpoints that FILEs belong to, before they are committed. Made for pre-commit."""
    pointers = [file for file in files if read_pointer(Path(file)) is not None]
    for file in pointers:
        emit(f"{escape(file)}: inconclusive, its content is not here: run `git lfs pull` [no-weights]")
    codes = [verdict_exit_code("inconclusive", flags["fail_on"]) if pointers else EXIT_OK]
    if targets := find_targets(Path(), [os.path.relpath(file) for file in files if file not in pointers]):
        request = parse_request(ctx, targets, flags)
        with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:
            codes += [_judge(request, ref, progress) for ref in request.refs]
    return worst(codes)


def _judge(request: Request, ref: RepoRef, progress: Progress) -> int:
    """Scan one checkpoint and say what matters of it. Returns the exit code."""
    name = ref.raw.removeprefix("./") or "."
    try:
        report = request.scan(ref, progress)
    except Interrupted:
        raise click.Abort from None
    except AmdetError as error:
        return report_error(error, about=name)
    emit(f"{escape(name)}: {report.verdict.label} [{report.verdict.code}]")
    code = exit_code_beyond(request.baseline, report, request.fail_on)
    if code != EXIT_OK:
        say(render(report, "text", verbose=request.verbose))
    return code
