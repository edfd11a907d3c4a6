"""What the page says of one prompt that was looked at closely, as HTML: how far it moved, what it says, which tokens are alike. Everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from amdet_hub.records import ScanReport
from amdet_hub.report.escape import visible
from amdet_hub.scanner import EncoderView, Probe
from amdet_hub.verdict import SWEEP
from amdet_hub.web.figures import spelled
from amdet_hub.web.heat import Scale, attention_bars, heat_map, legend
from amdet_hub.web.jobs import Task
from amdet_hub.web.markup import bullets, note, text

STAYS, CHANGES = 0.7, 0.3
"""Share of a prompt's meaning left, from which on it stays what it was, and below which it is another text.

Words for a reader, not a verdict.
"""

_LARGE = 16  # tokens from which on a heat map needs the page's whole width
_PLACES = {"start": "before", "middle": "amid", "end": "behind"}
_STAND_IN = "cf"


def invitation(report: ScanReport) -> str:
    """What can be tried with a result."""
    if any(result.triggers for result in report.results):
        added = "The trigger that was found is added to it; or write something else to add."
    else:
        added = "No trigger was found, so write yourself what is added: a word, a name, an odd letter."
    return (
        f"<p>Write a prompt. {added} You see how far that moves the prompt, in this encoder and in the clean one, what"
        " it then says, which tokens become alike, and where the encoder looks. Your prompt is not kept.</p>"
    )


def default_encoder(report: ScanReport) -> int:
    """The number of the result to begin with: the first with a trigger."""
    return next((number for number, result in enumerate(report.results) if result.triggers), 0)


def default_words(report: ScanReport) -> str:
    """What to add at first: nothing of one's own where there is a trigger, else the plain word that stood out most in the sweep."""
    if any(result.triggers for result in report.results):
        return ""
    for result in report.results:
        details = next((e.details for e in result.evidence if e.kind == SWEEP), {})
        rows = details.get("top_tokens")
        for row in rows if isinstance(rows, list | tuple) else ():
            piece = row.get("piece") if isinstance(row, dict) else None
            word = spelled(piece).lstrip("\u2581") if isinstance(piece, str) else ""
            if 2 <= len(word) <= 20 and word.isalpha() and visible(word) == word:
                return word
    return _STAND_IN


def encoder_names(report: ScanReport) -> list[tuple[str, int]]:
    """The encoders to choose from, as plain text for a component that escapes, and their numbers."""
    return [(visible(result.encoder.label, limit=80), number) for number, result in enumerate(report.results)]


def working(task: Task[Probe], place: int) -> str:
    """Where the look stands: in the line, or at work."""
    if task.state == "queued":
        before = f"{place} before it" if place else "it is next"
        return note("wait", "In the queue", f"<p>{text(before)}. It goes on by itself.</p>", live=True)
    doing = {"look": "Looking at the prompt", "captions": "Reading captions to compare with"}.get(
        task.stage, "Fetching and loading the encoders"
    )
    return note("wait", "Looking", f"<p>{doing}. The next prompt will be quicker.</p>", live=True)


def looked_at(probe: Probe, whose: str) -> str:
    """The whole answer. `whose` names the model and its commit, as HTML."""
    suspect, reference = probe.suspect, probe.reference
    count = len(probe.added_at)
    added = f"<span class='trigger'>{text(probe.added)}</span> ({count} token{'s' if count != 1 else ''})"
    head = f"<p>{added} {_PLACES[probe.place]} <q>{text(probe.prompt)}</q>, in {whose}</p>"
    meters = _meter("In this encoder", suspect, "ours") + (
        _meter("In the clean one", reference, "theirs") if reference else ""
    )
    scale_note = (
        "<p class='quiet'>100 % is the prompt as it was, 0 % a caption that has nothing to do with it. "
        f"Cosine of the pooled features: {suspect.similarity:.2f} here"
        + (f", {reference.similarity:.2f} in the clean one" if reference else "")
        + f"; of unrelated captions {suspect.unrelated_similarity:.2f}.</p>"
    )
    kind, title, words = _in_words(suspect, reference)
    return (
        note(
            kind, title, head + f"<p>{words} One prompt shows; it does not judge.</p>" + meters + scale_note, live=True
        )
        + _captions(suspect, reference)
        + _maps(probe)
        + _attention(probe)
    )


