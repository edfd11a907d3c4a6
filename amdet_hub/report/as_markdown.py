"""A `ScanReport` as GitHub Flavored Markdown: a document of its own, and the blocks that a card shares with it.

Knows: headings, tables, lists, code spans. Refuses to know: cards and their markers. LF line ends. Text of a
repository stands in code spans, where Markdown renders nothing: no link, no image, no HTML, no mention.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from amdet_hub.records import ScanReport, ScanResult, Verdict
from amdet_hub.report import facts, wording
from amdet_hub.report.escape import code_span, code_text, prose, unactionable

MARKDOWN: Final = facts.Markup(code_span, prose, code_span)


def as_markdown(report: ScanReport) -> str:
    """The report as a Markdown document of its own (a job summary, a comment, a file), with a final newline."""
    return joined(
        [
            f"# amdet-hub: {code_span(report.snapshot.repo_id)}",
            *document(report, level=2, rows=facts.context_rows(report, MARKDOWN)),
        ]
    )


def joined(blocks: Sequence[str]) -> str:
    """Blocks as one text with a final newline, which no build log acts upon."""
    return "".join(f"{unactionable(line)}\n" for line in "\n\n".join(block for block in blocks if block).split("\n"))


def document(report: ScanReport, *, level: int, rows: Sequence[facts.Row]) -> list[str]:
    """All blocks of a report below its title.

    Args:
        report: the report.
        level: of the headings.
        rows: more rows about how it was scanned.
    """
    heading = "#" * level
    blocks = [
        f"**{verdict_words(report.verdict)}** in {facts.headline(report, MARKDOWN)}",
        bullets(report.verdict.reasons),
    ]
    for result in report.results:
        blocks += _encoder(result, report, heading)
    if report.skipped:
        blocks += [f"{heading} Not scanned", table(facts.SKIPPED_HEAD, facts.skipped_rows(report, MARKDOWN))]
    return [
        *blocks,
        f"{heading} How it was scanned",
        table(("", ""), [*facts.run_rows(report, MARKDOWN), *rows]),
        f"{heading} What this does not cover",
        *("\n".join([head, "", *(f"* {item}" for item in items)]) for head, items in wording.LIMITS),
        f"{heading} Run it again",
        f"```bash\n{code_text(wording.reproduce_command(report), limit=1000)}\n```",
    ]


def verdict_words(verdict: Verdict) -> str:
    """The verdict with its code, and with its confidence where that is reduced."""
    return f"{wording.verdict_title(verdict)} ({code_span(verdict.code)})"


def bullets(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return "\n".join(f"* {prose(sentence)}" for sentence in sentences)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. The cells are Markdown already; hostile text in them has been through `code_span` or `prose`."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _encoder(result: ScanResult, report: ScanReport, heading: str) -> Iterator[str]:
    yield f"{heading} {code_span(result.encoder.label)}: {verdict_words(result.verdict)}"
    yield bullets(wording.new_reasons(result, report))
    yield table(("", ""), [*facts.trigger_rows(result, MARKDOWN), *facts.encoder_rows(result, MARKDOWN)])
    if result.meanings:
        yield f"{heading}# {wording.TAUGHT}"
        yield table(facts.MEANING_HEAD, facts.meaning_rows(result, MARKDOWN))
        yield f"{heading}# Evidence"
    yield evidence_table(result)


def evidence_table(result: ScanResult) -> str:
    """The findings, one row each; `""` where there are none."""
    if not result.evidence:
        return ""
    rows = [
        [f"**{cell}**" if cell == "beyond" else cell for cell in row] for row in facts.evidence_rows(result, MARKDOWN)
    ]
    return table(facts.EVIDENCE_HEAD, rows)
