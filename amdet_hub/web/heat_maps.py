"""Plots of one prompt: cosines between its tokens as heat maps, attention on the added tokens as bars.

Knows numbers and names; the names are hostile text and are escaped here. The colours are the page's own, for light and
for dark.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby

from amdet_hub.web.markup import text
from amdet_hub.web.report_plots import readable_piece
from amdet_hub.web.svg import Scale, drawing, figure, shape, words

# Steps of colour between the least and the most alike.
LEVELS = 20
_NAME_CHARS, _LETTER = 10, 0.62  # longest name, and the width of a letter as a share of its height
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _FLOOR, _TOP = 720, 220, 52, 704, 176, 16
_FRAME = {
    "<|startoftext|>": "[start]",
    "<|endoftext|>": "[end]",
    "<bos>": "[start]",
    "</s>": "[end]",
    "<eos>": "[end]",
    "<pad>": "[last]",
}

Rows = Sequence[Sequence[float]]


def color_scale(*maps: Rows) -> Scale:
    """One scale of colours for several maps, so that they can be compared."""
    return Scale(min((value for rows in maps for value in chain.from_iterable(rows)), default=0.0), 1.0, 0, LEVELS)


def level(scale: Scale, value: float) -> int:
    """The colour of a value, 0 to `LEVELS`."""
    return round(min(float(LEVELS), max(0.0, scale(value))))


def short_name(piece: str) -> str:
    """A vocabulary entry as it stands beside a row: as people read it, and short. Not escaped."""
    name = _FRAME.get(piece) or readable_piece(piece)
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"


def heat_map(title: str, rows: Rows, pieces: Sequence[str], marked: Collection[int], scale: Scale) -> str:
    """The cosines between all pairs of tokens; rows and columns of `marked` tokens are framed and named in red.

    `title` is plain text.
    """
    cell = max(7.0, min(22.0, 480 / max(1, len(rows))))
    size = max(8.0, min(13.0, cell * 0.8))
    names = [short_name(piece) for piece in pieces]
    left, side = 14 + size * _LETTER * max(map(len, names), default=1), cell * len(rows)
    mean = sum(map(sum, rows)) / max(1, sum(map(len, rows)))
    parts = [*_cells(rows, cell, left, scale)]
    every = -(-size // cell)  # where rows are narrower than letters are high, not every one is named
    for i, name in enumerate(names):
        if i in marked:
            parts.append(shape("rect", "ring", x=left, y=cell * i, width=side, height=cell))
            parts.append(shape("rect", "ring", x=left + cell * i, y=0, width=cell, height=side))
        if i in marked or not i % every:
            middle, kind = cell * (i + 0.5) + size * 0.35, "hot" if i in marked else "tick"
            turned = f"translate({left + middle:.1f} {side + 6:.1f}) rotate(-90)"
            style = {"style": f"font-size:{size:.1f}px", "text_anchor": "end"}
            parts.append(words(kind, name, left - 6, middle, **style))
            parts.append(words(kind, name, 0, 0, transform=turned, **style))
    return figure(
        "heat",
        drawing(left + side + 2, side + left, f"{title}: {len(rows)} tokens, mean cosine {mean:.2f}", parts),
        f"<b>{text(title)}</b><br>mean cosine {mean:.2f}",
    )


def _cells(rows: Rows, cell: float, left: float, scale: Scale) -> Iterator[str]:
    """The cells of each colour as one path; neighbours of one colour are one stroke."""
    paths: dict[int, str] = defaultdict(str)
    for i, row in enumerate(rows):
        x = left
        for colour, run in groupby(level(scale, value) for value in row):
            wide = cell * len(list(run))
            paths[colour] += f"M{x:.1f} {cell * i:.1f}h{wide:.1f}v{cell:.1f}h-{wide:.1f}z"
            x += wide
    for colour, path in sorted(paths.items()):
        yield shape("path", "cell", fill_opacity=f"{colour / LEVELS:.2f}", d=path)


def legend(scale: Scale) -> str:
    """The meaning of the colours."""
    steps = "".join(
        shape("rect", "cell", fill_opacity=f"{i / 10}", x=i * 12, y=0, width=12, height=12) for i in range(11)
    )
    svg = f"<svg viewBox='0 0 132 12' width='132' height='12' aria-hidden='true'>{steps}</svg>"
    return (
        f"<p class='legend'>{scale.low:.2f} {svg} {scale.high:.2f} <span class='quiet'>cosine of two tokens; one scale"
        " for all maps</span></p>"
    )


def attention_bars(suspect: Sequence[float], reference: Sequence[float] | None) -> str:
    """The pooled position's attention on the added tokens, a share in [0, 1], layer by layer, in both encoders."""
    kinds = {"dot": suspect} | ({"bar": reference} if reference is not None else {})
    highest = next((step for step in (0.1, 0.25, 0.5) if max(map(max, kinds.values())) <= step), 1.0)
    y, wide = Scale(0, highest, _FLOOR, _TOP), (_RIGHT - _LEFT) / max(1, len(suspect))
    parts = []
    for share in (0.0, highest / 2, highest):
        parts.append(shape("line", "rule", x1=_LEFT, y1=y(share), x2=_RIGHT, y2=y(share)))
        parts.append(words("tick", f"{100 * share:.3g} %", _LEFT - 6, y(share) + 4, text_anchor="end"))
    bar = min(34.0, 0.8 * wide / len(kinds))
    for layer in range(len(suspect)):
        middle = _LEFT + wide * (layer + 0.5)
        for number, (kind, values) in enumerate(kinds.items()):
            x, top = middle + (number - len(kinds) / 2) * bar, y(min(highest, values[layer]))
            parts.append(shape("rect", kind, x=x, y=top, width=bar - 1, height=_FLOOR - top))
        if wide > 24 or layer % 4 == 0:
            parts.append(words("tick", str(layer + 1), middle, _FLOOR + 16))
    parts.append(words("tick", "layer", _RIGHT, _HEIGHT - 8, text_anchor="end"))
    top_layer = max(range(len(suspect)), key=lambda i: suspect[i], default=0)
    label = (
        f"Attention on the added tokens in {len(suspect)} layers: at most {suspect[top_layer]:.0%}, in layer"
        f" {top_layer + 1}"
    )
    keys = "<span class='key suspect'></span> this encoder" + (
        " <span class='key reference'></span> the reference" if reference is not None else ""
    )
    return f"<figure class='plot'><p class='legend'>{keys}</p>{drawing(_WIDTH, _HEIGHT, label, parts)}</figure>"
