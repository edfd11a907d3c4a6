"""Accepted findings: each bound to one tower's digest, a reason and an expiry date. Knows: when an acceptance holds.

Refuses to know: files.

Accepting changes what counts as failure and nothing else: the finding stays in every report. Another digest is another
model, so a changed tower is never covered; neither is a worse verdict on the same one.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from amdet_hub.errors import ReportError
from amdet_hub.records import ScanReport, ScanResult, VerdictLabel, from_dict, strict_json, to_dict
from amdet_hub.report.as_json import dump_ascii
from amdet_hub.report.escape import visible
from amdet_hub.verdict import judge_repository

BASELINE_SCHEMA_VERSION = "1.0"
MAX_BASELINE_BYTES = 1 << 20
MAX_REASON = 500  # characters; it stands in logs

AcceptedVerdict = Literal["backdoor-detected", "inconclusive"]


@dataclass(frozen=True)
class Acceptance:
    """One accepted finding.

    Attributes:
        tower_digest: of the tower, 64 hex digits.
        verdict: the verdict that is accepted; "inconclusive" does not cover a detection, a detection covers both.
        reason: why, in the words of the person who accepted it.
        expires: the last day on which it holds, `YYYY-MM-DD` (UTC).
        target: what was scanned when it was accepted, for people.
    """

    tower_digest: str
    verdict: AcceptedVerdict
    reason: str
    expires: str
    target: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.tower_digest):
            raise ValueError("tower_digest is not 64 hex digits")
        if not self.reason.strip() or len(self.reason) > MAX_REASON:
            raise ValueError(f"a reason has 1 to {MAX_REASON} characters")
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.expires):
            raise ValueError(f"'{visible(self.expires, limit=40)}' is not a date like 2030-01-31")
        datetime.date.fromisoformat(self.expires)  # a ValueError for a day that no calendar has

    def holds_on(self, day: datetime.date) -> bool:
        """Whether it has not expired on that day."""
        return day <= datetime.date.fromisoformat(self.expires)

    def covers(self, result: ScanResult) -> bool:
        """Whether it is about this tower and a verdict no worse than the accepted one."""
        covered = ("backdoor-detected", "inconclusive") if self.verdict == "backdoor-detected" else ("inconclusive",)
        return result.tower_digest == self.tower_digest and result.verdict.label in covered


@dataclass(frozen=True)
class Baseline:
    """Accepted findings, one a digest and verdict."""

    accepted: tuple[Acceptance, ...] = ()
    schema_version: str = BASELINE_SCHEMA_VERSION

    def acceptance_of(self, result: ScanResult, day: datetime.date) -> Acceptance | None:
        """The acceptance that covers a result on that day, else an expired one, else None."""
        covering = [a for a in self.accepted if a.covers(result)]
        return next((a for a in covering if a.holds_on(day)), covering[-1] if covering else None)

    def with_accepted(self, more: Sequence[Acceptance]) -> Baseline:
        """A copy in which each of `more` replaces the acceptance of the same digest and verdict."""
        named = {(a.tower_digest, a.verdict) for a in more}
        kept = tuple(a for a in self.accepted if (a.tower_digest, a.verdict) not in named)
        return replace(self, accepted=(*kept, *more))


NO_BASELINE = Baseline()


def verdict_beyond(baseline: Baseline, report: ScanReport, day: datetime.date) -> VerdictLabel:
    """The verdict on a report when the accepted findings are left aside. The report itself is not changed."""
    held = [a for a in baseline.accepted if a.holds_on(day)]
    rest = [o for o in report.outcomes if not (isinstance(o, ScanResult) and any(a.covers(o) for a in held))]
    if len(rest) == len(report.outcomes):
        return report.verdict.label
    label = judge_repository(rest).label
    if label == "backdoor-detected":
        return label
    return "inconclusive" if label == "inconclusive" or not report.complete else "no-backdoor-found"


def acceptances_of(report: ScanReport, *, reason: str, expires: str) -> tuple[Acceptance, ...]:
    """An acceptance for every result of the report that is detected or inconclusive.

    Raises:
        ReportError: the report holds none, or the reason or the date cannot be used.
    """
    try:
        found = tuple(
            Acceptance(r.tower_digest, label, reason, expires, report.target)
            for r in report.results
            if (label := r.verdict.label) == "backdoor-detected" or label == "inconclusive"
        )
    except ValueError as error:
        raise ReportError(str(error)) from error
    if not found:
        raise ReportError("the report holds no detected or inconclusive encoder, so there is nothing to accept")
    return found


def parse_baseline(text: str) -> Baseline:
    """The baseline in a file's text.

    Raises:
        ReportError: not JSON, another version, or a field that is missing, unknown or unusable; the message names it.
    """
    try:
        data = strict_json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise ReportError(f"not a baseline: {error}") from error
    if not isinstance(data, dict) or data.get("schema_version") != BASELINE_SCHEMA_VERSION:
        raise ReportError(f"not a baseline this version can read: schema_version is not '{BASELINE_SCHEMA_VERSION}'")
    baseline = from_dict(Baseline, data)
    pairs = [(a.tower_digest, a.verdict) for a in baseline.accepted]
    if len(set(pairs)) != len(pairs):
        raise ReportError("not a baseline: a digest is accepted twice for one verdict")
    return baseline


def baseline_as_json(baseline: Baseline) -> str:
    """The file's text; `parse_baseline` reads it back."""
    return dump_ascii(to_dict(baseline))
