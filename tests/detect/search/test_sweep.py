"""The vocabulary sweep finds a planted trigger, however the work is shared."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from amdet_hub.config import SweepConfig
from amdet_hub.detect.search.sweep import Sweep, cross_prompt_variance, robust_z, sweep_vocabulary
from amdet_hub.detect.standard import candidate_triggers, sweepable_ids
from amdet_hub.detect.workers import Alone
from amdet_hub.errors import ConfigError
from tests.detect.processes import in_two_processes
from tests.detect.towers import (
    CLIP,
    CLIP_SPECIAL,
    demo_prompts,
    demo_special,
    demo_tower,
    prompts,
    random_tower,
    triggered_pair,
)

SMALL = SweepConfig(
    preview_share=1.0, screen_prompts=3, n_finalists=8, n_null=30, n_prompts=6, prompt_tokens=5, batch_rows=200
)
IDS = sweepable_ids(CLIP.vocab_size, CLIP_SPECIAL.all())


def same(a: Sweep, b: Sweep) -> bool:
    pairs = ((getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Sweep))
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


def test_robust_z_by_hand() -> None:
    null = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0])  # median 3, absolute deviations 2 1 0 1 97, MAD 1
    assert torch.allclose(robust_z(torch.tensor([3.0, 5.9652]), null), torch.tensor([0.0, 2.0]))
    assert torch.allclose(robust_z(torch.tensor([5.0]), null, floor=4.0), torch.tensor([0.5])), (
        "the floor is the larger scale"
    )
    assert not robust_z(torch.tensor([1.0, 9.0]), torch.ones(5)).any(), "a null without spread says nothing"


def test_cross_prompt_variance_by_hand() -> None:
    features = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[2.0, 4.0], [1.0, 1.0]]])  # (B = 2, C = 2, D = 2)
    assert cross_prompt_variance(features).tolist() == [5.0, 0.0]


def test_sweepable_ids_are_all_but_the_specials() -> None:
    assert IDS.tolist() == list(range(58))


@pytest.mark.parametrize("with_reference", [True, False])
def test_a_planted_trigger_is_the_top_finalist(with_reference: bool) -> None:
    suspect, reference = triggered_pair(trigger=17)
    found = sweep_vocabulary(suspect, reference if with_reference else None, prompts(6), IDS, SMALL, seed=0)
    assert int(found.token_ids[found.top(1)]) == 17
    assert float(found.score[found.top(1)]) > 3 * float(found.null_score.quantile(0.9))
    assert found.n_swept == 58
    assert found.n_finalists == 8
    if not with_reference:
        assert not found.divergence_z.any()


def test_the_trigger_of_a_trained_backdoor() -> None:
    special = demo_special()
    ids = sweepable_ids(2000, special.all())
    config = SweepConfig(n_finalists=32, n_null=128)
    found = sweep_vocabulary(
        demo_tower("backdoored").encoder, demo_tower("base").encoder, demo_prompts(8), ids, config, seed=0
    )
    assert int(found.token_ids[found.top(1)]) == 988, "the Cyrillic letter of the demonstration"


@pytest.mark.parametrize("with_reference", [True, False])
def test_two_processes_find_what_one_finds(with_reference: bool) -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1) if with_reference else None
    alone = sweep_vocabulary(suspect, reference, prompts(6), IDS, SMALL, seed=3)
    for found in in_two_processes(
        lambda workers: sweep_vocabulary(suspect, reference, prompts(6), IDS, SMALL, seed=3, workers=workers)
    ):
        assert same(alone, found)


PREVIEW = dataclasses.replace(SMALL, preview_share=0.2, n_null=10)


class Halves:
    """A store in memory that counts."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}
        self.found = 0

    def load(self, question: str) -> torch.Tensor | None:
        self.found += question in self.kept
        return self.kept.get(question)

    def save(self, question: str, half: torch.Tensor) -> None:
        self.kept[question] = half


def test_a_preview_leaves_most_tokens_at_two_prompts() -> None:
    suspect, reference = triggered_pair(trigger=17)
    seen: list[tuple[int, int]] = []
    found = sweep_vocabulary(
        suspect, reference, prompts(6), IDS, PREVIEW, seed=0, progress=lambda d, t: seen.append((d, t))
    )
    assert int(found.token_ids[found.top(1)]) == 17
    kept = 12  # a fifth of 58, rounded up
    assert seen[-1] == (58 * 2 + (kept + 10) * 3 + (8 + 10) * 6 * 2,) * 2
    whole = sweep_vocabulary(
        suspect, reference, prompts(6), IDS, dataclasses.replace(PREVIEW, preview_share=1.0), seed=0
    )
    assert int(whole.token_ids[whole.top(1)]) == 17


