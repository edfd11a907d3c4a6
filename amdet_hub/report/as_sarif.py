"""A `ScanReport` as SARIF 2.1.0, for code scanning.

Each encoder that was not cleared and each part that blocks is one result, and its reason code is the id of its rule.
Knows: SARIF, and the parts of it that GitHub reads. Refuses to know: files. Nothing found means `results: []`.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0" (messages 3.11, fingerprints
3.27.17); GitHub's documentation, "SARIF support for code scanning" (the properties it reads) and "SARIF results exceed
limit" (5,000 results, 100 locations, 10 tags are kept).
"""

import hashlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from amdet_hub.records import REASONS, ReasonCode, ScanReport, ScanResult, SkippedScan
from amdet_hub.report import facts, wording
from amdet_hub.report.as_json import dump_ascii
from amdet_hub.report.escape import visible
from amdet_hub.weight_formats import is_read

# GitHub keeps no more results of one run, and no more locations of one result.
MAX_RESULTS: Final = 5_000
MAX_LOCATIONS: Final = 100

_MAX_MESSAGE = 4_000
_FALLBACK_PATH = "model.safetensors"
# GitHub's critical, and its medium.
_SEVERITIES = {"error": "9.0", "warning": "5.0"}


def as_sarif(report: ScanReport) -> str:
    """The report as a SARIF log of one run, with a final newline. The same report gives the same bytes."""
    return sarif_log([(report, None)])


