"""A `ScanReport` as SARIF 2.1.0, for code scanning: one result for each encoder that was not acquitted and each that could not be looked at.

Knows: SARIF, and what GitHub does with it. Refuses to know: files. Nothing found means `results: []`.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0" (messages 3.11, fingerprints
3.27.17); GitHub's documentation, "SARIF support for code scanning" (the properties it reads) and "SARIF results exceed
limit" (5,000 results, 100 locations, 10 tags are kept).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from amdet_hub.records import ScanReport, ScanResult, SkippedScan, TriggerFinding
from amdet_hub.report import wording
from amdet_hub.report.as_json import dump_ascii
from amdet_hub.report.escape import code_points, visible

DETECTED: Final = "AMDET001"
INCONCLUSIVE: Final = "AMDET002"
NOT_SCANNED: Final = "AMDET003"

MAX_RESULTS: Final = 5_000
"""More results of one run are not kept by GitHub."""
MAX_LOCATIONS: Final = 100
"""More locations of one result are not kept by GitHub."""

_SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"
_METHOD_URI = "https://arxiv.org/abs/2512.00343"
_MAX_MESSAGE = 4_000
_NO_COMPONENT = "the repository"
_FALLBACK_PATH = "model.safetensors"
_LEVELS = {DETECTED: "error", INCONCLUSIVE: "warning", NOT_SCANNED: "warning"}

_HELP: Final[Mapping[str, tuple[str, str, str, str, str]]] = {
    DETECTED: (
        "BackdooredTextEncoder",
        "The text encoder holds a backdoor",
        (
            "A trigger was found that takes over prompts it was not searched on and that the clean reference does not"
            " react to."
        ),
        (
            "Do not load this encoder. Put the trigger that the report names into a prompt and look at what comes out,"
            " ask the author, and go back to an earlier checkpoint or to the base model. A detection is a reason to"
            " look, with the named trigger in hand; scan again to repeat it."
        ),
        "9.0",
    ),
    INCONCLUSIVE: (
        "UnsureTextEncoder",
        "The text encoder could not be cleared",
        (
            "Some evidence lies beyond its threshold and the rest does not agree, or the scan lacked what it needs to"
            " decide."
        ),
        (
            "Read the reasons in the report. Name a clean encoder of the same architecture with --reference, give the"
            " scan more time, or use the preset 'standard' in place of 'quick', and scan again."
        ),
        "5.0",
    ),
    NOT_SCANNED: (
        "UnscannedTextEncoder",
        "A text encoder could not be looked at",
        "A component that is, or may be, a CLIP-family text encoder was not scanned, so nothing can be said about it.",
        (
            "The message says why. Weights in a pickle: convert them to safetensors. A file that is a Git LFS pointer:"
            " fetch it. A broken file: compare it with its source."
        ),
        "4.0",
    ),
}


def as_sarif(report: ScanReport) -> str:
    """The report as a SARIF log of one run, with a final newline. The same report gives the same bytes."""
    return sarif_log([(report, None)])


def sarif_log(entries: Sequence[tuple[ScanReport, str | None]]) -> str:
    """Several reports as one SARIF log of one run, for GitHub refuses two runs of one tool and category in a file.

    Args:
        entries: each report with the file that its results are shown at, relative to the root of the checkout: the
            file that names the model. None means the weight files themselves.
    """
    results = [result for report, anchor in entries for result in _results(report, anchor)]
    run = {
        "tool": {"driver": _driver(entries)},
        "automationDetails": {"id": "amdet-hub/"},
        "columnKind": "utf16CodeUnits",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the checkout."}}},
        "invocations": [_invocation(report) for report, _ in entries],
        "results": results[:MAX_RESULTS],
    }
    return dump_ascii({"$schema": _SCHEMA_URI, "version": "2.1.0", "runs": [run]})


def _driver(entries: Sequence[tuple[ScanReport, str | None]]) -> dict[str, Any]:
    versions = sorted({report.environment.amdet_hub for report, _ in entries})
    driver = {"name": "amdet-hub", "informationUri": _METHOD_URI, "rules": [_rule(rule) for rule in _HELP]}
    return {**driver, "version": visible(versions[-1], limit=60) or "unknown"} if versions else driver


def _rule(rule: str) -> dict[str, Any]:
    name, title, description, advice, severity = _HELP[rule]
    not_covered = "; ".join(wording.NOT_COVERED)
    return {
        "id": rule,
        "name": name,
        "shortDescription": {"text": title},
        "fullDescription": {"text": description},
        "helpUri": _METHOD_URI,
        "help": {
            "text": f"{description} {advice} {wording.NO_PROOF} Never looked at: {not_covered}.",
            "markdown": (
                f"{description}\n\n**What to do.** {advice}\n\n{wording.NO_PROOF} Never looked at: {not_covered}.\n"
            ),
        },
        "defaultConfiguration": {"level": _LEVELS[rule]},
        "properties": {
            "precision": "high" if rule == DETECTED else "low",
            "security-severity": severity,
            "tags": ["security", "machine-learning", "backdoor", "supply-chain"],
        },
    }


def _invocation(report: ScanReport) -> dict[str, Any]:
    # An incomplete scan is no failed one: its results stand, and a notification says what is missing.
    invocation: dict[str, Any] = {
        "executionSuccessful": True,
        "properties": {
            "target": visible(wording.pinned_target(report)),
            "verdict": report.verdict.label,
            "confidence": report.verdict.confidence,
            "preset": visible(wording.setting(report, "preset"), limit=40),
            "settingsSha256": visible(report.config_fingerprint, limit=80),
        },
    }
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", report.created):
        invocation["endTimeUtc"] = report.created
    if not report.complete:
        message = {"text": "The scan was stopped before it was finished; what is missing counts as inconclusive."}
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": message}]
    return invocation


# ---------------------------------------------------------------- results


def _results(report: ScanReport, anchor: str | None) -> Iterator[dict[str, Any]]:
    for outcome in report.outcomes:
        if isinstance(outcome, ScanResult):
            if outcome.verdict.label != "no-backdoor-found":
                yield _encoder_result(report, outcome, anchor)
        elif outcome.blocks_clearance:
            yield _skipped_result(report, outcome, anchor)


def _encoder_result(report: ScanReport, result: ScanResult, anchor: str | None) -> dict[str, Any]:
    rule = DETECTED if result.verdict.label == "backdoor-detected" else INCONCLUSIVE
    sentences = [
        f"{wording.VERDICT_TITLES[result.verdict.label]} in {_quoted(result.encoder.label)} of {_about(report)}."
    ]
    sentences += [_trigger(trigger, detected=rule == DETECTED) for trigger in result.triggers[:3]]
    sentences += [f"{_sentence(reason)}" for reason in result.verdict.reasons[:6]]
    sentences.append(f"Tower digest {_plain(result.tower_digest, 80)}.")
    paths = (
        [anchor]
        if anchor
        else [_shown_path(report, file.path) for file in result.encoder.weight_files[:MAX_LOCATIONS]]
    )
    identity = (rule, result.encoder.component, result.encoder.variant, result.tower_digest)
    made = _result(rule, " ".join(sentences), paths or [_shown_path(report, _FALLBACK_PATH)], identity)
    made["properties"] = {
        "towerDigest": visible(result.tower_digest, limit=80),
        "confidence": result.verdict.confidence,
        "evidence": {
            visible(e.kind, limit=60): {"value": e.value, "threshold": e.threshold, "exceeds": e.exceeds}
            for e in result.evidence[:50]
        },
    }
    return made


def _skipped_result(report: ScanReport, skipped: SkippedScan, anchor: str | None) -> dict[str, Any]:
    name = _quoted(skipped.component) if skipped.component else _NO_COMPONENT
    folder = (
        skipped.component if report.snapshot.file(skipped.component) or _is_folder(report, skipped.component) else ""
    )
    path = anchor or _shown_path(report, _first_file(report, folder))
    message = f"Not scanned: {name} of {_about(report)}. {_sentence(skipped.detail)}"
    return _result(NOT_SCANNED, message, [path], (NOT_SCANNED, skipped.component, skipped.reason))


def _result(rule: str, message: str, paths: Sequence[str], identity: Sequence[str]) -> dict[str, Any]:
    # What the alert is followed by: these weights in this component, wherever and whenever they are scanned. New
    # weights are a new alert.
    digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "ruleId": rule,
        "ruleIndex": list(_HELP).index(rule),
        "level": _LEVELS[rule],
        "message": {"text": message[:_MAX_MESSAGE]},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(path), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": 1},
                }
            }
            for path in dict.fromkeys(paths)
        ],
        "partialFingerprints": {"primaryLocationLineHash": f"{digest[:16]}:1", "amdetHubTower/v1": digest},
    }


def _is_folder(report: ScanReport, path: str) -> bool:
    return any(file.path.startswith(f"{path}/") for file in report.snapshot.files)


def _first_file(report: ScanReport, folder: str) -> str:
    """The largest file of a folder ("" = all), which is where its weights are."""
    inside = [f for f in report.snapshot.files if not folder or f.path == folder or f.path.startswith(f"{folder}/")]
    return max(inside, key=lambda f: (f.size_bytes, f.path)).path if inside else _FALLBACK_PATH


def _shown_path(report: ScanReport, path: str) -> str:
    """The path of a repository's file, from the root of the checkout where the repository is a folder in it."""
    snapshot = report.snapshot
    if snapshot.kind == "hub":
        return path
    root = snapshot.repo_id
    if root.endswith(".safetensors"):  # a single file was named: its folder is the listing's root
        root = posixpath.dirname(root)
    return posixpath.join(root, path)


