"""`amdet-hub action`: the Action's steps after the first.

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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._action_results import WORST_FIRST, TargetResult, output_folder, reports_file, write_results
from amdet_hub.cli._config_file import read_config
from amdet_hub.cli._delivery import exit_code_beyond
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_OK, explain, verdict_exit_code
from amdet_hub.cli._help import GroupLayout, HelpLayout
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli._request import parse_request
from amdet_hub.cli._stored import read_baseline, read_report
from amdet_hub.cli._values import duration
from amdet_hub.errors import AmdetError, BadRepository
from amdet_hub.github_action.comment import keep_comment
from amdet_hub.github_action.deciding_files import DecidingFiles
from amdet_hub.github_action.job import Inputs, inside, naming_file, read_event, read_inputs, workspace
from amdet_hub.github_action.lfs import materialize
from amdet_hub.github_action.runner import annotation, write_outputs, write_summary
from amdet_hub.github_action.targets import Plan
from amdet_hub.hub import HubSettings
from amdet_hub.model_card.publish import check_pushable, push_card
from amdet_hub.report import advice
from amdet_hub.report.baselines import NO_BASELINE, Baseline
from amdet_hub.report.escape import prose

# Settings that the checkout's file may make. It may not say where a token goes.
_CONFIG_FLAGS = ("seed", "device", "dtype", "max_memory", "max_download")
_INPUT_FLAGS = ("preset", "revision", "subfolder", "endpoint", "fail_on")


@dataclass(frozen=True)
class _Job:
    """One use of the action: its inputs, the checkout, the flags for every target, and the accepted findings."""

    ctx: click.Context
    inputs: Inputs
    root: Path
    flags: Mapping[str, Any]
    baseline: Baseline

    @classmethod
    def of(cls, ctx: click.Context, flags: Mapping[str, Any]) -> _Job:
        """The job of the environment.

        Settings come from the inputs; a `pyproject.toml` of the scanned checkout has no say, and neither has the head
        of a pull request. Raises: AmdetError; OSError.
        """
        inputs, root, chosen = read_inputs(os.environ), workspace(os.environ), dict(flags)
        files = DecidingFiles(root, read_event(os.environ), Path(os.environ["AMDET_PLAN"]).with_name("base"))
        config = files.find("config", inputs.config) if inputs.config else None
        accepted = files.find("baseline", inputs.baseline) if inputs.baseline else None
        if config is not None:
            settings = read_config(config)
            flag = {param.name: param for param in ctx.command.params}
            given = {name: value for name, value in settings.defaults.items() if name in _CONFIG_FLAGS}
            chosen |= {name: flag[name].type_cast_value(ctx, value) for name, value in given.items()}
            opt.use_file_settings(ctx, settings)
        chosen |= {name: getattr(inputs, name) for name in _INPUT_FLAGS}
        chosen["reference"] = files.reference(inputs.reference)
        if inputs.timeout is not None:
            chosen["timeout"] = duration(inputs.timeout)
        for sentence in files.unused:
            emit(annotation("warning", escape(sentence)))
        baseline = read_baseline(accepted) if accepted is not None else NO_BASELINE
        return cls(ctx, inputs, root, {**chosen, "quiet": False, "verbose": 0}, baseline)

    def look(self, target: str, kind: str, progress: Progress) -> TargetResult:
        """One target. An error is a result too: it costs neither the other targets nor the outputs."""
        say(f"Looking at {escape(target)}")
        try:
            if kind == "local":
                place = inside(self.root, target, "path")
                if place.is_dir() and not any(place.iterdir()):
                    why = "it is an empty folder, as of a submodule; check out with 'submodules: true'"
                    raise BadRepository(target, why)
                materialize(self.root, place)
            request = parse_request(self.ctx, [target], self.flags)
            report = request.scan(request.refs[0], progress)
        except Exception as error:  # noqa: BLE001 even our own defect
            found = advice.explain(error, flags=True)
            note = escape(f"{found.sentence} {found.advice}")
            return TargetResult(target, "error", found.code, explain(error)[0], note=note)
        verdict, exit_code = report.verdict, exit_code_beyond(self.baseline, report, request.fail_on)
        notes = ["This tower was judged before."] if report.cached else []
        notes += (
            ["Accepted in the baseline."] if exit_code != verdict_exit_code(verdict.label, request.fail_on) else []
        )
        return TargetResult(target, verdict.label, verdict.code, exit_code, report, " ".join(notes))


@click.group(cls=GroupLayout, hidden=True)
def action() -> None:
    """Steps of the GitHub Action. They read the environment that a runner gives."""


@action.command(cls=HelpLayout)
@opt.scan_options
@opt.download_limit_option
@click.pass_context
def scan(ctx: click.Context, /, **flags: Any) -> int:
    """Look at what the first step planned, and write everything. The verdict does not change the exit code here."""
    try:
        job, plan = _Job.of(ctx, flags), Plan.from_json(Path(os.environ["AMDET_PLAN"]).read_text(encoding="utf-8"))
        folder = output_folder(job.root, os.environ)
        with Progress(choose_mode(asked=None, quiet=False)) as progress:
            results = [job.look(target, plan.kind, progress) for target in plan.targets]
        anchor = naming_file(os.environ) if plan.kind == "hub" else None
        results.sort(key=lambda one: WORST_FIRST.index(one.verdict))
        write_results(results, job.inputs.formats, folder, anchor)
    except (AmdetError, OSError) as error:
        found = advice.explain(error, flags=True)
        outputs = {"verdict": "error", "reason-code": found.code, "exit-code": str(EXIT_ERROR), "scanned": "false"}
        write_outputs(os.environ, outputs)
        words = escape(f"{found.sentence} {found.advice}")
        write_summary(os.environ, f"### amdet-hub: Error\n\n{prose(words)}\n")
        emit(annotation("error", f"{words} [{found.code}]"))
        return EXIT_ERROR
    return EXIT_OK


@action.command(cls=HelpLayout)
def comment() -> None:
    """Write the summary as a comment on the pull request. A refusal is a warning: the verdict does not hang on it."""
    number = read_event(os.environ).pull_request
    token = os.environ.get("AMDET_GITHUB_TOKEN", "")
    if number is None or not token:
        emit(annotation("notice", "No comment was written: this is no pull request, or there is no token."))
        return
    try:
        body = Path(os.environ.get("AMDET_SUMMARY", "")).read_text(encoding="utf-8")
        api, repository = os.environ.get("GITHUB_API_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
        emit(f"Comment {keep_comment(api, repository, number, body, token=token)}.")
    except (AmdetError, OSError) as error:
        emit(annotation("warning", escape(str(error))))


@action.command(cls=HelpLayout)
def card() -> None:
    """Propose the section on the card of each watched repository, from the JSON reports. A refusal is a warning."""
    settings = HubSettings(endpoint=read_inputs(os.environ).endpoint)
    for path in json.loads(reports_file(os.environ).read_text(encoding="utf-8")):
        try:
            report = read_report(path)
            check_pushable(report)
            result = push_card(report, settings)
            url = f": {escape(result.url)}" if result.url else "."
            emit(f"{escape(report.snapshot.repo_id)}: pull request {result.action}{url}")
        except AmdetError as error:
            emit(annotation("warning", explain(error)[1]))


@action.command(cls=HelpLayout)
def gate() -> int:
    """Exit as the scan step said; without a word from it, with 2."""
    code, verdict = os.environ.get("AMDET_EXIT_CODE", ""), os.environ.get("AMDET_VERDICT", "")
    emit(f"amdet-hub: {escape(verdict) or 'no verdict'}")
    return int(code) if re.fullmatch(r"\d{1,3}", code) else EXIT_ERROR
