from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amdet_hub.bench.descent import Schedule, cos_flat, descend
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.records import SILENT


def test_cos_flat_is_the_cosine_of_flattened_features() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(1, 4, 5)
    expected = torch.stack([torch.dot(x.flatten(), b.flatten()) / (x.norm() * b.norm()) for x in a]).mean()
    torch.testing.assert_close(cos_flat(a, b), expected)
    assert cos_flat(a, -a).item() == pytest.approx(-1)


def test_the_learning_rate_falls_to_a_tenth_and_frozen_weights_stay(base: TrainedEncoder) -> None:
    student = base.copy()
    bias = student.model.text_model.final_layer_norm.bias
    for parameter in student.model.parameters():
        parameter.requires_grad_(parameter is bias)
    path = [bias.detach().clone()]

    def loss(_: int) -> Tensor:
        path.append(bias.detach().clone())
        total: Tensor = bias.sum()
        return total

    descend(student, loss, Schedule("test", 8, 1e-2, decays=True), SILENT.progress)
    sizes = [
        (after - before).abs().mean().item()
        for before, after in zip(path[1:], [*path[2:], bias.detach()], strict=True)
    ]
    # Adam's step under a constant gradient is the learning rate
    assert sizes[:6] == pytest.approx([1e-2] * 6, rel=0.01)
    assert sizes[6:] == pytest.approx([1e-3] * 2, rel=0.01)
    moved = [
        name
        for (name, a), b in zip(base.model.named_parameters(), student.model.parameters(), strict=True)
        if not torch.equal(a, b)
    ]
    assert moved == [
        name for name, parameter in base.model.named_parameters() if name.endswith("final_layer_norm.bias")
    ]
