"""Accretion: pieces that are put together, tokens that only a gradient points to, and what is pruned again."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.config import SweepConfig
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.beam_search import accrete, assemble, orderings, prune
from amdet_hub.detect.search.null_distribution import SequenceNull
from amdet_hub.detect.standard import sweepable_ids
from tests.detect.towers import (
    CLIP,
    CLIP_SPECIAL,
    SIGLIP,
    demo_prompts,
    demo_special,
    demo_tower,
    prompts,
    random_tower,
    triggered_pair,
)

IDS = sweepable_ids(CLIP.vocab_size, CLIP_SPECIAL.all())


def null_of(
    suspect: TextEncoder, reference: TextEncoder | None, some: PromptSet, ids: torch.Tensor = IDS
) -> SequenceNull:
    return SequenceNull(suspect, reference, some, ids, SweepConfig(n_sequences=8), seed=0)


def grown(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    start: tuple[int, ...],
    pieces: tuple[int, ...],
    longest: int,
    n_pointed: int = 0,
) -> list[tuple[int, ...]]:
    some = prompts(6)
    return accrete(
        suspect, some, null_of(suspect, reference, some), start, pieces, IDS, max_pieces=longest, n_pointed=n_pointed
    )


def test_a_whole_trigger_does_not_grow() -> None:
    suspect, reference = triggered_pair(trigger=17)
    assert grown(suspect, reference, (17,), (17, 8, 9), 4) == [], "nothing is left to remove"


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_missing_piece_is_found_and_the_bystander_dropped(with_reference: bool) -> None:
    suspect, reference = triggered_pair(trigger=17)
    assert grown(suspect, reference if with_reference else None, (9,), (8, 17, 3), 2) == [(17,)]


def test_a_gradient_points_to_a_piece_that_no_sweep_named() -> None:
    """The demonstration's trigger, from a start beside it and with no pieces to try but one that does nothing."""
    suspect, reference, some = demo_tower("backdoored").encoder, demo_tower("base").encoder, demo_prompts(6)
    ids = sweepable_ids(2000, demo_special().all())
    null = null_of(suspect, reference, some, ids)
    without = accrete(suspect, some, null, (300,), (301,), ids, max_pieces=3, n_pointed=0)
    found = accrete(suspect, some, null, (300,), (301,), ids, max_pieces=3, n_pointed=64)
    assert not any(988 in one for one in without)
    assert any(988 in one for one in found)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_never_longer_than_asked(longest: int) -> None:
    suspect, reference, some = demo_tower("backdoored").encoder, demo_tower("base").encoder, demo_prompts(6)
    ids = sweepable_ids(2000, demo_special().all())
    for one in accrete(
        suspect, some, null_of(suspect, reference, some, ids), (300,), (988, 301, 302), ids, max_pieces=longest
    ):
        assert 1 <= len(one) <= longest


def test_a_bidirectional_tower_grows_too() -> None:
    suspect, reference = random_tower(SIGLIP, seed=0), random_tower(SIGLIP, seed=1)
    some = prompts(4, tokens=3, config=SIGLIP)
    null = SequenceNull(suspect, reference, some, torch.arange(3, 60), SweepConfig(n_sequences=8), seed=0)
    for one in accrete(suspect, some, null, (9,), (8, 7), torch.arange(3, 60), max_pieces=3, n_pointed=4):
        assert set(one) <= set(range(3, 60))


def test_pruning_keeps_what_matters() -> None:
    suspect, reference = triggered_pair(trigger=17)
    null = null_of(suspect, reference, prompts(6))
    assert prune(null, (3, 17, 9, 17)) == (17,)
    assert prune(null, (17,)) == (17,)


def test_assembly_uses_every_piece_once() -> None:
    suspect, reference = triggered_pair(trigger=17)
    found = assemble(null_of(suspect, reference, prompts(6)), (3, 17, 9))
    assert [len(one) for one in found] == [1, 2, 3]
    assert found[0] == (17,), "the piece that removes most comes first"
    assert sorted(found[2]) == [3, 9, 17]


def test_orderings_are_those_that_can_be_typed() -> None:
    suspect, reference = triggered_pair(trigger=17)
    null = null_of(suspect, reference, prompts(6))
    found = orderings(null, (3, 17, 9), lambda ids: ids[-1] == 9, n=2)
    assert found
    assert all(ids[-1] == 9 for ids in found)
    assert {len(ids) for ids in found} == {2, 3}
    assert found[0] == (17, 9), "of each length the one that removes most comes first"
    assert orderings(null, (3, 17), lambda ids: False) == []
