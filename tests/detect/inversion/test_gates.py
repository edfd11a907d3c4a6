"""The paper's gates: counted exactly, and stopping early changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from amdet_hub.config_stages import PaperGates
from amdet_hub.detect.inversion.gates import count_gates, prompt_similarities

GATES = PaperGates()


def measures(hits: list[tuple[bool, bool, bool]], *, with_reference: bool) -> list[torch.Tensor]:
    columns = torch.tensor(hits, dtype=torch.float32).view(-1, 3)
    return [columns[:, 0], columns[:, 1]] + ([-columns[:, 2] + 0.5] if with_reference else [])


def chunked(
    hits: list[tuple[bool, bool, bool]], size: int, seen: list[int], *, with_reference: bool
) -> list[Callable[[], list[torch.Tensor]]]:
    def make(start: int) -> Callable[[], list[torch.Tensor]]:
        def measure() -> list[torch.Tensor]:
            seen.append(start)
            return measures(hits[start : start + size], with_reference=with_reference)

        return measure

    return [make(start) for start in range(0, len(hits), size)]


mostly = st.sampled_from([True] * 9 + [False])


@settings(max_examples=300, deadline=None)
@given(
    hits=st.lists(st.tuples(mostly, mostly, mostly), min_size=1, max_size=60),
    size=st.integers(1, 20),
    needed=st.tuples(*[st.sampled_from([0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.995, 1.0]) for _ in range(3)]),
    with_reference=st.booleans(),
)
def test_stopping_early_never_changes_the_decision(
    hits: list[tuple[bool, bool, bool]], size: int, needed: tuple[float, float, float], with_reference: bool
) -> None:
    gates = PaperGates(assimilation_rate=needed[0], consistency_rate=needed[1], reference_rate=needed[2])
    seen: list[int] = []
    full = count_gates(chunked(hits, size, seen, with_reference=with_reference), len(hits), gates, early=False)
    early = count_gates(chunked(hits, size, [], with_reference=with_reference), len(hits), gates, early=True)
    shares = [sum(h[i] for h in hits) / len(hits) for i in range(3)]
    used = 3 if with_reference else 2
    assert full.open == all(share > line for share, line in zip(shares[:used], needed[:used], strict=True))
    assert early.open == full.open
    assert full.complete
    assert full.n == len(hits) == sum(1 for _ in hits)
    assert len(seen) == -(-len(hits) // size)
    assert (full.assimilation_rate, full.consistency_rate) == tuple(shares[:2]), "exactly what plain Python divides"
    assert full.reference_rate == (shares[2] if with_reference else None)


def test_early_stop_saves_work() -> None:
    seen: list[int] = []
    hits = [(True, False, True)] * 40
    found = count_gates(chunked(hits, 10, seen, with_reference=True), 40, GATES, early=True)
    assert seen == [0]
    assert (found.n, found.complete, found.open) == (10, False, False)


def test_a_share_at_its_threshold_does_not_open() -> None:
    at = [(i < 8, True, True) for i in range(10)]
    assert not count_gates(chunked(at, 10, [], with_reference=True), 10, GATES, early=False).open
    above = [(i < 9, True, True) for i in range(10)]
    assert count_gates(chunked(above, 10, [], with_reference=True), 10, GATES, early=False).open


def test_a_prompt_at_its_threshold_does_not_pass() -> None:
    half = PaperGates(
        assimilation=0.5,
        consistency=0.5,
        reference_similarity=0.5,
        assimilation_rate=0,
        consistency_rate=0,
        reference_rate=0,
    )
    on_the_line = [torch.tensor([0.5])] * 3
    found = count_gates([lambda: on_the_line], 1, half, early=False)
    assert (found.assimilation_rate, found.consistency_rate, found.reference_rate) == (0.0, 0.0, 0.0)
    beyond = [torch.tensor([value]) for value in (0.51, 0.51, 0.49)]
    assert count_gates([lambda: beyond], 1, half, early=False).open


def test_with_few_prompts_gate_2_needs_all_of_them() -> None:
    """The published threshold and 200 prompts: one failure is 0.995, which is not above 0.995."""
    one_fails = [(True, i > 0, True) for i in range(200)]
    assert not count_gates(chunked(one_fails, 50, [], with_reference=True), 200, GATES, early=True).open
    assert count_gates(chunked([(True, True, True)] * 200, 50, [], with_reference=True), 200, GATES, early=True).open


@pytest.mark.parametrize("with_reference", [True, False])
def test_measures_are_the_explicit_similarities(with_reference: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    triggered, other = torch.randn(4, 5, 6, generator=generator), torch.randn(4, 5, 6, generator=generator)
    assimilated, consistent, *to_reference = prompt_similarities(
        triggered, triggered[0], other if with_reference else None
    )
    for i in range(4):
        matrix = F.cosine_similarity(triggered[i][:, None], triggered[i][None], dim=-1)
        assert torch.isclose(assimilated[i], matrix.mean(), atol=1e-6)
        assert torch.isclose(consistent[i], F.cosine_similarity(triggered[0], triggered[i], dim=-1).mean())
        for similarity in to_reference:
            assert torch.isclose(similarity[i], F.cosine_similarity(other[i], triggered[i], dim=-1).mean())
    assert len(to_reference) == with_reference
    assert float(consistent[0]) == pytest.approx(1.0)
