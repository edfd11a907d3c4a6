"""Texts and characters for a found trigger: measured at every place and in short prompts, the best first."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.detect.naming import CloseCollapse, characters_of, texts_of
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.splice import PLACES, SplicedPrompts
from amdet_hub.detect.sweep import log_variance
from amdet_hub.records import TowerConfig
from tests.detect.towers import CLIP, SIGLIP, prompts, random_tower, triggered_pair


@pytest.mark.parametrize("config", [CLIP, SIGLIP])
def test_the_close_measure_is_the_mean_over_places_and_lengths(config: TowerConfig) -> None:
    suspect, reference = random_tower(config, seed=0), random_tower(config, seed=1)
    whole = prompts(6, 7, config)
    short = PromptSet(whole.tokens[:, :4], whole.special, whole.source)
    candidates = [(7, 9), (9, 7), (5,), (7, 9, 11)]
    for index, value in enumerate(CloseCollapse(suspect, reference, whole)(candidates)):
        ids = torch.tensor([candidates[index]])
        terms = [
            float(
                log_variance(SplicedPrompts(reference, some, place).features(ids))
                - log_variance(SplicedPrompts(suspect, some, place).features(ids))
            )
            for some in (whole, short)
            for place in PLACES
        ]
        assert value == pytest.approx(sum(terms) / 6, abs=1e-4)


def test_without_a_reference_the_suspect_alone_is_measured() -> None:
    suspect, _ = triggered_pair(trigger=17)
    with_trigger, without = CloseCollapse(suspect, None, prompts(6))([(17,), (8,)])
    assert with_trigger > without + 3


def test_many_by_the_quick_measure_and_the_best_of_them_by_the_close_one() -> None:
    asked: list[int] = []

    def rough(some: list[tuple[int, ...]]) -> list[float]:
        return [float(-one[0]) for one in some]

    def close(some: list[tuple[int, ...]]) -> list[float]:
        asked.append(len(some))
        return [float(one[-1] == 2) for one in some]

    found = texts_of(range(5), lambda ids: ids if len(ids) == 1 else None, rough, close, n=2)
    assert len(found) == 2
    assert all(one[0] == 0 and one[-1] == 2 for one in found), (
        "those that begin with 0 are looked at, and of these those that end with 2 are the best"
    )
    assert asked == [24]
    assert texts_of((), lambda ids: ids, rough, close) == []


def test_characters_for_pieces() -> None:
    table: dict[tuple[int, ...], float] = {(1, 2): 0.5, (1, 3): 2.0, (1, 4): 1.0}

    def measure(some: list[tuple[int, ...]]) -> list[float]:
        return [table[one] for one in some]

    assert characters_of([1, 9], lambda ids: list(table) if 1 in ids else [], measure, measure, n=2) == [(1, 3), (1, 4)]
    assert characters_of([9], lambda ids: list(table) if 1 in ids else [], measure, measure) == []
