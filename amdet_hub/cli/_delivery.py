"""From a report to stdout, files and an exit code. Knows: the order, and that every file is written before any push.

Refuses to know: how a report is made.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amdet_hub.cli._exit_codes import EXIT_INTERRUPTED, report_error, verdict_exit_code, worst
from amdet_hub.cli._output import (
    OutputFile,
    check_writable,
    emit,
    escape,
    say,
    terminal_width,
    wants_color,
    write_whole,
)
from amdet_hub.cli._request import Request
from amdet_hub.cli._stored import today
from amdet_hub.errors import ConfigError, Interrupted, OutputError
from amdet_hub.records import RepoRef, ScanReport
from amdet_hub.report import RENDERERS, as_text
from amdet_hub.report.baselines import Baseline, verdict_beyond
from amdet_hub.report.log_lines import as_log_lines
from amdet_hub.report.quantities import format_duration

# In an output path: replaced by the target's name, so that several targets get several files.
PLACEHOLDER = "{target}"


def check_outputs(request: Request) -> None:
    """Refuse, before anything is scanned, files that could not be written. Makes their folders.

    Raises:
        ConfigError: several targets would go to one file.
        OutputError: a path cannot be written.
    """
    for output in request.outputs:
        if request.several and PLACEHOLDER not in str(output.path):
            example = f"{output.format}={PLACEHOLDER}.{output.format}"
            raise ConfigError("--output", f"with several targets the path needs {PLACEHOLDER}, as in {example}")
    check_writable(output.path for ref in request.refs for output in outputs_of(request, ref))


def outputs_of(request: Request, ref: RepoRef) -> tuple[OutputFile, ...]:
    """The files of one target."""
    return tuple(replace(o, path=Path(str(o.path).replace(PLACEHOLDER, file_name(ref)))) for o in request.outputs)


def file_name(ref: RepoRef) -> str:
    """A file name for a target: `org/model@v1` becomes `org--model--v1`. Letters, digits, `.`, `_` and `-` only."""
    parts = (ref.repo_id, ref.revision, ref.subfolder, ref.filename)
    joined = "--".join(part.strip("./") for part in parts if part and part.strip("./"))
    return re.sub(r"[^A-Za-z0-9._-]", "-", joined.replace("/", "--")) or "target"


def deliver(request: Request, ref: RepoRef, report: ScanReport) -> int:
    """Write every file, then stdout. Returns the exit code; a file that could not be written hides no detection."""
    code = exit_code_beyond(request.baseline, report, request.fail_on, silent=not request.main)
    if not request.main:
        return code
    code = worst([code, *write_report(request, ref, report)])
    if not request.quiet and not report.complete:
        timeout_s = request.scanner.options.timeout_s
        budget = f" of {format_duration(timeout_s)}" if timeout_s else ""
        say(f"The time budget{budget} was spent: the result is partial. Raise --timeout for a whole one.")
    return code


def write_report(request: Request, ref: RepoRef, report: ScanReport) -> list[int]:
    """Every file, then stdout, which gets its report even when a file could not be written.

    Returns the exit code of such a failure.
    """
    about = ref.raw if request.several else None
    failures = [report_error(error, about=about) for error in write_outputs(outputs_of(request, ref), report)]
    if request.log_key is not None:
        emit("\n".join(as_log_lines(report, request.log_key)))
    else:
        form = "table" if request.listed and request.format == "text" else request.format
        emit(render(report, form, several=request.several, verbose=request.verbose))
    return failures


def report_interruption(request: Request, ref: RepoRef, stop: Interrupted) -> int:
    """Keep what was finished and say so in one line. Returns 130."""
    if request.main and stop.report is None:
        say(f"Interrupted before anything of '{escape(ref.raw)}' was scanned; nothing was written.")
    elif request.main and stop.report is not None:
        failed = write_report(request, ref, stop.report)
        written = "" if failed else ", ".join(escape(str(o.path)) for o in outputs_of(request, ref))
        say(f"Interrupted: the partial report {f'is in {written}' if written else 'is above'}.")
    return EXIT_INTERRUPTED


def render(report: ScanReport, form: str, *, several: bool = False, verbose: bool = False) -> str:
    """The report for stdout. JSON of one of several targets is a single line, so that the whole is JSON Lines."""
    if form == "text":
        text = as_text(report, color=wants_color(), width=terminal_width(), verbose=verbose)
        return text.rstrip("\n") + "\n\n" if several else text
    text = RENDERERS[form](report)
    if form == "json" and several:
        return re.sub(r"\n\s*", "", text)  # strings hold no raw line ends in JSON, so this only removes layout
    return text


def write_outputs(files: Sequence[OutputFile], report: ScanReport) -> list[OutputError]:
    """Every `-o` file, each whole. Returns the errors of those that could not be written."""
    failures = []
    for output in files:
        try:
            write_whole(output.path, RENDERERS[output.format](report))
        except OutputError as error:
            failures.append(error)
    return failures


def exit_code_beyond(baseline: Baseline, report: ScanReport, fail_on: str, *, silent: bool = False) -> int:
    """The exit code of a report, accepted findings aside. Those are said on stderr, unless `silent`."""
    day = today()
    for result in () if silent else report.results:
        if found := baseline.acceptance_of(result, day):
            held = f"accepted until {found.expires}, so it does not fail"
            state = held if found.holds_on(day) else f"its acceptance expired on {found.expires}, so it counts again"
            say(f"{escape(result.encoder.label)}: {result.verdict.label}, {state}: {escape(found.reason)}")
    return verdict_exit_code(verdict_beyond(baseline, report, day), fail_on)
