"""Which of several confirmed triggers is named."""

from __future__ import annotations

import torch

from amdet_hub.config import ScanConfig
from amdet_hub.detect.confirm import Confirmation
from amdet_hub.detect.standard import StandardOutcome
from amdet_hub.detect.sweep import Sweep
from amdet_hub.scan.findings import best_trigger, clearest_trigger, standard_evidence

CONFIG = ScanConfig.for_preset("standard")


def outcome(*found: tuple[tuple[int, ...], float, float]) -> StandardOutcome:
    """Finalists 1 to 4 with scores 40, 35, 32 and 1; confirmations of (ids, success, collapse), no reference."""
    score = torch.tensor([40.0, 35.0, 32.0, 1.0, 0.0, 0.5])
    ids, copies = torch.arange(1, 7), torch.ones(6, dtype=torch.int64)
    sweep = Sweep(ids, 4, 6, score, torch.zeros(6), score, copies)
    made = [Confirmation(t, (s, 0.0, 0.0), (0.0, 0.0, 0.0), c, 16, torch.zeros(2)) for t, s, c in found]
    return StandardOutcome(sweep, tuple(made), None, None, None)


def test_the_shortest_of_those_that_capture_as_much_is_named() -> None:
    assert best_trigger(outcome(((1, 1, 1), 1.0, 4.0), ((1,), 0.95, 1.5)), CONFIG).token_ids == (1,)
    assert best_trigger(outcome(((1, 1, 1), 1.0, 4.0), ((1,), 0.8, 1.5)), CONFIG).token_ids == (1, 1, 1)


def test_a_bystander_does_not_take_a_pieces_place() -> None:
    assert best_trigger(outcome(((1, 4), 1.0, 3.0), ((1, 2), 0.95, 2.0)), CONFIG).token_ids == (1, 2)


def test_the_target_is_read_from_the_one_that_leaves_least() -> None:
    assert clearest_trigger(outcome(((1,), 1.0, 1.5), ((1, 1, 1), 1.0, 4.0)), CONFIG).token_ids == (1, 1, 1)


def test_when_none_passes_the_best_is_shown_and_not_accused() -> None:
    evidence = {e.kind: e for e in standard_evidence(outcome(((3,), 0.4, 0.2), ((2,), 0.3, 0.5)), CONFIG, {})}
    assert evidence["trigger-success"].details["token_ids"] == [3]
    assert evidence["trigger-success"].exceeds is False


def test_a_confirmed_trigger_must_stand_out_itself() -> None:
    evidence = {e.kind: e for e in standard_evidence(outcome(((4,), 1.0, 3.0)), CONFIG, {})}
    assert evidence["trigger-success"].exceeds is evidence["trigger-collapse"].exceeds is True
    assert evidence["vocabulary-sweep"].value == 1.0, "its own score, not that of token 1"
    assert evidence["vocabulary-sweep"].exceeds is False