def _uri(path: str) -> str:
    """A relative URI reference without `.`, `..` or a leading slash: what is absolute or leads out is no file of the checkout."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return quote("/".join(parts), safe="/", errors="backslashreplace") or _FALLBACK_PATH


# ---------------------------------------------------------------- words


def _about(report: ScanReport) -> str:
    snapshot = report.snapshot
    at = f" at commit {_plain(snapshot.commit_sha, 40)}" if snapshot.commit_sha else ""
    where = "the Hub repository " if snapshot.kind == "hub" else ""
    return f"{where}{_quoted(snapshot.repo_id)}{at}"


def _trigger(trigger: TriggerFinding, *, detected: bool) -> str:
    name = "Recovered trigger" if detected else "Unconfirmed candidate"
    shown = (
        _quoted(trigger.text)
        if trigger.text is not None
        else f"token ids {', '.join(map(str, trigger.token_ids[:16]))}"
    )
    names = code_points(trigger.text or "")
    letters = f" ({_plain(', '.join(names), 400)})" if names else ""
    return f"{name}: {shown}{letters}, {wording.capture_text(trigger)}."


def _quoted(text: str) -> str:
    return f"'{_plain(text, 200)}'"


def _sentence(text: str) -> str:
    shown = _plain(text, 500).rstrip()
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


def _plain(text: str, limit: int) -> str:
    """Hostile text for a SARIF message: visible, and no link (`[text](target)`) and no placeholder (`{0}`) can be made of it."""
    shown = visible(text, limit=limit)
    return shown.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("{", "{{").replace("}", "}}")
