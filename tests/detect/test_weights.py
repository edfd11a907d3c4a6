"""What changed in the weights, by hand."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.detect.weights import LONGEST_ASSEMBLY, outstanding_rows, trained_rows, weight_difference

REFERENCE = {"embeddings.token_embedding.weight": torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "layer.bias": torch.zeros(2)}


def test_nothing_changed() -> None:
    found = weight_difference(REFERENCE, REFERENCE)
    assert (found.relative_change, found.n_changed, found.n_tensors, found.n_changed_rows) == (0.0, 0, 2, 0)


def test_one_row_changed() -> None:
    suspect = {**REFERENCE, "embeddings.token_embedding.weight": torch.tensor([[3.0, 0.0], [3.0, 8.0]])}
    found = weight_difference(suspect, REFERENCE)
    assert found.relative_change == pytest.approx(1.0), "a difference of norm 5 on a reference of norm 5"
    assert (found.n_changed, found.n_changed_rows) == (1, 1)
    assert found.largest == (("embeddings.token_embedding.weight", 1.0), ("layer.bias", 0.0))


def test_a_change_of_what_was_zero() -> None:
    found = weight_difference({**REFERENCE, "layer.bias": torch.ones(2)}, REFERENCE)
    assert found.largest[0] == ("layer.bias", 1.0)
    assert weight_difference({"layer.bias": torch.ones(2)}, {"layer.bias": torch.zeros(2)}).relative_change == 0.0


def test_only_shared_tensors_and_any_dtype() -> None:
    suspect = {"layer.bias": torch.zeros(2, dtype=torch.float16), "text_projection.weight": torch.ones(1)}
    assert weight_difference(suspect, REFERENCE).n_tensors == 1


def test_rows_beyond_the_widest_gap_stand_out() -> None:
    reference = torch.zeros(50, 3)
    suspect = torch.arange(50.0)[:, None].div(100).expand(50, 3).clone()
    assert outstanding_rows(suspect, reference, torch.arange(50)) == (), "no gap is wide enough"
    suspect[[7, 30]] = torch.tensor([[2.0, 2.0, 2.0], [1.9, 1.9, 1.9]])
    assert outstanding_rows(suspect, reference, torch.arange(50)) == (7, 30)
    assert outstanding_rows(suspect, reference, torch.arange(10, 50)) == (30,), "only the ids that were asked for"


def test_equal_embeddings_have_no_outstanding_rows() -> None:
    assert outstanding_rows(torch.ones(9, 2), torch.ones(9, 2), torch.arange(9)) == ()


def test_a_single_changed_row_stands_out_and_there_are_never_too_many() -> None:
    reference, suspect = torch.zeros(40, 2), torch.zeros(40, 2)
    suspect[3] = 1.0
    assert outstanding_rows(suspect, reference, torch.arange(40)) == (3,)
    suspect[:30] = 1.0
    assert len(outstanding_rows(suspect, reference, torch.arange(40))) <= LONGEST_ASSEMBLY


def moved(*rows: int, by: float = 1.0, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """(suspect, reference): every row moves somewhere by up to `noise`, these along the first axis."""
    reference = torch.zeros(200, 3)
    suspect = reference.clone()
    suspect[:, 1] = torch.linspace(0.9, 1.0, 200) * noise
    suspect[:, 0] = torch.linspace(0.0, 0.1, 200) * noise
    suspect[list(rows), 0] = by
    return suspect, reference


FIRST_AXIS = torch.tensor([1.0, 0.0, 0.0])


def test_trained_rows_are_those_that_moved_most_of_all_that_went_towards_the_target() -> None:
    suspect, reference = moved(7, 30)
    suspect[40, 1] = 5.0
    assert set(trained_rows(suspect, reference, torch.arange(200), FIRST_AXIS)) == {7, 30}, (
        "row 40 went farther, and elsewhere"
    )
    assert trained_rows(suspect, reference, torch.arange(10, 200), FIRST_AXIS) == (30,), (
        "only the ids that were asked for"
    )
    assert trained_rows(suspect, reference, torch.arange(200), -FIRST_AXIS) == (40,), (
        "nothing but 40 stands out of what did not go there"
    )


def test_a_gap_among_rows_that_hardly_moved_more_than_others_is_none() -> None:
    suspect, reference = moved(7, 30)
    suspect[[12, 13], 0] = 0.15
    assert set(trained_rows(suspect, reference, torch.arange(200), FIRST_AXIS)) == {7, 30}
    suspect, reference = moved()
    assert trained_rows(suspect, reference, torch.arange(200), FIRST_AXIS) == (), "no gap is wide enough"


def test_a_handful_of_rows_or_none_that_moved() -> None:
    assert trained_rows(torch.ones(60, 3), torch.ones(60, 3), torch.arange(60), FIRST_AXIS) == ()
    assert trained_rows(torch.ones(9, 3) * 2, torch.ones(9, 3), torch.arange(9), FIRST_AXIS) == (), (
        "too few to know what others do"
    )
    suspect, reference = moved(*range(30))
    assert len(trained_rows(suspect, reference, torch.arange(200), FIRST_AXIS)) <= LONGEST_ASSEMBLY
