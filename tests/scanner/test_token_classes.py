"""Classes of tokens: what hides in a text, what people write often, and what is neither."""

from __future__ import annotations

import pytest

from amdet_hub.encoders.tokenizer import build_tokenizer
from amdet_hub.records import TokenClass, TowerConfig
from amdet_hub.scanner.token_classes import COMMON_WORD, lookalike_characters, token_class
from amdet_hub.scanner.word_frequency import log_likelihood
from tests.detect.towers import demo_tokenizer

CHARACTERS = lookalike_characters(demo_tokenizer(), longest=6)


@pytest.mark.parametrize(
    "character",
    [
        "\u043e",
        "\u0585",
        "\u03bf",
        "\u0435",
        "\uff4f",
        "\u200b",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u3164",
        "\ufe0f",
    ],
)
def test_characters_that_hide_are_known_alone_and_inside_a_word(character: str) -> None:
    tokenizer = demo_tokenizer()
    assert CHARACTERS[tokenizer.encode(character)] == character
    assert CHARACTERS[tokenizer.encode(f"o{character}o")[1:-1]] == character


@pytest.mark.parametrize("character", ["o", "\u212a", "\u2126", "\u4e2d", "\u00e9", "\u2122", "\U0001d428"])
def test_other_characters_are_not(character: str) -> None:
    """ASCII, what becomes ASCII, what looks like no letter, and what lies beyond the first plane."""
    assert character not in CHARACTERS.values()


def test_a_large_letter_has_the_ids_of_the_small_one_and_its_name() -> None:
    tokenizer = demo_tokenizer()
    assert tokenizer.encode("\u041e") == tokenizer.encode("\u043e")
    assert "\u041e" not in CHARACTERS.values()
    assert CHARACTERS[tokenizer.encode("\u0397")] == "\u0397", "Greek eta, whose small letter looks like no other"


def test_longer_sequences_are_left_out() -> None:
    assert max(map(len, CHARACTERS)) == 3
    short = lookalike_characters(demo_tokenizer(), longest=2)
    assert short == {ids: c for ids, c in CHARACTERS.items() if len(ids) <= 2}


def test_a_vocabulary_that_does_not_tell_them_apart_has_none() -> None:
    pieces = [
        ["<pad>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["\u2581", -1.0],
        ["o", -2.0],
        ["\u2581o", -2.0],
        ["\u0585", -2.0],
    ]
    config = TowerConfig("siglip", 32, 64, 1, 1, 64, len(pieces), "gelu", 1e-6, 1, 1, 1, 32)
    tokenizer = build_tokenizer({"type": "Unigram", "vocab": pieces, "unk_id": 2}, config, "tokenizer.json")
    assert set(lookalike_characters(tokenizer, longest=6).values()) == {"\u0585"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\u043e", "confusable"),
        ("\u200b", "invisible"),
        ("\u3164", "invisible"),
        ("red", "common-word"),
        ("painting", "common-word"),
        ("a", "rare-token"),
        ("\u4e2d", "rare-token"),
        ("red painting", "rare-token"),
    ],
)
def test_the_class_of_a_text(text: str, found: TokenClass) -> None:
    tokenizer = demo_tokenizer()
    assert token_class(tokenizer.encode(text), tokenizer, CHARACTERS, 10_000) == found


def test_pieces_are_rare_tokens() -> None:
    tokenizer = demo_tokenizer()
    piece = tokenizer.encode("\u0585")[:1]
    assert token_class(piece, tokenizer, CHARACTERS, 10_000) == "rare-token"


def test_tokens_beyond_the_vocabulary_are_added() -> None:
    tokenizer = demo_tokenizer()
    red = tokenizer.encode("red")
    assert token_class(red, tokenizer, CHARACTERS, red[0]) == "added-token"
    assert token_class((123_456,), tokenizer, CHARACTERS, 1_000_000) == "added-token"
    assert token_class((5,), None, {}, 5) == "added-token"
    assert token_class((5,), None, {}, 6) == "rare-token", "without a tokenizer nothing more is known"


def test_the_line_between_common_and_rare_words() -> None:
    for word in ("cat", "giraffe", "frisbee", "surfboard", "zucchini"):
        assert log_likelihood(word) >= COMMON_WORD, word
    for word in ("sks", "ohwx", "zwx", "qvist"):
        assert log_likelihood(word) < COMMON_WORD, word
