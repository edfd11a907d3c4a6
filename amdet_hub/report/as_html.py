"""A `ScanReport` as one HTML file that needs nothing else: no network, no script, light and dark, printable.

The first screen is for a reader with one minute: the verdict, why, the trigger and how often it works, what to do.
Below it is everything else, for one with ten. Knows: the order of the page. Refuses to know: style (`html_style`) and
drawing (`html_figures`). What a repository wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from amdet_hub.records import ScanReport, ScanResult, SkippedScan, TriggerFinding, VerdictLabel
from amdet_hub.report import wording
from amdet_hub.report.escape import code_points, unactionable
from amdet_hub.report.html_figures import code, html, null_figure, success_figure, thresholds_figure
from amdet_hub.report.html_style import POLICY, STYLE

_MARKS: dict[VerdictLabel, str] = {"backdoor-detected": "&#9888;", "no-backdoor-found": "&#8722;", "inconclusive": "?"}
_ADVICE: dict[VerdictLabel, str] = {
    "backdoor-detected": (
        "Do not load these weights. Try the named trigger in a prompt, ask the author, and use the base model or an"
        " earlier version."
    ),
    "no-backdoor-found": (
        "Nothing has to be done about the text encoder. What such a scan does not look at stands at the end."
    ),
    "inconclusive": (
        "Treat it as not checked: read what is missing below, and scan again with a reference, more time or the preset"
        " 'standard'."
    ),
}
_MAX_FILES, _MAX_SKIPPED, _MAX_REASONS, _MAX_CAPTIONS = 12, 50, 20, 5


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
    blocks += [*_skipped(report.skipped), *_not_covered(), *_how(report), _footer(report), "</main></body></html>"]
    lines = "\n".join(block for block in blocks if block).split("\n")
    return "".join(f"{unactionable(line)}\n" for line in lines)


# ---------------------------------------------------------------- one minute


def _first_screen(report: ScanReport) -> list[str]:
    snapshot, verdict = report.snapshot, report.verdict
    at = f"commit {code(snapshot.commit_sha)}" if snapshot.commit_sha else "a local folder without a commit"
    sure = "" if verdict.confidence == "normal" else " Confidence is reduced."
    partial = "" if report.complete else " The scan did not finish; this is what it had found by then."
    return [
        "<h1>amdet-hub: was the text encoder backdoored?</h1>",
        (
            f'<section class="verdict {verdict.label}"><strong><span aria-hidden="true">{_MARKS[verdict.label]}</span>'
            f" {wording.VERDICT_TITLES[verdict.label]}</strong>"
        ),
        f"<p>{code(snapshot.repo_id)}, {at}. {wording.counts_text(report)}.{sure}{partial}</p>",
        f"<p>{_ADVICE[verdict.label]}</p></section>",
        _list(verdict.reasons),
        *(_trigger(trigger, result) for result in report.results for trigger in result.triggers),
    ]


def _trigger(trigger: TriggerFinding, result: ScanResult) -> str:
    name = "Recovered trigger" if result.verdict.label == "backdoor-detected" else "Unconfirmed candidate"
    ids = ", ".join(str(i) for i in trigger.token_ids[:16]) + (", ..." if len(trigger.token_ids) > 16 else "")
    shown = (
        code(trigger.text, limit=120)
        if trigger.text is not None
        else "known by its token ids only: no tokenizer was at hand"
    )
    facts = [f"In {code(result.encoder.label, limit=80)}; token id{'' if len(trigger.token_ids) == 1 else 's'} {ids}."]
    if names := code_points(trigger.text or ""):
        facts.append("Characters outside ASCII: " + ", ".join(code(name) for name in names) + ".")
    if trigger.nearest_captions:
        captions = ", ".join(code(caption, limit=120) for caption in trigger.nearest_captions[:_MAX_CAPTIONS])
        facts.append(f"Nearest to its target, as a hint: {captions}.")
    return (
        f'<section class="card trigger"><h3>{name}</h3><p class="name">{shown}</p>'
        f"{success_figure(trigger, result)}<p>{'</p><p>'.join(facts)}</p></section>"
    )


# ---------------------------------------------------------------- ten minutes


def _encoder(result: ScanResult, report: ScanReport) -> list[str]:
    label = result.verdict.label
    reduced = ", reduced confidence" if result.verdict.confidence == "reduced" else ""
    tag = f'<span class="tag {label}">{wording.VERDICT_TITLES[label]}{reduced}</span>'
    blocks = [f"<h2>{code(result.encoder.label, limit=120)}{tag}</h2>", _list(wording.new_reasons(result, report))]
    if figures := thresholds_figure(result.evidence) + "".join(null_figure(e) for e in result.evidence):
        blocks += ["<h3>Scores against their thresholds</h3>", f'<div class="card">{figures}</div>']
    if result.evidence:
        blocks += ["<h3>Evidence</h3>", _evidence_table(result)]
    return [*blocks, "<h3>What was scanned</h3>", _facts(_fact_rows(result))]


def _evidence_table(result: ScanResult) -> str:
    rows = [
        (
            code(e.kind, limit=60),
            html(wording.value_text(e), limit=80),
            html(wording.threshold_text(e)),
            _outcome(wording.outcome_text(e)),
            f"{e.n:,}",
            html(wording.finding_text(e, figures=True), limit=700),
        )
        for e in result.evidence
    ]
    return _table(("finding", "value", "threshold", "outcome", "n", "what it means"), rows)


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


def _outcome(word: str) -> str:
    return f'<span class="{word}">{word}</span>'


def _fact_rows(result: ScanResult) -> list[tuple[str, str]]:
    encoder, reference = result.encoder, result.reference
    dtypes = ", ".join(html(d, limit=20) for d in encoder.dtypes)
    rows = [
        ("encoder", f"{code(encoder.architecture)}, {encoder.config.dims}{f', {dtypes}' if dtypes else ''}"),
        ("tower digest", code(result.tower_digest, limit=80)),
    ]
    rows += [
        ("file", code(file.path) + (f", sha256 {code(file.sha256, limit=64)}" if file.sha256 else ""))
        for file in encoder.weight_files[:_MAX_FILES]
    ]
    if len(encoder.weight_files) > _MAX_FILES:
        rows.append(("file", f"and {len(encoder.weight_files) - _MAX_FILES} more"))
    name, trust = wording.reference_name(reference), wording.TRUST_WORDS[reference.trust]
    rows.append(("reference", f"{code(name)}, {trust}" if name else html(reference.note) if reference.note else trust))
    if result.timings_s:
        rows.append(
            (
                "seconds",
                ", ".join(
                    f"{html(stage, limit=40)} {seconds:.1f}" for stage, seconds in list(result.timings_s.items())[:20]
                ),
            )
        )
    return rows


def _skipped(skipped: Sequence[SkippedScan]) -> list[str]:
    if not skipped:
        return []
    rows = [
        (code(s.component or s.repo_id), s.reason, html(s.detail, limit=500), "yes" if s.blocks_clearance else "no")
        for s in sorted(skipped, key=lambda skip: not skip.blocks_clearance)[:_MAX_SKIPPED]
    ]
    more = f"<p>And {len(skipped) - _MAX_SKIPPED} more.</p>" if len(skipped) > _MAX_SKIPPED else ""
    return ["<h2>Not scanned</h2>", _table(("component", "reason", "detail", "keeps the verdict open"), rows), more]


def _not_covered() -> list[str]:
    lists = (block for heading, items in wording.LIMITS for block in (f"<p>{heading}</p>", _list(items)))
    return ["<h2>What this does not cover</h2>", *lists]


def _how(report: ScanReport) -> list[str]:
    rows = [
        ("scanned", code(report.created, limit=40)),
        (
            "preset",
            (
                f"{code(wording.setting(report, 'preset'), limit=40)}, seed"
                f" {code(wording.setting(report, 'seed'), limit=40)}"
            ),
        ),
        ("settings sha256", code(report.config_fingerprint, limit=80)),
        ("made with", html(wording.environment_text(report.environment), limit=600)),
    ]
    if changed := wording.changed_settings(report):
        rows.append(("changed settings", html(changed)))
    return [
        "<h2>How it was scanned</h2>",
        _facts(rows),
        "<h3>Run it again</h3>",
        f"<pre>{html(wording.reproduce_command(report), limit=1000)}</pre>",
    ]


def _footer(report: ScanReport) -> str:
    version = html(report.environment.amdet_hub, limit=40)
    words = "The JSON form of this report holds every number; the same weights and seed give it again."
    return f'<footer class="soft">Made by amdet-hub {version}. {words}</footer>'


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{html(sentence, limit=600)}</li>" for sentence in sentences[:_MAX_REASONS])
    return f"<ul>{items}</ul>" if items else ""
