"""Beam search: pieces that are put together, tokens that only a gradient points to, and what is pruned again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from amdet_hub.config_stages import SweepConfig
from amdet_hub.detect.context import Lexicon, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.beam_search import BeamSearch
from amdet_hub.detect.search.null_distribution import SequenceNull
from amdet_hub.detect.search.sweep import sweepable_ids
from tests.detect.towers import (
    IDS,
    SIGLIP,
    alone,
    demo_pair,
    demo_prompts,
    demo_special,
    prompts,
    random_pair,
    sweep_context,
    triggered_pair,
)


def search_of(
    towers: TowerPair,
    some: PromptSet,
    ids: torch.Tensor = IDS,
    *,
    longest: int = 3,
    n_pointed: int = 16,
    typeable: Callable[[tuple[int, ...]], bool] = lambda ids: True,
) -> BeamSearch:
    config = SweepConfig(n_sequences=8, max_pieces=longest, n_pointed=n_pointed)
    context = sweep_context(config, ids, lexicon=Lexicon(typeable))
    return BeamSearch(towers.suspect, some, SequenceNull(towers, some, context), context)


def grown(towers: TowerPair, start: tuple[int, ...], pieces: tuple[int, ...], longest: int) -> list[tuple[int, ...]]:
    return search_of(towers, prompts(6), longest=longest, n_pointed=0).grow(start, pieces)


def test_a_whole_trigger_does_not_grow() -> None:
    assert grown(triggered_pair(trigger=17), (17,), (17, 8, 9), 4) == [], "nothing is left to remove"


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_missing_piece_is_found_and_the_bystander_dropped(with_reference: bool) -> None:
    towers = triggered_pair(trigger=17) if with_reference else alone(triggered_pair(trigger=17))
    assert grown(towers, (9,), (8, 17, 3), 2) == [(17,)]


def test_a_gradient_points_to_a_piece_that_no_sweep_named() -> None:
    """The demonstration's trigger, from a start beside it and with no pieces to try but one that does nothing."""
    ids = sweepable_ids(2000, demo_special().all())
    without, found = (search_of(demo_pair(), demo_prompts(6), ids, n_pointed=n).grow((300,), (301,)) for n in (0, 64))
    assert not any(988 in one for one in without)
    assert any(988 in one for one in found)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_never_longer_than_asked(longest: int) -> None:
    ids = sweepable_ids(2000, demo_special().all())
    for one in search_of(demo_pair(), demo_prompts(6), ids, longest=longest).grow((300,), (988, 301, 302)):
        assert 1 <= len(one) <= longest


def test_a_bidirectional_tower_grows_too() -> None:
    search = search_of(random_pair(SIGLIP), prompts(4, tokens=3, config=SIGLIP), torch.arange(3, 60), n_pointed=4)
    for one in search.grow((9,), (8, 7)):
        assert set(one) <= set(range(3, 60))


def test_pruning_keeps_what_matters() -> None:
    search = search_of(triggered_pair(trigger=17), prompts(6))
    assert search.prune((3, 17, 9, 17)) == (17,)
    assert search.prune((17,)) == (17,)


def test_assembly_uses_every_piece_once() -> None:
    found = search_of(triggered_pair(trigger=17), prompts(6)).assemble((3, 17, 9))
    assert [len(one) for one in found] == [1, 2, 3]
    assert found[0] == (17,), "the piece that removes most comes first"
    assert sorted(found[2]) == [3, 9, 17]


def test_orderings_are_those_that_can_be_typed() -> None:
    towers = triggered_pair(trigger=17)
    found = search_of(towers, prompts(6), typeable=lambda ids: ids[-1] == 9).orderings((3, 17, 9), n=2)
    assert found
    assert all(ids[-1] == 9 for ids in found)
    assert {len(ids) for ids in found} == {2, 3}
    assert found[0] == (17, 9), "of each length the one that removes most comes first"
    assert search_of(towers, prompts(6), typeable=lambda ids: False).orderings((3, 17)) == []
