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


def test_trained_rows_are_those_that_changed_most_for_their_size() -> None:
    reference = torch.ones(60, 4)
    reference[40] = 10.0
    suspect = reference * (1 + torch.linspace(0.10, 0.12, 60)[:, None])
    assert trained_rows(suspect, reference, torch.arange(60)) == (), "no gap is wide enough"
    suspect[[7, 30]] = torch.tensor([[1.5], [1.3]])
    assert trained_rows(suspect, reference, torch.arange(60)) == (7, 30), "the long row changed more, and less for its length"
    assert trained_rows(suspect, reference, torch.arange(10, 60)) == (30,), "only the ids that were asked for"
    suspect[[12, 13]] = 1.16
    assert trained_rows(suspect, reference, torch.arange(60)) == (7, 30), "a gap among rows that hardly changed more than others is none"


def test_a_handful_of_rows_or_none_that_changed() -> None:
    assert trained_rows(torch.ones(60, 2), torch.ones(60, 2), torch.arange(60)) == ()
    assert trained_rows(torch.ones(9, 2) * 2, torch.ones(9, 2), torch.arange(9)) == (), "too few to know what others do"
    suspect = torch.zeros(60, 2)
    suspect[:30] = 1.0
    assert len(trained_rows(suspect, torch.zeros(60, 2), torch.arange(60))) <= LONGEST_ASSEMBLY
