"""The bytes of a model card: find our section, put it in, take it out, show the difference.

Nothing outside the markers ever changes.

Knows: markers, line ends, UTF-8. Refuses to know: reports, and YAML: a card is never parsed and written again, for
that loses comments, quotes and order. Whatever stands outside the markers (CRLF, a byte order mark, broken YAML, no
final newline) comes back byte for byte.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from amdet_hub.errors import CardError
from amdet_hub.report.escape import unactionable, visible

_LOOSE = re.compile(rb"<!--\s*amdet-hub:(begin|end)", re.IGNORECASE)
_BEGIN = re.compile(rb"<!-- amdet-hub:begin((?: [a-z]+=[A-Za-z0-9.:_-]{1,128}){0,16}) -->")
_END = re.compile(rb"<!-- amdet-hub:end -->")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Section:
    """Our section as found in a card.

    `start` and `stop` are byte offsets of the first marker's first and the last marker's last byte; `attributes` are
    those of the begin marker, unchecked; `body` is what stands between the markers, with LF line ends.
    """

    start: int
    stop: int
    attributes: Mapping[str, str]
    body: str


def body_digest(body: str) -> str:
    """sha256 (64 hex digits) of a section's body in UTF-8 with LF line ends: what the begin marker's `body` says."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def marked(attributes: Mapping[str, str], body: str) -> str:
    """A section: the begin marker with `attributes`, the body, the end marker, LF line ends and a final newline."""
    shown = "".join(f" {name}={value}" for name, value in attributes.items())
    return f"<!-- amdet-hub:begin{shown} -->\n{body}\n<!-- amdet-hub:end -->\n"


def find_section(card: bytes) -> Section | None:
    """Our section in a card, None when the card holds no marker of ours at all.

    Raises:
        CardError: markers that are duplicated, nested, unbalanced or malformed; bytes that are not UTF-8.
    """
    try:
        card.decode()
    except UnicodeDecodeError as error:
        raise CardError(f"the card is not UTF-8 (byte {error.start})") from error
    loose = list(_LOOSE.finditer(card))
    if not loose:
        return None
    kinds = [match[1].decode().lower() for match in loose]
    if kinds != ["begin", "end"]:
        raise CardError(
            f"the card needs one amdet-hub marker 'begin' and then one 'end', found {', '.join(kinds[:8])}"
        )
    begin, end = _BEGIN.match(card, loose[0].start()), _END.match(card, loose[1].start())
    if begin is None or end is None:
        raise CardError(f"the amdet-hub {'begin' if begin is None else 'end'} marker of the card is malformed")
    inner = card[begin.end() : end.start()].decode().replace("\r\n", "\n")
    if not inner.startswith("\n") or not inner.endswith("\n") or len(inner) < 2:
        raise CardError("the amdet-hub markers of the card do not stand on lines of their own")
    return Section(begin.start(), end.end(), _attributes(begin[1]), inner[1:-1])


def _attributes(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in raw.decode().split():
        name, _, value = word.partition("=")
        if name in found:
            raise CardError(f"the amdet-hub begin marker of the card states '{name}' twice")
        found[name] = value
    return found


def splice(card: bytes, section: str) -> bytes:
    """The card with `section` in it: in place of the one it has, else at its end after an empty line.

    Every byte outside the markers is kept. The section's own line ends follow the card's (the commoner of CRLF and
    LF). Splicing the same section twice changes nothing more, and `remove_section` undoes an appended one exactly.

    Args:
        card: README.md as it is; empty for a repository without one.
        section: what `render_section` made.

    Raises:
        CardError: the card's markers are unusable (`find_section`), or `section` is not one section.
    """
    new = section.encode().rstrip(b"\n")
    parsed = find_section(new)
    if parsed is None or (parsed.start, parsed.stop) != (0, len(new)):
        raise CardError("the text to put into the card is not one amdet-hub section")
    old = find_section(card)
    eol = b"\r\n" if 2 * card.count(b"\r\n") > card.count(b"\n") else b"\n"
    new = new.replace(b"\r\n", b"\n").replace(b"\n", eol)
    if old is not None:
        return card[: old.start] + new + card[old.stop :]
    if card in (b"", _BOM):
        return card + new + eol
    # A card that lacks the final newline keeps lacking it: that is how `remove_section` knows what was there before.
    return card + eol + new + eol if card.endswith(b"\n") else card + eol + eol + new


def remove_section(card: bytes) -> bytes:
    """The card without our section; the same bytes when it has none. Undoes an appending `splice` exactly.

    Raises:
        CardError: the card's markers are unusable.
    """
    section = find_section(card)
    if section is None:
        return card
    before, after = card[: section.start], card[section.stop :]
    eol = b"\r\n" if b"\r\n" in card[section.start : section.stop] else b"\n"
    if before in (b"", _BOM):
        return before + after.removeprefix(eol)
    if not after:
        return before.removesuffix(eol).removesuffix(eol)
    return before.removesuffix(eol) + after.removeprefix(eol)


def diff(before: bytes, after: bytes, path: str) -> str:
    r"""A unified diff for people, `""` when nothing differs.

    Control and bidirectional characters of the card are shown as code points.

    A carriage return at a line's end is shown only where the file mixes line ends. Bytes that are not UTF-8 are shown
    as `\xNN`.
    """
    if before == after:
        return ""
    name = visible(path)
    plain_crlf = all(text.count(b"\n") == text.count(b"\r\n") for text in (before, after))
    old, new = _diff_lines(before, drop_cr=plain_crlf), _diff_lines(after, drop_cr=plain_crlf)
    changes = difflib.unified_diff(old, new, f"a/{name}" if before else "/dev/null", f"b/{name}")
    lines = (unactionable(line) for line in changes)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _diff_lines(raw: bytes, *, drop_cr: bool) -> list[str]:
    kept = raw.replace(b"\r\n", b"\n") if drop_cr else raw
    *ended, last = map(_diff_line, kept.decode("utf-8", "backslashreplace").split("\n"))
    return [f"{line}\n" for line in ended] + ([last] if last else [])


def _diff_line(line: str) -> str:
    return "\t".join(visible(part, limit=2000, right_to_left=True) for part in line.split("\t"))
