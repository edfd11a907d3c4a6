"""Token ids as text: what can be typed, what is one word, what is a character."""

from __future__ import annotations

from functools import partial

from amdet_hub.encoders.tokenizer import build_tokenizer
from amdet_hub.records import TowerConfig
from amdet_hub.scanner.token_text import as_word, is_character, lexicon_of, typeable
from tests.detect.towers import demo_tokenizer


def test_what_can_be_typed() -> None:
    tokenizer = demo_tokenizer()
    fits = partial(typeable, tokenizer)
    word, inside = tuple(tokenizer.encode("\u0585")), tuple(tokenizer.encode("d\u0585g"))
    assert len(word) > 1, "a character that this vocabulary cuts in pieces"
    assert fits(word)
    assert fits(inside[1:-1]), "the same character in the middle of a word has other ids"
    assert not fits(word[:1]), "half a character"
    assert not fits(word[::-1])
    castle, red = tokenizer.encode("castle"), tokenizer.encode("red")
    assert fits((*castle, *red))
    assert typeable(None, word[:1]), "without a tokenizer nothing is known"


def test_what_is_one_word() -> None:
    tokenizer = demo_tokenizer()
    check = partial(as_word, tokenizer)
    word, inside = tuple(tokenizer.encode("\u0585")), tuple(tokenizer.encode("d\u0585g"))
    assert check(word) == word
    assert check(inside[1:-1]) is None, "only with letters around it"
    castle, red = tuple(tokenizer.encode("castle")), tuple(tokenizer.encode("red"))
    assert check(castle) == castle
    assert check((*castle, *red)) is None
    assert check(()) is None


def test_a_marker_of_word_starts_is_added() -> None:
    pieces = [
        ["<pad>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["\u2581", -1.0],
        ["q", -2.0],
        ["v", -2.0],
        ["\u2581red", -2.0],
    ]
    config = TowerConfig("siglip", 32, 64, 1, 1, 64, len(pieces), "gelu", 1e-6, 1, 1, 1, 32)
    tokenizer = build_tokenizer({"type": "Unigram", "vocab": pieces, "unk_id": 2}, config, "tokenizer.json")
    check = partial(as_word, tokenizer)
    marker, *letters = tokenizer.encode("qv")
    assert tokenizer.piece(marker) == "\u2581"
    assert check(tuple(letters)) == (marker, *letters)
    assert check((marker, *letters)) == (marker, *letters)


def test_what_is_a_character_or_a_piece_of_one() -> None:
    tokenizer = demo_tokenizer()
    check = partial(is_character, tokenizer)
    word = tuple(tokenizer.encode("\u0585"))
    assert check(word)
    assert check(word[:1])
    assert check((*tokenizer.encode("red"), word[0])), "a word with half a letter beside it"
    assert not check(tuple(tokenizer.encode("red")))
    assert not check(tuple(tokenizer.encode("a")))
    assert not is_character(None, word)


def test_all_of_it_together() -> None:
    tokenizer = demo_tokenizer()
    lexicon = lexicon_of(tokenizer, longest=6)
    word, red, castle = (tuple(tokenizer.encode(text)) for text in ("\u0585", "red", "castle"))
    assert lexicon.typeable(word)
    assert not lexicon.typeable(word[:1])
    assert lexicon.as_word(red) == red
    assert word in lexicon.characters(word[:1])
    assert lexicon.likelihood((*red, *castle)) < lexicon.likelihood(red) < 0


def test_without_a_tokenizer_nothing_is_known() -> None:
    lexicon = lexicon_of(None, longest=6)
    assert lexicon.typeable((3, 4))
    assert lexicon.as_word((3,)) is None, "without a tokenizer nothing can be read"
    assert lexicon.characters([3]) == []
    assert lexicon.likelihood((3, 4)) == 0.0
