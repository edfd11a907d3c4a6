"""A `ScanReport` as one HTML file that needs nothing else: no network, no script, light and dark, printable.

The first screen is for a reader with one minute: the verdict, why, the trigger and how often it works, what to do.
Below it is everything else, for one with ten. Knows: the order of the page. Refuses to know: style (`html_style`) and
drawing (`html_figures`). What a repository wrote is escaped.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from amdet_hub.records import REASONS, ScanReport, ScanResult, VerdictLabel
from amdet_hub.report import facts, wording
from amdet_hub.report.escape import unactionable
from amdet_hub.report.html_figures import code, html, null_figure, success_figure, thresholds_figure
from amdet_hub.report.html_style import POLICY, STYLE

HTML: Final = facts.Markup(code, html, code)
_MARKS: Final[dict[VerdictLabel, str]] = {
    "backdoor-detected": "&#9888;",
    "no-backdoor-found": "&#8722;",
    "inconclusive": "?",
    "nothing-to-scan": "&#8722;",
}
_MAX_REASONS = 20


def as_html(report: ScanReport) -> str:
    """The report as a self-contained HTML document with a final newline. The same report gives the same bytes."""
    title = f"{wording.VERDICT_TITLES[report.verdict.label]}: {html(report.snapshot.repo_id, limit=120)}"
    blocks = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        (
            '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer"'
            ' content="no-referrer">'
        ),
        f'<meta name="robots" content="noindex"><link rel="icon" href="data:,"><title>{title}</title>',
        f"<style>{STYLE}</style></head>",
        "<body><main>",
        *_first_screen(report),
    ]
    for result in report.results:
        blocks += _encoder(result, report)
    if report.skipped:
        blocks += ["<h2>Not scanned</h2>", _table(facts.SKIPPED_HEAD, facts.skipped_rows(report, HTML))]
    blocks += [
        "<h2>What this does not cover</h2>",
        *(f"<p>{heading}</p>{_list(items)}" for heading, items in wording.LIMITS),
        "<h2>How it was scanned</h2>",
        _facts([*facts.run_rows(report, HTML), *facts.context_rows(report, HTML)]),
        "<h3>Run it again</h3>",
        f"<pre>{html(wording.reproduce_command(report), limit=1000)}</pre>",
        '<footer class="soft">The JSON form of this report holds every number.</footer>',
        "</main></body></html>",
    ]
    return "".join(f"{unactionable(line)}\n" for block in blocks if block for line in block.split("\n"))


# ---------------------------------------------------------------- one minute


def _first_screen(report: ScanReport) -> list[str]:
    verdict, step = report.verdict, REASONS[report.verdict.code].advice
    return [
        "<h1>amdet-hub: was the text encoder backdoored?</h1>",
        (
            f'<section class="verdict {verdict.label}"><strong><span aria-hidden="true">{_MARKS[verdict.label]}</span>'
            f" {wording.verdict_title(verdict)}</strong>"
        ),
        f"<p>{facts.headline(report, HTML)}</p>",
        f"<p>Reason: {code(verdict.code)}. {escape(step)}</p></section>",
        _list(verdict.reasons),
        *(_triggers(result) for result in report.results if result.triggers),
    ]


def _triggers(result: ScanResult) -> str:
    rows = [row for row in facts.trigger_rows(result, HTML) if row[0] != "success"]
    figures = "".join(success_figure(trigger, result) for trigger in result.triggers)
    name = code(result.encoder.label, limit=80)
    return f'<section class="card trigger"><h3>{name}</h3>{_facts(rows)}{figures}</section>'


# ---------------------------------------------------------------- ten minutes


def _encoder(result: ScanResult, report: ScanReport) -> list[str]:
    tag = f'<span class="tag {result.verdict.label}">{wording.verdict_title(result.verdict)}</span>'
    heading = f"<h2>{code(result.encoder.label, limit=120)}{tag} {code(result.verdict.code)}</h2>"
    blocks = [heading, _list(wording.new_reasons(result, report))]
    if result.meanings:
        blocks += [f"<h3>{wording.TAUGHT}</h3>", _table(facts.MEANING_HEAD, facts.meaning_rows(result, HTML))]
    if figures := thresholds_figure(result.evidence) + "".join(null_figure(e) for e in result.evidence):
        blocks += ["<h3>Scores against their thresholds</h3>", f'<div class="card">{figures}</div>']
    if result.evidence:
        rows = [
            (*row[:3], f'<span class="{row[3]}">{row[3]}</span>', *row[4:])
            for row in facts.evidence_rows(result, HTML)
        ]
        blocks += ["<h3>Evidence</h3>", _table(facts.EVIDENCE_HEAD, rows)]
    return [*blocks, "<h3>What was scanned</h3>", _facts(facts.encoder_rows(result, HTML))]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells carry the name of their column, for a narrow screen shows them below one another."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(heads, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _facts(rows: Sequence[facts.Row]) -> str:
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{html(sentence, limit=600)}</li>" for sentence in sentences[:_MAX_REASONS])
    return f"<ul>{items}</ul>" if items else ""
