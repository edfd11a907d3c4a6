"""The splice changes nothing outside the markers, can be repeated, and can be undone.

Fixtures: tests/cards, byte for byte.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub.errors import CardError
from amdet_hub.model_card.edit import body_digest, diff, find_section, remove_section, splice
from amdet_hub.model_card.render import SECTION_VERSION, card_files, render_section
from amdet_hub.report import parse_report
from amdet_hub.report.error_rates import MeasuredRates
from tests.report.examples import COMMIT, EXAMPLES, backdoored, clean, inconclusive

CARDS = Path(__file__).parent.parent / "cards"
GOOD = sorted(path.name for path in CARDS.glob("*.md"))
BAD = sorted(path.name for path in (CARDS / "bad").glob("*.md"))
SECTION = render_section(clean())
OTHER = render_section(backdoored())
PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\r",
        b"---\n",
        b"# t",
        b"\xef\xbb\xbf",
        b" ",
        b"<!--",
        b"-->",
        b"amdet-hub:begin",
        "\u0585\u2028".encode(),
    ]
)
PIECEWISE = st.lists(PIECES, max_size=12).map(b"".join)
ANY_CARD = st.one_of(st.text().map(str.encode), PIECEWISE, st.binary())


def test_there_are_fixtures() -> None:
    assert len(GOOD) >= 18
    assert len(BAD) >= 12


@pytest.mark.parametrize("name", GOOD)
def test_fixture_cards(name: str) -> None:
    card = (CARDS / name).read_bytes()
    spliced = splice(card, SECTION)
    found = find_section(spliced)
    assert found is not None
    assert spliced.startswith(card)
    assert spliced[len(card) : found.start].strip(b"\r\n") == b""
    assert spliced[found.stop :] in (b"", b"\n", b"\r\n")
    assert body_digest(found.body) == found.attributes["body"]
    assert splice(spliced, SECTION) == spliced
    assert remove_section(spliced) == card
    assert remove_section(splice(spliced, OTHER)) == card
    assert remove_section(card) == card


@pytest.mark.parametrize("name", BAD)
def test_unusable_cards(name: str) -> None:
    card = (CARDS / "bad" / name).read_bytes()
    for use in (find_section, remove_section, lambda c: splice(c, SECTION)):
        with pytest.raises(CardError, match=r"the (card|amdet-hub)"):
            use(card)


@given(ANY_CARD)
@settings(max_examples=400, deadline=None)
def test_any_bytes(card: bytes) -> None:
    try:
        before = find_section(card)
    except CardError:
        with pytest.raises(CardError):
            splice(card, SECTION)
        return
    assert before is None
    spliced = splice(card, SECTION)
    assert spliced.startswith(card)
    assert splice(spliced, SECTION) == spliced
    assert remove_section(spliced) == card
    assert remove_section(splice(spliced, OTHER)) == card


@given(PIECEWISE, PIECEWISE, st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=300, deadline=None)
def test_replacing_keeps_every_byte_around(before: bytes, after: bytes, eol: bytes) -> None:
    card = before + SECTION.rstrip("\n").encode().replace(b"\n", eol) + after
    try:
        find_section(card)
    except CardError:
        return
    spliced = splice(card, OTHER)
    found = find_section(spliced)
    assert found is not None
    assert spliced[: found.start] == before
    assert spliced[found.stop :] == after
    assert splice(spliced, OTHER) == spliced


def test_line_ends_follow_the_card() -> None:
    crlf = splice(b"# a\r\n\r\ntext\r\n", SECTION)
    assert crlf.count(b"\n") == crlf.count(b"\r\n")
    assert b"\r" not in splice(b"# a\n\ntext\n", SECTION)
    mixed = splice(b"a\r\nb\nc\n", SECTION)
    assert mixed.count(b"\r\n") == 1


def test_section_moved_by_its_owner_stays_there() -> None:
    card = b"top\n\n" + SECTION.encode() + b"\nbottom\n"
    spliced = splice(card, OTHER)
    assert spliced == b"top\n\n" + OTHER.encode() + b"\nbottom\n"
    assert remove_section(spliced) == b"top\n\nbottom\n"


@pytest.mark.parametrize("text", ["", "no markers", SECTION + SECTION, "x" + SECTION, SECTION + "x"])
def test_only_one_section_is_spliced_in(text: str) -> None:
    with pytest.raises(CardError):
        splice(b"# card\n", text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_section_reads_back(name: str) -> None:
    section = render_section(EXAMPLES[name]())
    assert "\r" not in section
    assert section.endswith("<!-- amdet-hub:end -->\n")
    found = find_section(section.encode())
    assert found is not None
    assert set(found.attributes) == {"v", "commit", "files", "body"}
    assert found.attributes["v"] == SECTION_VERSION
    assert found.attributes["commit"] == (COMMIT if name != "inconclusive" else "none")
    assert found.body.startswith("## Backdoor scan of the text encoder\n")


def test_section_says_what_the_design_asks() -> None:
    section = render_section(backdoored())
    report = backdoored()
    result = report.results[0]
    facts = [
        report.verdict.label.replace("-", " ").capitalize(),
        report.verdict.code,
        COMMIT,
        result.tower_digest,
        "text_encoder/model.safetensors",
        str(result.encoder.weight_files[0].sha256),
        report.created,
        "torch 2.13.0",
        "`standard`, seed `0`",
        report.config_fingerprint,
        "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
        "trusted: pinned revision and digest",
        "| `vocabulary-sweep` | 15.27 robust z | above 6 | **beyond** |",
        "`\u0585`",
        "token 36107",
        "U+0585 ARMENIAN SMALL LETTER OH",
        "backdoors outside the text encoder",
        "a changed tokenizer",
        "prompt tuning",
        "Known to be missed",
        "not measured yet for this family and preset",
        f"amdet-hub scan org/dreamy-xl@{COMMIT} --preset standard --seed 0",
        "`text_encoder_3` | not-clip-family",
    ]
    assert [fact for fact in facts if fact not in section] == []


def test_below_threshold_direction_is_said() -> None:
    assert "| -0.21 similarity | below 0 | **beyond** |" in render_section(inconclusive())


def test_measured_rates_are_said_with_their_counts() -> None:
    section = render_section(clean(), measured=MeasuredRates("standard", "clip", 0.004, 0.996, 250, 260, "bench"))
    (row,) = [line for line in section.split("\n") if line.startswith("| error rates |")]
    for figure in ("<1% of 250", "(95% interval <1% to 2%)", ">99% of 260", "(95% interval 98% to >99%)"):
        assert figure in row


@pytest.mark.parametrize("rates", [(-0.1, 0.5, 1, 1), (0.1, 1.5, 1, 1), (0.1, 0.5, 0, 1), (0.1, 0.5, 1, 0)])
def test_impossible_rates(rates: tuple[float, float, int, int]) -> None:
    with pytest.raises(ValueError, match="measured rate"):
        MeasuredRates("standard", "clip", *rates, "bench")


def test_card_files() -> None:
    files = card_files(clean(), b"# card\n")
    assert files["README.md"] == splice(b"# card\n", SECTION)
    assert parse_report(files["amdet-hub.json"].decode()) == clean()
    assert card_files(clean(), None)["README.md"] == SECTION.encode()


def test_diff_is_a_unified_diff() -> None:
    before = b"a\nb\nc\n"
    assert (
        diff(before, b"a\nB\nc\n", "README.md")
        == "--- a/README.md\n+++ b/README.md\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    )
    assert diff(before, before, "README.md") == ""
    assert diff(b"", b"x\n", "README.md").startswith("--- /dev/null\n+++ b/README.md\n@@ ")
    assert diff(b"a", b"b\n", "f").endswith("-a\n\\ No newline at end of file\n+b\n")


def test_diff_of_crlf_shows_no_carriage_returns_unless_mixed() -> None:
    assert diff(b"a\r\n", b"a\r\nb\r\n", "f").endswith("@@\n a\n+b\n")
    assert "+a\n" in diff(b"a\r\n", b"a\n", "f")
    assert "-a\\u{d}\n" in diff(b"a\r\n", b"a\n", "f")


def test_diff_of_a_push_only_adds() -> None:
    before = (CARDS / "plain.md").read_bytes()
    shown = diff(before, splice(before, SECTION), "README.md").split("\n")
    assert not [line for line in shown[2:] if line.startswith("-")]
    assert "+<!-- amdet-hub:end -->" in shown
