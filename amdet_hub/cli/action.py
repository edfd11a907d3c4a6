"""`amdet-hub action`: the Action's steps after the first.

Knows: their order, and that every file and output is written before the job fails.

    scan      look at the plan's targets; write files, outputs and the job's summary. Never fails on a verdict.
    comment   the summary as one comment on the pull request
    card      a pull request on the Hub with the scan's section, for each repository that was watched
    gate      fail if the scan step found a reason to

Everything comes from the environment (`amdet_hub.github_action.job`), because an input that were a word of a script
could be a script.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._errors import explain
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_OK, worst
from amdet_hub.cli._output import emit, escape, say, write_whole
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.errors import AmdetError, ConfigError, NothingToScan, OutputError
from amdet_hub.github_action.comment import keep_comment
from amdet_hub.github_action.job import Inputs, inside, naming_file, read_event, read_inputs, workspace
from amdet_hub.github_action.lfs import materialize
from amdet_hub.github_action.runner import annotation, write_outputs, write_summary
from amdet_hub.github_action.targets import Plan
from amdet_hub.report.escape import prose
from amdet_hub.verdict import SWEEP

if TYPE_CHECKING:
    from amdet_hub.cli.scan import Request
    from amdet_hub.records import RepoRef, ScanReport
    from amdet_hub.report.baselines import Baseline

SUFFIXES = {"json": "json", "markdown": "md", "html": "html"}
_ORDER = ("backdoor-detected", "error", "inconclusive", "no-backdoor-found", "nothing-to-scan")
"""Verdicts of a target, worst first."""
_ENV_FLAGS = ("seed", "device", "dtype", "max_memory", "max_download")


@dataclass(frozen=True)
class Looked:
    """What became of one target.

    `verdict` is one of `_ORDER`; `fresh` is False where an earlier result was taken up.
    """

    target: str
    verdict: str
    exit_code: int
    report: ScanReport | None = None
    note: str = ""
    fresh: bool = False


@click.group(cls=opt.GroupLayout, hidden=True)
def action() -> None:
    """Steps of the GitHub Action. They read the environment that a runner gives."""


# ---------------------------------------------------------------- scan


@action.command(cls=opt.HelpLayout)
@opt.scan_options
@opt.download_limit_option
@click.pass_context
def scan(ctx: click.Context, /, **flags: Any) -> int:
    """Look at what the first step planned, and write everything. The verdict does not change the exit code here."""
    try:
        look_at_all(ctx, flags)
    except (AmdetError, click.ClickException, OSError) as error:
        words = error.format_message() if isinstance(error, click.ClickException) else _one_line(explain(error)[1])
        write_outputs(os.environ, {"verdict": "error", "exit-code": str(EXIT_ERROR), "scanned": "false"})
        write_summary(os.environ, f"### amdet-hub: Error\n\n{prose(words)}\n")
        emit(annotation("error", escape(words)))
        return EXIT_ERROR
    return EXIT_OK


def look_at_all(ctx: click.Context, flags: Mapping[str, Any]) -> None:
    """Every target of the plan. Raises: AmdetError, click.ClickException or OSError when the job is set up wrongly."""
    inputs, root = read_inputs(os.environ), workspace(os.environ)
    plan = Plan.from_json(Path(os.environ["AMDET_PLAN"]).read_text(encoding="utf-8"))
    folder = output_folder(root, os.environ)
    baseline = read_accepted(root, inputs)
    looked: list[Looked] = []
    with Progress(choose_mode(asked=None, quiet=False)) as progress:
        for target in plan.targets:
            say(f"Looking at {escape(target)}")
            looked.append(look(ctx, target, plan, inputs, root, flags, baseline, progress))
    looked += [unopened(path, inputs) for path in plan.pickles]
    deliver(sorted(looked, key=lambda one: _ORDER.index(one.verdict)), plan, inputs, folder)


def look(
    ctx: click.Context,
    target: str,
    plan: Plan,
    inputs: Inputs,
    root: Path,
    flags: Mapping[str, Any],
    baseline: Baseline | None,
    progress: Progress,
) -> Looked:
    """One target: taken up from an earlier result where its towers were judged before, else scanned.

    An error is an outcome too.
    """
    try:
        if plan.kind == "local":
            materialize(root, inside(root, target, "path"))
        request = understand(ctx, target, inputs, root, flags)
        report, fresh = known_or_scanned(request, request.refs[0], progress)
    except NothingToScan as error:
        return without_encoder(target, error, plan, inputs)
    except Exception as error:  # noqa: BLE001 one target's trouble, even our own defect, costs neither the others nor the outputs
        code, words = explain(error)
        return Looked(target, "error", EXIT_ERROR if code == EXIT_OK else code, note=_one_line(words))
    finally:
        progress.close()
    return judged(target, report, inputs, baseline, fresh=fresh)


def understand(ctx: click.Context, target: str, inputs: Inputs, root: Path, flags: Mapping[str, Any]) -> Request:
    """The request for one target.

    Settings come from the inputs; a `pyproject.toml` of the scanned checkout has no say.
    """
    from amdet_hub.cli._config_file import read_config
    from amdet_hub.cli._values import Duration
    from amdet_hub.cli.scan import understand as read

    chosen = dict(flags)
    if inputs.config is not None:
        settings = read_config(inside(root, inputs.config, "config"))
        chosen.update({name: value for name, value in settings.defaults.items() if name in _ENV_FLAGS})
        opt.use_file_settings(ctx, settings)
    chosen.update(
        preset=inputs.preset,
        revision=inputs.revision,
        subfolder=inputs.subfolder,
        endpoint=inputs.endpoint,
        reference=inputs.reference,
    )
    chosen.update(format="text", output=(), fail_on=inputs.fail_on, quiet=False, verbose=0)
    if inputs.timeout is not None:
        chosen["timeout"] = Duration().convert(inputs.timeout, None, ctx)
    return read(ctx, [target], chosen)


def known_or_scanned(request: Request, ref: RepoRef, progress: Progress) -> tuple[ScanReport, bool]:
    """The report of a target, and whether it was scanned now."""
    from amdet_hub.scanner.known import open_known

    known = open_known(
        ref, config=request.config, settings=request.settings, reference=request.reference, options=request.options
    )
    found = known.recall() or known.recall_by_digest(progress)
    return (found, False) if found is not None else (known.scan(progress), True)


def without_encoder(target: str, error: NothingToScan, plan: Plan, inputs: Inputs) -> Looked:
    """A target without a text encoder that can be scanned.

    Nobody asks for one in every checkpoint; one that may be there stays open.
    """
    if plan.named or error.pickle_only or error.blocks_clearance:
        code = EXIT_INCONCLUSIVE if inputs.fail_on == "inconclusive" else EXIT_OK
        return Looked(target, "inconclusive", code, note=_one_line(explain(error)[1]))
    return Looked(target, "nothing-to-scan", EXIT_OK, note="no text encoder of a supported family in it")


def _one_line(words: str) -> str:
    return words.removeprefix("Error: ").replace("\n", " ")


def unopened(path: str, inputs: Inputs) -> Looked:
    """A pushed pickle: it may hold a text encoder, and opening it can run code."""
    code = EXIT_INCONCLUSIVE if inputs.fail_on == "inconclusive" else EXIT_OK
    return Looked(
        path,
        "inconclusive",
        code,
        note="A pickle, which is not opened because that can run code. Push safetensors instead.",
    )


def judged(target: str, report: ScanReport, inputs: Inputs, baseline: Baseline | None, *, fresh: bool) -> Looked:
    """The outcome of a report, accepted findings aside where its exit code is concerned."""
    from amdet_hub.cli.baseline import say_accepted, today
    from amdet_hub.cli.scan import verdict_exit_code
    from amdet_hub.report.baselines import verdict_beyond

    counted = report.verdict.label
    if baseline is not None:
        counted = verdict_beyond(baseline, report, today())
        say_accepted(baseline, report)
    note = "" if fresh else "This tower was judged before."
    if counted != report.verdict.label:
        note = f"{note} Accepted in the baseline.".strip()
    return Looked(target, report.verdict.label, verdict_exit_code(counted, inputs.fail_on), report, note, fresh)


def read_accepted(root: Path, inputs: Inputs) -> Baseline | None:
    """The baseline that the input names in the checkout. Raises: ReportError; ConfigError."""
    from amdet_hub.cli.baseline import read_baseline

    return read_baseline(inside(root, inputs.baseline, "baseline")) if inputs.baseline else None


# ---------------------------------------------------------------- files and outputs


def output_folder(root: Path, environ: Mapping[str, str]) -> Path:
    """Where the reports go: below the runner's folder for temporary files, or a folder of the checkout that no link leads out of.

    Raises:
        ConfigError: it lies in neither.
        OutputError: it cannot be made.
    """
    temporary = Path(os.path.realpath(environ.get("RUNNER_TEMP") or root))
    named = environ.get("AMDET_INPUT_OUTPUT_DIR", "").strip()
    folder = Path(os.path.realpath(root / named)) if named else _next_folder(temporary / "amdet-hub-reports")
    if not (folder.is_relative_to(root) or folder.is_relative_to(temporary)):
        raise ConfigError("output-dir", "it lies neither in the checkout nor in the runner's temporary folder")
    if ".git" in folder.relative_to(root).parts if folder.is_relative_to(root) else False:
        raise ConfigError("output-dir", "it lies in .git")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), (error.strerror or "unknown reason").lower()) from error
    return folder


def _next_folder(home: Path) -> Path:
    """A numbered folder that is not there yet: a job may use the action twice, and each use keeps its files."""
    number = 1
    while (home / str(number)).exists():
        number += 1
    return home / str(number)


def deliver(looked: Sequence[Looked], plan: Plan, inputs: Inputs, folder: Path) -> None:
    """Reports, outputs, summary and annotations, in this order."""
    from amdet_hub.report import RENDERERS
    from amdet_hub.report.as_sarif import sarif_log
    from amdet_hub.report.as_summary import SummaryRow, as_summary

    anchor = naming_file(os.environ) if plan.kind == "hub" else None
    paths: dict[str, str] = {}
    reports: list[str] = []
    for number, one in enumerate(looked):
        for form in [form for form in inputs.formats if form in SUFFIXES and one.report is not None]:
            place = fresh_file(folder, f"{number + 1:02d}-{plain_name(one.target)}.{SUFFIXES[form]}")
            if one.report is not None:
                write_whole(place, RENDERERS[form](one.report))
            paths.setdefault(form, str(place))
            if form == "json":
                reports.append(str(place))
    reports_file(os.environ).write_text(json.dumps(reports), encoding="utf-8")
    verdict = looked[0].verdict if looked else "nothing-to-scan"
    summary = as_summary([SummaryRow(one.target, one.report, one.note) for one in looked], verdict)
    if "sarif" in inputs.formats:
        place = fresh_file(folder, "amdet-hub.sarif")
        write_whole(place, sarif_log([(one.report, anchor) for one in looked if one.report is not None]))
        paths["sarif"] = str(place)
    place = fresh_file(folder, "summary.md")
    write_whole(place, summary)
    paths["markdown"] = str(place)
    write_outputs(
        os.environ,
        {
            **outputs_of(looked, verdict),
            **{form: paths.get(form, "") for form in ("json", "sarif", "markdown", "html")},
        },
    )
    write_summary(os.environ, summary)
    for one in looked:
        if (line := annotation_of(one, anchor)) is not None:
            emit(line)


def outputs_of(looked: Sequence[Looked], verdict: str) -> dict[str, str]:
    """The outputs that are no files. Those about one model are about the worst, which comes first."""
    report = next((one.report for one in looked if one.report is not None), None)
    scores = [
        e.value for one in looked if one.report for r in one.report.results for e in r.evidence if e.kind == SWEEP
    ]
    commit = (report.snapshot.commit_sha or os.environ.get("GITHUB_SHA", "")) if report is not None else ""
    towers = list(dict.fromkeys(result.tower_digest for result in report.results)) if report is not None else []
    worst_first = sorted(report.results, key=lambda r: _ORDER.index(r.verdict.label)) if report is not None else []
    return {
        "verdict": verdict,
        "score": f"{max(scores):.4g}" if scores else "",
        "exit-code": str(worst([one.exit_code for one in looked])),
        "commit-sha": commit if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit) else "",
        "tower-digest": worst_first[0].tower_digest if worst_first else "",
        "tower-digests": " ".join(towers),
        "scanned": "true" if any(one.fresh for one in looked) else "false",
    }


def annotation_of(one: Looked, anchor: str | None) -> str | None:
    """What the job's page says of a target, None when all is well."""
    file = anchor or one.target.removeprefix("./")
    if one.verdict == "backdoor-detected" and one.report is not None:
        return annotation(
            "error",
            f"Backdoor detected in {escape(one.target)}: {escape(one.report.verdict.reasons[0])}",
            file=escape(file),
        )
    if one.verdict == "error":
        return annotation("error", f"{escape(one.target)} could not be judged: {escape(one.note)}", file=escape(file))
    if one.verdict == "inconclusive":
        reason = one.report.verdict.reasons[0] if one.report is not None else one.note
        return annotation("warning", f"Inconclusive: {escape(one.target)}: {escape(reason)}", file=escape(file))
    return None


