"""Plots of one prompt: how alike its tokens are, as heat maps, and how much of the attention falls on what was added, as bars. SVG, no scripts.

Knows numbers and names; the names are hostile text and are escaped here. The colours are the page's own, for light and
for dark.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from amdet_hub.web.figures import spelled
from amdet_hub.web.markup import text

_LEVELS = 20
_NAME_CHARS, _LETTER = 10, 0.62  # longest name, and the width of a letter as a share of its height
_WIDTH, _HEIGHT, _LEFT, _FOOT, _TOP = 720, 220, 52, 44, 16
_FRAME = {
    "<|startoftext|>": "[start]",
    "<|endoftext|>": "[end]",
    "<bos>": "[start]",
    "</s>": "[end]",
    "<eos>": "[end]",
    "<pad>": "[last]",
}

Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Scale:
    """What the weakest and the strongest colour stand for."""

    low: float
    high: float = 1.0

    @classmethod
    def of(cls, *maps: Rows) -> Scale:
        """One scale for several maps, so that their colours can be compared."""
        return cls(min((value for rows in maps for row in rows for value in row), default=0.0))

    def level(self, value: float) -> int:
        """0 to `_LEVELS`."""
        return round(_LEVELS * min(1.0, max(0.0, (value - self.low) / ((self.high - self.low) or 1.0))))


def short_name(piece: str) -> str:
    """A vocabulary entry as it stands beside a row: read as people would, and short. Not escaped."""
    name = _FRAME.get(piece) or spelled(piece).lstrip("\u2581") or piece
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def mean_of(rows: Rows) -> float:
    """Mean of all values, in [-1, 1]: the paper's assimilation, where they are the cosines of a prompt's tokens."""
    return sum(map(sum, rows)) / max(1, sum(map(len, rows)))


def heat_map(title: str, rows: Rows, pieces: Sequence[str], marked: Collection[int], scale: Scale) -> str:
    """The cosines between all pairs of tokens; rows and columns of `marked` tokens are framed and named in red.

    `title` is plain text.
    """
    count = len(rows)
    cell = max(7.0, min(22.0, 480 / max(1, count)))
    size = max(8.0, min(13.0, cell * 0.8))
    gutter = 12 + size * _LETTER * max((len(short_name(piece)) for piece in pieces), default=1)
    side = cell * count
    parts = [*_cells(rows, cell, gutter, scale), *_names(pieces, marked, cell, size, gutter, side)]
    for i in sorted(marked):
        at = cell * i
        parts.append(f"<rect class='ring' x='{gutter:.1f}' y='{at:.1f}' width='{side:.1f}' height='{cell:.1f}'/>")
        parts.append(f"<rect class='ring' x='{gutter + at:.1f}' y='0' width='{cell:.1f}' height='{side:.1f}'/>")
    label = f"{title}: {count} tokens, on average {mean_of(rows):.2f} alike"
    svg = (
        f"<svg viewBox='-2 -2 {gutter + side + 4:.0f} {side + gutter + 4:.0f}' role='img'"
        f" aria-label='{text(label)}'>{''.join(parts)}</svg>"
    )
    return (
        f"<figure class='heat'><figcaption><b>{text(title)}</b><br>on average {mean_of(rows):.2f}"
        f" alike</figcaption>{svg}</figure>"
    )


def _cells(rows: Rows, cell: float, left: float, scale: Scale) -> list[str]:
    """The cells of each level as one path; neighbours of one level are one stroke."""
    paths: dict[int, list[str]] = {}
    for i, row in enumerate(rows):
        levels = [scale.level(value) for value in row]
        start = 0
        for j in range(1, len(levels) + 1):
            if j == len(levels) or levels[j] != levels[start]:
                wide = cell * (j - start)
                paths.setdefault(levels[start], []).append(
                    f"M{left + cell * start:.1f} {cell * i:.1f}h{wide:.1f}v{cell:.1f}h-{wide:.1f}z"
                )
                start = j
    return [
        f"<path class='cell' fill-opacity='{level / _LEVELS:.2f}' d='{''.join(d)}'/>"
        for level, d in sorted(paths.items())
    ]


def _names(
    pieces: Sequence[str], marked: Collection[int], cell: float, size: float, left: float, side: float
) -> list[str]:
    parts = []
    every = -(-size // cell)  # where rows are narrower than letters are high, not every one is named
    for i, piece in enumerate(pieces):
        if i % every and i not in marked:
            continue
        name, kind, at = text(short_name(piece)), "hot" if i in marked else "tick", cell * (i + 0.5)
        font = f"style='font-size:{size:.1f}px'"
        parts.append(
            f"<text class='{kind}' {font} x='{left - 6:.1f}' y='{at + size * 0.35:.1f}'"
            f" text-anchor='end'>{name}</text>"
        )
        x, y = left + at + size * 0.35, side + 6
        parts.append(
            f"<text class='{kind}' {font} transform='translate({x:.1f} {y:.1f}) rotate(-90)'"
            f" text-anchor='end'>{name}</text>"
        )
    return parts


def legend(scale: Scale) -> str:
    """What the colours of the maps stand for."""
    steps = "".join(
        f"<rect class='cell' fill-opacity='{i / 10:.1f}' x='{i * 12}' y='0' width='12' height='12'/>"
        for i in range(11)
    )
    svg = f"<svg viewBox='0 0 132 12' width='132' height='12' aria-hidden='true'>{steps}</svg>"
    return (
        f"<p class='legend'>{scale.low:.2f} {svg} {scale.high:.2f} <span class='quiet'>cosine of two tokens; one scale"
        " for all maps</span></p>"
    )


def attention_bars(suspect: Sequence[float], reference: Sequence[float] | None) -> str:
    """How much of the pooled position's attention falls on what was added, layer by layer, in [0, 1]: this encoder beside the clean one."""
    sets = [("dot", suspect)] + ([("bar", reference)] if reference is not None else [])
    highest = next((step for step in (0.1, 0.25, 0.5) if max(map(max, (values for _, values in sets))) <= step), 1.0)
    floor, wide = _HEIGHT - _FOOT, (_WIDTH - _LEFT - 16) / max(1, len(suspect))
    parts = []
    for share in (0.0, highest / 2, highest):
        y = floor - share / highest * (floor - _TOP)
        parts.append(f"<line class='rule' x1='{_LEFT}' y1='{y:.1f}' x2='{_WIDTH - 16}' y2='{y:.1f}'/>")
        parts.append(
            f"<text class='tick' x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{100 * share:.3g} %</text>"
        )
    bar = min(34.0, 0.8 * wide / len(sets))
    for layer in range(len(suspect)):
        middle = _LEFT + wide * (layer + 0.5)
        for number, (kind, values) in enumerate(sets):
            tall = min(1.0, values[layer] / highest) * (floor - _TOP)
            x = middle + (number - len(sets) / 2) * bar
            parts.append(
                f"<rect class='{kind}' x='{x:.1f}' y='{floor - tall:.1f}' width='{bar - 1:.1f}' height='{tall:.1f}'/>"
            )
        if wide > 24 or layer % 4 == 0:
            parts.append(
                f"<text class='tick' x='{middle:.1f}' y='{floor + 16}' text-anchor='middle'>{layer + 1}</text>"
            )
    parts.append(f"<text class='tick' x='{_WIDTH - 16}' y='{_HEIGHT - 8}' text-anchor='end'>layer</text>")
    top = max(range(len(suspect)), key=lambda i: suspect[i], default=0)
    label = f"Attention on what was added, in {len(suspect)} layers; at most {suspect[top]:.0%}, in layer {top + 1}"
    svg = f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{text(label)}'>{''.join(parts)}</svg>"
    keys = "<span class='key ours'></span> this encoder" + (
        " <span class='key theirs'></span> the clean one" if reference is not None else ""
    )
    return f"<figure class='plot'><p class='legend'>{keys}</p>{svg}</figure>"
