"""Lines and columns for a terminal. Knows: widths. Refuses to know: the words.

Everything given to this module is already `visible`; it counts columns, not characters.
"""

from amdet_hub.report.escape import display_width

_BREAKS = "-/_."  # a word that must be cut is cut after one of these where it can be


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
    body = wrap(text, max(20, width - indent - label_width))
    return [f"{' ' * indent}{pad('' if i else label, label_width)}{line}".rstrip() for i, line in enumerate(body)]


def pad(text: str, columns: int) -> str:
    """`text` filled with spaces to `columns`."""
    return text + " " * (columns - display_width(text))
