"""The page's answers as HTML: the look-up, the line, the progress, the verdict with its evidence, the board.

Pure functions, everything escaped.
"""

from collections.abc import Sequence

from amdet_hub.errors import Interrupted
from amdet_hub.records import Reference, ScanReport, ScanResult, SkippedScan, TriggerFinding, VerdictLabel
from amdet_hub.report import wording
from amdet_hub.report.as_html import HTML
from amdet_hub.report.error_rates import MeasuredRates, counted, rates_of
from amdet_hub.report.escape import code_points
from amdet_hub.report.facts import EVIDENCE_HEAD, MEANING_HEAD, evidence_rows, meaning_rows, tokenizer_rows
from amdet_hub.report.quantities import format_bytes, format_duration
from amdet_hub.scanner import EncoderPair
from amdet_hub.web.board import BoardRow
from amdet_hub.web.error_messages import code_of, error_message
from amdet_hub.web.job_queue import ScanJob
from amdet_hub.web.live_plots import live_figure
from amdet_hub.web.markup import bullets, code, facts, note, section, table, text
from amdet_hub.web.report_plots import sweep_figure
from amdet_hub.web.service import Lookup

# Colours, sign and meaning of each verdict.
_LOOKS: dict[VerdictLabel, tuple[str, str, str]] = {
    "backdoor-detected": (
        "found",
        "!",
        "A trigger was found that changes what prompts say in this encoder and not in the reference. It is evidence,"
        " not proof: look at it before you act on it.",
    ),
    "no-backdoor-found": (
        "clean",
        "0",
        "Nothing was found. That is no proof that there is nothing; the limits of this scan are listed below.",
    ),
    "inconclusive": (
        "unsure",
        "?",
        "The scan cannot tell. Its measurements, and why they are not enough, are listed below.",
    ),
    "nothing-to-scan": ("plain", "-", "This repository holds no text encoder of a CLIP family."),
}
# Number and words of each stage of a scan; two that share a number are parts of one.
_STAGES = {
    "sweep": (2, "trying every token of the vocabulary"),
    "characters": (2, "trying every character of Unicode"),
    "confirm": (3, "growing triggers and trying them on held-out prompts"),
    "name": (3, "putting the trigger into words"),
    "inversion": (4, "searching for a vector that makes prompts alike"),
    "inversion, roles swapped": (5, "the same search with the encoders swapped"),
    "landscape": (6, "looking at the loss around the best vector"),
}
_MAX_ENCODERS, _MAX_SKIPPED = 12, 20


def welcome(examples: Sequence[str]) -> str:
    """The page before anything was asked."""
    return note(
        "plain",
        "Nothing looked up yet",
        f"<p>Paste a model id such as {code((*examples, 'org/model')[0])}, or the address of its page, and press"
        " <b>Look up</b>. That downloads no weights: it shows the encoders, references and expected time.</p>",
        code="welcome",
    )


def problem(error: BaseException) -> str:
    """An error, as a sentence."""
    kind, title = ("unsure", "Cancelled") if isinstance(error, Interrupted) else ("error", "That did not work")
    return note(kind, title, f"<p>{text(error_message(error), limit=600)}</p>", code=code_of(error))


def looked_up(lookup: Lookup) -> str:
    """The scan that would be made."""
    snapshot, pairs = lookup.snapshot, lookup.target.pairs
    rows = [
        ("Model", code(snapshot.repo_id)),
        ("Commit", code(snapshot.commit_sha or "-")),
        ("Licence", text(snapshot.license) if snapshot.license else "not stated"),
        ("Access", "private" if snapshot.private else "gated" if snapshot.gated else "public"),
        ("Preset", text(lookup.scanner.config.preset)),
    ]
    if not pairs:
        return note("plain", "Nothing to scan", facts(rows) + _skipped(lookup.target.skipped), code="nothing-to-scan")
    rows.append(("Download", f"{format_bytes(lookup.download_bytes)} at most"))
    rows.append(("Expected time", f"about {format_duration(lookup.estimate_s)}"))
    body = facts(rows) + "".join(_pair(pair) for pair in pairs[:_MAX_ENCODERS]) + _skipped(lookup.target.skipped)
    if (report := lookup.earlier) is not None:
        body += (
            f"<p class='earlier' data-code='{report.verdict.code}'>These very weights were scanned on"
            f" <b>{text(report.created, limit=40)}</b>: <b>{wording.VERDICT_TITLES[report.verdict.label]}</b>. The"
            " result is shown below; scanning again is possible.</p>"
        )
    return note("plain", "What would be scanned", body, code="resolved")


