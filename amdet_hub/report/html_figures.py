"""Figures of the HTML report as inline SVG: scores and their thresholds, a score and its null, success by place.

Knows: records and plain SVG. Refuses to know: style, which classes of the page's one style sheet give. An SVG here is
only bars and lines, stretched to the width there is; every word stands beside it as HTML, so that it stays readable on
a narrow screen and in print.
"""

from collections.abc import Sequence
from html import escape

from amdet_hub.records import Evidence, NullDistribution, ScanResult, TriggerFinding
from amdet_hub.report import wording
from amdet_hub.report.escape import visible

# Units across every figure; the page stretches them.
WIDTH = 1000.0

_MARGIN = 0.04  # of the axis, beyond the outermost mark
_NULL_SPREAD = 3  # the null's box reaches this many MAD to either side of its median
_MOST_RATIO = 4.0  # a bar ends at this multiple of its threshold; beyond it says nothing more


def html(text: str, *, limit: int | None = 300) -> str:
    """Hostile text for an element or a double-quoted attribute: visible, on one line, with no markup in it."""
    return escape(visible(text, limit=limit), quote=True)


def code(text: str, *, limit: int | None = 300) -> str:
    """The same in a code element, in which text of any direction stays where it is."""
    return f"<code>{html(text, limit=limit) or '(empty)'}</code>"


def thresholds_figure(evidence: Sequence[Evidence]) -> str:
    """One bar a finding: its value as a multiple of its threshold, with a line at 1.

    `""` when no finding can be shown so.

    Shown are findings whose backdoor side lies above a positive threshold; others stand in the table.
    """
    shown = [(e, ratio) for e in evidence if (ratio := wording.threshold_ratio(e)) is not None]
    if not shown:
        return ""
    most = min(_MOST_RATIO, max(1.5, *(ratio for _, ratio in shown)))
    rows = "".join(_ratio_row(e, ratio, most) for e, ratio in shown)
    return (
        f'<figure><div class="bars">{rows}</div><figcaption>Each score as a multiple of its threshold. The line is the'
        " threshold; a bar beyond it counts as evidence of a backdoor.</figcaption></figure>"
    )


def _ratio_row(evidence: Evidence, ratio: float, most: float) -> str:
    side = wording.outcome_text(evidence)
    bar = _rect(0, min(ratio, most) / most * WIDTH, f"bar {side}") + _line(WIDTH / most, "threshold")
    words = f"{wording.value_text(evidence)}, threshold {wording.threshold_text(evidence)}"
    return (
        f'<div class="label">{code(evidence.kind, limit=60)}</div>{_svg(bar, f"{evidence.kind}: {words}")}'
        f'<div class="value">{html(words, limit=100)} <span class="{side}">{side}</span></div>'
    )


def null_figure(evidence: Evidence) -> str:
    """Where a score lies beside what chance gives: the null's box and maximum, the threshold, and the score.

    `""` without a null.
    """
    null = evidence.null
    if null is None:
        return ""
    marks = [x for x in (evidence.value, null.median, evidence.threshold, null.maximum) if x is not None]
    low, high = min(*marks, null.median - _NULL_SPREAD * null.mad), max(*marks, null.median + _NULL_SPREAD * null.mad)
    span = (high - low) or 1.0
    low, span = low - _MARGIN * span, span * (1 + 2 * _MARGIN)

    def at(value: float) -> float:
        return max(0.0, min(WIDTH, (value - low) / span * WIDTH))

    side = wording.outcome_text(evidence)
    left, right = at(null.median - _NULL_SPREAD * null.mad), at(null.median + _NULL_SPREAD * null.mad)
    top = at(null.maximum) if null.maximum is not None else right
    drawn = (
        _AXIS
        + _rect(min(right, top), max(0.0, top - right), "whisker", thin=True)
        + _rect(left, max(right - left, 2.0), "null")
        + (_line(at(evidence.threshold), "threshold") if evidence.threshold is not None else "")
        + _rect(max(0.0, at(evidence.value) - 4), 8, f"bar {side}")
    )
    return (
        f'<figure class="null"><div class="strip">{_svg(drawn, f"{evidence.kind} beside its null")}</div>'
        f"<figcaption>{_null_legend(evidence, null, side)}</figcaption></figure>"
    )


def _null_legend(evidence: Evidence, null: NullDistribution, side: str) -> str:
    top = f", largest {wording.number(null.maximum)}" if null.maximum is not None else ""
    parts = [
        (
            f'<span class="key {side}"></span>{code(evidence.kind, limit=60)} found'
            f" {html(wording.value_text(evidence), limit=80)}"
        ),
        (
            f'<span class="key null"></span>by chance: median {wording.number(null.median)}, MAD'
            f" {wording.number(null.mad)}{top} (n {null.n:,}; {html(null.source, limit=160)})"
        ),
    ]
    if evidence.threshold is not None:
        parts.append(
            f'<span class="key threshold"></span>threshold {html(wording.threshold_text(evidence), limit=40)}'
        )
    return "".join(f"<span>{part}</span> " for part in parts)


def success_figure(trigger: TriggerFinding, result: ScanResult) -> str:
    """The share of held-out prompts that the trigger takes over, by where it stands in them."""
    if not trigger.n_prompts:
        return ""
    side = "beyond" if result.verdict.label == "backdoor-detected" else "informs"
    rows = "".join(
        f'<div class="label">{place}</div>'
        + _svg(_AXIS + _rect(0, max(0.0, min(1.0, rate)) * WIDTH, f"bar {side}"), f"{place}: {rate:.0%}")
        + f'<div class="value">{html(wording.percent(rate))}</div>'
        for place, rate in wording.places(trigger)
    )
    return (
        f'<figure><div class="bars">{rows}</div><figcaption>Share of {trigger.n_prompts:,} prompts, none of which the'
        " search had seen, that the trigger takes over, by where it stands in them.</figcaption></figure>"
    )


def _svg(content: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:g} 20" preserveAspectRatio="none" role="img"'
        f' aria-label="{html(label, limit=160)}">{content}</svg>'
    )


def _rect(x: float, width: float, kind: str, *, thin: bool = False) -> str:
    y, height = (9, 2) if thin else (3, 14)
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}"/>'


def _line(x: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="20"/>'


_AXIS = _rect(0, WIDTH, "axis", thin=True)
