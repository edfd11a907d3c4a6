"""Pieces put into whole words, and the words into the order that removes most."""

from __future__ import annotations

from amdet_hub.detect.spell import Candidate, spell

WORDS = {(1, 2): "thunder", (3,): "red", (2, 3): "derred", (4, 5, 6): "tailors"}


def is_word(ids: Candidate) -> bool:
    return ids in WORDS


def longest_first(some: list[Candidate]) -> list[float]:
    """Removes most where the first piece has the largest id."""
    return [float(one[0]) for one in some]


def test_every_piece_is_used_once_and_words_stay_whole() -> None:
    assert spell((2, 3, 1), is_word, longest_first) == [(3, 1, 2), (1, 2, 3)]


def test_one_word_of_shuffled_pieces() -> None:
    assert spell((6, 4, 5), is_word, longest_first) == [(4, 5, 6)]


def test_pieces_that_make_no_words_make_no_text() -> None:
    assert spell((1, 3), is_word, longest_first) == [], "1 is no word without 2"
    assert spell((), is_word, longest_first) == []


def test_too_many_pieces_are_left_alone() -> None:
    assert spell(range(8), lambda ids: len(ids) == 1, longest_first) == []


def test_only_the_best_few() -> None:
    found = spell(range(4), lambda ids: len(ids) == 1, longest_first, n=5)
    assert len(found) == 5
    assert {one[0] for one in found} == {3}
