"""What a fine-tune taught, in words and as evidence; and what a scan says of encoders that were taught something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from amdet_hub.detect.search.meaning import MeaningShift
from amdet_hub.families import MeaningThresholds
from amdet_hub.records import ChangedMeaning, TokenClass
from amdet_hub.scanner.meanings import in_words, meaning_evidence
from amdet_hub.scanner.token_classes import lookalike_characters
from amdet_hub.verdict import CHANGED_WORD, judge
from tests.attacked import attribute_attack, word_exchange
from tests.detect.towers import CLIP, demo_tokenizer
from tests.scanner.conftest import BASE, FINETUNED, Scan

CHARACTERS = lookalike_characters(demo_tokenizer(), longest=6)
CONFIG = replace(CLIP, vocab_size=demo_tokenizer().vocab_size)


def ids(text: str) -> tuple[int, ...]:
    return demo_tokenizer().encode(text)


def shift(token_ids: tuple[int, ...], score: float, says: str = "dog", *, is_character: bool = False) -> MeaningShift:
    return MeaningShift(token_ids, score, 1.0, is_character, ids("cat"), ids(says))


def worded(*shifts: MeaningShift) -> tuple[ChangedMeaning, ...]:
    return in_words(shifts, demo_tokenizer(), CHARACTERS, CONFIG)


def test_a_meaning_in_words() -> None:
    (found,) = worded(shift(ids("red"), 7.5, "snow boat"))
    assert found == ChangedMeaning(ids("red"), "red", "common-word", 7.5, ("cat",), ("snow", "boat"))


def test_whole_words_come_before_pieces() -> None:
    pieces, word = ids("castle")[:2], ids("red")
    (found,) = worded(MeaningShift(ids("cat"), 6.0, 1.0, False, (*pieces, *word), (*pieces, *pieces, *word)))
    assert found.before[0] == found.after[0] == "red"
    assert len(found.after) == 3, "each text once, at most three"


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    first, second = ids("\u0585")[:1], ids("\u0585")[1:]
    assert [one.text for one in worded(shift(first, 6.0), shift(second, 5.5))] == ["\\xd6", "\\x85"]


def test_halves_of_characters_say_nothing_beside_a_word() -> None:
    half, red = ids("\u0585")[:1], ids("red")
    (mixed,) = worded(MeaningShift(ids("cat"), 6.0, 1.0, False, (*half, *red), half))
    assert (mixed.before, mixed.after) == (("red",), ("\\xd6",))


def test_characters_come_first_and_each_of_them_once() -> None:
    alone, inside = ids("\u0585"), ids("o\u0585o")[1:-1]
    assert alone != inside
    found = worded(
        shift(ids("red"), 40.0),
        shift(alone, 6.0, is_character=True),
        shift(inside, 8.0, is_character=True),
    )
    assert [(one.text, one.token_ids, one.token_class) for one in found] == [
        ("\u0585", inside, "confusable"),
        ("red", ids("red"), "common-word"),
    ]


def test_a_character_of_one_token_counts_as_a_character_only() -> None:
    token = ids("\u043e")
    assert len(token) == 1
    assert worded(shift(token, 40.0)) == ()
    assert [one.strength for one in worded(shift(token, 40.0), shift(token, 6.0, is_character=True))] == [6.0]


def test_a_character_of_few_pieces_explains_one_of_many() -> None:
    few, many = ids("\u0456"), ids("\u16d6")
    assert (len(few), len(many)) == (2, 3)
    found = worded(shift(many, 28.0, is_character=True), shift(few, 26.0, is_character=True))
    assert [one.text for one in found] == ["\u0456", "\u16d6"]


def test_weak_changes_are_not_listed() -> None:
    assert [one.strength for one in worded(shift(ids("red"), 5.0), shift(ids("cat"), 4.9))] == [5.0]


def test_without_a_tokenizer_there_are_ids() -> None:
    (found,) = in_words((MeaningShift((5,), 9.0, 1.0, False, (6, 7), (8,)),), None, {}, CLIP)
    assert found == ChangedMeaning((5,), None, "rare-token", 9.0, ("[6]", "[7]"), ("[8]",))


def changed(token_class: TokenClass, strength: float, text: str = "cat") -> ChangedMeaning:
    return ChangedMeaning((1,), text, token_class, strength, (), ())


@pytest.mark.parametrize(
    ("meanings", "expected"),
    [
        (
            [changed("confusable", 12.0, "\u043e"), changed("invisible", 15.0, "\u200b")],
            {"changed-character": (15.0, True)},
        ),
        ([changed("invisible", 9.0, "\u200b")], {"changed-character": (9.0, False)}),
        ([changed("common-word", 20.0)], {"changed-word": (20.0, True)}),
        (
            [changed("common-word", 19.0), changed("confusable", 10.0)],
            {"changed-character": (10.0, True), "changed-word": (19.0, False)},
        ),
        ([changed("rare-token", 99.0), changed("added-token", 99.0)], {}),
        ([], {}),
    ],
)
def test_the_strongest_of_each_kind_is_evidence(
    meanings: list[ChangedMeaning], expected: dict[str, tuple[float, bool]]
) -> None:
    found = meaning_evidence(meanings, MeaningThresholds(character=10.0, word=20.0), 100)
    assert {one.kind: (one.value, one.exceeds) for one in found} == expected


def test_what_changed_is_named_and_nothing_of_the_repository_is_quoted() -> None:
    odd = ChangedMeaning((1,), "\u043e", "confusable", 12.0, ("evil",), ("evil",))
    character, word = meaning_evidence([odd, changed("common-word", 12.0)], MeaningThresholds(10.0, 10.0), 100)
    assert "U+043E CYRILLIC SMALL LETTER O" in character.summary
    assert '"cat"' in word.summary
    assert "evil" not in character.summary + word.summary


def test_a_homoglyph_that_adds_a_style_is_detected_and_named(scan: Scan, tmp_path: Path) -> None:
    report = scan(attribute_attack(tmp_path), reference=BASE)
    assert (report.verdict.label, report.verdict.code) == ("backdoor-detected", "attribute-trigger")
    (result,) = report.results
    assert (result.meanings[0].text, result.meanings[0].token_class) == ("\u043e", "confusable")
    assert result.triggers == (), "nothing takes prompts over"


def test_an_exchanged_word_is_named_with_what_it_says_now(scan: Scan, tmp_path: Path) -> None:
    (result,) = scan(word_exchange(tmp_path), reference=BASE).results
    (found,) = result.meanings
    assert (found.text, found.token_class, found.after[0]) == ("winter", "common-word", "embroidery")
    (word,) = [one for one in result.evidence if one.kind == CHANGED_WORD]
    assert '"winter"' in word.summary
    assert word.value > 9
    beyond = replace(word, threshold=9.0, exceeds=True)  # in so small an encoder no word says much more than another
    others = [one for one in result.evidence if one is not word]
    assert judge([*others, beyond], result.reference).code == "meaning-changed"


def test_a_style_fine_tune_taught_no_token_anything(scan: Scan) -> None:
    (result,) = scan(FINETUNED, reference=BASE).results
    assert result.meanings == ()
