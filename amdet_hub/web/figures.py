"""Plots of a report: the sweep against its own null as SVG, the loss landscape in three dimensions.

Everything is read from the report.

Knows the details that `amdet_hub.scanner` puts beside its evidence. A stored report may say anything, so what is not a
list of plain numbers is not plotted. The SVG takes its colours from the page and works without scripts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amdet_hub.records import ScanReport, ScanResult
from amdet_hub.verdict import LANDSCAPE, SWEEP
from amdet_hub.web.markup import text

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 250, 44, 40, 46
_MAX_VALUES, _MAX_GRID, _MAX_TEXT = 256, 101, 4096
_NAMED = 6


def sweep_figure(result: ScanResult) -> str:
    """The scores of random tokens as a histogram, the best tokens as points beside it, named.

    `""` when the report does not hold them.
    """
    details = next((e.details for e in result.evidence if e.kind == SWEEP), {})
    null, top = _binned(details.get("null_histogram")), _tokens(details.get("top_tokens"))
    if null is None or not top:
        return ""
    low, high = null.low, max([null.high, *(score for _, score in top)])
    span = (high - low) or 1.0
    low, high = low - 0.03 * span, high + 0.06 * span

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 16)

    parts = [*_histogram(null, x), *_points(top, x), *_axis(low, high, x)]
    best, score = top[0]
    label = (
        f"{sum(null.counts):.0f} random tokens score between {null.low:.1f} and {null.high:.1f}; the best token,"
        f" {best}, scores {score:.1f}"
    )
    svg = f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{text(label)}'>{''.join(parts)}</svg>"
    return f"<figure class='plot'>{svg}<figcaption>{_SWEEP_CAPTION}</figcaption></figure>"


_SWEEP_CAPTION = (
    "How far single tokens make unlike prompts alike, here and not in the clean encoder (robust z). Bars: random"
    " tokens, what chance gives. Points: the best tokens of the whole vocabulary. A trigger of one token stands far to"
    " the right of the bars."
)


@dataclass(frozen=True)
class _Binned:
    """A histogram: counts of equal bins between `low` and `high`."""

    low: float
    high: float
    counts: tuple[float, ...]


def _histogram(null: _Binned, x: Callable[[float], float]) -> list[str]:
    width = (null.high - null.low) / len(null.counts) or 1.0
    floor, tallest = _HEIGHT - _BOTTOM, max(null.counts)
    bars = []
    for number, count in enumerate(null.counts):
        if count:
            left, right = x(null.low + number * width), x(null.low + (number + 1) * width)
            tall = math.sqrt(count / tallest) * (floor - _TOP - 60)
            bars.append(
                f"<rect class='bar' x='{left:.1f}' y='{floor - tall:.1f}' width='{max(1.0, right - left - 0.5):.1f}'"
                f" height='{tall:.1f}'/>"
            )
    return bars


def _points(top: Sequence[tuple[str, float]], x: Callable[[float], float]) -> list[str]:
    floor, parts = _HEIGHT - _BOTTOM, []
    taken: list[float] = []  # right ends of the labels of each line
    for number, (name, score) in enumerate(top):
        at = x(score)
        parts.append(f"<circle class='dot' cx='{at:.1f}' cy='{floor - 7}' r='4.5'/>")
        if number >= _NAMED:
            continue
        shown = text(name, limit=14)
        end = min(at + 4, _WIDTH - 4)
        line = next((i for i, left in enumerate(taken) if end < left - 8), len(taken))
        left = end - 8.0 * len(name[:14]) - 8
        taken[line : line + 1] = [left]
        if line * 17 > floor - 60:
            continue
        y = _TOP - 28 + 17 * line
        parts.append(f"<line class='lead' x1='{at:.1f}' y1='{floor - 12}' x2='{at:.1f}' y2='{y + 4}'/>")
        parts.append(f"<text class='name' x='{end:.1f}' y='{y}' text-anchor='end'>{shown}</text>")
    return parts


def _axis(low: float, high: float, x: Callable[[float], float]) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if (high - low) / s <= 10), (high - low) / 5)
    parts = [f"<line class='axis' x1='{_LEFT}' y1='{floor}' x2='{_WIDTH - 16}' y2='{floor}'/>"]
    tick = math.ceil(low / step) * step
    while tick <= high:
        parts.append(f"<text class='tick' x='{x(tick):.1f}' y='{floor + 18}' text-anchor='middle'>{tick:g}</text>")
        tick += step
    return [*parts, f"<text class='tick' x='{_WIDTH - 16}' y='{_HEIGHT - 4}' text-anchor='end'>robust z</text>"]


_CLEAR, _GREY = "rgba(0,0,0,0)", "#8290a4"  # seen on dark and on light


def landscape_figure(report: ScanReport) -> Any | None:
    """The first landscape of a report as a plotly figure that can be turned, None when there is none."""
    for result in report.results:
        details = next((e.details for e in result.evidence if e.kind == LANDSCAPE), {})
        surface = _surface(details.get("losses"))
        if surface:
            import plotly.graph_objects as go

            figure = go.Figure(go.Surface(z=surface, colorscale="Viridis", showscale=False))
            plain = {"backgroundcolor": _CLEAR, "gridcolor": _GREY, "zerolinecolor": _GREY, "color": _GREY}
            flat = {**plain, "title": {"text": ""}, "showticklabels": False}
            scene = {"xaxis": flat, "yaxis": flat, "zaxis": {**plain, "title": {"text": "loss"}}}
            figure.update_layout(
                scene=scene, margin={"l": 0, "r": 0, "t": 8, "b": 0}, height=360, paper_bgcolor=_CLEAR
            )
            return figure
    return None


def _numbers(data: Any) -> list[float]:
    """A list of finite numbers, or a text of such numbers; `[]` for anything else."""
    if isinstance(data, str) and len(data) <= _MAX_TEXT:
        try:
            data = [float(word) for word in data.split()]
        except ValueError:
            return []
    if not isinstance(data, list | tuple) or len(data) > _MAX_VALUES:
        return []
    plain = all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and abs(v) < 1e9 for v in data
    )
    return [float(v) for v in data] if plain else []


def _binned(data: Any) -> _Binned | None:
    """A histogram, None when it is none."""
    data = data if isinstance(data, Mapping) else {}
    ends, counts = _numbers([data.get("low"), data.get("high")]), _numbers(data.get("counts"))
    if not ends or ends[0] > ends[1] or not counts or min(counts) < 0 or not max(counts):
        return None
    return _Binned(ends[0], ends[1], tuple(counts))


def _tokens(data: Any) -> list[tuple[str, float]]:
    """Name and score of each token, best first."""
    found = []
    for row in data if isinstance(data, list | tuple) else ():
        if isinstance(row, Mapping) and (score := _numbers([row.get("score")])):
            piece = row.get("piece")
            found.append((spelled(piece) if isinstance(piece, str) else f"#{row.get('token_id')}", score[0]))
    return sorted(found, key=lambda one: -one[1])[:50]


def _byte_letters() -> dict[str, int]:
    """The letter that byte-level vocabularies write for each byte. Source: openai/gpt-2 `bytes_to_unicode`."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTE_LETTERS = _byte_letters()


def spelled(piece: str) -> str:
    """A vocabulary entry as people would read it: without the end-of-word mark, bytes put together; half a letter as its bytes."""
    stem = piece.removesuffix("</w>")
    if not stem or any(c not in _BYTE_LETTERS for c in stem):
        return piece
    data = bytes(_BYTE_LETTERS[c] for c in stem)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return f"bytes {data.hex()}"


def _surface(data: Any) -> list[list[float]]:
    """A square of numbers, or nothing."""
    if not isinstance(data, list | tuple) or not 3 <= len(data) <= _MAX_GRID:
        return []
    rows = [_numbers(row) for row in data]
    return rows if all(len(row) == len(rows) for row in rows) else []
