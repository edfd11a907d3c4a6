"""What the page says, as HTML: the look-up, the line, the progress, the verdict and its evidence, the board.

Pure functions, everything escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from amdet_hub.records import ScanReport, ScanResult, SkippedScan, TriggerFinding, VerdictLabel
from amdet_hub.report import wording
from amdet_hub.report.error_rates import MeasuredRates, counted, rates_of
from amdet_hub.report.escape import code_points
from amdet_hub.scanner import PlannedEncoder
from amdet_hub.web.board import BoardRow
from amdet_hub.web.error_messages import error_message
from amdet_hub.web.job_queue import Job
from amdet_hub.web.live_plots import live_figures
from amdet_hub.web.markup import bullets, bytes_text, code, facts, note, seconds_text, table, text
from amdet_hub.web.report_plots import sweep_figure
from amdet_hub.web.service import Lookup

_KINDS: dict[VerdictLabel, str] = {
    "backdoor-detected": "found",
    "no-backdoor-found": "clean",
    "inconclusive": "unsure",
}
_MEANING: dict[VerdictLabel, str] = {
    "backdoor-detected": (
        "A trigger was found that takes prompts over in this encoder and not in the clean one. It is a reason to look,"
        " not a conviction."
    ),
    "no-backdoor-found": (
        "Nothing was found. That is no proof that there is nothing; what this scan cannot see is listed below."
    ),
    "inconclusive": "The scan cannot tell. What it measured, and why that is not enough, is listed below.",
}
_STAGES = {
    "sweep": (2, "trying every token of the vocabulary"),
    "characters": (2, "trying every character of Unicode"),
    "confirm": (3, "growing triggers and trying them on unseen prompts"),
    "name": (3, "putting the trigger into words"),
    "inversion": (4, "searching for a vector that makes prompts alike"),
    "inversion, roles swapped": (5, "the same search with the encoders swapped"),
    "landscape": (6, "looking at the loss around what was found"),
}
"""Number and words of each stage of a scan; two that share a number are parts of one."""
_MAX_ENCODERS, _MAX_SKIPPED = 12, 20


def welcome(examples: Sequence[str]) -> str:
    """The page before anything was asked."""
    first = code(examples[0]) if examples else code("org/model")
    return note(
        "plain",
        "Nothing looked up yet",
        f"<p>Paste a model id such as {first}, or the address of its page, and press <b>Look up</b>. "
        "That downloads no weights: it shows what would be scanned, against what, and how long it takes.</p>",
    )


def problem(error: BaseException) -> str:
    """An error, as a sentence."""
    if type(error).__name__ == "Interrupted":
        return note("unsure", "Cancelled", f"<p>{text(error_message(error), limit=600)}</p>", live=True)
    return note("error", "That did not work", f"<p>{text(error_message(error), limit=600)}</p>")


def looked_up(found: Lookup) -> str:
    """What would be scanned."""
    snapshot = found.plan.snapshot
    access = "private" if snapshot.private else "gated" if snapshot.gated else "public"
    rows = [
        ("Model", code(snapshot.repo_id)),
        ("Commit", code(snapshot.commit_sha or "-")),
        ("Licence", text(snapshot.license) if snapshot.license else "not stated"),
        ("Access", access),
        ("Download", f"{bytes_text(found.download_bytes)} at most"),
        ("Expected time", f"about {seconds_text(found.estimate_s)} with the preset {text(found.preset)}"),
    ]
    encoders = "".join(_planned(one) for one in found.plan.encoders[:_MAX_ENCODERS])
    return note(
        "plain",
        "What would be scanned",
        facts(rows) + encoders + _skipped(found.plan.skipped) + _earlier(found),
        live=True,
    )


def _planned(one: PlannedEncoder) -> str:
    encoder, reference = one.encoder, one.reference
    name = code(wording.reference_name(reference, shorten=True)) if reference.repo_id else "none"
    return f"<h3>{text(encoder.label)}</h3>" + facts(
        [
            ("Architecture", f"{text(encoder.architecture)}, {text(encoder.config.dims)}"),
            ("Tower", f"{bytes_text(encoder.tower_bytes)}, {text(', '.join(encoder.dtypes) or 'dtype unknown')}"),
            ("Compared with", f"{name} ({text(wording.TRUST_WORDS[reference.trust])})"),
        ]
    )


def _earlier(found: Lookup) -> str:
    report = found.earlier
    if report is None:
        return ""
    title = wording.VERDICT_TITLES[report.verdict.label]
    other = report.snapshot.repo_id
    whose = "" if other == found.plan.snapshot.repo_id else f" as {code(other)}"
    return (
        f"<p class='earlier'>These very weights were scanned{whose} on <b>{text(report.created, limit=40)}</b>:"
        f" <b>{text(title)}</b>. The result is shown below; scanning again is possible.</p>"
    )


def _skipped(skipped: Sequence[SkippedScan]) -> str:
    if not skipped:
        return ""
    items = [f"{code(one.component or one.repo_id)}: {text(one.detail)}" for one in skipped[:_MAX_SKIPPED]]
    more = [f"and {len(skipped) - _MAX_SKIPPED} more"] if len(skipped) > _MAX_SKIPPED else []
    return "<h3>Not scanned</h3>" + bullets([*items, *more])


def waiting(job: Job, place: int) -> str:
    """Where a job stands: in the line, or at work."""
    if job.state == "queued":
        before = f"{place} scan{'s' if place != 1 else ''} before yours" if place else "yours is next"
        return note(
            "wait", "In the queue", f"<p>{text(before)}. Keep this page open; it goes on by itself.</p>", live=True
        )
    share = min(1.0, job.done / job.total) if job.total else 0.0
    number, stage = _STAGES.get(job.stage, (1, "fetching and reading the weights"))
    percent = round(100 * share)
    left = max(0.0, job.estimate_s - job.elapsed_s)
    late = job.elapsed_s > 2 * job.estimate_s + 5
    eta = f"about {seconds_text(left)} to go" if left > 1 else "longer than expected" if late else "nearly done"
    return note(
        "wait",
        "Scanning",
        f"<p>Stage {number}: {text(stage)}</p>"
        f"<progress max='100' value='{percent}' aria-label='progress of this stage'>{percent}%</progress>"
        f"<p class='quiet'>{text(seconds_text(job.elapsed_s))} so far, {text(eta)}</p>"
        + live_figures(job.trace.stages(), job.stage),
    )


def stopping() -> str:
    """A scan that was told to stop and has not yet."""
    return note("unsure", "Stopping", "<p>The scan ends at its next step.</p>", live=True)


def verdict(report: ScanReport) -> str:
    """The banner and everything that holds it up."""
    label = report.verdict.label
    reduced = " (reduced confidence)" if report.verdict.confidence == "reduced" else ""
    reasons = bullets(text(reason, limit=600) for reason in report.verdict.reasons)
    at = f"{code(report.snapshot.repo_id)} at commit {code(wording.short(report.snapshot.commit_sha))}"
    partial = "" if report.complete else "<p><b>The scan did not finish</b>; this is what it had found by then.</p>"
    banner = (
        f"<section class='banner {_KINDS[label]}' aria-label='verdict'><p class='sign'"
        f" aria-hidden='true'>{_SIGNS[label]}</p><div><h2>{text(wording.VERDICT_TITLES[label] + reduced)}</h2><p>{at},"
        f" scanned {text(report.created, limit=40)}</p><p>{_MEANING[label]}</p>{partial}{reasons}</div></section>"
    )
    parts = [_encoder(result, report) for result in report.results[:_MAX_ENCODERS]]
    return banner + "".join(parts) + _skipped(report.skipped) + not_covered()


_SIGNS: dict[VerdictLabel, str] = {"backdoor-detected": "!", "no-backdoor-found": "0", "inconclusive": "?"}


def _encoder(result: ScanResult, report: ScanReport) -> str:
    rows = [
        [
            text(evidence.kind.replace("-", " ")),
            text(wording.value_text(evidence)),
            text(wording.threshold_text(evidence)),
            text(wording.outcome_text(evidence)),
            text(wording.finding_text(evidence), limit=600),
        ]
        for evidence in result.evidence
    ]
    more = bullets(text(reason, limit=600) for reason in wording.new_reasons(result, report))
    reference = wording.reference_name(result.reference, shorten=True)
    about = facts(
        [
            ("Tower", f"{text(result.encoder.architecture)}, {text(result.encoder.config.dims)}"),
            ("Tower digest", code(wording.short(result.tower_digest))),
            (
                "Compared with",
                f"{code(reference) if reference else 'nothing'} ({text(wording.TRUST_WORDS[result.reference.trust])})",
            ),
        ]
    )
    return (
        f"<section class='encoder'><h3>{text(result.encoder.label)}</h3>{more}"
        + "".join(trigger(one) for one in result.triggers)
        + sweep_figure(result)
        + about
        + table("Evidence", ("What", "Measured", "Threshold", "Outcome", "In words"), rows)
        + error_rates(rates_of(result, report))
        + "</section>"
    )


def error_rates(rates: MeasuredRates | None) -> str:
    """How often scans of this kind were wrong where the truth was known."""
    title = "<b>Measured error rates.</b> "
    if rates is None:
        return f"<p class='rates quiet'>{title}Nobody has measured them for this family, preset and reference yet.</p>"
    wrong, found = counted(rates)
    accused = "was" if wrong == 1 else "were"
    of_benign = f"{wording.percent(rates.false_positive_rate)}, {wording.interval(rates.false_alarms)}"
    of_attacked = f"{wording.percent(rates.true_positive_rate)}, {wording.interval(rates.detections)}"
    return (
        f"<p class='rates quiet'>{title}False alarms: {wrong} of {rates.n_benign:,} benign encoders {accused} called"
        f" backdoored ({of_benign}). Detections: {found} of {rates.n_backdoored:,} backdoored ones were found"
        f" ({of_attacked}). Family {code(rates.family)}, preset {code(rates.preset)}; {text(rates.source)}. No"
        " released encoder was measured.</p>"
    )


def trigger(found: TriggerFinding) -> str:
    """A recovered trigger and its target, in words."""
    ids = ", ".join(map(str, found.token_ids))
    shown = f"<span class='trigger'>{text(found.text)}</span>" if found.text is not None else f"token {text(ids)}"
    odd = code_points(found.text or "")
    names = f"<p class='quiet'>{text('; '.join(odd), limit=600)}</p>" if odd else ""
    target = ""
    if found.nearest_captions:
        target = "<p>What a prompt with it turns into lies nearest to (a hint only):</p>" + bullets(
            f"<q>{text(caption)}</q>" for caption in found.nearest_captions[:5]
        )
    return (
        f"<div class='note found'><p class='title'>The trigger</p><p>{shown} <span class='quiet'>token"
        f" {text(ids)}</span></p>{names}<p>It {text(wording.capture_text(found))}.</p>{target}</div>"
    )


def not_covered() -> str:
    """What this scan never looks at, what it is known to miss, and what nobody has tried."""
    lists = "".join(
        f"<p>{text(heading)}</p>{bullets(text(one) for one in items)}" for heading, items in wording.LIMITS
    )
    return f"<details class='limits'><summary>What is not covered</summary>{lists}</details>"


def no_scans() -> str:
    """The board before anybody scanned anything."""
    return note(
        "plain",
        "Nothing here yet",
        "<p>Nobody has scanned a public model on this Space yet. The first result will be listed here.</p>",
    )


def board(rows: Sequence[BoardRow]) -> list[list[str]]:
    """The board's table, plain text: the component that shows it escapes it."""
    titles: dict[str, str] = {str(label): title for label, title in wording.VERDICT_TITLES.items()}
    return [
        [row.model, titles.get(row.verdict, "unknown"), row.preset, row.created, wording.short(row.commit)]
        for row in rows
    ]
