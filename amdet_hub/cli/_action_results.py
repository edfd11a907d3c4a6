"""The results of an Action's job: files, outputs, summary and annotations, all written before the job fails.

Knows: their order and names. Refuses to know: how a target is scanned.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amdet_hub.cli._exit_codes import worst
from amdet_hub.cli._output import emit, escape, write_whole
from amdet_hub.errors import ConfigError, OutputError
from amdet_hub.github_action.runner import annotation, write_outputs, write_summary
from amdet_hub.records import ScanReport
from amdet_hub.report import RENDERERS
from amdet_hub.report.as_sarif import sarif_log
from amdet_hub.report.as_summary import SummaryRow, as_summary
from amdet_hub.verdict import SWEEP

_SUFFIXES = {"json": "json", "markdown": "md", "html": "html"}
# Verdicts of a target, "error" among them.
WORST_FIRST = ("backdoor-detected", "error", "inconclusive", "no-backdoor-found", "nothing-to-scan")


@dataclass(frozen=True)
class TargetResult:
    """One target's verdict (of `WORST_FIRST`), its code, and the exit code it asks for.

    Attributes:
        target: as the plan names it.
        report: None after an error.
        note: a sentence beside the verdict, or the error's.
    """

    target: str
    verdict: str
    code: str
    exit_code: int
    report: ScanReport | None = None
    note: str = ""


def output_folder(root: Path, environ: Mapping[str, str]) -> Path:
    """The folder of the reports: below the runner's temporary folder, or in the checkout, where no link leads out.

    Raises:
        ConfigError: it lies in neither.
        OutputError: it cannot be made.
    """
    temporary = Path(os.path.realpath(environ.get("RUNNER_TEMP") or root))
    named = environ.get("AMDET_INPUT_OUTPUT_DIR", "").strip()
    folder = Path(os.path.realpath(root / named)) if named else _next_folder(temporary / "amdet-hub-reports")
    if not (folder.is_relative_to(root) or folder.is_relative_to(temporary)):
        raise ConfigError("output-dir", "it lies neither in the checkout nor in the runner's temporary folder")
    if folder.is_relative_to(root) and ".git" in folder.relative_to(root).parts:
        raise ConfigError("output-dir", "it lies in .git")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), (error.strerror or "unknown reason").lower()) from error
    return folder


def _next_folder(home: Path) -> Path:
    """A numbered folder that is not there yet: a job may use the action twice, and each use keeps its files."""
    folders = (home / str(number) for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


def write_results(results: Sequence[TargetResult], formats: Sequence[str], folder: Path, anchor: str | None) -> None:
    """Reports, outputs, summary and annotations, in this order.

    Args:
        results: the worst first.
        formats: of the reports.
        folder: where they go.
        anchor: the file that findings are shown at; None means the weight files themselves.
    """
    reported = [(one, one.report) for one in results if one.report is not None]
    paths: dict[str, list[Path]] = {form: [] for form in ("json", "sarif", "markdown", "html")}
    for number, (one, report) in enumerate(reported, start=1):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", one.target.strip("./")).strip("-.")[:80] or "root"
        for form in filter(_SUFFIXES.get, formats):
            paths[form].append(_written(folder, f"{number:02d}-{name}.{_SUFFIXES[form]}", RENDERERS[form](report)))
    reports_file(os.environ).write_text(json.dumps([str(path) for path in paths["json"]]), encoding="utf-8")
    if "sarif" in formats:
        log = sarif_log([(report, anchor) for _, report in reported])
        paths["sarif"].append(_written(folder, "amdet-hub.sarif", log))
    outputs = outputs_of(results)
    summary = as_summary([SummaryRow(one.target, one.report, one.note) for one in results], outputs["verdict"])
    paths["markdown"].insert(0, _written(folder, "summary.md", summary))
    outputs |= {form: str(places[0]) if places else "" for form, places in paths.items()}
    write_outputs(os.environ, outputs)
    write_summary(os.environ, summary)
    for one in results:
        if one.verdict in ("backdoor-detected", "error", "inconclusive"):
            level = "warning" if one.verdict == "inconclusive" else "error"
            why = one.report.verdict.reasons[0] if one.report is not None else one.note
            said = f"{one.verdict.replace('-', ' ').capitalize()}: {escape(one.target)}: {escape(why)} [{one.code}]"
            emit(annotation(level, said, file=escape(anchor or one.target.removeprefix("./"))))


def outputs_of(results: Sequence[TargetResult]) -> dict[str, str]:
    """The outputs that are no files. Those about one model are about the worst, which comes first."""
    reports = [one.report for one in results if one.report is not None]
    scores = [e.value for report in reports for r in report.results for e in r.evidence if e.kind.startswith(SWEEP)]
    commit = (reports[0].snapshot.commit_sha or os.environ.get("GITHUB_SHA", "")) if reports else ""
    worst_encoder = min(
        reports[0].results if reports else (), key=lambda r: WORST_FIRST.index(r.verdict.label), default=None
    )
    return {
        "verdict": results[0].verdict if results else "nothing-to-scan",
        "reason-code": results[0].code if results else "no-model-files",
        "score": f"{max(scores):.4g}" if scores else "",
        "exit-code": str(worst([one.exit_code for one in results])),
        "commit-sha": commit if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit) else "",
        "tower-digest": worst_encoder.tower_digest if worst_encoder is not None else "",
        "scanned": "true" if any(report.results and not report.cached for report in reports) else "false",
    }


def reports_file(environ: Mapping[str, str]) -> Path:
    """The list of this job's JSON reports, beside the plan: the output folder may hold files of others."""
    return Path(environ["AMDET_PLAN"]).with_name("reports.json")


def _written(folder: Path, name: str, text: str) -> Path:
    """A file of the folder. A link that was committed in its place would have us write wherever it leads."""
    path = folder / name
    if path.is_symlink():
        path.unlink()
    write_whole(path, text)
    return path