def left_of(view: EncoderView) -> float:
    """What is left of the prompt, in [0, 1]: 1 is unmoved, 0 as far as a caption that has nothing to do with it."""
    span = 1 - view.unrelated_similarity
    return min(1.0, max(0.0, (view.similarity - view.unrelated_similarity) / span)) if span > 0 else 1.0


def _in_words(suspect: EncoderView, reference: EncoderView | None) -> tuple[str, str, str]:
    """Kind of box, title, and what happened."""
    here, there = left_of(suspect), left_of(reference) if reference is not None else None
    if here < CHANGES and (there is None or there - here > 1 - STAYS):
        if there is None:
            clean = "There is no clean encoder to compare with."
        else:
            clean = (
                "In the clean one it stays much the same."
                if there >= STAYS
                else "In the clean one it changes far less."
            )
        return (
            "found",
            "The prompt is taken over",
            f"With it the prompt becomes another text in this encoder. {clean} That is what a trigger does.",
        )
    if there is not None and abs(here - there) <= 1 - STAYS:
        how = "stays much the same" if min(here, there) >= STAYS else "changes about as much"
        return "plain", "Nothing unusual", f"With it the prompt {how} in both encoders. Ordinary words do that."
    if there is not None:
        return (
            "unsure",
            "It moves differently",
            "It moves the prompt more in one encoder than in the other, and does not take it over.",
        )
    how = "stays much the same" if here >= STAYS else "changes"
    return "plain", "It moves the prompt", f"With it the prompt {how}. There is no clean encoder to compare with."


def _meter(name: str, view: EncoderView, kind: str) -> str:
    left = round(100 * left_of(view))
    return (
        f"<div class='left'><span>{text(name)}</span><span class='track' aria-hidden='true'><span class='{kind}'"
        f" style='width:{left}%'></span></span><b>{left} % left</b></div>"
    )


def _captions(suspect: EncoderView, reference: EncoderView | None) -> str:
    def box(title: str, near: Sequence[str]) -> str:
        return f"<div><h4>{text(title)}</h4>{bullets(f'<q>{text(one)}</q>' for one in near)}</div>"

    boxes = []
    for name, view in (("This encoder", suspect), ("The clean one", reference)):
        if view is not None:
            boxes.append(box(f"{name}, without it", [one.text for one in view.nearest_before]))
            boxes.append(box(f"{name}, with it", [one.text for one in view.nearest_after]))
    quiet = (
        "<p class='quiet'>Of some hundred words and captions those whose features lie nearest: a hint, not a"
        " translation.</p>"
    )
    return f"<h3>What the prompt says</h3>{quiet}<div class='boxes'>{''.join(boxes)}</div>"


def _maps(probe: Probe) -> str:
    suspect, reference, added = probe.suspect, probe.reference, set(probe.added_at)
    others = [suspect.tokens_before, suspect.tokens_after, *([reference.tokens_after] if reference else [])]
    scale = Scale.of(*others)
    maps = [
        heat_map("This encoder, without it", suspect.tokens_before, probe.pieces_before, (), scale),
        heat_map("This encoder, with it", suspect.tokens_after, probe.pieces_after, added, scale),
    ]
    if reference is not None:
        maps.append(heat_map("The clean one, with it", reference.tokens_after, probe.pieces_after, added, scale))
    large = " large" if len(probe.pieces_after) > _LARGE else ""
    quiet = (
        "<p class='quiet'>Each square compares two tokens of the prompt, after the last layer. What was added is"
        " framed. A trigger that takes the whole prompt over makes the tokens behind it alike. In CLIP a token sees"
        " only what stands before it.</p>"
    )
    return f"<h3>Which tokens are alike</h3>{quiet}{legend(scale)}<div class='maps{large}'>{''.join(maps)}</div>"


def _attention(probe: Probe) -> str:
    def on_added(view: EncoderView) -> list[float]:
        return [sum(row[i] for i in probe.added_at) for row in view.attention]

    ours, theirs = on_added(probe.suspect), on_added(probe.reference) if probe.reference is not None else None
    quiet = (
        "<p class='quiet'>Share of the attention that the position whose feature is used gives to what was added, in"
        " each layer, mean over the heads.</p>"
    )
    return f"<h3>Where the encoder looks</h3>{quiet}{attention_bars(ours, theirs)}"
