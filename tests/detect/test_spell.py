"""Pieces put into whole words, and the words into the order that removes most."""

from __future__ import annotations

import itertools

from amdet_hub.detect.spell import Candidate, spell

WORDS = {(1, 2): "thunder", (3,): "red", (2, 3): "derred", (4, 5, 6): "tailors"}


def as_word(ids: Candidate) -> Candidate | None:
    return ids if ids in WORDS else None


def each(ids: Candidate) -> Candidate | None:
    """Every piece is a word, and no two are one."""
    return ids if len(ids) == 1 else None


def longest_first(some: list[Candidate]) -> list[float]:
    """Removes most where the first piece has the largest id."""
    return [float(one[0]) for one in some]


def test_every_piece_is_used_once_and_words_stay_whole() -> None:
    assert spell((2, 3, 1), as_word, longest_first, n=3) == [(3, 1, 2), (1, 2, 3)]


def test_one_word_of_shuffled_pieces() -> None:
    assert spell((6, 4, 5), as_word, longest_first, n=3) == [(4, 5, 6)]


def test_pieces_that_make_no_words_make_no_text() -> None:
    assert spell((1, 3), as_word, longest_first, n=3) == [], "1 is no word without 2"
    assert spell((), as_word, longest_first, n=3) == []


def test_too_many_pieces_are_left_alone() -> None:
    assert spell(range(12), each, longest_first, n=3)
    assert spell(range(13), each, longest_first, n=3) == []


def test_only_the_best_few() -> None:
    found = spell(range(4), each, longest_first, n=5)
    assert len(found) == 5
    assert {one[0] for one in found} == {3}


def test_what_the_tokenizer_adds_is_part_of_the_text() -> None:
    def marked(ids: Candidate) -> Candidate | None:
        return (99, *ids) if ids == (1, 2) else None

    assert spell((2, 1), marked, longest_first, n=3) == [(99, 1, 2)]


def test_many_words_are_put_in_order_one_by_one() -> None:
    """Eight words have 40,320 orders; the ascending one is found without trying them all."""
    measured: list[Candidate] = []

    def ascending(some: list[Candidate]) -> list[float]:
        measured.extend(some)
        return [float(sum(a < b for a, b in itertools.pairwise(one))) + len(one) for one in some]

    assert spell((5, 2, 7, 1, 8, 3, 6, 4), each, ascending, n=1) == [tuple(range(1, 9))]
    assert len(measured) < 2_000
