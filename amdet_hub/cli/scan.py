"""`amdet-hub scan`: scan targets, write every report, then decide the exit code. Knows: order of events.

Refuses to know: how to scan.
"""

from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._batch import Batch
from amdet_hub.cli._delivery import check_outputs, deliver, report_interruption
from amdet_hub.cli._exit_codes import EXIT_OK, report_error, worst
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._hf_jobs import job_options
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import Request, parse_request
from amdet_hub.cli._targets import list_options
from amdet_hub.cli.resolve import show_plans
from amdet_hub.errors import AmdetError, Interrupted

EPILOG = """
Targets:
  org/model                         a Hub repository; org/model@v1.0 at a branch, tag or commit
  hf://org/model@v1.0/text_encoder  the same, and only one folder of it
  https://huggingface.co/org/model/tree/main/text_encoder
  ./folder   /path/model.safetensors  on this machine (starts with . or /)

Examples:
  {prog} scan org/model
  {prog} scan org/model -f json -o markdown=report.md > report.json
  {prog} scan ./checkpoint --reference openai/clip-vit-large-patch14 --timeout 30m
  {prog} scan org/one org/two -o 'json=reports/{target}.json'
  {prog} scan --org acme --filter diffusers --limit 50 --state acme.state -f json >> acme.jsonl

Several targets: with -f json each report is one line; an output path must hold {target}. Lists of models: -f table.
A result of an earlier scan of the same weights is shown again, with its date; --rescan scans anew.
Several GPUs: accelerate launch -m amdet_hub scan org/model gives the same verdict, sooner.

Exit codes (several targets: 1 before 2 before 3 before 0):
  0    no backdoor found, which is no proof that there is none; or nothing of this kind in it
  1    backdoor detected
  2    usage or error, no verdict
  3    inconclusive: something was not, or could not be, looked at
  130  interrupted; what was finished is in the outputs
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Scan text encoders for backdoors.")
@click.argument("targets", metavar="TARGET...", nargs=-1)
@opt.target_options
@list_options
@opt.scan_options
@opt.switch("--rescan", section="How to scan", help="Scan again what an earlier scan has answered.")
@job_options
@opt.download_limit_option
@opt.format_option
@opt.output_option
@opt.fail_on_option
@opt.baseline_option
@opt.switch("--dry-run", section="What to scan", help="Only show what would be scanned, like `resolve`.")
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def scan(ctx: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Scan each TARGET and say whether its text encoder was backdoored.

    The report goes to stdout, everything else to stderr.
    """
    request = parse_request(ctx, targets, flags)
    if not request.refs:
        raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == "targets"))
    if flags["dry_run"]:
        return show_plans(request, as_json=request.format == "json")
    if request.job is not None and not request.main:
        return EXIT_OK  # one process is enough to wait for a job, and each would start its own
    if request.main:
        check_outputs(request)
    with Progress(choose_mode(asked=flags["progress"], quiet=request.quiet) if request.main else "off") as progress:
        return Batch(request, progress).run() if request.listed else scan_each(request, progress)


def scan_each(request: Request, progress: Progress) -> int:
    """Scan every target, one after the other. Returns the worst exit code; stops at an interruption."""
    codes = []
    for ref in request.refs:
        try:
            codes.append(deliver(request, ref, request.scan(ref, progress)))
        except Interrupted as stop:
            return report_interruption(request, ref, stop)
        except AmdetError as error:
            codes.append(report_error(error, about=ref.raw if request.several else None))
    return worst(codes)
