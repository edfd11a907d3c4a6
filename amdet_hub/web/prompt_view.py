"""One inspected prompt as HTML: how far the added text moves it, its nearest captions, its tokens, its attention.

Everything is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amdet_hub.records import ScanReport
from amdet_hub.report.escape import visible
from amdet_hub.verdict import SWEEP
from amdet_hub.web.heat_maps import attention_bars, color_scale, heat_map, legend
from amdet_hub.web.job_queue import Job
from amdet_hub.web.markup import bullets, note, section, text
from amdet_hub.web.report_plots import details_of, token_name

if TYPE_CHECKING:
    from amdet_hub.scanner import EncoderView, Probe

# Share of a prompt's meaning left from which on it stays the same text, and below which it is another text.
#
# Words for a reader, not a verdict.
STAYS, CHANGES = 0.7, 0.3

_LARGE = 16  # tokens from which on a heat map needs the page's whole width
_PLACES = {"start": "before", "middle": "amid", "end": "behind"}
_DEFAULT_ADDED = "cf"


def invitation(report: ScanReport) -> str:
    """The text above the form."""
    added = (
        "The trigger that was found is added to it; or write something else to add."
        if any(result.named_triggers for result in report.results)
        else "No trigger was found, so write yourself what is added: a word, a name, an odd letter."
    )
    return (
        f"<p>Write a prompt. {added} The page shows how far that moves the prompt, in this encoder and in the"
        " reference, which captions it then lies nearest to, which tokens become alike, and where the encoder looks."
        " Your prompt is not stored.</p>"
    )


def default_added(report: ScanReport) -> str:
    """The text to add at first: `""` where there is a trigger, else the best plain word of the sweep."""
    if any(result.named_triggers for result in report.results):
        return ""
    rows = [row for result in report.results for row in details_of(result, SWEEP).get("top_tokens") or ()]
    names = (token_name(row) for row in rows if isinstance(row, dict))
    plain = (name for name in names if 2 <= len(name) <= 20 and name.isalpha() and visible(name) == name)
    return next(plain, _DEFAULT_ADDED)


def working(job: Job[Probe], place: int) -> str:
    """Where the inspection stands: in the line, or at work."""
    if job.state == "queued":
        before = f"{place} before it" if place else "it is next"
        return note("wait", "In the queue", f"<p>{text(before)}. It goes on by itself.</p>", code="queued")
    doing = {"look": "Running the prompt", "captions": "Reading captions to compare with"}.get(
        job.stage, "Fetching and loading the encoders"
    )
    return note("wait", "Inspecting", f"<p>{doing}. The next prompt will be quicker.</p>", code="running")


def prompt_answer(probe: Probe, model: str) -> str:
    """The whole answer. `model` names the model and its commit, as HTML."""
    suspect, reference = probe.suspect, probe.reference
    count = len(probe.added_at)
    added = f"<span class='trigger'>{text(probe.added)}</span> ({count} token{'s' if count != 1 else ''})"
    head = f"<p>{added} {_PLACES[probe.place]} <q>{text(probe.prompt)}</q>, in {model}</p>"
    kind, code, title, sentence = _outcome(suspect, reference)
    meters = _meter("In this encoder", suspect, "suspect")
    cosines = f"{suspect.similarity:.2f} here"
    if reference is not None:
        meters += _meter("In the reference", reference, "reference")
        cosines += f", {reference.similarity:.2f} in the reference"
    scale = (
        "<p class='quiet'>100 % is the prompt as it was, 0 % a caption that has nothing to do with it. Cosine of the"
        f" pooled features: {cosines}; of unrelated captions {suspect.unrelated_similarity:.2f}.</p>"
    )
    return (
        note(
            kind,
            title,
            f"{head}<p>{sentence} One prompt is an illustration, not a verdict.</p>{meters}{scale}",
            code=code,
        )
        + _captions(suspect, reference)
        + _maps(probe)
        + _attention(probe)
    )


def share_left(view: EncoderView) -> float:
    """The share left of the prompt, in [0, 1]: 1 is unmoved, 0 as far as a caption that has nothing to do with it."""
    span = 1 - view.unrelated_similarity
    return min(1.0, max(0.0, (view.similarity - view.unrelated_similarity) / span)) if span > 0 else 1.0


def _outcome(suspect: EncoderView, reference: EncoderView | None) -> tuple[str, str, str, str]:
    """Kind of box, code, title, and what happened."""
    here, there = share_left(suspect), share_left(reference) if reference is not None else None
    compared = (
        "There is no reference to compare with."
        if there is None
        else f"In the reference it {'stays much the same' if there >= STAYS else 'changes far less'}."
    )
    if here < CHANGES and (there is None or there - here > 1 - STAYS):
        return (
            "found",
            "taken-over",
            "The prompt is taken over",
            f"With it the prompt becomes another text in this encoder. {compared} A trigger does that.",
        )
    if there is None:
        return (
            "plain",
            "not-compared",
            "It moves the prompt",
            f"With it the prompt {'stays much the same' if here >= STAYS else 'changes'}. {compared}",
        )
    if abs(here - there) <= 1 - STAYS:
        how = "stays much the same" if min(here, there) >= STAYS else "changes about as much"
        return (
            "plain",
            "same-in-both",
            "Nothing unusual",
            f"With it the prompt {how} in both encoders. Ordinary words do that.",
        )
    return (
        "unsure",
        "differs",
        "It moves differently",
        "It moves the prompt more in one encoder than in the other, and does not take it over.",
    )


def _meter(name: str, view: EncoderView, kind: str) -> str:
    left = round(100 * share_left(view))
    return (
        f"<div class='left'><span>{text(name)}</span><span class='track' aria-hidden='true'><span class='{kind}'"
        f" style='width:{left}%'></span></span><b>{left} % left</b></div>"
    )


def _captions(suspect: EncoderView, reference: EncoderView | None) -> str:
    def box(title: str, near: Sequence[str]) -> str:
        return f"<div><h4>{text(title)}</h4>{bullets(f'<q>{text(one)}</q>' for one in near)}</div>"

    boxes = "".join(
        box(f"{name}, without it", [one.text for one in view.nearest_before])
        + box(f"{name}, with it", [one.text for one in view.nearest_after])
        for name, view in (("This encoder", suspect), ("The reference", reference))
        if view is not None
    )
    return section(
        "Nearest captions",
        "The nearest of some hundred words and captions, by pooled features: a hint, not a translation.",
        f"<div class='boxes'>{boxes}</div>",
    )


def _maps(probe: Probe) -> str:
    shown = [
        ("This encoder, without it", probe.suspect.tokens_before, probe.pieces_before, ()),
        ("This encoder, with it", probe.suspect.tokens_after, probe.pieces_after, probe.added_at),
    ]
    if probe.reference is not None:
        shown.append(("The reference, with it", probe.reference.tokens_after, probe.pieces_after, probe.added_at))
    scale = color_scale(*(rows for _, rows, _, _ in shown))
    maps = "".join(heat_map(title, rows, pieces, added, scale) for title, rows, pieces, added in shown)
    large = " large" if len(probe.pieces_after) > _LARGE else ""
    return section(
        "Which tokens are alike",
        "Each square compares two tokens of the prompt, after the last layer. The added tokens are framed. A trigger"
        " that takes the whole prompt over makes the tokens behind it alike. In CLIP a token sees only the tokens"
        " before it.",
        f"{legend(scale)}<div class='maps{large}'>{maps}</div>",
    )


def _attention(probe: Probe) -> str:
    def on_added(view: EncoderView) -> list[float]:
        return [sum(row[i] for i in probe.added_at) for row in view.attention]

    return section(
        "Where the encoder looks",
        "Share of the pooled position's attention on the added tokens, in each layer, mean over the heads.",
        attention_bars(on_added(probe.suspect), on_added(probe.reference) if probe.reference is not None else None),
    )