def plain_name(target: str) -> str:
    """A file name for a target: letters, digits, `.`, `_` and `-` only, at most 80 of them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", target.strip("./")).strip("-.")[:80] or "root"


def reports_file(environ: Mapping[str, str]) -> Path:
    """The list of this job's JSON reports, beside the plan: what else lies in the output folder may be anybody's."""
    return Path(environ["AMDET_PLAN"]).with_name("reports.json")


def fresh_file(folder: Path, name: str) -> Path:
    """A path in the folder that is no link: a link that was committed there would have us write wherever it leads."""
    path = folder / name
    if path.is_symlink():
        path.unlink()
    return path


# ---------------------------------------------------------------- what follows


@action.command(cls=opt.HelpLayout)
def comment() -> int:
    """Write the summary as a comment on the pull request. A refusal is a warning: the verdict does not hang on it."""
    number = read_event(os.environ).pull_request
    token = os.environ.get("AMDET_GITHUB_TOKEN", "")
    if number is None or not token:
        emit(annotation("notice", "No comment was written: this is no pull request, or there is no token."))
        return EXIT_OK
    try:
        body = Path(os.environ.get("AMDET_SUMMARY", "")).read_text(encoding="utf-8")
        api, repository = os.environ.get("GITHUB_API_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
        emit(f"Comment {keep_comment(api, repository, number, body, token=token)}.")
    except (AmdetError, OSError) as error:
        emit(annotation("warning", escape(str(error))))
    return EXIT_OK


@action.command(cls=opt.HelpLayout)
def card() -> int:
    """Propose the section on the card of each watched repository, from the JSON reports. A refusal is a warning."""
    from amdet_hub.cli.report import read_report
    from amdet_hub.hub import HubSettings
    from amdet_hub.model_card.publish import check_pushable, push_card

    inputs = read_inputs(os.environ)
    for path in json.loads(reports_file(os.environ).read_text(encoding="utf-8")):
        try:
            report = read_report(path)
            check_pushable(report)
            result = push_card(report, HubSettings(endpoint=inputs.endpoint))
            emit(
                f"{escape(report.snapshot.repo_id)}: pull request"
                f" {result.action}{f': {escape(result.url)}' if result.url else '.'}"
            )
        except AmdetError as error:
            emit(annotation("warning", explain(error)[1]))
    return EXIT_OK


@action.command(cls=opt.HelpLayout)
def gate() -> int:
    """Exit as the scan step said; without a word from it, with 2."""
    code = os.environ.get("AMDET_EXIT_CODE", "")
    verdict = os.environ.get("AMDET_VERDICT", "")
    emit(f"amdet-hub: {escape(verdict) or 'no verdict'}")
    return int(code) if re.fullmatch(r"\d{1,3}", code) else EXIT_ERROR
