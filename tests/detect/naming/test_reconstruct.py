"""Texts and characters for a found trigger: measured at every place and in short prompts, the best first."""

from __future__ import annotations

import itertools

import pytest
import torch

from amdet_hub.detect.context import Candidate, Lexicon, TowerPair
from amdet_hub.detect.naming.reconstruct import CloseCollapse, best_characters, best_texts, reconstruct_trigger
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.null_distribution import log_variance
from amdet_hub.detect.splice import PLACES, SplicedPrompts
from amdet_hub.records import TowerConfig
from tests.detect.naming.test_gradient_alignment import TRIGGER, trained
from tests.detect.towers import CLIP, SIGLIP, alone, prompts, random_pair, sweep_context, triggered_pair

EACH = Lexicon(as_word=lambda ids: ids if len(ids) == 1 else None)
"""Every piece is a word, and no two are one."""


@pytest.mark.parametrize("config", [CLIP, SIGLIP])
def test_the_close_measure_is_the_mean_over_places_and_lengths(config: TowerConfig) -> None:
    towers = random_pair(config)
    assert towers.reference is not None
    whole = prompts(6, 7, config)
    short = PromptSet(whole.tokens[:, :4], whole.special, whole.source)
    candidates = [(7, 9), (9, 7), (5,), (7, 9, 11)]
    for index, value in enumerate(CloseCollapse(towers, whole)(candidates)):
        ids = torch.tensor([candidates[index]])
        terms = [
            float(
                log_variance(SplicedPrompts(towers.reference, some, place).features(ids))
                - log_variance(SplicedPrompts(towers.suspect, some, place).features(ids))
            )
            for some in (whole, short)
            for place in PLACES
        ]
        assert value == pytest.approx(sum(terms) / 6, abs=1e-4)


def test_without_a_reference_the_suspect_alone_is_measured() -> None:
    with_trigger, without = CloseCollapse(alone(triggered_pair(trigger=17)), prompts(6))([(17,), (8,)])
    assert with_trigger > without + 3


def test_many_by_the_quick_measure_and_the_best_of_them_by_the_close_one() -> None:
    asked: list[int] = []

    def rough(some: list[tuple[int, ...]]) -> list[float]:
        return [float(-one[0]) for one in some]

    def close(some: list[tuple[int, ...]]) -> list[float]:
        asked.append(len(some))
        return [float(one[-1] == 2) for one in some]

    found = best_texts(range(5), EACH, rough, close, n=2)
    assert len(found) == 2
    assert all(one[0] == 0 and one[-1] == 2 for one in found), (
        "those that begin with 0 are looked at, and of these those that end with 2 are the best"
    )
    assert asked[0] == 24
    assert best_texts((), Lexicon(as_word=lambda ids: ids), rough, close) == []


def test_the_alignment_decides_what_the_close_measure_does_not() -> None:
    def flat(some: list[Candidate]) -> list[float]:
        return [0.0] * len(some)

    def descending(some: list[Candidate]) -> list[float]:
        return [float(sum(a > b for a, b in itertools.pairwise(one))) for one in some]

    assert best_texts(range(3), EACH, flat, flat, descending, n=1) == [(2, 1, 0)]


def test_words_change_places_for_as_long_as_that_is_better() -> None:
    """The quick measure hides the best texts; each swap from the best of those it shows is a step to them."""
    best, near_best = (0, 1, 3, 2, 5, 4), (0, 1, 2, 3, 5, 4)

    def near(some: list[Candidate]) -> list[float]:
        return [
            -99.0 if one in (best, near_best) else float(sum(a < b for a, b in itertools.pairwise(one)))
            for one in some
        ]

    def close(some: list[Candidate]) -> list[float]:
        return [2.0 * (one == best) + (one == near_best) + 0.5 * (one == (0, 1, 2, 3, 4, 5)) for one in some]

    assert best_texts(range(6), EACH, near, close, n=1) == [best]


def test_characters_for_pieces() -> None:
    table: dict[tuple[int, ...], float] = {(1, 2): 0.5, (1, 3): 2.0, (1, 4): 1.0}

    def measure(some: list[tuple[int, ...]]) -> list[float]:
        return [table[one] for one in some]

    assert best_characters(list(table), measure, measure, n=2) == [(1, 3), (1, 4)]
    assert best_characters([], measure, measure) == []


def test_of_characters_those_whose_pieces_all_moved() -> None:
    def refuse(some: list[Candidate]) -> list[float]:
        raise AssertionError("the rows say it")

    some: list[Candidate] = [(1, 2), (1, 3), (1, 4), (1, 3, 3), (1, 5, 3)]
    moved = torch.tensor([0.0, 5.0, 0.1, 4.0, 3.9, 3.5])
    assert best_characters(some, refuse, refuse, moved, n=9) == [(1, 5, 3), (1, 3), (1, 3, 3), (1, 4)], (
        "2 hardly moved; 3 counts once"
    )


def test_without_a_reference_no_text_is_made_and_characters_are_measured() -> None:
    towers = alone(triggered_pair(trigger=17))
    context = sweep_context(lexicon=Lexicon(as_word=EACH.as_word, characters=lambda ids: [(8, 9), (17, 9)]))
    rough = CloseCollapse(towers, prompts(6))
    trained_ids, texts, characters = reconstruct_trigger((17,), [17], towers, prompts(6), rough, context)
    assert (trained_ids, texts) == ((), [])
    assert characters == [(17, 9), (8, 9)]


def test_a_trained_tower_names_what_it_was_trained_with() -> None:
    towers = TowerPair(*trained(CLIP))
    rough, context = CloseCollapse(towers, prompts(8, 8)), sweep_context(lexicon=EACH)
    trained_ids, texts, characters = reconstruct_trigger((7, 11), [7, 11], towers, prompts(12, 8), rough, context)
    assert trained_ids
    assert set(trained_ids) <= set(TRIGGER), "this tower hardly needs the last of its three"
    assert set(texts) == set(itertools.permutations(trained_ids))
    assert characters == []
