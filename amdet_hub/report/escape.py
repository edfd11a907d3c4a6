"""Hostile text made harmless, one function per output format. Standard library only.

Knows: which characters lie to a reader (control, bidirectional, zero-width, unassigned) and what Markdown would act
upon. Refuses to know: what the text means, and any record. Every string that came from a repository or from a stored
report passes through here before it is shown.

Source of the character classes: Unicode Standard Annexes 9 (bidirectional algorithm) and 44 (general categories),
Technical Report 36 (security considerations). Source of the Markdown rules: CommonMark 0.31 and GitHub Flavored
Markdown, section 6.9 (autolinks extension).
"""

import re
import unicodedata

# Longest repository string that is shown whole, in characters; a path of a megabyte would bury the verdict.
DEFAULT_LIMIT = 300

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKS = frozenset({"Mn", "Me"})
_MAX_MARKS = 2  # more combining marks on one letter than any living script needs would overprint the lines around it
_BLANK_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
)  # shown as nothing, though category letter, mark or symbol
_NAMED_CHARACTERS = 8
_CODE_SPECIALS = str.maketrans({c: f"\\u{{{ord(c):x}}}" for c in "`|<>"})
_PLAIN_PUNCTUATION = frozenset(" ,.;:()'\"%+-/=?")
_OUTER_SPACES = re.compile("^ +| +$")
_AROUND = re.compile(r"""^[("']*|[,.;:)"'?]*$""")
_RUNNER_COMMAND = re.compile(r"^((?:\s|\x1b\[[0-9;]*m)*)::")
_LINK_LIKE = re.compile(r"://|@|\bwww\.|\.[^\W\d_]{2}|^[A-Za-z][A-Za-z0-9+.-]*:\S|^\d+[.)]$", re.IGNORECASE)


def visible(text: str, *, limit: int | None = DEFAULT_LIMIT, right_to_left: bool = False) -> str:
    r"""`text` on one line with every character that is not plainly seen as `\u{hex}`.

    Shown as code: control, format (bidirectional, zero-width), surrogate, private and unassigned characters, line
    separators, every space but U+0020, letters that look like nothing, variation selectors, combining marks without a
    letter or in heaps, and, unless `right_to_left`, letters of right-to-left scripts, which would reorder the line
    around them. A backslash before `u{` is shown as code too, so no text can imitate an escape. Longer than `limit`
    characters: cut, and the cut is said.
    """
    cut = 0 if limit is None else max(0, len(text) - limit)
    kept = text[: len(text) - cut] if cut else text
    harmless = kept.isascii() and kept.isprintable() and "\\u{" not in kept
    shown = kept if harmless else "".join(_shown(kept, i, right_to_left) for i in range(len(kept)))
    return f"{shown}... (+{cut} characters)" if cut else shown


def _shown(text: str, index: int, right_to_left: bool) -> str:
    char = text[index]
    if char == "\\":
        return "\\u{5c}" if text.startswith("\\u{", index) else char
    if " " <= char <= "~":
        return char
    return f"\\u{{{ord(char):x}}}" if _is_hidden(char, right_to_left) or _is_stray_mark(text, index) else char


def _is_hidden(char: str, right_to_left: bool) -> bool:
    category = unicodedata.category(char)
    if category in _HIDDEN_CATEGORIES or category == "Zs" or is_invisible(char):
        return True
    return not right_to_left and unicodedata.bidirectional(char) in _RIGHT_TO_LEFT


def is_invisible(char: str) -> bool:
    """Whether a character that is no space is shown as nothing: format characters, blank letters, selectors."""
    selects = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return selects or char in _BLANK_LETTERS or unicodedata.category(char) == "Cf"


def _is_stray_mark(text: str, index: int) -> bool:
    if unicodedata.category(text[index]) not in _MARKS:
        return False
    run = 0
    while index - run >= 0 and unicodedata.category(text[index - run]) in _MARKS and run <= _MAX_MARKS:
        run += 1
    base = index - run
    return run > _MAX_MARKS or base < 0 or unicodedata.category(text[base])[0] != "L"


def code_points(text: str) -> tuple[str, ...]:
    """The distinct characters of `text` outside printable ASCII, as `"U+0585 ARMENIAN SMALL LETTER OH"`.

    They tell a homoglyph from the letter it imitates. First seen first, at most eight.
    """
    odd = list(dict.fromkeys(c for c in text if not " " <= c <= "~"))
    named = [f"U+{ord(c):04X} {unicodedata.name(c, 'unnamed character')}" for c in odd[:_NAMED_CHARACTERS]]
    if len(odd) > _NAMED_CHARACTERS:
        named.append(f"and {len(odd) - _NAMED_CHARACTERS} more")
    return tuple(named)


def display_width(text: str) -> int:
    """Columns of `text` (already `visible`) in a terminal: two for a wide East Asian character, none for a mark."""
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") - (unicodedata.category(c) in _MARKS) for c in text)


def code_span(text: str, *, limit: int | None = DEFAULT_LIMIT) -> str:
    """`text` as an inline code span of Markdown that is safe in a table cell.

    Inside a code span nothing is a link, an image, a mention or HTML. What could end the span, the cell or an HTML
    comment (backtick, pipe, angle brackets) is shown as code points.
    """
    return f"`{code_text(text, limit=limit)}`" if text else "`(empty)`"


def code_text(text: str, *, limit: int | None = DEFAULT_LIMIT) -> str:
    """`text` for the inside of a code span or a fenced block; outer spaces are shown, for Markdown drops them."""
    shown = visible(text, limit=limit).translate(_CODE_SPECIALS)
    return _OUTER_SPACES.sub(lambda spaces: "\\u{20}" * len(spaces[0]), shown)


def prose(text: str, *, limit: int | None = 600) -> str:
    """A sentence as Markdown prose: a word that Markdown or a link finder could act upon becomes a code span."""
    return " ".join(_prose_word(word) for word in visible(text, limit=limit).split(" ")).strip() or "(empty)"


def _prose_word(word: str) -> str:
    if not word or _is_plain(word):
        return word
    core = _AROUND.sub("", word) or word
    before, _, after = word.partition(core)
    return f"{before}`{core.translate(_CODE_SPECIALS)}`{after}"


def _is_plain(word: str) -> bool:
    if _LINK_LIKE.search(word) or not any(c.isalnum() for c in word):
        return False
    return all(c.isalnum() or c in _PLAIN_PUNCTUATION for c in word if c.isascii())


def unactionable(line: str) -> str:
    r"""One line of output without a build log's commands: `::error::` at its start and `##[error]` are broken up.

    Source: GitHub's runner, `ActionCommand.TryParseV2` (the line is trimmed first) and `TryParse`.
    """
    return _RUNNER_COMMAND.sub(r"\1\\u{3a}:", line).replace("##[", "#\\u{23}[")
