"""The published procedure: runs to its end on anything, and tries its gates when the published code does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amdet_hub.config import ScanConfig
from amdet_hub.detect.context import TowerPair
from amdet_hub.detect.paper import PaperDetection, PaperDetector
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.records import SILENT, Monitor
from tests.detect.towers import SIGLIP, alone, context, demo_pair, demo_prompts, in_float32, prompts, random_pair

REDUCED: dict[str, Any] = {
    "inversion__n_prompts": 30,
    "inversion__steps": 6,
    "inversion__batch_size": 4,
    "landscape__grid": 4,
}


def paper(**overrides: Any) -> ScanConfig:
    return ScanConfig.for_preset("paper").replace(**{**REDUCED, **overrides})


def run(
    towers: TowerPair, config: ScanConfig, some: PromptSet | None = None, monitor: Monitor = SILENT
) -> PaperDetection:
    some = some or prompts(config.inversion.n_prompts)
    return PaperDetector().detect(in_float32(towers), some, context(config, monitor=monitor))


def test_the_published_values() -> None:
    config = ScanConfig.for_preset("paper")
    inversion, gates = config.inversion, config.gates
    assert (inversion.pseudo_tokens, inversion.restarts, inversion.steps, inversion.epochs, inversion.batch_size) == (
        1,
        1,
        640,
        2,
        10,
    )
    assert (inversion.learning_rate, inversion.weight_decay, inversion.n_prompts, inversion.heldout_share) == (
        0.08,
        1e-5,
        4000,
        0.2,
    )
    assert (inversion.weight_clean, inversion.weight_reference) == (0.1, 0.1)
    assert (gates.open_loss, gates.stop_loss, gates.check_every) == (-0.76, -0.85, 2)
    assert (gates.assimilation, gates.assimilation_rate, gates.consistency, gates.consistency_rate) == (
        0.8,
        0.8,
        0.92,
        0.995,
    )
    assert (gates.reference_similarity, gates.reference_rate, gates.landscape_rate) == (0.0, 0.95, 0.8)
    assert (config.landscape.grid, config.landscape.radius, config.landscape.positive_above) == (50, 10.0, 1e-6)
    assert not config.landscape.relative_radius


@pytest.mark.parametrize("name", ["finetuned", "backdoored"])
def test_it_runs_to_its_end_on_a_trained_encoder(name: str) -> None:
    found = run(demo_pair(name), paper(), demo_prompts(30))
    assert found.steps == 6
    assert found.gates.complete
    assert found.gates.n == 6
    assert found.gates.reference_rate is not None
    for rate in (
        found.gates.assimilation_rate,
        found.gates.consistency_rate,
        found.gates.reference_rate,
        found.landscape.positive_rate,
    ):
        assert 0.0 <= rate <= 1.0
    assert found.vector.shape == (1, 96)
    assert not found.backdoored


@pytest.mark.parametrize("with_reference", [True, False])
def test_nothing_found_is_a_result(with_reference: bool) -> None:
    found = run(random_pair() if with_reference else alone(random_pair()), paper())
    assert not found.opened
    assert not found.backdoored
    assert (found.gates.reference_rate is not None) == with_reference
    assert found.landscape.n_eigenvalues == 2 * 2 * 2


def test_same_seed_same_outcome() -> None:
    first, again, other = (run(random_pair(), paper(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.vector, again.vector)
    assert torch.equal(first.landscape.losses, again.landscape.losses)
    assert not torch.equal(first.vector, other.vector)


def test_a_bidirectional_tower() -> None:
    found = run(random_pair(SIGLIP), paper(), prompts(30, config=SIGLIP))
    assert found.steps == 6


def test_gates_are_tried_at_every_second_step_below_the_line() -> None:
    always = paper(gates__open_loss=10.0, gates__assimilation=2.0)
    assert run(random_pair(), always).gate_checks == 3, "6 steps of one epoch: 2, 4, 6"
    assert run(random_pair(), always.replace(gates__check_every=3)).gate_checks == 2
    assert run(random_pair(), always.replace(gates__open_loss=-10.0)).gate_checks == 0


def test_the_count_starts_anew_in_each_epoch() -> None:
    """24 training prompts in batches of 8 are 3 steps an epoch: the gates are tried at its step 2 only."""
    config = paper(gates__open_loss=10.0, gates__assimilation=2.0, inversion__batch_size=8, inversion__steps=100)
    found = run(random_pair(), config)
    assert (found.steps, found.gate_checks) == (6, 2)


def test_steps_are_a_limit_over_all_epochs() -> None:
    assert run(alone(random_pair()), paper(inversion__batch_size=8, inversion__steps=4)).steps == 4


def test_a_low_mean_loss_ends_the_epoch() -> None:
    """Every loss is below 10, so each of the two epochs ends after its first step."""
    assert run(random_pair(), paper(gates__stop_loss=10.0)).steps == 2


def test_the_search_starts_from_standard_normal_vectors() -> None:
    config = paper(inversion__learning_rate=0.0, inversion__weight_decay=0.0, inversion__pseudo_tokens=3, seed=5)
    drawn = torch.randn((1, 3, 16), generator=torch.Generator().manual_seed(5))
    assert torch.equal(run(random_pair(), config).vector, drawn[0])


def test_the_first_success_ends_the_search() -> None:
    config = paper(
        gates__open_loss=10.0,
        gates__assimilation=-1.0,
        gates__consistency=-1.1,
        gates__reference_similarity=1.1,
        gates__landscape_rate=-0.1,
    )
    found = run(random_pair(), config)
    assert (found.steps, found.gate_checks) == (2, 1)
    assert found.opened
    assert found.backdoored
    assert found.gates.complete
    closed = run(random_pair(), config.replace(gates__landscape_rate=1.0))
    assert closed.opened
    assert not closed.backdoored, "gate 4 disagrees"


def test_gates_open_only_when_they_are_tried() -> None:
    """Values that would open are not enough when the running mean loss never went below its line."""
    config = paper(
        gates__open_loss=-10.0, gates__assimilation=-1.0, gates__consistency=-1.1, gates__reference_similarity=1.1
    )
    found = run(random_pair(), config)
    assert found.gates.open
    assert not found.opened
    assert not found.backdoored


def test_progress_counts_steps_and_grid_points() -> None:
    seen: dict[str, tuple[int, int]] = {}
    monitor = Monitor(lambda stage, done, total: seen.update({stage: (done, total)}))
    run(alone(random_pair()), paper(), monitor=monitor)
    assert seen == {"inversion": (6, 6), "landscape": (16, 16)}
