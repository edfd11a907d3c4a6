"""A `ScanReport` for a terminal: one screen, or with `verbose` everything.

Knows: the order of a page for somebody who looks for ten seconds. Refuses to know: whether there is a terminal.

A header, one block for each encoder and for each part that blocks, then the limits and the command that runs the scan
again. Plain layout; colour only on request.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from amdet_hub.records import REASONS, ReasonCode, ScanReport, ScanResult, SkippedScan, Verdict, VerdictLabel
from amdet_hub.report import facts, wording
from amdet_hub.report.escape import display_width, unactionable, visible
from amdet_hub.report.text_layout import hanging, wrap
from amdet_hub.verdict import IDENTITY, SUCCESS, TOKENIZER, in_other_read_out, kind_in

# No green: nothing a scan finds deserves it.
_COLOURS: Final[dict[VerdictLabel, str]] = {
    "backdoor-detected": "red",
    "no-backdoor-found": "cyan",
    "inconclusive": "yellow",
    "nothing-to-scan": "cyan",
}
_CODES: Final = {"bold": "1", "red": "1;31", "yellow": "1;33", "cyan": "1;36"}
_MIN_WIDTH, _MAX_WIDTH = 60, 160
_LABEL = 11
_STRENGTH: Final = ("strength", "token, its kind: the nearest tokens before -> now")
_MAX_BLOCKS = 5  # of parts that block


def _quoted(text: str, limit: int) -> str:
    return f'"{visible(text, limit=limit)}"'


TEXT: Final = facts.Markup(visible, visible, _quoted)


def as_text(
    report: ScanReport, *, color: bool = False, width: int = 100, verbose: bool = False, meanings: bool = False
) -> str:
    """The report as lines of at most `width` columns (60 to 160; the command may be longer) with a final newline.

    Args:
        report: the report.
        color: paint with SGR codes; without it the text is free of control characters whatever the repository holds.
        width: columns of the terminal.
        verbose: every finding, file and version in place of one screen.
        meanings: of each encoder nothing but the tokens whose meaning changed, all of them.
    """
    page = _Page(report, color, min(max(width, _MIN_WIDTH), _MAX_WIDTH), verbose, meanings)
    if report.verdict.label == "nothing-to-scan" and not verbose:
        blocks = [[*page.header(), *page.title(report.verdict, report.verdict.reasons[0])]]
    else:
        blocks = [page.header(), *page.blocks(), page.details(), page.closing()]
    return "\n\n".join("\n".join(unactionable(line) for line in block) for block in blocks if block) + "\n"


@dataclass(frozen=True)
class _Page:
    report: ScanReport
    color: bool
    width: int
    verbose: bool
    meanings: bool

    def header(self) -> list[str]:
        """The target, how many encoders, and their reference: on one line where it fits."""
        snapshot = self.report.snapshot
        at = f" @ {visible(wording.short(snapshot.commit_sha))}" if snapshot.commit_sha else ""
        name, about = f"{visible(snapshot.repo_id)}{at}", f"{wording.counts_text(self.report)}{self._references()}"
        if display_width(name) + 3 + display_width(about) <= self.width:
            return [f"{self._paint(name, 'bold')}   {about}"]
        return [self._paint(line, "bold") for line in wrap(name, self.width)] + self._lines(about, indent=6)

    def _references(self) -> str:
        names = dict.fromkeys(wording.reference_name(r.reference, shorten=True) for r in self.report.results)
        named = [visible(name) for name in names if name]
        if not named:
            return ", without a reference" if names else ""
        return f", compared with {named[0] if len(names) == 1 else f'{len(named)} references'}"

    def blocks(self) -> Iterator[list[str]]:
        """The verdict on the whole where it has several parts, then each encoder and each part that blocks."""
        report, blocking = self.report, self._blocking()
        if len(report.results) + len(blocking) != 1 or not report.complete:
            yield self.title(report.verdict, "overall" if report.complete else "overall, of an unfinished scan")
        for result in report.results:
            yield [*self.title(result.verdict, result.encoder.label), *self._rows(self._encoder(result))]
        for skip in blocking[:_MAX_BLOCKS]:
            yield [
                *self._heading("NOT SCANNED", "yellow", skip.component or skip.repo_id, skip.reason),
                *self._rows([("why", visible(skip.detail, limit=500)), *_next_step(skip.reason)]),
            ]
        if len(blocking) > _MAX_BLOCKS and not self.verbose:
            yield self._lines(f"And {len(blocking) - _MAX_BLOCKS} more parts that were not scanned.")

    def _blocking(self) -> list[SkippedScan]:
        return [skip for skip in self.report.skipped if skip.blocks_clearance]

    def title(self, verdict: Verdict, name: str) -> list[str]:
        """The verdict in capitals, what it is about, and its code."""
        words = wording.VERDICT_TITLES[verdict.label].upper()
        return self._heading(words, _COLOURS[verdict.label], name, verdict.code)

    def _heading(self, words: str, colour: str, name: str, code: str) -> list[str]:
        text = f"{visible(name, limit=400)}   [{code}]"
        first, *more = hanging(words, text, indent=2, label_width=len(words) + 3, width=self.width)
        return [first.replace(words, self._paint(words, colour), 1), *more]

    def _encoder(self, result: ScanResult) -> list[facts.Row]:
        if self.meanings:
            taught = facts.meaning_rows(result, TEXT, most=None)
            rows = [(strength, f"{name}, {kind}: {said} -> {says}") for name, kind, said, says, strength in taught]
            return [_STRENGTH, *rows] if rows else [("taught", wording.untaught(result))]
        label = result.verdict.label
        triggers = list(facts.trigger_rows(result, TEXT, captions=5 if self.verbose else 1))
        told = REASONS[result.verdict.code].text if triggers and label == "backdoor-detected" else ""
        learned = facts.taught_rows(result, TEXT, most=8 if self.verbose else 2)
        why = [("why", visible(reason, limit=600)) for reason in wording.own_reasons(result) if reason != told]
        step = _next_step(result.verdict.code) if label == "inconclusive" else []
        sure = [] if result.verdict.confidence == "normal" else [("confidence", "reduced")]
        if self.verbose:
            findings = [
                ("finding", f"{kind}: {value}, threshold {line}, {outcome}, n {n}. {meaning}")
                for kind, value, line, outcome, n, meaning in facts.evidence_rows(result, TEXT)
            ]
            return [*sure, *triggers, *learned, *why, *step, *facts.encoder_rows(result, TEXT), *findings]
        evidence = [*(text for row, text in triggers if row == "success"), *_measured(result)]
        rows = [*sure, *(row for row in triggers if row[0] != "success"), *learned, *why]
        rows += [("evidence", "; ".join(evidence))] if evidence else []
        rows += facts.tokenizer_rows(result, TEXT)
        rows += [("changed", visible(facts.change_text(result.lineage)))] if result.lineage is not None else []
        return [*rows, *step]

    def details(self) -> list[str]:
        """Parts that were not scanned and have no block of their own, and the circumstances of the scan."""
        if not self.verbose:
            return []
        skipped = facts.skipped_rows(self.report, TEXT)[len(self._blocking()[:_MAX_BLOCKS]) :]
        rows = [("skipped", f"{name}: {detail} [{code}]" if code else name) for name, code, detail, _ in skipped]
        return self._rows([*rows, *facts.run_rows(self.report, TEXT), *facts.context_rows(self.report, TEXT)])

    def closing(self) -> list[str]:
        """The limits of the scan, where its results come from, and the command that runs it again."""
        report = self.report
        if self.verbose:
            limits = [line for head, items in wording.LIMITS for line in self._lines(f"{head} {'; '.join(items)}.")]
        else:
            limits = self._lines(f"Not covered: {wording.NOT_COVERED_BRIEFLY}. More: -v, -o html=FILE")
        cached = [r.cached_at for r in report.results if r.cached_at is not None]
        if cached:
            some = "" if report.cached else f"{len(cached)} of {len(report.results)} "
            limits = [*self._rows([("cached", f"{some}scanned before, {visible(min(cached), limit=40)}")]), *limits]
        seconds = wording.seconds_text(report)
        command = visible(wording.reproduce_command(report), limit=1000)
        return [*limits, f"  {seconds}{'. ' if seconds else ''}Again: {command}"]

    def _rows(self, rows: Iterable[facts.Row]) -> list[str]:
        return [
            line
            for label, text in rows
            for line in hanging(label, text, indent=4, label_width=_LABEL, width=self.width)
        ]

    def _lines(self, text: str, *, indent: int = 2) -> list[str]:
        return hanging("", text, indent=indent, label_width=0, width=self.width)

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.color else text


def _measured(result: ScanResult) -> list[str]:
    """The findings that have a threshold; of a detection those beyond it, without the success of a trigger."""
    detected = result.verdict.label == "backdoor-detected"
    told = (IDENTITY, TOKENIZER, *(kind_in(SUCCESS, t.read_out) for t in result.triggers if detected))
    return [
        visible(wording.measured_text(e))
        for e in result.evidence
        if e.kind not in told
        and (e.exceeds or (e.exceeds is False and not detected and not in_other_read_out(e.kind)))
    ]


def _next_step(code: ReasonCode) -> list[facts.Row]:
    advice = REASONS[code].advice
    return [("next", advice)] if advice else []