def sarif_log(entries: Sequence[tuple[ScanReport, str | None]]) -> str:
    """Several reports as one SARIF log of one run, for GitHub refuses two runs of one tool and category in a file.

    Args:
        entries: each report with the file that its results are shown at, relative to the root of the checkout: the
            file that names the model. None means the weight files themselves.
    """
    found = [result for report, anchor in entries for result in _results(report, anchor)][:MAX_RESULTS]
    # A rule has the worst level of its results: "error" comes after "warning" here, and stays.
    levels = {r["ruleId"]: r["level"] for r in sorted(found, key=lambda result: result["level"] == "error")}
    versions = sorted({report.environment.amdet_hub for report, _ in entries})
    driver = {
        "name": "amdet-hub",
        "informationUri": "https://arxiv.org/abs/2512.00343",
        "rules": [_rule(code, level) for code, level in levels.items()],
        **({"version": visible(versions[-1], limit=60) or "unknown"} if versions else {}),
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "amdet-hub/"},
        "columnKind": "utf16CodeUnits",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the checkout."}}},
        "invocations": [_invocation(report) for report, _ in entries],
        "results": [{**result, "ruleIndex": list(levels).index(result["ruleId"])} for result in found],
    }
    return dump_ascii({"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]})


def _rule(code: ReasonCode, level: str) -> dict[str, Any]:
    text, advice = f"{REASONS[code].text[:1].upper()}{REASONS[code].text[1:]}.", REASONS[code].advice
    limits = f"{wording.NO_PROOF} Never looked at: {'; '.join(wording.NOT_COVERED)}."
    return {
        "id": code,
        "name": code.title().replace("-", ""),
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "helpUri": f"{wording.REASONS_URL}#{code}",
        "help": {
            "text": " ".join(part for part in (text, advice, limits) if part),
            "markdown": "\n\n".join(part for part in (text, advice and f"**Next step.** {advice}", limits) if part)
            + "\n",
        },
        "defaultConfiguration": {"level": level},
        "properties": {
            "precision": "high" if level == "error" else "low",
            "security-severity": _SEVERITIES[level],
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
            "code": report.verdict.code,
            "confidence": report.verdict.confidence,
            "preset": visible(wording.setting(report, "preset"), limit=40),
            "settingsSha256": visible(report.config_fingerprint, limit=80),
        },
    }
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", report.created):
        invocation["endTimeUtc"] = report.created
    if not report.complete:
        message = "The scan was stopped before it was finished; what is missing counts as inconclusive."
        invocation["toolExecutionNotifications"] = [
            {"level": "warning", "message": {"text": message}, "descriptor": {"id": report.verdict.code}}
        ]
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
    verdict, encoder = result.verdict, result.encoder
    sentences = [f"{wording.VERDICT_TITLES[verdict.label]} in {_quoted(encoder.label)} of {_about(report)}."]
    sentences += [f"{label.capitalize()}: {text}." for label, text in facts.trigger_rows(result, SARIF)][:9]
    told = (*facts.tokenizer_rows(result, SARIF), *facts.taught_rows(result, SARIF, most=4))
    sentences += [f"{label.capitalize()}: {text}." for label, text in told]
    sentences += [_sentence(reason) for reason in verdict.reasons[:6]]
    sentences.append(f"Tower digest {_plain(result.tower_digest, 80)}.")
    paths = [anchor] if anchor else [_shown_path(report, file.path) for file in encoder.weight_files[:MAX_LOCATIONS]]
    made = _result(
        verdict.code,
        "error" if verdict.label == "backdoor-detected" else "warning",
        " ".join(sentences),
        paths or [_shown_path(report, _FALLBACK_PATH)],
        (encoder.component, encoder.variant, result.tower_digest),
    )
    return {
        **made,
        "properties": {
            "towerDigest": visible(result.tower_digest, limit=80),
            "confidence": verdict.confidence,
            "evidence": {
                visible(e.kind, limit=60): {"value": e.value, "threshold": e.threshold, "exceeds": e.exceeds}
                for e in result.evidence[:50]
            },
        },
    }


def _skipped_result(report: ScanReport, skipped: SkippedScan, anchor: str | None) -> dict[str, Any]:
    name = _quoted(skipped.component) if skipped.component else "the repository"
    return _result(
        skipped.reason,
        "warning",
        f"Not scanned: {name} of {_about(report)}. {_sentence(skipped.detail)}",
        [anchor or _shown_path(report, _first_file(report, skipped.component))],
        (skipped.component,),
    )


def _result(
    code: ReasonCode, level: str, message: str, paths: Sequence[str], identity: Sequence[str]
) -> dict[str, Any]:
    # An alert is followed by its reason and these weights in this component, wherever and whenever they are scanned.
    # New weights are a new alert.
    digest = hashlib.sha256("\0".join([code, *identity]).encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "ruleId": code,
        "level": level,
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


def _first_file(report: ScanReport, component: str) -> str:
    """The largest file of a component, which is where its weights are; of all files where it names none."""
    files = report.snapshot.files
    inside = [f for f in files if f"{f.path}/".startswith(f"{component}/")] or files
    return max(inside, key=lambda f: (f.size_bytes, f.path)).path if inside else _FALLBACK_PATH


def _shown_path(report: ScanReport, path: str) -> str:
    """The path of a repository's file, from the root of the checkout where the repository is a folder in it."""
    root = report.snapshot.repo_id
    if report.snapshot.kind == "hub":
        return path
    # Where a single file was named, its folder is the listing's root.
    return posixpath.join(posixpath.dirname(root) if is_read(root) else root, path)


def _uri(path: str) -> str:
    """A relative URI reference without `.`, `..` or a leading slash, so that it cannot lead out of the checkout."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return quote("/".join(parts), safe="/", errors="backslashreplace") or _FALLBACK_PATH


# ---------------------------------------------------------------- words


def _about(report: ScanReport) -> str:
    snapshot = report.snapshot
    at = f" at commit {_plain(snapshot.commit_sha, 40)}" if snapshot.commit_sha else ""
    return f"{'the Hub repository ' if snapshot.kind == 'hub' else ''}{_quoted(snapshot.repo_id)}{at}"


def _sentence(text: str) -> str:
    return wording.sentence(_plain(text, 500))


def _plain(text: str, limit: int = 300) -> str:
    """Hostile text for a SARIF message: visible, and free of links (`[text](target)`) and placeholders (`{0}`)."""
    shown = visible(text, limit=limit)
    return shown.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("{", "{{").replace("}", "}}")


def _quoted(text: str, limit: int = 200) -> str:
    return f"'{_plain(text, limit)}'"


SARIF: Final = facts.Markup(_plain, _plain, _quoted)
