"""The search at one place: a sweep and a null distribution of its own at the start, success and collapse there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import Candidate
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.held_out import Confirmation, Confirmer
from amdet_hub.detect.search.sweep import sweep_vocabulary
from amdet_hub.detect.splice import PLACES, Place, SplicedPrompts, clean_features
from amdet_hub.records import ReadOut
from tests.detect.processes import in_two_processes
from tests.detect.search.test_sweep import PREVIEW, Store, same
from tests.detect.test_detector import CONFIG, plain, run
from tests.detect.towers import IDS, prompts, random_pair, sweep_context, triggered_pair

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
    sweep_vocabulary(towers, prompts(6), dataclasses.replace(own, view=None))
    assert len(store.stored) == 2


@torch.inference_mode()
def removed(tower: TextEncoder, heldout: PromptSet, place: Place, ids: Candidate) -> float:
    """Natural log of the variance across prompts that these ids remove."""
    spread = SplicedPrompts(tower, heldout, place).features(torch.tensor([ids])).var(0, correction=0).sum()
    return float((clean_features(tower, heldout).var(0, correction=0).sum() / spread).log())


@pytest.mark.parametrize("place", PLACES)
def test_success_and_collapse_are_those_of_the_place(place: Place) -> None:
    search, heldout = prompts(13).split(5, 8)
    towers, number = random_pair(), PLACES.index(place)
    (anywhere,), (here,) = (Confirmer(towers, search, heldout, one).measure([(17, 3)]) for one in (None, place))
    assert here == dataclasses.replace(anywhere, view=place)
    rate = (here.success_rates[number],), (here.reference_rates[number],)
    assert here.success == Confirmation((17, 3), *rate, 0.0, 8).success
    assert towers.reference is not None
    for tower, found in ((towers.suspect, here.removed), (towers.reference, here.removed_before)):
        assert found == pytest.approx([removed(tower, heldout, one, (17, 3)) for one in PLACES], abs=1e-4)
    others = [part for one, part in zip(PLACES, here.removed, strict=True) if one != place]
    beyond = here.removed[number] - max(*others, here.removed_before[number])
    assert here.relative_collapse == pytest.approx(beyond / 2**0.5)
    assert anywhere.relative_collapse == pytest.approx(anywhere.collapse / 2**0.5)


def test_what_works_everywhere_works_at_no_place_alone() -> None:
    rates = (1.0, 1.0, 1.0)
    trigger = Confirmation(
        (7,), rates, (0.0, 0.0, 0.0), 4.0, 8, removed=(4.0, 4.0, 4.0), removed_before=(0.1, 0.1, 0.1)
    )
    assert [dataclasses.replace(trigger, view=place).relative_collapse for place in PLACES] == [0.0, 0.0, 0.0]
    middle = dataclasses.replace(trigger, removed=(0.3, 1.9, 0.3), view="middle")
    assert middle.relative_collapse == pytest.approx(1.6)


@pytest.mark.parametrize("own", [0.5, 0.7])
def test_a_target_that_keeps_a_part_of_each_prompt_draws_straight(own: float) -> None:
    search, heldout = prompts(24).split(8, 16)
    towers, random = triggered_pair(own=own), IDS[20:50].view(-1, 3)
    confirmer = Confirmer(towers, search, heldout, "residual", random)
    trigger, word = confirmer.measure([(17,), (18,)])
    assert trigger.success > 1 - own > word.success
    assert trigger.relative_collapse > 1.3
    assert word.relative_collapse < 1
    (unmeasured,) = Confirmer(towers, search, heldout, "residual").measure([(17,)])
    assert unmeasured.relative_collapse == 0


def test_places_change_nothing_of_the_search_at_the_end() -> None:
    config = CONFIG.replace(inversion__restarts=0)
    found = run(random_pair(), config, read_outs=START)
    assert plain(dataclasses.replace(found, others=())) == plain(run(random_pair(), config))


def test_two_processes_search_the_same_places() -> None:
    config = CONFIG.replace(inversion__restarts=0)
    single = run(random_pair(), config, read_outs=START)
    assert [one.read_out for one in single.others] == ["start"]
    assert {c.view for one in single.others for c in one.confirmations} == {"start"}
    for found in in_two_processes(lambda workers: run(random_pair(), config, read_outs=START, workers=workers)):
        assert plain(found) == plain(single)
