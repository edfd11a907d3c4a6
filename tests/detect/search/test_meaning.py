"""Meanings that moved: what was exchanged stands out, what drifted does not, and characters are their pieces."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from amdet_hub.detect.context import Candidate, DetectionContext, TowerPair
from amdet_hub.detect.search.meaning import MeaningShift, changed_meanings
from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.load import build_encoder
from tests.detect.processes import in_two_processes
from tests.detect.towers import CLIP, IDS, prompts, sweep_context

CAT, DOG = 17, 23


@cache
def tensors() -> dict[str, torch.Tensor]:
    """A tower whose tokens all say something of their own."""
    generator = torch.Generator().manual_seed(3)
    made = {}
    for name, shape in tower_shapes(CLIP).items():
        noise = torch.randn(shape, generator=generator) * (1.0 if "token_embedding" in name else 0.2)
        made[name] = noise + 1.0 if "norm" in name and name.endswith("weight") else noise
    return made


def pair(rows: dict[int, int], noise: float = 0.0) -> TowerPair:
    """A clean tower, and a suspect in which the tokens of `rows` have other tokens' embeddings."""
    generator, changed = torch.Generator().manual_seed(5), {}
    for name, tensor in tensors().items():
        changed[name] = tensor + noise * torch.randn(tensor.shape, generator=generator)
        if "token_embedding" in name:
            for token, other in rows.items():
                changed[name][token] = tensor[other]
    return TowerPair(build_encoder(CLIP, changed), build_encoder(CLIP, tensors()))


def context(*characters: Candidate) -> DetectionContext:
    return sweep_context(characters=characters)


def strongest(found: tuple[MeaningShift, ...], *, is_character: bool = False) -> MeaningShift:
    return next(one for one in found if one.is_character == is_character)


def test_an_exchanged_word_is_the_strongest_and_says_the_other() -> None:
    found = changed_meanings(pair({CAT: DOG}), prompts(4), IDS, (), context())
    first, second = found[:2]
    assert (first.token_ids, first.is_character) == ((CAT,), False)
    assert first.score > 4 * max(second.score, 0.5)
    bank = {token for one in found for token in one.says}
    assert DOG not in bank or first.says[0] == DOG
    assert CAT not in first.says


def test_drift_alone_gives_no_token_a_high_score() -> None:
    found = changed_meanings(pair({}, noise=0.05), prompts(4), IDS, (), context())
    assert strongest(found).score < 4


def test_an_unchanged_encoder_taught_nothing() -> None:
    found = changed_meanings(pair({}), prompts(4), IDS, (), context((CAT,), (DOG, CAT)))
    assert all(one.score <= 1 or one.is_character for one in found)
    assert all(one.strength <= 0 for one in found)


def test_a_character_is_measured_as_its_pieces() -> None:
    others = [(token, token + 1) for token in range(30, 50)]
    found = changed_meanings(pair({CAT: DOG}), prompts(4), IDS[:3], (), context((CAT, CAT), *others))
    first = strongest(found, is_character=True)
    assert first.token_ids == (CAT, CAT)
    assert first.score > 3 * max(one.score for one in found if one.is_character and one is not first)
    assert sum(one.is_character for one in found) == 21


def test_without_a_reference_nothing_is_compared() -> None:
    alone = TowerPair(pair({}).suspect, None)
    assert changed_meanings(alone, prompts(4), IDS, (), context((CAT,))) == ()


def test_two_processes_find_the_same() -> None:
    single = changed_meanings(pair({CAT: DOG}), prompts(4), IDS, (), context((CAT, 5)))

    def run(workers: object) -> tuple[MeaningShift, ...]:
        return changed_meanings(
            pair({CAT: DOG}), prompts(4), IDS, (), sweep_context(characters=((CAT, 5),), workers=workers)
        )

    for found in in_two_processes(run):
        assert [one.token_ids for one in found] == [one.token_ids for one in single]
        assert [one.score for one in found] == pytest.approx([one.score for one in single])