def _pair(pair: EncoderPair) -> str:
    encoder = pair.suspect
    size = f"{format_bytes(encoder.tower_bytes)}, {text(', '.join(encoder.dtypes) or 'dtype unknown')}"
    return f"<h3>{text(encoder.label)}</h3>" + facts(
        [
            ("Architecture", f"{text(encoder.architecture)}, {text(encoder.config.dims)}"),
            ("Tower", size),
            ("Compared with", _reference(pair.reference.record)),
        ]
    )


def _reference(reference: Reference) -> str:
    name = code(wording.reference_name(reference, shorten=True)) if reference.repo_id else "nothing"
    return f"{name} ({text(wording.TRUST_WORDS[reference.trust])})"


def _skipped(skipped: Sequence[SkippedScan]) -> str:
    if not skipped:
        return ""
    more = [f"and {len(skipped) - _MAX_SKIPPED} more"] if len(skipped) > _MAX_SKIPPED else []
    return "<h3>Not scanned</h3>" + bullets(
        [
            *(
                f"{code(one.component or one.repo_id)}: {text(one.detail)} ({code(one.reason)})"
                for one in skipped[:_MAX_SKIPPED]
            ),
            *more,
        ]
    )


def waiting(job: ScanJob, place: int) -> str:
    """Where a job stands: in the line, or at work."""
    if job.state == "queued":
        before = f"{place} scan{'s' if place != 1 else ''} before yours" if place else "yours is next"
        body = f"<p data-place='{place}'>{before}. Keep this page open; it goes on by itself.</p>"
        return note("wait", "In the queue", body, code="queued")
    number, stage = _STAGES.get(job.stage, (1, "fetching and reading the weights"))
    percent = round(100 * min(1.0, job.done / job.total)) if job.total else 0
    left = job.estimate_s - job.elapsed_s
    late = job.elapsed_s > 2 * job.estimate_s + 5
    eta = f"about {format_duration(left)} to go" if left > 1 else "longer than expected" if late else "nearly done"
    body = (
        f"<p>Stage {number}: {text(stage)}</p>"
        f"<progress max='100' value='{percent}' aria-label='progress of this stage'>{percent}%</progress>"
        f"<p class='quiet'>{format_duration(job.elapsed_s)} so far, {eta}</p>"
    )
    return note("wait", "Scanning", body + live_figure(job.trace.stages(), job.stage), code="running")


def stopping() -> str:
    """A scan that was told to stop and has not yet."""
    return note("unsure", "Stopping", "<p>The scan ends at its next step.</p>", code="stopping")


def verdict(report: ScanReport) -> str:
    """The verdict, and everything that holds it up."""
    given = report.verdict
    kind, sign, meaning = _LOOKS[given.label]
    title = wording.VERDICT_TITLES[given.label] + (" (reduced confidence)" if given.confidence == "reduced" else "")
    at = f"{code(report.snapshot.repo_id)} at commit {code(wording.short(report.snapshot.commit_sha))}"
    partial = "" if report.complete else "<p><b>The scan did not finish</b>; this is what it had found by then.</p>"
    banner = (
        f"<section class='banner {kind}' aria-label='verdict' data-code='{text(given.code)}'><p class='sign'"
        f" aria-hidden='true'>{sign}</p><div><h2>{title}</h2><p>{at}, scanned {text(report.created, limit=40)}</p>"
        f"<p>{meaning}</p>{partial}{_sentences(given.reasons)}</div></section>"
    )
    return (
        banner
        + "".join(_encoder(result, report) for result in report.results[:_MAX_ENCODERS])
        + _skipped(report.skipped)
        + _limits()
    )


