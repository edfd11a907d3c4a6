"""`amdet-hub scan`: scan targets, write every report, then decide the exit code. Knows: order of events.

Refuses to know: how to scan.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _batch as many
from amdet_hub.cli import _hf_jobs as jobs
from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED, EXIT_OK, worst
from amdet_hub.cli._output import (
    OutputFile,
    check_writable,
    emit,
    escape,
    format_duration,
    say,
    terminal_width,
    wants_color,
    write_whole,
)
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._scan_state import Ledger
from amdet_hub.cli.baseline import read_baseline, say_accepted, today
from amdet_hub.errors import AmdetError, ConfigError, Interrupted, NothingToScan, OutputError

if TYPE_CHECKING:
    from amdet_hub.config import ScanConfig
    from amdet_hub.hub import HubSettings
    from amdet_hub.records import RepoRef, ScanReport, VerdictLabel
    from amdet_hub.report.baselines import Baseline
    from amdet_hub.scanner import ScanOptions
    from amdet_hub.scanner.shared_references import SharedReferences

PLACEHOLDER = "{target}"
"""In an output path: replaced by the target's name, so that several targets get several files."""

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

Several targets: with -f json each report is one line; an output path must hold {target}. Many models: one line each in text too.
Several GPUs: accelerate launch -m amdet_hub scan org/model gives the same verdict, sooner.

Exit codes (several targets: 1 before 2 before 3 before 0):
  0    no backdoor found: nothing was found, which is no proof that there is nothing
  1    backdoor detected
  2    usage or error, no verdict
  3    inconclusive (skipped, unfinished or unsure), or nothing supported to scan
  130  interrupted; what was finished is in the outputs
"""


@dataclass(frozen=True)
class Request:
    """One `scan` command line, understood."""

    refs: tuple[RepoRef, ...]
    config: ScanConfig
    settings: HubSettings
    reference: RepoRef | None
    options: ScanOptions
    format: str
    outputs: Mapping[RepoRef, tuple[OutputFile, ...]]
    fail_on: str
    quiet: bool
    many: bool = False
    state: Path | None = None
    job: jobs.JobRequest | None = None
    log_key: str | None = None
    baseline: Baseline | None = None


@click.command(cls=opt.HelpLayout, epilog=EPILOG, short_help="Scan text encoders for backdoors.")
@click.argument("targets", metavar="TARGET...", nargs=-1)
@opt.target_options
@many.many_options
@opt.scan_options
@jobs.job_options
@opt.download_limit_option
@opt.format_option
@opt.output_option
@opt.fail_on_option
@opt.baseline_option
@opt.option(
    "--dry-run",
    section="What to scan",
    env=False,
    is_flag=True,
    default=False,
    help="Only show what would be scanned, like `resolve`.",
)
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def scan(ctx: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Scan each TARGET and say whether its text encoder was backdoored.

    The report goes to stdout, everything else to stderr.
    """
    set_up_logging(flags["verbose"])
    if not targets and not many.is_many(flags):
        raise click.MissingParameter(ctx=ctx, param=next(p for p in ctx.command.params if p.name == "targets"))
    request = understand(ctx, targets, flags)
    if flags["dry_run"]:
        from amdet_hub.cli.resolve import show_plans

        return show_plans(request, as_json=request.format == "json")
    from amdet_hub.scanner import is_main_process

    main = is_main_process()
    if request.job is not None and not main:
        return EXIT_OK  # one process is enough to wait for a job, and each would start its own
    if main:
        check_writable([o.path for files in request.outputs.values() for o in files])
        announce_settings(ctx, quiet=request.quiet)
    mode = choose_mode(asked=flags["progress"], quiet=request.quiet) if main else "off"
    with Progress(mode) as progress:
        if request.many:
            return many.run_many(request, progress, Ledger(request.state), main=main)
        return run(request, progress, main=main)


