r"""A `ScanReport` as JSON and back, and the JSON Schema of it.

Knows: the records and what makes a stored report unreadable. Refuses to know: files. The text is pure ASCII (every
other character is a `\uXXXX` escape), so neither a terminal nor an editor can be fooled by what a repository wrote
into it.
"""

import importlib.resources
import json
import re
from typing import Any

from amdet_hub.errors import ReportError
from amdet_hub.records import (
    SCHEMA_VERSION,
    RepoFile,
    ScanReport,
    ScanResult,
    fingerprint,
    from_dict,
    strict_json,
    to_dict,
)
from amdet_hub.report.escape import visible
from amdet_hub.report.wording import places
from amdet_hub.verdict import judge_repository

# Largest stored report that is read. A scan of four towers with every detail is below 4 MiB.
MAX_REPORT_BYTES = 32 * 1024 * 1024


def as_json(report: ScanReport) -> str:
    """The report as indented ASCII JSON with a final newline.

    The same report gives the same bytes; `parse_report` reads it back.

    Raises:
        ReportError: the report holds something JSON cannot say (a NaN, an object that is not data).
    """
    return dump_ascii(to_dict(report))


def dump_ascii(data: Any) -> str:
    """Plain data as indented ASCII JSON with a final newline, which no build log and no terminal acts upon.

    Raises:
        ReportError: it holds something JSON cannot say.
    """
    try:
        text = json.dumps(data, indent=2, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ReportError(f"the report is not plain JSON data: {error}") from error
    # DEL is the one control character that JSON leaves bare; `##[` would be a command to a build log, and stands in
    # strings only.
    return text.replace("\x7f", "\\u007f").replace("##[", "\\u0023\\u0023[") + "\n"


def parse_report(text: str) -> ScanReport:
    """The report that `as_json` made `text` from, of this version of the form or of 1.0.

    Raises:
        ReportError: too large, not JSON, a key written twice, a number that is no number, an unknown `schema_version`,
            a missing, unknown or mistyped field, or fields that contradict each other. The message names the field.
    """
    if len(text) > MAX_REPORT_BYTES:
        raise ReportError(f"not a scan report: larger than {MAX_REPORT_BYTES // 2**20} MiB")
    try:
        data = strict_json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise ReportError(f"not a scan report: {error}") from error
    if not isinstance(data, dict):
        raise ReportError("not a scan report: the outermost JSON value is not an object")
    version = data.get("schema_version")
    if version == "1.0":
        data = _upgraded(data)
    elif version != SCHEMA_VERSION:
        shown = f"'{visible(version, limit=40)}'" if isinstance(version, str) else "none"
        raise ReportError(
            f"not a scan report this version can read: schema_version is {shown}, expected '{SCHEMA_VERSION}'"
        )
    report = from_dict(ScanReport, data)
    _check_formats(report)
    _check_verdict(report)
    return report


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Data of a 1.0 report in the form of 1.1: verdicts get the code `not-stated`, a renamed field its new name.

    Malformed data stays malformed, for `from_dict` to name.
    """
    outcomes = data.get("outcomes")
    parts = [part for part in outcomes if isinstance(part, dict)] if isinstance(outcomes, list) else []
    for part in parts:
        for name in [name for name in part if name.startswith("blocks_")]:
            part["blocks_clearance"] = part.pop(name)
    for verdict in (part.get("verdict") for part in (data, *parts)):
        if isinstance(verdict, dict):
            verdict["code"] = "not-stated"
    return data | {"schema_version": SCHEMA_VERSION}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the report, as packaged. A fresh copy at each call."""
    source = importlib.resources.files("amdet_hub.report").joinpath("schema", f"report-{SCHEMA_VERSION}.json")
    return dict(json.loads(source.read_text("utf-8")))


def _check_formats(report: ScanReport) -> None:
    hexes = [
        ("snapshot.commit_sha", report.snapshot.commit_sha, 40),
        ("config_fingerprint", report.config_fingerprint, 64),
    ]
    files: list[tuple[str, RepoFile]] = [("snapshot.files", f) for f in report.snapshot.files]
    for i, outcome in enumerate(report.outcomes):
        if isinstance(outcome, ScanResult):
            hexes.append((f"outcomes[{i}].encoder.commit_sha", outcome.encoder.commit_sha, 40))
            files += [(f"outcomes[{i}].encoder.weight_files", f) for f in outcome.encoder.weight_files]
    hexes += [(f"{where}.sha256", f.sha256, 64) for where, f in files]
    for where, text, digits in hexes:
        if text is not None and not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
            raise ReportError(f"{where}: '{visible(text, limit=80)}' is not {digits} hex digits")
    if any(f.size_bytes < 0 for _, f in files):
        raise ReportError("a file size is negative")
    rates = [rate for result in report.results for trigger in result.triggers for _, rate in places(trigger)]
    if not all(0 <= rate <= 1 for rate in rates):
        raise ReportError("a success rate of a trigger is not between 0 and 1")
    if report.config_fingerprint != fingerprint(report.config):
        raise ReportError("config_fingerprint is not the sha256 of config")


def _check_verdict(report: ScanReport) -> None:
    # "inconclusive" claims nothing, so that only a detection excludes it.
    stated, judged = report.verdict.label, judge_repository(report.outcomes).label
    if judged != "backdoor-detected" and (stated == "inconclusive" or not report.complete):
        judged = "inconclusive"
    if stated != judged:
        raise ReportError(f"the verdict is '{stated}', but the report's own outcomes give '{judged}'")
