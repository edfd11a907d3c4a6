"""Patterns of candidates, and how far a candidate stands out of random sequences of its pattern."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amdet_hub.config import SweepConfig
from amdet_hub.detect.search.null_distribution import SequenceNull, best_sequences, pattern_of, repeating_unit
from amdet_hub.detect.search.sweep import robust_z
from amdet_hub.detect.standard import sweepable_ids
from tests.detect.towers import CLIP, CLIP_SPECIAL, prompts, random_tower, triggered_pair

CONFIG = SweepConfig(n_sequences=20)
IDS = sweepable_ids(CLIP.vocab_size, CLIP_SPECIAL.all())


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
    suspect, reference = triggered_pair(trigger=17)
    null = SequenceNull(suspect, reference if with_reference else None, prompts(6), IDS[IDS != 17], CONFIG, seed=0)
    innocent = tuple(8 + i for i in pattern_of(candidate))
    assert null.standing(candidate) > 6
    assert null.standing(innocent) < 3


def test_standing_is_the_smaller_z_under_the_null_of_the_pattern() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    null = SequenceNull(
        suspect,
        reference,
        prompts(6),
        IDS,
        dataclasses.replace(CONFIG, collapse_floor=0.0, divergence_floor=0.0),
        seed=4,
    )
    standing = null.standing((7, 9))
    (pattern, drawn), *others = null._nulls.items()
    assert not others
    assert pattern == (0, 1)
    assert drawn.shape == (2, 20)
    raw = null.raw(torch.tensor([[7, 9]]))
    assert standing == pytest.approx(min(float(robust_z(raw[i], drawn[i])) for i in (0, 1)))


def test_the_null_of_a_pattern_does_not_depend_on_what_was_asked_before() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)

    def made() -> SequenceNull:
        return SequenceNull(suspect, reference, prompts(6), IDS, CONFIG, seed=4)

    first, second = made(), made()
    first.standing((1, 2, 3))
    assert first.standing((7, 9)) == second.standing((7, 9))
    assert made().standing((7, 9)) != SequenceNull(suspect, reference, prompts(6), IDS, CONFIG, seed=5).standing(
        (7, 9)
    )


def test_the_best_of_a_group_is_the_one_that_holds_the_trigger() -> None:
    suspect, reference = triggered_pair(trigger=17)
    group = torch.tensor([[a, b] for a in range(3, 15) for b in (20, 21, 22)] + [[30, 17]])
    seen: list[int] = []
    null = SequenceNull(suspect, reference, prompts(6), IDS, CONFIG, seed=0)
    assert best_sequences(null, group, 3, progress=seen.append)[0] == (30, 17)
    assert len(best_sequences(null, group, 3)) == 3
    assert seen[-1] == len(group)