def understand(ctx: click.Context, targets: Sequence[str], flags: Mapping[str, Any]) -> Request:
    """The request of a command line, with nothing looked up yet.

    Raises:
        TargetError: a target or the reference is none.
        ConfigError: flags contradict each other.
    """
    from amdet_hub.scanner import ScanOptions

    refs = opt.parse_targets(tuple(dict.fromkeys(targets)), flags)
    settings = opt.hub_settings(flags)
    listed = "org" in flags and many.is_many(flags)
    if listed:
        refs = many.gather(refs, flags, settings)
    opt.refuse_settings_from_target(ctx, refs)
    reference = opt.reference_choice(ctx, flags)
    options = ScanOptions(
        device=flags["device"],
        dtype=flags["dtype"],
        timeout_s=flags["timeout"],
        max_memory_bytes=flags["max_memory"],
        use_reference=not reference.none,
    )
    return Request(
        refs=refs,
        config=opt.scan_config(ctx, flags),
        settings=settings,
        reference=reference.ref,
        options=options,
        format=flags["format"],
        outputs=place_outputs(refs, flags["output"]),
        fail_on=flags["fail_on"],
        quiet=flags["quiet"],
        many=listed,
        state=flags["state"] if listed else None,
        job=jobs.job_request(flags),
        log_key=jobs.log_key(flags),
        baseline=accepted_findings(flags, listed),
    )


def accepted_findings(flags: Mapping[str, Any], listed: bool) -> Baseline | None:
    """The baseline that was asked for.

    Raises:
        click.UsageError: with --state, whose finished verdicts are counted again without their reports.
    """
    if not flags.get("baseline"):
        return None
    if listed and flags["state"]:
        raise click.UsageError(
            "--baseline and --state do not go together: what is finished is counted again without its report. Drop one"
            " of them."
        )
    return read_baseline(flags["baseline"])


def place_outputs(refs: Sequence[RepoRef], outputs: Sequence[OutputFile]) -> dict[RepoRef, tuple[OutputFile, ...]]:
    """The files of each target: `{target}` in a path becomes the target's name.

    Raises:
        ConfigError: several targets would go to one file.
    """
    for output in outputs:
        if len(refs) > 1 and PLACEHOLDER not in str(output.path):
            raise ConfigError(
                "--output",
                f"with several targets the path needs {PLACEHOLDER}, as in"
                f" {output.format}={PLACEHOLDER}.{output.format}",
            )
    return {
        ref: tuple(replace(o, path=Path(str(o.path).replace(PLACEHOLDER, file_name(ref)))) for o in outputs)
        for ref in refs
    }


def file_name(ref: RepoRef) -> str:
    """A file name for a target: `org/model@v1` becomes `org--model--v1`. Letters, digits, `.`, `_` and `-` only."""
    parts = (ref.repo_id, ref.revision, ref.subfolder, ref.filename)
    joined = "--".join(part.strip("./") for part in parts if part and part.strip("./"))
    return re.sub(r"[^A-Za-z0-9._-]", "-", joined.replace("/", "--")) or "target"


# ---------------------------------------------------------------- the scans


def run(request: Request, progress: Progress, *, main: bool) -> int:
    """Scan every target, one after the other. Returns the worst exit code; stops at an interruption."""
    from amdet_hub.cli._errors import report_error

    codes = []
    for ref in request.refs:
        try:
            codes.append(deliver(request, ref, scan_one(request, ref, progress), main=main))
        except Interrupted as stop:
            progress.close()
            return report_interruption(request, ref, stop, main=main)
        except NothingToScan as error:
            progress.close()
            if main:
                report_error(error)
            codes.append(verdict_exit_code("inconclusive", request.fail_on) if main else EXIT_OK)
        except AmdetError as error:
            progress.close()
            codes.append(report_error(error, about=ref.raw if len(request.refs) > 1 else None))
    return worst(codes)


def scan_one(
    request: Request, ref: RepoRef, progress: Progress, *, shared: SharedReferences | None = None
) -> ScanReport:
    """Scan one target. Raises: Interrupted, whenever Ctrl-C comes; any other AmdetError."""
    try:
        if request.job is not None:
            return jobs.scan_on_job(request, ref, request.job)
        from amdet_hub.scanner import scan_target

        return scan_target(
            ref,
            config=request.config,
            settings=request.settings,
            reference=request.reference,
            options=request.options,
            progress=progress,
            shared=shared,
        )
    except KeyboardInterrupt as stop:
        raise Interrupted from stop
    finally:
        progress.close()


