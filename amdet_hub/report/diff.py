"""What changed between two scans. Knows: which facts of a report are findings and which are circumstances.

Refuses to know: files, colours.

Two reports are compared fact by fact: verdicts, towers, references, triggers, meanings of tokens, evidence,
configuration, environment. Times are left out, because they differ between any two scans. Encoders are matched by
their label.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from amdet_hub.records import ChangedMeaning, Evidence, ScanReport, ScanResult, TriggerFinding, to_dict
from amdet_hub.report import wording
from amdet_hub.report.as_json import dump_ascii
from amdet_hub.report.escape import unactionable, visible

# Version of the JSON form.
DIFF_SCHEMA_VERSION = "1.1"

# In the order in which changes are told.
Kind = Literal[
    "verdict", "repository", "tower", "reference", "trigger", "meaning", "evidence", "configuration", "environment"
]
# A change of the other kinds is one of circumstances, which may explain a finding and is none.
FINDINGS: tuple[Kind, ...] = ("verdict", "repository", "tower", "reference", "trigger", "meaning", "evidence")


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
    changes = [Change(*key, old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)]
    # Stable: within an encoder the order of the report.
    changes.sort(key=lambda change: (get_args(Kind).index(change.kind), change.where))
    return ReportDiff(before, after, tuple(changes), bool(_detected(after) - _detected(before)))


def diff_as_json(diff: ReportDiff) -> str:
    """The comparison as JSON, ASCII only."""
    return dump_ascii(
        {
            "schema_version": DIFF_SCHEMA_VERSION,
            "before": _header(diff.before),
            "after": _header(diff.after),
            "worse": diff.worse,
            "changes": to_dict(diff.changes),
        }
    )


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
    return {
        "target": report.target,
        "commit_sha": report.snapshot.commit_sha,
        "created": report.created,
        "verdict": report.verdict.label,
    }


def _name(report: ScanReport) -> str:
    at = f" @ {wording.short(report.snapshot.commit_sha)}" if report.snapshot.commit_sha else ""
    return f"{visible(report.target)}{at}, {visible(report.created)}: {wording.VERDICT_TITLES[report.verdict.label]}"


def _detected(report: ScanReport) -> set[str]:
    return {result.encoder.label for result in report.results if result.verdict.label == "backdoor-detected"}


# ---------------------------------------------------------------- facts


def _facts(report: ScanReport) -> Iterator[tuple[tuple[Kind, str, str], str]]:
    facts: list[tuple[Kind, str, str]] = [
        ("verdict", "verdict", report.verdict.label),
        ("verdict", "code", report.verdict.code),
        ("verdict", "confidence", report.verdict.confidence),
        ("verdict", "finished", "yes" if report.complete else "no"),
        ("repository", "name", report.snapshot.repo_id),
        ("repository", "commit", report.snapshot.commit_sha or "none"),
        *(("configuration", name, value) for name, value in _flat(report.config)),
        *(("environment", name, value) for name, value in _flat(to_dict(report.environment))),
    ]
    yield from (((kind, "", what), value) for kind, what, value in facts)
    for result, label in zip(report.results, _numbered(r.encoder.label for r in report.results), strict=True):
        yield from (((kind, label, what), value) for kind, what, value in _result_facts(result))
    for skipped in report.skipped:
        yield ("verdict", skipped.component, "not scanned"), f"{skipped.reason}: {skipped.detail}"


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Each name, with a number where an earlier one is the same."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} #{seen[name]}"


def _result_facts(result: ScanResult) -> list[tuple[Kind, str, str]]:
    return [
        ("verdict", "verdict", result.verdict.label),
        ("verdict", "code", result.verdict.code),
        ("verdict", "confidence", result.verdict.confidence),
        ("verdict", "reason", result.verdict.reasons[0]),
        ("tower", "digest", result.tower_digest),
        ("tower", "dimensions", f"{result.encoder.architecture}, {result.encoder.config.dims}"),
        ("reference", "reference", wording.reference_name(result.reference)),
        ("reference", "trust", result.reference.trust),
        ("reference", "digest", result.reference.tower_digest or "none"),
        *(("trigger", _trigger_name(trigger), wording.capture_text(trigger)) for trigger in result.triggers),
        *(("meaning", _trigger_name(one), f"says {', '.join(one.after)}") for one in result.meanings),
        *(
            ("evidence", name, _evidence_text(e))
            for name, e in zip(_numbered(e.kind for e in result.evidence), result.evidence, strict=True)
        ),
    ]


def _trigger_name(trigger: TriggerFinding | ChangedMeaning) -> str:
    ids = " ".join(map(str, trigger.token_ids))
    return f"tokens {ids}" if trigger.text is None else f'"{trigger.text}" (tokens {ids})'


def _evidence_text(evidence: Evidence) -> str:
    side = "exceeded" if evidence.exceeds else "not exceeded"
    held = "" if evidence.threshold is None else f", threshold {evidence.threshold!r}, {side}"
    return f"{evidence.value!r} {evidence.unit}, n {evidence.n}{held}"


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(to_dict(value), ensure_ascii=False)
