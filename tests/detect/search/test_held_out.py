"""Confirmation: known answers on an encoder made for it, and the trained backdoor."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.held_out import Confirmation, Confirmer, peer_baseline
from amdet_hub.detect.splice import clean_features
from tests.detect.towers import CLIP, alone, demo_pair, demo_prompts, prompts, triggered_pair


def confirm(towers: TowerPair, search: PromptSet, heldout: PromptSet, candidate: tuple[int, ...]) -> Confirmation:
    return Confirmer(towers, search, heldout).measure([candidate])[0]


def test_a_planted_trigger_captures_everything_everywhere() -> None:
    towers = triggered_pair(trigger=17)
    search, heldout = prompts(16, seed=7).split(6, 10)
    found = confirm(towers, search, heldout, (17,))
    assert found.success_rates == (1.0, 1.0, 1.0)
    assert max(found.reference_rates) < 0.5
    assert found.success == 1.0, "all of what the reference leaves alone"
    assert found.collapse > 10, "every triggered prompt says the same"
    assert found.n_prompts == 10
    assert found.token_ids == (17,)


def test_another_word_captures_no_more_than_in_the_reference() -> None:
    towers = triggered_pair(trigger=17)
    search, heldout = prompts(16, seed=7).split(6, 10)
    assert 17 not in search.tokens.flatten().tolist() + heldout.tokens.flatten().tolist()
    found = confirm(towers, search, heldout, (9,))
    assert found.success_rates == found.reference_rates
    assert found.success == 0.0
    assert found.removed == found.removed_before


def test_capture_by_hand() -> None:
    """The rate of a harmless word, from its definition: nearer to the mean triggered feature than to its own."""
    reference = triggered_pair().reference
    assert reference is not None
    search, heldout = prompts(12, seed=1).split(4, 8)

    def triggered(words: torch.Tensor) -> torch.Tensor:
        start = torch.full((len(words), 1), CLIP.bos_token_id)
        ids = torch.cat(
            [start, words, torch.full((len(words), 1), 9), torch.full((len(words), 1), CLIP.eos_token_id)], dim=1
        )
        return reference.token_embedding[ids].mean(1)  # what this encoder says at the end-of-text token

    centre = clean_features(reference, search).mean(0)
    goal = triggered(search.tokens).mean(0) - centre
    captured = 0
    for own, moved in zip(
        clean_features(reference, heldout) - centre, triggered(heldout.tokens) - centre, strict=True
    ):
        captured += int(torch.cosine_similarity(moved, goal, dim=0) > torch.cosine_similarity(moved, own, dim=0))
    assert confirm(TowerPair(reference, None), search, heldout, (9,)).success_rates[2] == captured / 8


def test_without_a_reference_the_prompts_themselves_are_the_measure() -> None:
    towers = alone(triggered_pair(trigger=17))
    search, heldout = prompts(16, seed=7).split(6, 10)
    found = confirm(towers, search, heldout, (17,))
    assert found.reference_rates == (0.0, 0.0, 0.0)
    assert found.success == 1.0
    clean = clean_features(towers.suspect, heldout)
    variance = float((clean - clean.mean(0)).square().sum(-1).mean())
    assert found.collapse == pytest.approx(math.log(variance + 1e-12) - math.log(1e-12), abs=0.2), (
        "rounding of the features stands on the floor"
    )


def test_the_trained_backdoor() -> None:
    towers = demo_pair()
    search, heldout = demo_prompts(24).split(8, 16)
    found = confirm(towers, search, heldout, (988,))
    assert min(found.success_rates) == 1.0
    assert max(found.reference_rates) < 0.3
    assert found.collapse > 2
    assert towers.reference is not None
    same = TowerPair(towers.reference, towers.reference)
    clean = confirm(same, search, heldout, (988,))
    assert clean.removed == clean.removed_before


def test_the_margin_is_the_weakest_of_the_three() -> None:
    thresholds = Thresholds(sweep_score=8.0, trigger_success=0.8, trigger_collapse=1.0)
    one = Confirmation((1,), (1.0, 0.9, 0.8), (0.2, 0.0, 0.1), 1.5, 16, standing=12.0)
    assert one.success == pytest.approx(0.8 / 0.9)
    assert one.promise(thresholds) == pytest.approx(1 / 0.9)
    assert one.margin(thresholds) == pytest.approx(1 / 0.9)
    assert dataclasses.replace(one, standing=4.0).margin(thresholds) == pytest.approx(0.5)
    assert dataclasses.replace(one, collapse=0.3).margin(thresholds) == pytest.approx(0.3)
    assert dataclasses.replace(one, standing=None).margin(thresholds) == 0.0, "what was not measured passes nothing"


@pytest.mark.parametrize(
    ("suspect", "reference", "expected"),
    [
        (
            (1.0, 1.0, 1.0),
            (0.0, 0.5, 0.7),
            1.0,
        ),  # a sentence says much in a clean encoder, too; of the rest it takes all
        ((0.7, 0.7, 0.7), (0.4, 0.4, 0.4), 0.5),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.0),
        ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), 0.0),  # less than in the reference is not less than nothing
        ((1.0, 1.0, 1.0), (1.0, 0.9, 0.95), 0.5),  # where the reference leaves nearly nothing, little can be seen
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0),
    ],
)
def test_success_is_the_share_of_what_the_reference_leaves_alone(
    suspect: tuple[float, ...], reference: tuple[float, ...], expected: float
) -> None:
    assert Confirmation((1,), suspect, reference, 1.0, 16).success == pytest.approx(expected)


def test_a_longer_candidate_must_remove_more() -> None:
    """A word said four times says twice as much."""
    thresholds = Thresholds(sweep_score=8.0, trigger_success=0.8, trigger_collapse=1.0)
    once = Confirmation((7,), (1.0,) * 3, (0.0,) * 3, 0.6, 16, standing=80.0)
    four = dataclasses.replace(once, token_ids=(7, 7, 7, 7), collapse=1.2)
    assert once.relative_collapse == pytest.approx(0.6)
    assert four.relative_collapse == pytest.approx(0.6)
    assert once.margin(thresholds) == four.margin(thresholds) == pytest.approx(0.6)


def test_a_batch_gives_what_each_candidate_gives_alone() -> None:
    towers = demo_pair()
    search, heldout = demo_prompts(24).split(8, 16)
    candidates = [(988, 300), (301, 302), (5, 988)]
    together = Confirmer(towers, search, heldout).measure(candidates)
    for ids, one in zip(candidates, together, strict=True):
        single = confirm(towers, search, heldout, ids)
        assert one.token_ids == ids
        assert one.success_rates == single.success_rates
        assert one.collapse == pytest.approx(single.collapse, abs=1e-4)


def test_without_a_reference_candidates_are_each_others_measure() -> None:
    def made(ids: tuple[int, ...], rate: float, collapse: float) -> Confirmation:
        return Confirmation(ids, (rate, rate, rate), (0.0, 0.0, 0.0), collapse, 8)

    singles = [
        made((1,), 1.0, 3.0),
        made((2,), 0.25, 0.5),
        made((3,), 0.5, 0.75),
        made((5,), 0.5, 0.75),
        made((6,), 0.25, 0.25),
    ]
    found = peer_baseline([*singles, made((4, 4, 4), 0.75, 2.0)])
    assert [c.reference_rates[0] for c in found[:5]] == [0.5] * 5, "the median of those as long"
    assert [c.success for c in found[:5]] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert [c.collapse for c in found[:5]] == [2.25, -0.25, 0.0, 0.0, -0.5]
    assert (found[5].success, found[5].collapse) == (0.5, 1.25), "too few of its length: the median of all"
    assert [c.token_ids for c in found] == [(1,), (2,), (3,), (5,), (6,), (4, 4, 4)]