def deliver(request: Request, ref: RepoRef, report: ScanReport, *, main: bool) -> int:
    """Write every file, then stdout.

    Returns the exit code of the verdict; a file that could not be written does not hide a detection.
    """
    code = verdict_exit_code(counted_verdict(request, report), request.fail_on)
    if main:
        code = worst([code, *publish(request, ref, report)])
        if not request.quiet and not report.complete:
            budget = f" of {format_duration(request.options.timeout_s)}" if request.options.timeout_s else ""
            say(f"The time budget{budget} was spent: the result is partial. Raise --timeout for a whole one.")
        if request.baseline is not None:
            say_accepted(request.baseline, report)
    return code


def counted_verdict(request: Request, report: ScanReport) -> VerdictLabel:
    """The verdict that the exit code speaks of: the report's, accepted findings aside."""
    from amdet_hub.report.baselines import verdict_beyond

    return verdict_beyond(request.baseline, report, today()) if request.baseline is not None else report.verdict.label


def publish(request: Request, ref: RepoRef, report: ScanReport) -> list[int]:
    """Every file, then stdout, which gets its report even when a file could not be written.

    Returns the exit code of such a failure.
    """
    from amdet_hub.cli._errors import report_error
    from amdet_hub.report.as_line import as_table_row
    from amdet_hub.report.log_lines import as_log_lines

    failures = []
    try:
        write_outputs(request.outputs[ref], report)
    except OutputError as error:
        failures.append(report_error(error, about=ref.raw if len(request.refs) > 1 else None))
    if request.log_key is not None:
        emit("\n".join(as_log_lines(report, request.log_key)))
        return failures
    many_reports = request.many or len(request.refs) > 1
    emit(
        as_table_row(report)
        if request.many and request.format == "text"
        else render(report, request.format, many=many_reports)
    )
    return failures


def report_interruption(request: Request, ref: RepoRef, stop: Interrupted, *, main: bool) -> int:
    """Keep what was finished and say so in one line. Returns 130."""
    if main:
        files = request.outputs[ref]
        if stop.report is None:
            say(f"Interrupted before anything of '{escape(ref.raw)}' was scanned; nothing was written.")
        else:
            failed = publish(request, ref, stop.report)
            written = "" if failed else ", ".join(escape(str(o.path)) for o in files)
            say(f"Interrupted: the partial report {f'is in {written}' if written else 'is above'}.")
    return EXIT_INTERRUPTED


def verdict_exit_code(label: VerdictLabel, fail_on: str) -> int:
    """1 for a detected backdoor, 3 for inconclusive, 0 else; 0 where `--fail-on` looks away."""
    if label == "backdoor-detected" and fail_on != "never":
        return EXIT_DETECTED
    if label == "inconclusive" and fail_on == "inconclusive":
        return EXIT_INCONCLUSIVE
    return EXIT_OK


# ---------------------------------------------------------------- the words


def render(report: ScanReport, form: str, *, many: bool = False) -> str:
    """The report for stdout. JSON of one of several targets is a single line, so that the whole is JSON Lines."""
    from amdet_hub.report import RENDERERS, as_text

    if form == "text":
        text = as_text(report, color=wants_color(), width=terminal_width())
        return text.rstrip("\n") + "\n\n" if many else text
    text = RENDERERS[form](report)
    if form == "json" and many:
        return re.sub(r"\n\s*", "", text)  # strings hold no raw line ends in JSON, so this only removes layout
    return text


def write_outputs(files: Sequence[OutputFile], report: ScanReport) -> None:
    """Every `-o` file, each whole; one that fails does not keep the others from being written.

    Raises: OutputError, the first.
    """
    from amdet_hub.report import RENDERERS

    failures = []
    for output in files:
        try:
            write_whole(output.path, RENDERERS[output.format](report))
        except OutputError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def announce_settings(ctx: click.Context, *, quiet: bool) -> None:
    """Say which settings came from a file nobody named, so that it cannot steer a scan unseen."""
    settings = opt.file_settings(ctx)
    if settings.path is not None and not settings.explicit and settings.names and not quiet:
        say(f"Settings from {escape(str(settings.path))}: {escape(', '.join(settings.names))}.")


def set_up_logging(verbose: int) -> None:
    """`-v`: our own log on stderr; `-vv`: what the Hub's client does as well. Headers are never logged."""
    if not verbose:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for name in ("amdet_hub", "huggingface_hub")[:verbose]:
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
        logger.addHandler(handler)
