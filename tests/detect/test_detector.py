"""The stages of the standard detector together, on one process and on two."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from amdet_hub.config import ScanConfig
from amdet_hub.detect.context import Alone, Lexicon, TowerPair, Towers
from amdet_hub.detect.detector import CLEARLY_NOTHING, Detection, StandardDetector, is_conclusive
from amdet_hub.detect.search.held_out import Confirmation
from amdet_hub.records import Monitor
from tests.detect.processes import in_two_processes
from tests.detect.towers import THRESHOLDS, alone, context, in_float32, prompts, random_pair, triggered_pair

CONFIG = ScanConfig.for_preset("standard").replace(
    stop_when_decided=False,
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


def run(towers: TowerPair, config: ScanConfig = CONFIG, **others: Any) -> Detection:
    return StandardDetector().detect(in_float32(towers), prompts(13, seed=7), context(config, **others))


def plain(value: Any) -> Any:
    """Nested outcome as comparable data."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def test_the_planted_trigger_is_the_best_confirmation() -> None:
    outcome = run(triggered_pair(trigger=17))
    assert set(outcome.confirmations[0].token_ids) >= {17}
    assert outcome.confirmations[0].success == max(c.success for c in outcome.confirmations)
    assert min(outcome.confirmations[0].success_rates) == 1.0
    assert len({c.token_ids for c in outcome.confirmations}) == len(outcome.confirmations)


def test_two_processes_are_one() -> None:
    towers = random_pair()
    single = plain(run(towers))
    for found in in_two_processes(lambda workers: run(towers, workers=workers)):
        assert plain(found) == single


def test_without_a_reference_the_paired_stages_are_absent() -> None:
    outcome = run(alone(triggered_pair(trigger=17)))
    assert (outcome.inversion, outcome.swapped, outcome.landscape) == (None, None, None)
    assert 17 in outcome.confirmations[0].token_ids


def test_without_restarts_the_paired_stages_are_left_out() -> None:
    towers = triggered_pair(trigger=17)
    outcome = run(towers, CONFIG.replace(inversion__restarts=0))
    assert (outcome.inversion, outcome.swapped, outcome.landscape) == (None, None, None)
    assert outcome.with_reference
    assert plain(outcome.confirmations) == plain(run(towers).confirmations), "the other stages do not notice"


def test_what_reaches_both_thresholds_is_held_against_random_sequences() -> None:
    outcome = run(triggered_pair(trigger=17))
    reaching = [c for c in outcome.confirmations if c.success >= 0.7 and c.collapse >= 0.8]
    assert reaching
    assert all(c.standing is not None and c.standing > 5 for c in reaching)


def test_every_stage_reports_its_progress() -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    run(random_pair(), monitor=Monitor(lambda stage, done, total: seen.setdefault(stage, []).append((done, total))))
    assert list(seen) == ["sweep", "confirm", "inversion", "inversion, roles swapped", "landscape"]
    for counts in seen.values():
        assert all(0 < done <= total for done, total in counts)
        assert counts == sorted(counts)
        assert len({total for _, total in counts}) == 1


def test_a_passing_candidate_is_named_before_the_inversion() -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    lexicon = Lexicon(characters=lambda ids: [(17, 20), (17, 21)] if 17 in ids else [])
    monitor = Monitor(lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    outcome = run(triggered_pair(trigger=17), lexicon=lexicon, monitor=monitor)
    assert list(seen)[:4] == ["sweep", "confirm", "name", "inversion"]
    assert seen["name"] == [(1, 3), (2, 3), (3, 3)]
    assert {one.token_ids for one in outcome.names.characters} == {(17, 20), (17, 21)}
    assert all(one.standing is not None and one.success == 1.0 for one in outcome.names.characters), (
        "measured like any candidate"
    )
    assert outcome.names.spelled == (), "no tokenizer knows a word"


def test_chunks_cover_everything_once() -> None:
    items = list(range(10))
    chunks = Alone().share(
        "any",
        3,
        lambda size: -(-len(items) // size),
        lambda size, number: list(items[number * size : (number + 1) * size]),
    )
    assert [item for chunk in chunks for item in chunk] == items
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]


def test_a_decided_search_leaves_the_rest_out_and_says_so() -> None:
    towers = triggered_pair(trigger=17)
    everything, outcome = run(towers), run(towers, CONFIG.replace(stop_when_decided=True))
    assert everything.left_out == ()
    assert everything.inversion is not None
    assert (outcome.inversion, outcome.landscape) == (None, None)
    assert outcome.left_out == ("inversion", "landscape")
    assert plain(outcome.confirmations) == plain(everything.confirmations)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, True), (CLEARLY_NOTHING - 0.01, True), (CLEARLY_NOTHING, False), (0.99, False), (1.0, True), (3.0, True)],
)
def test_between_nothing_and_a_passing_candidate_the_inversion_is_run(share: float, expected: bool) -> None:
    t = THRESHOLDS
    rates = (t.trigger_success * share,) * 3
    one = Confirmation((1,), rates, (0.0,) * 3, t.trigger_collapse * share, 8, standing=t.sweep_score * share + 1e-9)
    unmeasured = dataclasses.replace(one, success_rates=(1.0,) * 3, collapse=9.0, standing=None)
    assert is_conclusive([unmeasured, one], t) is expected


class CountedRows:
    """An encoder that says it multiplies in another dtype, and counts what it is asked."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.rows = encoder, 0

    dtype = torch.bfloat16

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        self.rows += hidden.shape[0] * hidden.shape[1]
        features: torch.Tensor = self._encoder.encode(hidden)
        return features


def test_what_comes_near_is_measured_again_exactly() -> None:
    """Candidates are ranked by the fast encoders; the float32 ones see few, and give the numbers that are reported."""
    towers = triggered_pair(trigger=17)
    exact, fast = ((CountedRows(towers.suspect), CountedRows(towers.reference)) for _ in range(2))
    exact[0].dtype = exact[1].dtype = torch.float32
    config = CONFIG.replace(inversion__restarts=0, sweep__n_candidates=40)
    both = Towers(TowerPair(*exact), TowerPair(*fast))
    outcome = StandardDetector().detect(both, prompts(13, seed=7), context(config))
    assert 17 in outcome.confirmations[0].token_ids
    assert 0 < exact[0].rows < 0.7 * fast[0].rows
