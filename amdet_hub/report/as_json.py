r"""A `ScanReport` as JSON and back, and the JSON Schema of it.

Knows: the records and what makes a stored report unreadable. Refuses to know: files. The text is pure ASCII (every
other character is a `\uXXXX` escape), so neither a terminal nor an editor can be fooled by what a repository wrote
into it.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import re
from typing import Any, NoReturn

from amdet_hub.errors import ReportError
from amdet_hub.records import SCHEMA_VERSION, RepoFile, ScanReport, ScanResult, fingerprint, from_dict, to_dict
from amdet_hub.report.escape import visible
from amdet_hub.verdict import judge_repository

MAX_REPORT_BYTES = 32 * 1024 * 1024
"""Largest stored report that is read. A scan of four towers with every detail is below 4 MiB."""

_MAX_INTEGER = 2**63
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def as_json(report: ScanReport) -> str:
    """The report as indented ASCII JSON with a final newline.

    The same report gives the same bytes; `parse_report` reads it back.

    Raises:
        ReportError: the report holds something JSON cannot say (a NaN, an object that is not data).
    """
    return dump_ascii(to_dict(report))


def dump_ascii(data: Any) -> str:
    """Plain data as indented ASCII JSON with a final newline, in which no build log and no terminal finds anything to act upon.

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
    data = _load(text)
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
    loaded: dict[str, Any] = json.loads(source.read_text("utf-8"))
    return loaded


def _load(text: str) -> Any:
    if len(text) > MAX_REPORT_BYTES:
        raise ReportError(f"not a scan report: larger than {MAX_REPORT_BYTES // 2**20} MiB")
    try:
        return json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError as error:
        raise ReportError("not a scan report: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # e.g. an integer of more digits than Python converts
        raise ReportError(f"not JSON that can be used: {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ReportError(f"the key '{visible(key, limit=80)}' is written twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ReportError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ReportError(f"the number {visible(digits, limit=40)} is too large")
    return value


def _bounded(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else _MAX_INTEGER
    if abs(value) >= _MAX_INTEGER:
        raise ReportError(f"the number {visible(digits, limit=40)} is too large")
    return value


def _check_formats(report: ScanReport) -> None:
    commits = [("snapshot.commit_sha", report.snapshot.commit_sha)]
    digests = [("config_fingerprint", report.config_fingerprint)]
    files: list[tuple[str, RepoFile]] = [("snapshot.files", f) for f in report.snapshot.files]
    for i, outcome in enumerate(report.outcomes):
        if isinstance(outcome, ScanResult):
            commits.append((f"outcomes[{i}].encoder.commit_sha", outcome.encoder.commit_sha))
            files += [(f"outcomes[{i}].encoder.weight_files", f) for f in outcome.encoder.weight_files]
            _check_rates(outcome, f"outcomes[{i}]")
    digests += [(f"{where}.sha256", f.sha256) for where, f in files if f.sha256 is not None]
    for where, commit in commits:
        if commit is not None and not _COMMIT.fullmatch(commit):
            raise ReportError(f"{where}: '{visible(commit, limit=60)}' is not a commit of 40 hex digits")
    for where, digest in digests:
        if not _SHA256.fullmatch(digest or ""):
            raise ReportError(f"{where}: '{visible(digest or '', limit=80)}' is not a sha256 of 64 hex digits")
    if any(f.size_bytes < 0 for _, f in files):
        raise ReportError("a file size is negative")
    if report.config_fingerprint != fingerprint(report.config):
        raise ReportError("config_fingerprint is not the sha256 of config")


def _check_rates(result: ScanResult, where: str) -> None:
    for k, trigger in enumerate(result.triggers):
        for name in ("success_start_rate", "success_middle_rate", "success_end_rate"):
            if not 0 <= getattr(trigger, name) <= 1:
                raise ReportError(
                    f"{where}.triggers[{k}].{name}: {getattr(trigger, name)} is not a rate between 0 and 1"
                )


def _check_verdict(report: ScanReport) -> None:
    """Refuse a verdict that the outcomes do not give. "inconclusive" claims nothing, so only a detection excludes it."""
    stated, judged = report.verdict.label, judge_repository(report.outcomes).label
    if judged != "backdoor-detected" and (stated == "inconclusive" or not report.complete):
        judged = "inconclusive"
    if stated != judged:
        raise ReportError(f"the verdict is '{stated}', but the report's own outcomes give '{judged}'")
