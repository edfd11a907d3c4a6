"""What changed between two scans. Knows: which facts of a report are findings and which are circumstances.

Refuses to know: files, colours.

Two reports are compared fact by fact: verdicts, towers, references, triggers, evidence, configuration, environment.
Times are left out, because they differ between any two scans. Encoders are matched by their label.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from amdet_hub.records import Evidence, ScanReport, ScanResult, TriggerFinding, to_dict
from amdet_hub.report import wording
from amdet_hub.report.as_json import dump_ascii
from amdet_hub.report.escape import unactionable, visible

DIFF_SCHEMA_VERSION = "1.0"
"""Version of the JSON form."""

Kind = Literal["verdict", "repository", "tower", "reference", "trigger", "evidence", "configuration", "environment"]
FINDINGS: tuple[Kind, ...] = ("verdict", "repository", "tower", "reference", "trigger", "evidence")
"""What a change of is a change of the finding. The others are circumstances: they explain a change and are none."""


@dataclass(frozen=True)
class Change:
    """One fact that differs.

    `where` is an encoder's label, or "" for the report as a whole; None means that a report does not state it.
    """

    kind: Kind
    where: str
    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ReportDiff:
    """Everything that differs between two reports.

    `worse` says that the second detects a backdoor in an encoder in which the first detected none.
    """

    before: ScanReport
    after: ScanReport
    changes: tuple[Change, ...]
    worse: bool

    @property
    def findings(self) -> tuple[Change, ...]:
        """The changes that are not only of circumstances."""
        return tuple(change for change in self.changes if change.kind in FINDINGS)


def diff_reports(before: ScanReport, after: ScanReport) -> ReportDiff:
    """Compare two reports, of the same target or of two."""
    old, new = dict(_facts(before)), dict(_facts(after))
    keys = [*old, *(key for key in new if key not in old)]
    changes = [Change(*key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
    order = {kind: place for place, kind in enumerate((*FINDINGS, "configuration", "environment"))}
    changes.sort(
        key=lambda change: (order[change.kind], change.where)
    )  # stable: within an encoder the order of the report
    return ReportDiff(before, after, tuple(changes), bool(_detected(after) - _detected(before)))


def diff_as_json(diff: ReportDiff) -> str:
    """The comparison as JSON, ASCII only."""
    data = {
        "schema_version": DIFF_SCHEMA_VERSION,
        "before": _header(diff.before),
        "after": _header(diff.after),
        "worse": diff.worse,
        "changes": to_dict(diff.changes),
    }
    return dump_ascii(data)


def diff_as_text(diff: ReportDiff) -> str:
    """The comparison for people; every text of a report is made visible."""
    lines = [f"- {_name(diff.before)}", f"+ {_name(diff.after)}"]
    for (kind, where), changes in groupby(diff.changes, key=lambda change: (change.kind, change.where)):
        lines += ["", f"{kind}{f', {visible(where)}' if where else ''}"]
        for change in changes:
            lines.append(f"  {visible(change.what)}")
            lines += [
                f"    {sign} {visible(text)}"
                for sign, text in (("-", change.before), ("+", change.after))
                if text is not None
            ]
    lines += ["", _conclusion(diff)]
    return "\n".join(unactionable(line) for line in lines) + "\n"


def _conclusion(diff: ReportDiff) -> str:
    if diff.worse:
        return "Worse: the second scan detects a backdoor where the first did not."
    if diff.findings:
        return f"Changed: {len(diff.findings)} findings differ. No newly detected backdoor."
    if diff.changes:
        return "The findings are the same; the circumstances differ."
    return "Nothing changed."


def _header(report: ScanReport) -> dict[str, Any]:
    sha = report.snapshot.commit_sha
    return {"target": report.target, "commit_sha": sha, "created": report.created, "verdict": report.verdict.label}


def _name(report: ScanReport) -> str:
    at = f" @ {wording.short(report.snapshot.commit_sha)}" if report.snapshot.commit_sha else ""
    return f"{visible(report.target)}{at}, {visible(report.created)}: {wording.VERDICT_TITLES[report.verdict.label]}"


def _detected(report: ScanReport) -> set[str]:
    return {result.encoder.label for result in report.results if result.verdict.label == "backdoor-detected"}


# ---------------------------------------------------------------- facts


_Fact = tuple[tuple[Kind, str, str], str]


def _facts(report: ScanReport) -> Iterator[_Fact]:
    yield ("verdict", "", "verdict"), report.verdict.label
    yield ("verdict", "", "confidence"), report.verdict.confidence
    yield ("verdict", "", "finished"), "yes" if report.complete else "no"
    yield ("repository", "", "name"), report.snapshot.repo_id
    yield ("repository", "", "commit"), report.snapshot.commit_sha or "none"
    for result, label in _labelled(report):
        yield from _result_facts(result, label)
    for skipped in report.skipped:
        yield ("verdict", skipped.component, "not scanned"), f"{skipped.reason}: {skipped.detail}"
    for name, value in _flat(report.config):
        yield ("configuration", "", name), value
    for name, value in _flat(to_dict(report.environment)):
        yield ("environment", "", name), value


def _labelled(report: ScanReport) -> Iterator[tuple[ScanResult, str]]:
    seen: Counter[str] = Counter()
    for result in report.results:
        seen[result.encoder.label] += 1
        count = seen[result.encoder.label]
        yield result, result.encoder.label if count == 1 else f"{result.encoder.label} #{count}"


def _result_facts(result: ScanResult, label: str) -> Iterator[_Fact]:
    yield ("verdict", label, "verdict"), result.verdict.label
    yield ("verdict", label, "confidence"), result.verdict.confidence
    yield ("verdict", label, "reason"), result.verdict.reasons[0]
    yield ("tower", label, "digest"), result.tower_digest
    yield ("tower", label, "dimensions"), f"{result.encoder.architecture}, {result.encoder.config.dims}"
    yield ("reference", label, "reference"), wording.reference_name(result.reference)
    yield ("reference", label, "trust"), result.reference.trust
    yield ("reference", label, "digest"), result.reference.tower_digest or "none"
    for trigger in result.triggers:
        yield ("trigger", label, _trigger_name(trigger)), wording.capture_text(trigger)
    kinds: Counter[str] = Counter()
    for evidence in result.evidence:
        kinds[evidence.kind] += 1
        name = evidence.kind if kinds[evidence.kind] == 1 else f"{evidence.kind} #{kinds[evidence.kind]}"
        yield ("evidence", label, name), _evidence_text(evidence)


def _trigger_name(trigger: TriggerFinding) -> str:
    ids = " ".join(map(str, trigger.token_ids))
    return f"tokens {ids}" if trigger.text is None else f'"{trigger.text}" (tokens {ids})'


def _evidence_text(evidence: Evidence) -> str:
    held = (
        ""
        if evidence.threshold is None
        else f", threshold {evidence.threshold!r}, {'exceeded' if evidence.exceeds else 'not exceeded'}"
    )
    return f"{evidence.value!r} {evidence.unit}, n {evidence.n}{held}"


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(to_dict(value), ensure_ascii=False)
