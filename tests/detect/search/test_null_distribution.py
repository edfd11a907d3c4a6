"""Patterns of candidates, and how far a candidate stands out of random sequences of its pattern."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amdet_hub.config_stages import SweepConfig
from amdet_hub.detect.search.null_distribution import SequenceNull, pattern_of, repeating_unit, robust_z
from tests.detect.towers import IDS, alone, prompts, random_pair, sweep_context, triggered_pair

CONFIG = SweepConfig(n_sequences=20)


def test_patterns() -> None:
    assert pattern_of((7,)) == (0,)
    assert pattern_of((7, 7, 7)) == (0, 0, 0)
    assert pattern_of((7, 9, 7, 3)) == (0, 1, 0, 2)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(1, 4))
def test_the_repeating_unit_repeats(unit: list[int], times: int) -> None:
    whole = tuple(unit) * times
    found = repeating_unit(whole)
    assert found * (len(whole) // len(found)) == whole
    assert len(found) <= len(unit)
    assert repeating_unit(found) == found


@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("candidate", [(17,), (17, 17, 17), (3, 17), (17, 4, 5)])
def test_what_holds_the_trigger_stands_out(candidate: tuple[int, ...], with_reference: bool) -> None:
    towers = triggered_pair(trigger=17) if with_reference else alone(triggered_pair(trigger=17))
    null = SequenceNull(towers, prompts(6), sweep_context(CONFIG, IDS[IDS != 17]))
    harmless = tuple(8 + i for i in pattern_of(candidate))
    assert null.standing(candidate) > 6
    assert null.standing(harmless) < 3


def test_standing_is_the_smaller_z_under_the_null_of_the_pattern() -> None:
    config = dataclasses.replace(CONFIG, collapse_floor=0.0, divergence_floor=0.0)
    null = SequenceNull(random_pair(), prompts(6), sweep_context(config, seed=4))
    standing = null.standing((7, 9))
    (pattern, drawn), *others = null._nulls.items()
    assert not others
    assert pattern == (0, 1)
    assert drawn.shape == (2, 20)
    raw = null.raw(torch.tensor([[7, 9]]))
    assert standing == pytest.approx(min(float(robust_z(raw[i], drawn[i])) for i in (0, 1)))


def test_the_null_of_a_pattern_does_not_depend_on_what_was_asked_before() -> None:
    towers = random_pair()

    def made(seed: int = 4) -> SequenceNull:
        return SequenceNull(towers, prompts(6), sweep_context(CONFIG, seed=seed))

    first, second = made(), made()
    first.standing((1, 2, 3))
    assert first.standing((7, 9)) == second.standing((7, 9))
    assert made().standing((7, 9)) != made(seed=5).standing((7, 9))


def test_the_best_of_a_group_is_the_one_that_holds_the_trigger() -> None:
    group = torch.tensor([[a, b] for a in range(3, 15) for b in (20, 21, 22)] + [[30, 17]])
    seen: list[int] = []
    null = SequenceNull(triggered_pair(trigger=17), prompts(6), sweep_context(CONFIG))
    assert null.best_of_group(group, 3, seen.append)[0] == (30, 17)
    assert len(null.best_of_group(group, 3, seen.append)) == 3
    assert seen[-1] == len(group)