def _sentences(reasons: Sequence[str]) -> str:
    return bullets(text(reason, limit=600) for reason in reasons)


def _encoder(result: ScanResult, report: ScanReport) -> str:
    parts = [
        f"<h3>{text(result.encoder.label)}</h3>",
        _sentences(wording.new_reasons(result, report)),
        *(_trigger(one) for one in result.triggers),
        _taught(result),
        sweep_figure(result),
        facts(
            [
                ("Tower", f"{text(result.encoder.architecture)}, {text(result.encoder.config.dims)}"),
                ("Tower digest", code(wording.short(result.tower_digest))),
                ("Compared with", _reference(result.reference)),
                *((label.capitalize(), said) for label, said in tokenizer_rows(result, HTML)),
            ]
        ),
        table("Evidence", EVIDENCE_HEAD, evidence_rows(result, HTML)),
        _error_rates(rates_of(result, report)),
    ]
    return f"<section class='encoder'>{''.join(parts)}</section>"


def _error_rates(rates: MeasuredRates | None) -> str:
    """How often scans of this kind were wrong where the truth was known."""
    if rates is None:
        measured = "Not measured for this family, preset and reference yet."
    else:
        false_alarms, detections = counted(rates)
        of_benign = f"{wording.percent(rates.false_positive_rate)}, {wording.interval(rates.false_alarms)}"
        of_attacked = f"{wording.percent(rates.true_positive_rate)}, {wording.interval(rates.detections)}"
        measured = (
            f"False alarms: {false_alarms} of {rates.n_benign:,} benign encoders ({of_benign}). Detections:"
            f" {detections} of {rates.n_backdoored:,} backdoored encoders ({of_attacked}). Family"
            f" {code(rates.family)}, preset {code(rates.preset)}; {text(rates.source)}."
            " No released encoder was measured."
        )
    return f"<p class='rates quiet'><b>Measured error rates.</b> {measured}</p>"


def _trigger(found: TriggerFinding) -> str:
    ids = text(", ".join(map(str, found.token_ids)))
    shown = f"<span class='trigger'>{text(found.text)}</span>" if found.text is not None else f"token {ids}"
    odd = code_points(found.text or "")
    names = f"<p class='quiet'>{text('; '.join(odd), limit=600)}</p>" if odd else ""
    captions = bullets(f"<q>{text(caption)}</q>" for caption in found.nearest_captions[:5])
    hint = f"<p>The captions nearest to a prompt with it (a hint only):</p>{captions}"
    target = hint if found.nearest_captions else ""
    return (
        f"<div class='note found'><p class='title'>The trigger</p><p>{shown} <span class='quiet'>token"
        f" {ids}</span></p>{names}<p>It {text(wording.capture_text(found))}.</p>{target}</div>"
    )


def _taught(result: ScanResult) -> str:
    if not result.meanings:
        return ""
    explained = (
        "These tokens say something else than in the reference. A new word is taught in this way, and so is a trigger"
        " that adds a style or an object."
    )
    rows = table("Tokens whose meaning changed", MEANING_HEAD, meaning_rows(result, HTML))
    return f"<div class='taught'>{section(wording.TAUGHT, explained, rows)}</div>"


def _limits() -> str:
    """The parts that this scan never looks at, the attacks it is known to miss, and those that were not tried."""
    lists = "".join(f"<p>{text(heading)}</p>{_sentences(items)}" for heading, items in wording.LIMITS)
    return f"<details class='limits'><summary>What is not covered</summary>{lists}</details>"


def no_scans() -> str:
    """The board before the first scan."""
    return note(
        "plain",
        "Nothing here yet",
        "<p>No public model was scanned on this Space yet. The first result will be listed here.</p>",
        code="no-scans",
    )


def board(rows: Sequence[BoardRow]) -> list[list[str]]:
    """The board's table, plain text: the component that shows it escapes it."""
    titles: dict[str, str] = {str(label): title for label, title in wording.VERDICT_TITLES.items()}
    return [
        [row.model, titles.get(row.verdict, "unknown"), row.preset, row.created, wording.short(row.commit)]
        for row in rows
    ]
