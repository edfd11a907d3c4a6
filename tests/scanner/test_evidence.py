"""Which of several confirmed triggers is named."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.detector import Detection
from amdet_hub.detect.search.candidate_search import NamedTrigger
from amdet_hub.detect.search.held_out import Confirmation
from amdet_hub.detect.search.sweep import Sweep
from amdet_hub.scanner.evidence import standard_evidence
from amdet_hub.scanner.trigger_choice import choose_trigger, clearest_trigger

THRESHOLDS = Thresholds(sweep_score=5.0, trigger_success=0.7, trigger_collapse=1.0)


Found = tuple[tuple[int, ...], float, float, float | None]


def outcome(
    *found: Found,
    outstanding: tuple[int, ...] = (),
    trained: tuple[int, ...] = (),
    spelled: tuple[Found, ...] = (),
    characters: tuple[Found, ...] = (),
) -> Detection:
    """Confirmations of (ids, success, collapse, standing), best first; a sweep of four finalists."""
    score = torch.tensor([40.0, 35.0, 32.0, 1.0, 0.0, 0.5])
    ids, copies = torch.arange(1, 7), torch.ones(6, dtype=torch.int64)
    sweep = Sweep(ids, 4, 6, score, torch.zeros(6), score, copies, ids)
    made, texts, whole = (
        tuple(Confirmation(t, (s, s, s), (0.0, 0.0, 0.0), c, 16, z) for t, s, c, z in some)
        for some in (found, spelled, characters)
    )
    return Detection(sweep, made, True, outstanding, NamedTrigger(trained, texts, whole))


def test_the_one_that_stands_out_most_is_named() -> None:
    whole, part, bystander = ((1, 2), 1.0, 3.0, 15.0), ((1,), 1.0, 1.5, 11.0), ((1, 2, 4), 1.0, 3.2, 12.0)
    assert choose_trigger(outcome(bystander, whole, part), THRESHOLDS).token_ids == (1, 2)


def test_what_only_repeats_is_not_named() -> None:
    assert choose_trigger(outcome(((1, 1, 1), 1.0, 4.0, 20.0), ((1,), 0.8, 1.5, 9.0)), THRESHOLDS).token_ids == (1,)
    assert choose_trigger(outcome(((1, 1, 1), 1.0, 4.0, 20.0), ((1,), 0.6, 0.5, 9.0)), THRESHOLDS).token_ids == (
        1,
        1,
        1,
    ), "alone it is not enough"


def test_a_weaker_candidate_that_passes_beats_a_stronger_that_does_not_stand_out() -> None:
    assert choose_trigger(outcome(((4,), 1.0, 9.0, 2.0), ((1,), 0.8, 1.5, 6.0)), THRESHOLDS).token_ids == (1,)


def test_the_target_is_read_from_the_one_that_leaves_least() -> None:
    assert clearest_trigger(outcome(((1,), 1.0, 1.5, 9.0), ((1, 1, 1), 1.0, 4.0, 8.0)), THRESHOLDS).token_ids == (
        1,
        1,
        1,
    )


def test_when_none_passes_the_best_is_shown_and_not_flagged() -> None:
    found = outcome(((3,), 0.4, 0.2, 1.5), ((2,), 0.3, 0.5, None))
    evidence = {e.kind: e for e in standard_evidence(found, THRESHOLDS, {})}
    assert evidence["trigger-success"].details["token_ids"] == [3]
    assert [evidence[kind].exceeds for kind in ("vocabulary-sweep", "trigger-success", "trigger-collapse")] == [
        False
    ] * 3


def test_the_strongest_is_judged_even_where_a_plainer_one_is_named() -> None:
    strong, plain = ((1, 1, 1), 1.0, 4.0, 20.0), ((1,), 0.8, 1.5, 9.0)
    found = outcome(strong, plain)
    evidence = {e.kind: e for e in standard_evidence(found, THRESHOLDS, {})}
    assert evidence["trigger-collapse"].value == pytest.approx(4.0 / 3**0.5)
    assert evidence["trigger-collapse"].details == {"log_variance_ratio": 4.0, "n_tokens": 3}
    assert choose_trigger(found, THRESHOLDS).token_ids == (1,)


def test_a_confirmed_trigger_must_stand_out_itself() -> None:
    evidence = {e.kind: e for e in standard_evidence(outcome(((4,), 1.0, 3.0, 1.0)), THRESHOLDS, {})}
    assert evidence["trigger-success"].exceeds is evidence["trigger-collapse"].exceeds is True
    assert evidence["vocabulary-sweep"].value == 1.0, "its own, not that of the best token of the sweep"
    assert evidence["vocabulary-sweep"].exceeds is False


def test_thresholds_are_those_that_were_given() -> None:
    evidence = {e.kind: e for e in standard_evidence(outcome(((4,), 1.0, 3.0, 6.0)), THRESHOLDS, {})}
    assert {kind: e.threshold for kind, e in evidence.items()} == {
        "vocabulary-sweep": 5.0,
        "trigger-success": 0.7,
        "trigger-collapse": 1.0,
    }
    assert all(e.exceeds for e in evidence.values())


def test_of_equally_strong_ones_that_of_the_changed_tokens_is_named() -> None:
    part, whole, bystander = ((1,), 1.0, 4.0, 15.0), ((2, 1), 1.0, 4.4, 14.0), ((1, 4), 1.0, 4.5, 14.5)
    assert choose_trigger(outcome(part, whole, bystander), THRESHOLDS).token_ids == (1,), (
        "without a hint, the one that stands out most"
    )
    assert choose_trigger(outcome(part, whole, bystander, outstanding=(1, 2)), THRESHOLDS).token_ids == (2, 1)
    assert choose_trigger(outcome(part, whole, bystander, outstanding=(1,), trained=(2,)), THRESHOLDS).token_ids == (
        2,
        1,
    )
    weak = ((2, 1), 1.0, 4.4, 6.0)
    assert choose_trigger(outcome(part, weak, outstanding=(1, 2)), THRESHOLDS).token_ids == (1,), (
        "the hint does not lift a weak one"
    )


def test_a_trained_token_that_is_repeated_goes_before_one_with_a_bystander() -> None:
    twice, bystander = ((1, 1), 1.0, 3.0, 12.0), ((1, 4), 1.0, 4.0, 15.0)
    assert choose_trigger(outcome(bystander, twice), THRESHOLDS).token_ids == (1, 4)
    assert choose_trigger(outcome(bystander, twice, trained=(1,)), THRESHOLDS).token_ids == (1, 1)


def test_what_can_be_typed_goes_first() -> None:
    half, whole = ((1,), 1.0, 4.0, 15.0), ((1, 2), 1.0, 4.0, 13.0)
    assert choose_trigger(outcome(half, whole), THRESHOLDS, lambda ids: len(ids) > 1).token_ids == (1, 2)
    assert choose_trigger(outcome(half), THRESHOLDS, lambda ids: len(ids) > 1).token_ids == (1,), (
        "half a letter is better than none"
    )


def test_what_the_trained_tokens_spell_is_named() -> None:
    shuffled, text = ((2, 1), 1.0, 3.0, 15.0), ((1, 2), 0.95, 2.9, 14.0)
    assert choose_trigger(outcome(shuffled, outstanding=(1, 2), spelled=(text,)), THRESHOLDS).token_ids == (1, 2)
    for weak in (((1, 2), 0.8, 2.9, 14.0), ((1, 2), 1.0, 0.5, 14.0), ((1, 2), 1.0, 2.9, 1.0)):
        found = outcome(shuffled, outstanding=(1, 2), spelled=(weak,))
        assert choose_trigger(found, THRESHOLDS).token_ids == (2, 1), "a text that works worse does not take its place"


@pytest.mark.parametrize(("standing", "named"), [(4.6, (1, 2)), (4.4, (2, 1))])
def test_a_text_that_nearly_passes_is_named_and_decides_nothing(standing: float, named: tuple[int, ...]) -> None:
    shuffled, text = ((2, 1), 1.0, 3.0, 15.0), ((1, 2), 1.0, 2.9, standing)
    found = outcome(shuffled, trained=(1, 2), spelled=(text,))
    assert choose_trigger(found, THRESHOLDS).token_ids == named, "nine tenths of its threshold of 5 are enough"
    evidence = {e.kind: e for e in standard_evidence(found, THRESHOLDS, {})}
    assert evidence["vocabulary-sweep"].value == 15.0


def test_of_a_piece_the_whole_character_is_named() -> None:
    def is_character(ids: tuple[int, ...]) -> bool:
        return 7 in ids

    piece, whole, text = ((7,), 1.0, 3.0, 15.0), ((7, 8), 1.0, 2.9, 14.0), ((1, 2), 1.0, 2.9, 14.0)
    found = outcome(piece, spelled=(text,), characters=(whole,))
    assert choose_trigger(found, THRESHOLDS, is_character=is_character).token_ids == (7, 8)
    assert choose_trigger(found, THRESHOLDS).token_ids == (1, 2), "what is no piece of a character is spelled"
    assert choose_trigger(outcome(piece, spelled=(text,)), THRESHOLDS, is_character=is_character).token_ids == (7,), (
        "better than a wrong word"
    )
