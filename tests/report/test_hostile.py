"""Nasty strings in every free-text field, against every renderer: none is acted upon, and none stays hidden."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from amdet_hub.model_card.edit import body_digest, diff, find_section, remove_section, splice
from amdet_hub.model_card.render import card_files, render_section
from amdet_hub.records import ScanReport
from amdet_hub.report import RENDERERS, as_json, as_markdown, as_text, parse_report
from amdet_hub.report.escape import display_width
from tests.report.examples import EXAMPLES, backdoored, inconclusive, reworded
from tests.report.nasty import NASTY, poisoned

SGR = re.compile(r"\x1b\[[0-9;]*m")
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
CASES = [(example, name) for example in ("backdoored", "reworded", "taught", "inconclusive") for name in NASTY]

BAD_LISTS: tuple[Any, ...] = (None, 7, "word", {"a": "b"}, [1, None, {}], [["one"]], [["a", "b", "c"]], [[1, 2]])


def assert_plain(text: str) -> None:
    """Nothing but visible characters, spaces and LF, and no line that a build log would act upon."""
    text.encode()
    bad = {
        c
        for c in text
        if c != "\n" and (unicodedata.category(c) in HIDDEN or unicodedata.bidirectional(c) in ("R", "AL", "AN"))
    }
    assert not bad, [hex(ord(c)) for c in bad]
    assert "##[" not in text
    assert not [line for line in text.split("\n") if line.strip().startswith("::")]


def unguarded(line: str) -> str:
    """A line without what `unactionable` added: a guarded line may be that much longer."""
    return line.replace("\\u{3a}:", "::").replace("#\\u{23}[", "##[")


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize(("example", "name"), CASES)
def test_text(example: str, name: str, verbose: bool) -> None:
    report = EXAMPLES[example]()
    text = as_text(poisoned(report, NASTY[name]), width=80, verbose=verbose)
    assert_plain(text)
    *lines, last, end = text.split("\n")
    assert end == ""
    assert "Again: amdet-hub scan " in last
    assert max(display_width(unguarded(line)) for line in lines) <= 80
    assert len(text) < 150_000
    titles = [line.split("   ")[0].strip() for line in lines if re.match(r"  [A-Z]{2}", line)]
    parts = [r.verdict.label for r in report.results] + ["not-scanned" for s in report.skipped if s.blocks_clearance]
    labels = parts if len(parts) == 1 else [report.verdict.label, *parts]
    assert titles == [label.replace("-", " ").upper() for label in labels]


@pytest.mark.parametrize(("example", "name"), CASES)
def test_coloured_text_holds_our_codes_only(example: str, name: str) -> None:
    text = as_text(poisoned(EXAMPLES[example](), NASTY[name]), color=True, verbose=True)
    assert_plain(SGR.sub("", text))
    assert set(SGR.findall(text)) <= {f"\x1b[{c}m" for c in ("0", "1", "2", "1;31", "1;33", "1;36")}


@pytest.mark.parametrize(("example", "name"), CASES)
def test_json_is_exact(example: str, name: str) -> None:
    report = poisoned(EXAMPLES[example](), NASTY[name])
    text = as_json(report)
    assert text.isascii()
    assert parse_report(text) == report
    assert json.loads(text)["target"] == NASTY[name]


def structure(markdown: str) -> list[str]:
    """Block and inline token types of a Markdown text, by a real parser, without the plain text itself."""
    parser = (
        pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    )
    kinds = []
    for token in parser.parse(markdown):
        kinds.append(token.type)
        kinds += [
            f"inline {child.type}" for child in token.children or () if child.type not in ("text", "code_inline")
        ]
    return kinds


@functools.cache
def harmless_structure(example: str, render: Callable[[ScanReport], str]) -> list[str]:
    """What the same report looks like with two plain words everywhere."""
    return structure(render(poisoned(EXAMPLES[example](), "plain words")))


def loose_text(markdown: str) -> str:
    """All text outside code, where a renderer may look for links and mentions."""
    parser = (
        pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    )
    return "\n".join(c.content for t in parser.parse(markdown) for c in t.children or () if c.type == "text")


@pytest.mark.parametrize(("example", "name"), CASES)
def test_markdown(example: str, name: str) -> None:
    hostile = poisoned(EXAMPLES[example](), NASTY[name])
    for render in (as_markdown, render_section):
        text = render(hostile)
        assert_plain(text)
        found, expected = structure(text), harmless_structure(example, render)
        assert found == expected or not NASTY[name].strip()  # an empty text has no row, or another
        assert not {"inline link_open", "inline image", "inline html_inline", "inline s_open"} & set(found)
        assert not re.search(r"://|www\.|@|\bmailto:", loose_text(text).replace("\u200b", ""), re.IGNORECASE)


@pytest.mark.parametrize(("example", "name"), CASES)
def test_section_cannot_be_closed_from_inside(example: str, name: str) -> None:
    section = render_section(poisoned(EXAMPLES[example](), NASTY[name]))
    assert section.count("<!--") == section.count("-->") == 2
    assert "---" not in section.split("\n")  # a line of three dashes would end a front matter that was left open
    card = b"# card\n"
    spliced = splice(card, section)
    found = find_section(spliced)
    assert found is not None
    assert body_digest(found.body) == found.attributes["body"]
    assert remove_section(spliced) == card
    assert splice(spliced, section) == spliced


@pytest.mark.parametrize("name", NASTY)
def test_diff_of_a_hostile_card(name: str) -> None:
    before = NASTY[name].encode("utf-8", "surrogatepass")
    shown = diff(before, before + b"\nadded\n", NASTY[name])
    assert "+added\n" in shown
    shown.encode()
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c) in HIDDEN]
    assert "##[" not in shown
    assert not [line for line in shown.split("\n") if line.strip().startswith("::")]


@pytest.mark.parametrize("name", NASTY)
def test_card_files_of_a_hostile_report(name: str) -> None:
    hostile = poisoned(backdoored(), NASTY[name])
    files = card_files(hostile, None)
    assert set(files) == {"README.md", "amdet-hub.json"}
    assert parse_report(files["amdet-hub.json"].decode()) == hostile


def test_homoglyph_is_shown_as_is_and_by_name() -> None:
    for text in (as_text(backdoored()), as_markdown(backdoored()), render_section(backdoored())):
        assert "\u0585" in text
        assert "U+0585 ARMENIAN SMALL LETTER OH" in text


def test_hidden_trigger_is_named_but_not_emitted() -> None:
    for text in (as_text(poisoned(backdoored(), "\u202ezz")), as_markdown(poisoned(backdoored(), "\u202ezz"))):
        assert "\\u{202e}zz" in text
        assert "U+202E RIGHT-TO-LEFT OVERRIDE" in text


def test_command_line_is_quoted_for_a_shell() -> None:
    hostile = "x; rm -rf ~ $(id)"
    command = as_text(poisoned(inconclusive(), hostile)).rstrip("\n").split("Again: ")[1]
    words = ["amdet-hub", "scan", hostile, "--preset", hostile, "--seed", hostile, "--no-reference"]
    assert shlex.split(command) == words


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_report_says_safe(example: str) -> None:
    report = EXAMPLES[example]()
    for text in (as_text(report), as_markdown(report), render_section(report)):
        assert not re.search(r"\b(safe|clean|trustworthy|secure|harmless)\b", text, re.IGNORECASE)


@pytest.mark.parametrize("details", [{}, *({"exchanged": bad, "settings": bad, "added": bad} for bad in BAD_LISTS)])
def test_a_stored_report_may_hold_anything_where_the_words_of_a_tokenizer_stand(details: dict[str, Any]) -> None:
    report = reworded()
    (result,) = report.results
    same, words = result.evidence
    evidence = (same, dataclasses.replace(words, details=details))
    odd = dataclasses.replace(report, outcomes=(dataclasses.replace(result, evidence=evidence),))
    for render in RENDERERS.values():
        assert render(odd)
