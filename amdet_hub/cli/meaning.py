"""`amdet-hub meaning`: what a fine-tune taught. Knows: an ordinary scan, and which part of its report is printed."""

from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._delivery import exit_code_beyond
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit, terminal_width, wants_color
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import parse_request
from amdet_hub.errors import Interrupted
from amdet_hub.records import to_dict
from amdet_hub.report import as_text
from amdet_hub.report.as_json import dump_ascii

EPILOG = """
Examples:
  {prog} meaning org/model
  {prog} meaning ./dreambooth --reference openai/clip-vit-large-patch14 --json

Each token whose meaning changed, with its class (a character that is not seen, one that looks like an ordinary letter,
a common word, a rare or an added token), the tokens nearest to it before and now, and how far the change stands out:
of a character a robust z, of another token a multiple of what the most changed tokens usually reach. The scan is the
one of `scan`: a result of an earlier one is used again, and the exit code is the same.
Exit codes: 0 no backdoor found, 1 backdoor detected, 2 usage or error, 3 inconclusive, 130 interrupted.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Say in words what a fine-tune taught.")
@click.argument("target", metavar="TARGET")
@opt.target_options
@opt.scan_options
@opt.switch("--rescan", section="How to scan", help="Scan again what an earlier scan has answered.")
@opt.download_limit_option
@opt.data_format_options
@opt.fail_on_option
@opt.baseline_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def meaning(ctx: click.Context, /, target: str, as_json: bool, **flags: Any) -> int:
    """Scan TARGET, and list the tokens that say something else than in the reference: before, after, how strongly."""
    request = parse_request(ctx, [target], flags)
    with Progress(choose_mode(asked=flags["progress"], quiet=request.quiet) if request.main else "off") as progress:
        try:
            report = request.scan(request.refs[0], progress)
        except Interrupted:
            raise click.Abort from None
    if request.main and as_json:
        shown = ("tower_digest", "verdict", "meanings")
        encoders = [{"encoder": r.encoder.label, **{k: to_dict(getattr(r, k)) for k in shown}} for r in report.results]
        head = {"target": target, "verdict": to_dict(report.verdict), "encoders": encoders}
        emit(dump_ascii({**head, "not_scanned": to_dict(report.skipped)}))
    elif request.main:
        emit(as_text(report, color=wants_color(), width=terminal_width(), meanings=True))
    return exit_code_beyond(request.baseline, report, request.fail_on, silent=not request.main)
