"""The stages of the standard detector together, on one process and on two."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from amdet_hub.config import ScanConfig, Thresholds
from amdet_hub.detect.standard import StandardOutcome, run_standard, sweepable_ids
from amdet_hub.detect.workers import Alone, Workers
from tests.detect.processes import in_two_processes
from tests.detect.towers import CLIP, CLIP_SPECIAL, prompts, random_tower, triggered_pair

CONFIG = ScanConfig.for_preset("standard").replace(
    sweep__screen_prompts=3,
    sweep__n_finalists=8,
    sweep__n_null=30,
    sweep__n_prompts=5,
    sweep__n_heldout_prompts=8,
    sweep__n_candidates=3,
    sweep__n_paired=2,
    sweep__n_pieces=3,
    sweep__n_accretions=2,
    sweep__n_pointed=2,
    sweep__n_sequences=10,
    sweep__max_pieces=3,
    sweep__batch_rows=100,
    inversion__restarts=6,
    inversion__steps=2,
    landscape__grid=6,
)
THRESHOLDS = Thresholds(sweep_score=5.0, trigger_success=0.7, trigger_collapse=0.8)
IDS = sweepable_ids(CLIP.vocab_size, CLIP_SPECIAL.all())


def run(suspect: Any, reference: Any, workers: Workers | None = None, seed: int = 7) -> StandardOutcome:
    return run_standard(suspect, reference, (suspect, reference), prompts(13, seed=seed), IDS, CONFIG, THRESHOLDS, workers=workers)


def plain(value: Any) -> Any:
    """Nested outcome as comparable data."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def test_the_planted_trigger_is_the_best_confirmation() -> None:
    suspect, reference = triggered_pair(trigger=17)
    outcome = run(suspect, reference)
    assert set(outcome.confirmations[0].token_ids) >= {17}
    assert outcome.confirmations[0].success == max(c.success for c in outcome.confirmations)
    assert min(outcome.confirmations[0].success_rates) == 1.0
    assert len({c.token_ids for c in outcome.confirmations}) == len(outcome.confirmations)


def test_two_processes_are_one() -> None:
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    alone = plain(run(suspect, reference))
    for found in in_two_processes(lambda workers: run(suspect, reference, workers)):
        assert plain(found) == alone


def test_without_a_reference_the_paired_stages_are_absent() -> None:
    outcome = run(triggered_pair(trigger=17)[0], None)
    assert (outcome.inversion, outcome.swapped, outcome.landscape) == (None, None, None)
    assert 17 in outcome.confirmations[0].token_ids


def test_without_restarts_the_paired_stages_are_left_out() -> None:
    suspect, reference = triggered_pair(trigger=17)
    config = CONFIG.replace(inversion__restarts=0)
    outcome = run_standard(suspect, reference, (suspect, reference), prompts(13, seed=7), IDS, config, THRESHOLDS)
    assert (outcome.inversion, outcome.swapped, outcome.landscape) == (None, None, None)
    assert outcome.with_reference
    assert plain(outcome.confirmations) == plain(run(suspect, reference).confirmations), "the other stages do not notice"


def test_what_reaches_both_thresholds_is_held_against_random_sequences() -> None:
    suspect, reference = triggered_pair(trigger=17)
    outcome = run(suspect, reference)
    reaching = [c for c in outcome.confirmations if c.success >= 0.7 and c.collapse >= 0.8]
    assert reaching
    assert all(c.standing is not None and c.standing > 5 for c in reaching)


def test_every_stage_reports_its_progress() -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    suspect, reference = random_tower(seed=0), random_tower(seed=1)
    run_standard(
        suspect,
        reference,
        (suspect, reference),
        prompts(13),
        IDS,
        CONFIG,
        THRESHOLDS,
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    assert list(seen) == ["sweep", "confirm", "inversion", "inversion, roles swapped", "landscape"]
    for counts in seen.values():
        assert all(0 < done <= total for done, total in counts)
        assert counts == sorted(counts)
        assert len({total for _, total in counts}) == 1


def test_chunks_cover_everything_once() -> None:
    items = list(range(10))
    chunks = Alone().share(
        "any", 3, lambda size: -(-len(items) // size), lambda size, number: list(items[number * size : (number + 1) * size])
    )
    assert [item for chunk in chunks for item in chunk] == items
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
