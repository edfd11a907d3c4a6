"""Plots of a report: the sweep beside its null distribution as SVG, the loss landscape in three dimensions.

Reads the details that `amdet_hub.scanner` puts beside its evidence, and plots nothing where they are missing.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from amdet_hub.records import ScanReport, ScanResult
from amdet_hub.verdict import LANDSCAPE, SWEEP
from amdet_hub.web.svg import Scale, drawing, figure, shape, words

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _FLOOR, _TOP = 720, 250, 44, 704, 210, 46
_MAX_TOKENS, _MAX_GRID = 50, 101
_NAMED_TOKENS = 6
_SWEEP_CAPTION = (
    "How much single tokens make different prompts alike, in this encoder and not in the reference (robust z). Bars:"
    " random tokens, the null distribution. Points: the best tokens of the whole vocabulary. A trigger of one token"
    " stands far to the right of the bars."
)


def details_of(result: ScanResult, kind: str) -> Mapping[str, Any]:
    """The details of the first finding of this kind, empty when there is none."""
    return next((one.details for one in result.evidence if one.kind == kind), {})


def sweep_figure(result: ScanResult) -> str:
    """The scores of random tokens as a histogram, the best tokens as named points beside it; `""` without them."""
    details = details_of(result, SWEEP)
    try:
        null, rows = details["null_histogram"], details["top_tokens"]
        low, high, counts = float(null["low"]), float(null["high"]), _numbers(null["counts"])
        top = sorted(((token_name(row), float(row["score"])) for row in rows), key=lambda one: -one[1])[:_MAX_TOKENS]
    except (KeyError, TypeError, ValueError):
        return ""
    if not top or low > high or max(counts, default=0) <= 0:
        return ""
    x = Scale.over([low, high, *(score for _, score in top)], _LEFT, _RIGHT, (0.03, 0.06))
    best, score = top[0]
    parts = [*_histogram(Scale(0, len(counts), x(low), x(high)), counts), *_points(top, x), *_axis(x)]
    return figure(
        "plot",
        drawing(
            _WIDTH,
            _HEIGHT,
            f"{sum(counts):.0f} random tokens score between {low:.1f} and {high:.1f}; the best token, {best}, scores"
            f" {score:.1f}",
            parts,
        ),
        _SWEEP_CAPTION,
    )


def _histogram(edge: Scale, counts: Sequence[float]) -> Iterator[str]:
    """The bars; `edge` places the edges of the bins."""
    for number, count in enumerate(counts):
        tall = math.sqrt(count / max(counts)) * (_FLOOR - _TOP - 60)
        width = max(1.0, edge(number + 1) - edge(number) - 0.5)
        yield shape("rect", "bar", x=edge(number), y=_FLOOR - tall, width=width, height=tall)


def _points(top: Sequence[tuple[str, float]], x: Scale) -> Iterator[str]:
    yield from (shape("circle", "dot", cx=x(score), cy=_FLOOR - 7, r=4.5) for _, score in top)
    taken: list[float] = []  # left ends of the names on each line
    for name, score in top[:_NAMED_TOKENS]:
        end = min(x(score) + 4, _WIDTH - 4)
        line = next((number for number, left in enumerate(taken) if end < left - 8), len(taken))
        taken[line : line + 1] = [end - 8.0 * len(name[:14]) - 8]
        y = _TOP - 28 + 17 * line
        if y < _FLOOR - 42:
            yield shape("line", "lead", x1=x(score), y1=_FLOOR - 12, x2=x(score), y2=y + 4)
            yield words("name", name if len(name) <= 14 else f"{name[:13]}…", end, y, text_anchor="end")


def _axis(x: Scale) -> Iterator[str]:
    yield shape("line", "axis", x1=_LEFT, y1=_FLOOR, x2=_RIGHT, y2=_FLOOR)
    yield from (words("tick", f"{tick:g}", x(tick), _FLOOR + 18) for tick in x.ticks())
    yield words("tick", "robust z", _RIGHT, _HEIGHT - 4, text_anchor="end")


_CLEAR, _GREY = "rgba(0,0,0,0)", "#8290a4"  # seen on dark and on light


def landscape_figure(report: ScanReport) -> Any | None:
    """The first landscape of a report as a plotly figure that can be turned, None when there is none."""
    surface = next(filter(None, (_surface(result) for result in report.results)), None)
    if surface is None:
        return None
    import plotly.graph_objects as go

    plain = {"backgroundcolor": _CLEAR, "gridcolor": _GREY, "zerolinecolor": _GREY, "color": _GREY}
    flat = {**plain, "title": {"text": ""}, "showticklabels": False}
    made = go.Figure(go.Surface(z=surface, colorscale="Viridis", showscale=False))
    made.update_layout(
        scene={"xaxis": flat, "yaxis": flat, "zaxis": {**plain, "title": {"text": "loss"}}},
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        height=360,
        paper_bgcolor=_CLEAR,
    )
    return made


def _surface(result: ScanResult) -> list[list[float]] | None:
    """The landscape's losses as a square of numbers."""
    try:
        rows = [_numbers(row) for row in details_of(result, LANDSCAPE)["losses"]]
    except (KeyError, TypeError, ValueError):
        return None
    return rows if 3 <= len(rows) <= _MAX_GRID and all(len(row) == len(rows) for row in rows) else None


def _numbers(data: Any) -> list[float]:
    """A list of numbers, which a report may hold as one text."""
    return [float(value) for value in (data.split() if isinstance(data, str) else data)]


_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
# The byte behind each letter of a byte-level vocabulary. Source: openai/gpt-2 `bytes_to_unicode`.
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + number): byte for number, byte in enumerate(b for b in range(256) if b not in _PRINTABLE)
}


def token_name(row: Mapping[str, Any]) -> str:
    """The name of a row of the best tokens: its vocabulary entry as people read it, else its id."""
    piece = row.get("piece")
    return readable_piece(piece) if isinstance(piece, str) else f"#{row.get('token_id')}"


def readable_piece(piece: str) -> str:
    """A vocabulary entry as people read it: without its word mark, bytes put together; half a letter as its bytes."""
    stem = piece.removesuffix("</w>")
    if not stem or any(letter not in _BYTES for letter in stem):
        return piece.lstrip("\u2581") or piece
    data = bytes(_BYTES[letter] for letter in stem)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return f"bytes {data.hex()}"