def test_a_kept_half_changes_nothing() -> None:
    """With a store, with a full store and without one: the same numbers, and the reference is not asked again."""
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    halves = Halves()
    without = sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3)
    first = sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves)
    (half,) = halves.kept.values()
    assert (half.shape, half.dtype, halves.found) == ((2, 58, CLIP.hidden_size), torch.float16, 0)
    again = sweep_vocabulary(random_tower(seed=0), reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves)
    assert halves.found == 1
    assert same(without, first)
    assert same(without, again)
    sweep_vocabulary(suspect, reference, prompts(6, seed=9), IDS, PREVIEW, seed=3, halves=halves)
    assert len(halves.kept) == 2, "other prompts are another question"
    sweep_vocabulary(suspect, None, prompts(6), IDS, PREVIEW, seed=3, halves=halves)
    assert len(halves.kept) == 2, "without a reference there is no half"


def test_two_processes_use_a_half_and_leave_the_filling_to_one() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    halves = Halves()
    alone = sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3)
    for found in in_two_processes(
        lambda workers: sweep_vocabulary(
            suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves, workers=workers
        )
    ):
        assert same(alone, found)
    assert not halves.kept
    sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves)
    for found in in_two_processes(
        lambda workers: sweep_vocabulary(
            suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves, workers=workers
        )
    ):
        assert same(alone, found)


def test_a_half_survives_smaller_batches() -> None:
    """When memory runs out in the middle, what was computed with the larger batch is not kept beside what the smaller one gives."""

    class Stumbling(Alone):
        def share(self, stage: str, batch: int, n_chunks: Any, work: Any) -> list[Any]:
            n_chunks(batch)
            work(batch, 0)
            return super().share(stage, batch // 2, n_chunks, work)

    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    plain, halves = Halves(), Halves()
    sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=plain)
    sweep_vocabulary(suspect, reference, prompts(6), IDS, PREVIEW, seed=3, halves=halves, workers=Stumbling())
    for ours, theirs in zip(plain.kept.values(), halves.kept.values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)


def test_same_seed_same_sweep() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    first, second, other = (
        sweep_vocabulary(suspect, reference, prompts(6), IDS, SMALL, seed=seed) for seed in (3, 3, 4)
    )
    assert same(first, second)
    assert not torch.equal(first.token_ids, other.token_ids), "another seed samples another null"


def test_a_vocabulary_smaller_than_the_passes() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    config = dataclasses.replace(SMALL, n_finalists=1000, n_null=1000)
    found = sweep_vocabulary(suspect, reference, prompts(6), IDS, config, seed=0)
    assert found.n_finalists == 58
    assert sorted(found.token_ids[:58].tolist()) == sorted(found.token_ids[58:].tolist()) == IDS.tolist()
    assert len(found.top(1000)) == 58


def test_best_form_wins() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    found = sweep_vocabulary(suspect, reference, prompts(6), IDS, SMALL, seed=0)
    assert torch.equal(found.score, torch.minimum(found.collapse_z, found.divergence_z))
    assert set(found.copies.tolist()) <= {1, 3}
    single = sweep_vocabulary(suspect, reference, prompts(6), IDS, dataclasses.replace(SMALL, copies=(1,)), seed=0)
    assert torch.equal(single.token_ids, found.token_ids), "the first pass is the same"
    assert (found.score >= single.score).all()


def test_progress_ends_where_it_said() -> None:
    seen: list[tuple[int, int]] = []
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    sweep_vocabulary(
        suspect, reference, prompts(6), IDS, SMALL, seed=0, progress=lambda done, total: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


def test_too_few_prompts() -> None:
    with pytest.raises(ConfigError, match="prompts"):
        sweep_vocabulary(random_tower(), None, prompts(2), IDS, SMALL, seed=0)


def test_candidates_are_singles_repetitions_and_pairs() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0, 0.0])
    found = Sweep(torch.tensor([7, 8, 9, 5]), 3, 50, scores, scores, scores, torch.ones(4, dtype=torch.int64))
    assert candidate_triggers(found, 2, (1, 3), 2) == [
        (7,),
        (7,) * 3,
        (8,),
        (8,) * 3,
        (7, 8),
        (7, 8, 7, 8),
        (8, 7),
        (8, 7, 8, 7),
    ]
