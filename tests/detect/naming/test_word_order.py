"""Pieces put into whole words, and the words into the order that removes most and that people write."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch

from amdet_hub.detect.context import Candidate, Lexicon
from amdet_hub.detect.naming.word_order import Collapse, adjacent_swaps, concatenate, rank_word_orders, standardised

WORDS = {(1, 2): "thunder", (3,): "red", (2, 3): "derred", (4, 5, 6): "tailors"}


SOME = Lexicon(as_word=lambda ids: ids if ids in WORDS else None)
EACH = Lexicon(as_word=lambda ids: ids if len(ids) == 1 else None)
"""Every piece is a word, and no two are one."""


def texts(pieces: Sequence[int], lexicon: Lexicon, collapse: Collapse, *, n: int) -> list[Candidate]:
    return [concatenate(text) for text in rank_word_orders(pieces, lexicon, collapse, n=n)]


def longest_first(some: list[Candidate]) -> list[float]:
    """Removes most where the first piece has the largest id."""
    return [float(one[0]) for one in some]


def test_every_piece_is_used_once_and_words_stay_whole() -> None:
    assert texts((2, 3, 1), SOME, longest_first, n=3) == [(3, 1, 2), (1, 2, 3)]


def test_one_word_of_shuffled_pieces() -> None:
    assert texts((6, 4, 5), SOME, longest_first, n=3) == [(4, 5, 6)]


def test_a_single_text_is_not_measured() -> None:
    def refuse(some: list[Candidate]) -> list[float]:
        raise AssertionError("there is nothing to choose")

    def unasked(ids: Candidate) -> float:
        raise AssertionError("there is nothing to choose")

    assert texts((6, 4, 5), Lexicon(as_word=SOME.as_word, likelihood=unasked), refuse, n=3) == [(4, 5, 6)]


def test_pieces_that_make_no_words_make_no_text() -> None:
    assert texts((1, 3), SOME, longest_first, n=3) == [], "1 is no word without 2"
    assert texts((), SOME, longest_first, n=3) == []


def test_too_many_pieces_are_left_alone() -> None:
    assert texts(range(12), EACH, longest_first, n=3)
    assert texts(range(13), EACH, longest_first, n=3) == []


def test_only_the_best_few() -> None:
    found = texts(range(4), EACH, longest_first, n=5)
    assert len(found) == 5
    assert {one[0] for one in found} == {3}


def test_what_the_tokenizer_adds_is_part_of_the_text() -> None:
    def marked(ids: Candidate) -> Candidate | None:
        return (99, *ids) if ids == (1, 2) else None

    assert texts((2, 1), Lexicon(as_word=marked), longest_first, n=3) == [(99, 1, 2)]


def test_the_text_to_which_least_is_added() -> None:
    """Two pieces make one word with the marker before it, or two words with one each."""

    def marked(ids: Candidate) -> Candidate | None:
        return (99, *ids) if ids in ((1,), (2,), (1, 2)) else None

    assert texts((2, 1), Lexicon(as_word=marked), longest_first, n=9) == [(99, 1, 2)]


def test_many_words_are_put_in_order_one_by_one() -> None:
    """Eight words have 40,320 orders; the ascending one is found without trying them all."""
    measured: list[Candidate] = []

    def ascending(some: list[Candidate]) -> list[float]:
        measured.extend(some)
        return [float(sum(a < b for a, b in itertools.pairwise(one))) + len(one) for one in some]

    assert texts((5, 2, 7, 1, 8, 3, 6, 4), EACH, ascending, n=1) == [tuple(range(1, 9))]
    assert len(measured) < 2_000


def written(*frequent: Candidate) -> Lexicon:
    """A language in which these orders are common and others are rare; each piece is a word."""
    return Lexicon(
        as_word=EACH.as_word,
        likelihood=lambda ids: sum(3.0 for pair in itertools.pairwise(ids) if pair in frequent) - len(ids),
    )


def test_what_people_write_goes_before_what_removes_little_more() -> None:
    assert texts((1, 2, 3), EACH, longest_first, n=1)[0][0] == 3
    assert texts((1, 2, 3), written((1, 2), (2, 3)), longest_first, n=1) == [(1, 2, 3)]

    def alike(some: list[Candidate]) -> list[float]:
        return [100.0 if one == (3, 2, 1) else 0.0 for one in some]

    rare = Lexicon(as_word=EACH.as_word, likelihood=lambda ids: -0.1 * (ids == (3, 2, 1)))
    assert texts((1, 2, 3), rare, alike, n=1) == [(3, 2, 1)], (
        "a little less likely does not outweigh two standard deviations"
    )


def test_many_words_in_the_order_that_people_write() -> None:
    """What removes most says nothing here."""
    order = (5, 2, 7, 1, 8, 3, 6, 4)
    lexicon = written(*itertools.pairwise(order))
    assert texts(sorted(order), lexicon, lambda some: [0.0] * len(some), n=1) == [order]


def test_words_that_people_know_are_tried_first() -> None:
    """Pieces that join to four words two ways; the known ones come first."""
    words = {(1, 2), (3, 4), (1, 4), (3, 2)}
    known = Lexicon(
        as_word=lambda ids: ids if ids in words else None,
        likelihood=lambda ids: 0.0 if ids[:2] in ((1, 4), (3, 2)) else -9.0,
    )
    assert set(texts((1, 2, 3, 4), known, lambda some: [0.0] * len(some), n=2)) == {(1, 4, 3, 2), (3, 2, 1, 4)}


def test_neighbours_and_joined() -> None:
    text = ((1, 2), (3,), (4,))
    assert adjacent_swaps(text) == [((3,), (1, 2), (4,)), ((1, 2), (4,), (3,))]
    assert adjacent_swaps(text[:1]) == []
    assert concatenate(text) == (1, 2, 3, 4)


def test_standardised() -> None:
    found = standardised(torch.tensor([1.0, 2.0, 3.0]))
    assert found.tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert standardised(torch.tensor([4.0])).tolist() == [0.0]
    assert standardised(torch.tensor([2.0, 2.0])).tolist() == [0.0, 0.0]
