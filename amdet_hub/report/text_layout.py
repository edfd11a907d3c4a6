"""Lines, columns and colour for a terminal. Knows: widths and SGR codes. Refuses to know: what the words say.

Everything given to this module is already `visible`; it counts columns, not characters, and paints only after
counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amdet_hub.report.escape import display_width

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "1;31",
    "yellow": "1;33",
    "cyan": "1;36",
}
_GAP = "  "
_BREAKS = "-/_."  # a word that must be cut is cut after one of these where it can be


@dataclass(frozen=True)
class Paint:
    """Colour, or none of it: `paint("text", "red")` is the text itself when `enabled` is False."""

    enabled: bool

    def __call__(self, text: str, style: str | None) -> str:
        """`text` in one of the styles of this module; None leaves it plain."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.enabled and style and text else text


def wrap(text: str, width: int) -> list[str]:
    """`text` broken at spaces into lines of at most `width` columns; longer words are cut. At least one line."""
    lines = [""]
    for word in text.split(" "):
        for i, piece in enumerate(_pieces(word, width)):
            joined = f"{lines[-1]} {piece}" if lines[-1] and not i else piece
            if i or (lines[-1] and display_width(joined) > width):
                lines.append(piece)
            else:
                lines[-1] = joined
    return lines


def _pieces(word: str, width: int) -> list[str]:
    if display_width(word) <= width:
        return [word]
    pieces, current, used = [], "", 0
    for char in word:
        columns = display_width(char)
        if used + columns > width and current:
            cut = max(current.rfind(c) for c in _BREAKS) + 1
            cut = cut if cut > len(current) // 3 else len(current)
            pieces.append(current[:cut])
            current = current[cut:]
            used = display_width(current)
        current, used = current + char, used + columns
    return [*pieces, current]


def hanging(label: str, text: str, *, indent: int, label_width: int, width: int) -> list[str]:
    """`label` once, and `text` wrapped beside it."""
    room = max(20, width - indent - label_width)
    body = wrap(text, room)
    heads = [pad(label, label_width)] + [" " * label_width] * (len(body) - 1)
    return [f"{' ' * indent}{head}{line}".rstrip() for head, line in zip(heads, body, strict=True)]


def pad(text: str, columns: int) -> str:
    """`text` filled with spaces to `columns`."""
    return text + " " * (columns - display_width(text))


def column_widths(rows: Sequence[Sequence[str]], *, indent: int, width: int, last_minimum: int) -> list[int]:
    """Columns for each cell but the last, which takes what remains; the first shrinks first so that the last keeps `last_minimum`."""
    widths = [max(display_width(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    excess = sum(widths) + len(_GAP) * len(widths) + indent + last_minimum - width
    for i in range(len(widths)):
        cut = min(max(0, excess), max(0, widths[i] - 8))
        widths[i], excess = widths[i] - cut, excess - cut
    return [*widths, max(last_minimum, width - indent - sum(widths) - len(_GAP) * len(widths))]


def table_row(cells: Sequence[str], widths: Sequence[int], *, indent: int) -> list[str]:
    """One row as aligned lines; a cell wider than its column is wrapped inside it."""
    wrapped = [wrap(cell, columns) for cell, columns in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in wrapped)
    filled = [lines + [""] * (height - len(lines)) for lines in wrapped]
    return [
        " " * indent + _GAP.join(pad(lines[k], widths[c]) for c, lines in enumerate(filled)).rstrip()
        for k in range(height)
    ]
