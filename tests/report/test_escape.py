from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub.report.escape import code_points, code_span, code_text, display_width, prose, unactionable, visible

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 1 | 2", "plain text, 1 | 2"),
        ("\x1b[31m", "\\u{1b}[31m"),
        ("a\nb", "a\\u{a}b"),
        ("\u202e", "\\u{202e}"),
        ("caf\u00e9 cafe\u0301", "caf\u00e9 cafe\u0301"),
        ("\u0301a", "\\u{301}a"),
        ("a\u0301\u0301\u0301\u0301", "a\u0301\u0301\\u{301}\\u{301}"),
        ("1\u20e3", "1\\u{20e3}"),
        ("x\ufe0f", "x\\u{fe0f}"),
        ("\\u{1b}", "\\u{5c}u{1b}"),
        ("C:\\dir", "C:\\dir"),
        ("\u05d0", "\\u{5d0}"),
        ("\u0585\u6f22", "\u0585\u6f22"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_visible_keeps_right_to_left_letters_on_request() -> None:
    assert visible("\u05d0\u202e", right_to_left=True) == "\u05d0\\u{202e}"


def test_visible_says_what_it_cut() -> None:
    assert visible("abcdef", limit=4) == "abcd... (+2 characters)"
    assert visible("abcdef", limit=6) == "abcdef"
    assert visible("a" * 1000, limit=None) == "a" * 1000


@given(ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_visible_shows_everything_and_loses_nothing(text: str) -> None:
    shown = visible(text, limit=None)
    shown.encode()
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)
    assert display_width(shown) >= 0
    parts = shown.split("\\u{")
    restored = parts[0] + "".join(chr(int(part.split("}", 1)[0], 16)) + part.split("}", 1)[1] for part in parts[1:])
    assert restored == text


def test_code_points() -> None:
    assert code_points("zz\u0585\u0585\x00") == ("U+0585 ARMENIAN SMALL LETTER OH", "U+0000 unnamed character")
    assert code_points("plain") == ()
    assert code_points("".join(chr(0x430 + i) for i in range(10)))[-1] == "and 2 more"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("org/model", "`org/model`"),
        ("a`b|c<d>e", "`a\\u{60}b\\u{7c}c\\u{3c}d\\u{3e}e`"),
        (" a ", "`\\u{20}a\\u{20}`"),
        ("  ", "`\\u{20}\\u{20}`"),
        ("", "`(empty)`"),
    ],
)
def test_code_span(text: str, span: str) -> None:
    assert code_span(text) == span


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_code_text_never_holds_what_ends_it(text: str) -> None:
    assert not set(code_text(text)) & set("`|<>\n")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("A plain sentence, with 98% (and more).", "A plain sentence, with 98% (and more)."),
        ("see (org/model@rev), now", "see (`org/model@rev`), now"),
        ("text_encoder_2 is bad.", "`text_encoder_2` is bad."),
        ("go to http://evil.example!", "go to `http://evil.example!`"),
        ("www.evil.example", "`www.evil.example`"),
        ("model.safetensors changed", "`model.safetensors` changed"),
        ("version 2.13.0 e.g. 0.5", "version 2.13.0 e.g. 0.5"),
        ("<b> | `x` *y*", "`\\u{3c}b\\u{3e}` `\\u{7c}` `\\u{60}x\\u{60}` `*y*`"),
        ("1. first", "`1`. first"),
        ("- item", "`-` item"),
        ("", "(empty)"),
    ],
)
def test_prose(text: str, markdown: str) -> None:
    assert prose(text) == markdown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("::error::x", "\\u{3a}:error::x"),
        (" \t::error::x", " \t\\u{3a}:error::x"),
        ("\x1b[1m::error::x", "\x1b[1m\\u{3a}:error::x"),
        ("a ::error::x", "a ::error::x"),
        ("a ##[error]x", "a #\\u{23}[error]x"),
        ("## heading", "## heading"),
    ],
)
def test_unactionable(line: str, shown: str) -> None:
    assert unactionable(line) == shown


def test_display_width() -> None:
    assert display_width("abc") == 3
    assert display_width("\u6f22") == 2
    assert display_width("e\u0301") == 1
