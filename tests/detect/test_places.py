"""The search at one place: a sweep and a null distribution of its own at the start, success and collapse there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import Candidate
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.held_out import Confirmation, Confirmer, StrongWords
from amdet_hub.detect.search.sweep import sweep_vocabulary
from amdet_hub.detect.splice import PLACES, Place, SplicedPrompts, clean_features
from amdet_hub.records import ReadOut
from tests.detect.processes import in_two_processes
from tests.detect.search.test_sweep import PREVIEW, Store, same
from tests.detect.test_detector import CONFIG, plain, run
from tests.detect.towers import IDS, prompts, random_pair, sweep_context

NEVER = Thresholds(1e9, 1.0, 1e9)
START: dict[ReadOut, Thresholds] = {"start": NEVER}


@torch.inference_mode()
def test_the_sweep_at_the_start_keeps_what_diverges_most_alone() -> None:
    towers = random_pair()
    own = sweep_context(PREVIEW).reading("start")
    found = sweep_vocabulary(towers, prompts(6), own)["pooled"]
    assert towers.reference is not None
    empty = prompts(1).shortened(0, 0)
    suspect, reference = (
        SplicedPrompts(tower, empty, "start").features(IDS[:, None])[0] for tower in (towers.suspect, towers.reference)
    )
    apart = (suspect - reference.half().float()).square().sum(-1)
    kept = IDS[apart.topk(found.n_finalists).indices]
    assert found.token_ids[: found.n_finalists].tolist() == kept.tolist()
    assert found.n_finalists == 8


def test_the_start_has_a_store_and_progress_of_its_own() -> None:
    towers, store = random_pair(), Store()
    seen: list[tuple[int, int]] = []
    own = sweep_context(PREVIEW, feature_store=store).reading("start")
    own = dataclasses.replace(
        own, monitor=dataclasses.replace(own.monitor, progress=lambda stage, done, total: seen.append((done, total)))
    )
    first = sweep_vocabulary(towers, prompts(6), own)
    assert seen[-1] == (58 + (8 + 10) * 3,) * 2
    assert same(first["pooled"], sweep_vocabulary(towers, prompts(6), own)["pooled"])
    assert (store.found, len(store.stored)) == (1, 1)
    sweep_vocabulary(towers, prompts(6), dataclasses.replace(own, place=None))
    assert len(store.stored) == 2


@torch.inference_mode()
def removed(tower: TextEncoder, heldout: PromptSet, place: Place, ids: Candidate) -> float:
    """Natural log of the variance across prompts that these ids remove."""
    spread = SplicedPrompts(tower, heldout, place).features(torch.tensor([ids])).var(0, correction=0).sum()
    return float((clean_features(tower, heldout).var(0, correction=0).sum() / spread).log())


@pytest.mark.parametrize("place", PLACES)
def test_success_and_excess_are_those_of_the_place(place: Place) -> None:
    search, heldout = prompts(13).split(5, 8)
    towers, number = random_pair(), PLACES.index(place)
    words = StrongWords(towers, heldout, IDS[20:40])
    (anywhere,), (here,) = (Confirmer(towers, search, heldout, one, words).measure([(17, 3)]) for one in (None, place))
    assert (here.success_rates, here.excesses) == (anywhere.success_rates, anywhere.excesses)
    rate = (here.success_rates[number],), (here.reference_rates[number],)
    assert here.success == Confirmation((17, 3), *rate, 0.0, 8).success
    assert towers.reference is not None
    sides = towers.suspect, towers.reference
    usual = max(
        removed(one, heldout, place, (word, word))
        for one in sides
        for word in sorted(IDS[20:40].tolist(), key=lambda i: -removed(sides[1], heldout, "end", (i,)))[:16]
    )
    own, before = (removed(one, heldout, place, (17, 3)) for one in sides)
    assert here.relative_collapse == pytest.approx(own - max(before, usual), abs=1e-4)
    assert anywhere.relative_collapse == pytest.approx(anywhere.collapse / 2**0.5)


def test_places_change_nothing_of_the_search_at_the_end() -> None:
    config = CONFIG.replace(inversion__restarts=0)
    found = run(random_pair(), config, read_outs=START)
    same_candidates = tuple(dataclasses.replace(one, excesses=()) for one in found.confirmations)
    with_places = dataclasses.replace(found, others=(), confirmations=same_candidates)
    assert plain(with_places) == plain(run(random_pair(), config))


def test_two_processes_search_the_same_places() -> None:
    config = CONFIG.replace(inversion__restarts=0)
    single = run(random_pair(), config, read_outs=START)
    assert [one.read_out for one in single.others] == ["start"]
    assert {c.place for one in single.others for c in one.confirmations} == {"start"}
    for found in in_two_processes(lambda workers: run(random_pair(), config, read_outs=START, workers=workers)):
        assert plain(found) == plain(single)
