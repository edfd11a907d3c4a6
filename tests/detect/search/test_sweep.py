"""The vocabulary sweep finds a planted trigger, however the work is shared."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from amdet_hub.config_stages import SweepConfig
from amdet_hub.detect.context import Alone, TowerPair
from amdet_hub.detect.search.candidate_search import candidate_triggers
from amdet_hub.detect.search.null_distribution import log_variance, robust_z
from amdet_hub.detect.search.sweep import Sweep, sweep_vocabulary, sweepable_ids
from amdet_hub.errors import ConfigError
from amdet_hub.records import Monitor
from tests.detect.processes import in_two_processes
from tests.detect.towers import (
    CLIP,
    IDS,
    alone,
    demo_pair,
    demo_prompts,
    demo_special,
    prompts,
    random_pair,
    random_tower,
    sweep_context,
    triggered_pair,
)

SMALL = SweepConfig(
    preview_share=1.0, screen_prompts=3, n_finalists=8, n_null=30, n_prompts=6, prompt_tokens=5, batch_rows=200
)


def swept(towers: TowerPair, config: SweepConfig = SMALL, *, prompt_seed: int = 0, **others: Any) -> Sweep:
    return sweep_vocabulary(towers, prompts(6, seed=prompt_seed), sweep_context(config, **others))["pooled"]


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


def test_log_variance_by_hand() -> None:
    features = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[2.0, 4.0], [1.0, 1.0]]])  # (B = 2, C = 2, D = 2)
    assert log_variance(features).tolist() == pytest.approx([math.log(5), math.log(1e-12)])


def test_sweepable_ids_are_all_but_the_specials() -> None:
    assert IDS.tolist() == list(range(58))


@pytest.mark.parametrize("with_reference", [True, False])
def test_a_planted_trigger_is_the_top_finalist(with_reference: bool) -> None:
    towers = triggered_pair(trigger=17) if with_reference else alone(triggered_pair(trigger=17))
    found = swept(towers)
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
    found = sweep_vocabulary(demo_pair(), demo_prompts(8), sweep_context(config, ids))["pooled"]
    assert int(found.token_ids[found.top(1)]) == 988, "the Cyrillic letter of the demonstration"


@pytest.mark.parametrize("with_reference", [True, False])
def test_two_processes_find_what_one_finds(with_reference: bool) -> None:
    towers = random_pair() if with_reference else alone(random_pair())
    single = swept(towers, seed=3)
    for found in in_two_processes(lambda workers: swept(towers, seed=3, workers=workers)):
        assert same(single, found)


PREVIEW = dataclasses.replace(SMALL, preview_share=0.2, n_null=10)


class Store:
    """A store in memory that counts."""

    def __init__(self) -> None:
        self.stored: dict[str, torch.Tensor] = {}
        self.found = 0

    def load(self, key: str) -> torch.Tensor | None:
        self.found += key in self.stored
        return self.stored.get(key)

    def save(self, key: str, features: torch.Tensor) -> None:
        self.stored[key] = features


def test_a_preview_leaves_most_tokens_at_two_prompts() -> None:
    seen: list[tuple[int, int]] = []
    monitor = Monitor(lambda stage, done, total: seen.append((done, total)))
    found = swept(triggered_pair(trigger=17), PREVIEW, monitor=monitor)
    assert int(found.token_ids[found.top(1)]) == 17
    kept = 12  # a fifth of 58, rounded up
    assert seen[-1] == (58 * 2 + (kept + 10) * 3 + (8 + 10) * 6 * 2,) * 2
    whole = swept(triggered_pair(trigger=17), dataclasses.replace(PREVIEW, preview_share=1.0))
    assert int(whole.token_ids[whole.top(1)]) == 17


def test_stored_features_change_nothing() -> None:
    """With a store, with a full store and without one: the same numbers, and the reference is not run again."""
    towers, store = random_pair(), Store()
    without = swept(towers, PREVIEW, seed=3)
    first = swept(towers, PREVIEW, seed=3, feature_store=store)
    (features,) = store.stored.values()
    assert (features.shape, features.dtype, store.found) == ((1, 2, 58, CLIP.hidden_size), torch.float16, 0)
    again = swept(TowerPair(random_tower(seed=0), towers.reference), PREVIEW, seed=3, feature_store=store)
    assert store.found == 1
    assert same(without, first)
    assert same(without, again)
    swept(towers, PREVIEW, prompt_seed=9, seed=3, feature_store=store)
    assert len(store.stored) == 2, "other prompts have another key"
    swept(alone(towers), PREVIEW, seed=3, feature_store=store)
    assert len(store.stored) == 2, "without a reference there are no features of one"


def test_two_processes_read_stored_features_and_leave_the_filling_to_one() -> None:
    towers, store = random_pair(), Store()
    single = swept(towers, PREVIEW, seed=3)
    for found in in_two_processes(
        lambda workers: swept(towers, PREVIEW, seed=3, feature_store=store, workers=workers)
    ):
        assert same(single, found)
    assert not store.stored
    swept(towers, PREVIEW, seed=3, feature_store=store)
    for found in in_two_processes(
        lambda workers: swept(towers, PREVIEW, seed=3, feature_store=store, workers=workers)
    ):
        assert same(single, found)


def test_stored_features_survive_smaller_batches() -> None:
    """When memory runs out in the middle, the features of the larger batch give way to those of the smaller one."""

    class Stumbling(Alone):
        def share(self, stage: str, batch: int, n_chunks: Any, work: Any) -> list[Any]:
            n_chunks(batch)
            work(batch, 0)
            return super().share(stage, batch // 2, n_chunks, work)

    towers, plain, store = random_pair(), Store(), Store()
    swept(towers, PREVIEW, seed=3, feature_store=plain)
    swept(towers, PREVIEW, seed=3, feature_store=store, workers=Stumbling())
    for one, other in zip(plain.stored.values(), store.stored.values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)


def test_same_seed_same_sweep() -> None:
    first, second, other = (swept(random_pair(), seed=seed) for seed in (3, 3, 4))
    assert same(first, second)
    assert not torch.equal(first.token_ids, other.token_ids), "another seed samples another null"


def test_a_vocabulary_smaller_than_the_passes() -> None:
    found = swept(random_pair(), dataclasses.replace(SMALL, n_finalists=1000, n_null=1000))
    assert found.n_finalists == 58
    assert sorted(found.token_ids[:58].tolist()) == sorted(found.token_ids[58:].tolist()) == IDS.tolist()
    assert len(found.top(1000)) == 58


def test_best_form_wins() -> None:
    found = swept(random_pair())
    assert torch.equal(found.score, torch.minimum(found.collapse_z, found.divergence_z))
    assert set(found.copies.tolist()) <= {1, 3}
    single = swept(random_pair(), dataclasses.replace(SMALL, copies=(1,)))
    assert torch.equal(single.token_ids, found.token_ids), "the first pass is the same"
    assert (found.score >= single.score).all()


def test_progress_ends_where_it_said() -> None:
    seen: list[tuple[int, int]] = []
    swept(random_pair(), monitor=Monitor(lambda stage, done, total: seen.append((done, total))))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


def test_too_few_prompts() -> None:
    with pytest.raises(ConfigError, match="prompts"):
        sweep_vocabulary(alone(random_pair()), prompts(2), sweep_context(SMALL))


def test_candidates_are_singles_repetitions_and_pairs() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0, 0.0])
    ones = torch.ones(4, dtype=torch.int64)
    found = Sweep(torch.tensor([7, 8, 9, 5]), 3, 50, scores, scores, scores, ones, ones)
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
