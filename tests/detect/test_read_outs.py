"""The read-outs beside the pooled feature: one sweep for all, a null and best tokens of their own for each."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amdet_hub.config_stages import SweepConfig, Thresholds
from amdet_hub.detect.context import DetectionContext, TowerPair
from amdet_hub.detect.detector import Detection, StandardDetector
from amdet_hub.detect.search.sweep import sweep_vocabulary, sweepable_ids
from amdet_hub.records import ReadOut
from tests.detect.processes import in_two_processes
from tests.detect.search.test_sweep import PREVIEW, SMALL, Store, same
from tests.detect.test_detector import CONFIG, plain, run
from tests.detect.towers import (
    CLIP,
    SIGLIP,
    SIGLIP_SPECIAL,
    THRESHOLDS,
    alone,
    context,
    demo_pair,
    demo_prompts,
    demo_special,
    in_float32,
    prompts,
    random_pair,
    sweep_context,
)

PROJECTING = dataclasses.replace(CLIP, projection_dim=12)
EVERY: dict[ReadOut, Thresholds] = {"projected": THRESHOLDS, "penultimate": THRESHOLDS}


def test_other_read_outs_change_nothing_of_the_pooled_feature() -> None:
    towers = random_pair(PROJECTING)
    alone_read = sweep_vocabulary(towers, prompts(6), sweep_context(PREVIEW))
    every = sweep_vocabulary(towers, prompts(6), sweep_context(PREVIEW, read_outs=EVERY))
    assert list(alone_read) == ["pooled"]
    assert list(every) == ["pooled", "projected", "penultimate"]
    assert same(alone_read["pooled"], every["pooled"]), "bit for bit"


@pytest.mark.parametrize("read_out", ["projected", "penultimate"])
@pytest.mark.parametrize("config", [SMALL, PREVIEW], ids=["two passes", "three passes"])
def test_a_read_out_is_swept_as_its_own_towers_are(read_out: ReadOut, config: SweepConfig) -> None:
    """The by-product of the pooled feature's run gives what a run of the read-out's own towers gives."""
    towers = random_pair(PROJECTING)
    found = sweep_vocabulary(towers, prompts(6), sweep_context(config, read_outs=EVERY))[read_out]
    own = sweep_vocabulary(towers.reading(read_out), prompts(6), sweep_context(config))["pooled"]
    assert found.n_finalists == 1, "an eighth of eight"
    at = own.token_ids.tolist().index(found.token_ids.tolist()[0])
    assert float(found.score[0]) == pytest.approx(float(own.score[at]), abs=2e-3)
    torch.testing.assert_close(found.null_score, own.null_score, atol=2e-3, rtol=1e-3)


def test_the_projected_towers_differ_in_the_projection_alone() -> None:
    towers = random_pair(PROJECTING)
    pair = towers.reading("projected")
    hidden = torch.randn(2, 5, CLIP.hidden_size)
    assert pair.reference is not None
    assert torch.equal(pair.suspect.token_embedding, pair.reference.token_embedding)
    assert pair.suspect.encode(hidden).shape == (2, 5, 12)
    assert not torch.allclose(pair.suspect.encode(hidden), pair.reference.encode(hidden))
    same_projection = TowerPair(towers.suspect, towers.suspect).reading("projected")
    assert same_projection.reference is not None
    assert torch.equal(same_projection.suspect.encode(hidden), same_projection.reference.encode(hidden))


def test_a_store_holds_both_layers_under_a_key_of_their_own() -> None:
    towers, store = random_pair(PROJECTING), Store()
    both = sweep_context(PREVIEW, read_outs=EVERY, feature_store=store)
    first = sweep_vocabulary(towers, prompts(6), both)
    (features,) = store.stored.values()
    assert features.shape == (2, 2, 58, CLIP.hidden_size)
    again = sweep_vocabulary(towers, prompts(6), both)
    assert store.found == 1
    assert all(same(first[one], again[one]) for one in first)
    sweep_vocabulary(towers, prompts(6), sweep_context(PREVIEW, feature_store=store))
    assert len(store.stored) == 2, "the pooled feature alone is another question"


NEVER = Thresholds(1e9, 1.0, 1e9)


def detected(thresholds: Thresholds, read_outs: dict[ReadOut, Thresholds]) -> tuple[Detection, DetectionContext]:
    """The demonstration's backdoor, which every read-out shows."""
    ids = sweepable_ids(2000, demo_special().all())
    config = CONFIG.replace(inversion__restarts=0)
    own = dataclasses.replace(context(config, ids, read_outs=read_outs), thresholds=thresholds)
    return StandardDetector().detect(in_float32(demo_pair()), demo_prompts(13), own), own


def test_each_read_out_is_judged_by_its_own_thresholds() -> None:
    nowhere, own = detected(NEVER, dict.fromkeys(EVERY, NEVER))
    assert [one.read_out for one in (nowhere, *nowhere.others)] == ["pooled", "projected", "penultimate"]
    assert nowhere.deciding(own) is nowhere
    found, own = detected(NEVER, {"projected": NEVER, "penultimate": THRESHOLDS})
    decided = found.deciding(own)
    assert decided.read_out == "penultimate"
    assert 988 in decided.confirmations[0].token_ids
    assert plain(found.confirmations) == plain(nowhere.confirmations), "the pooled feature's numbers are the same"


def test_a_passing_candidate_ends_the_search_of_further_read_outs() -> None:
    found, own = detected(THRESHOLDS, EVERY)
    assert found.others == ()
    assert found.deciding(own) is found


def test_two_processes_look_at_the_same_read_outs() -> None:
    towers, own = random_pair(PROJECTING), dict.fromkeys(EVERY, NEVER)
    config = CONFIG.replace(inversion__restarts=0)
    single = plain(run(towers, config, read_outs=own))
    for found in in_two_processes(lambda workers: run(towers, config, read_outs=own, workers=workers)):
        assert plain(found) == single


def test_siglips_head_is_a_projection() -> None:
    towers, some = random_pair(SIGLIP), prompts(6, config=SIGLIP)
    ids = sweepable_ids(SIGLIP.vocab_size, SIGLIP_SPECIAL.all())
    own = sweep_context(PREVIEW, ids, read_outs={"projected": THRESHOLDS})
    found = sweep_vocabulary(towers, some, own)
    pooled = sweep_vocabulary(towers, some, sweep_context(PREVIEW, ids))["pooled"]
    direct = sweep_vocabulary(towers.reading("projected"), some, sweep_context(PREVIEW, ids))["pooled"]
    assert same(found["pooled"], pooled)
    torch.testing.assert_close(found["projected"].null_score, direct.null_score, atol=2e-3, rtol=1e-3)


def test_without_a_reference_the_layer_before_the_last_is_swept() -> None:
    own = sweep_context(PREVIEW, read_outs={"penultimate": THRESHOLDS})
    found = sweep_vocabulary(alone(random_pair(PROJECTING)), prompts(6), own)
    assert list(found) == ["pooled", "penultimate"]
    assert not found["penultimate"].divergence_z.any()
