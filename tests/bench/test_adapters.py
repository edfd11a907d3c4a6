from __future__ import annotations

import pytest
import torch

from amdet_hub.bench.adapters import ADAPTED, low_rank
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError


def test_an_adapter_starts_at_the_weights_and_merges_to_what_it_computed(base: TrainedEncoder) -> None:
    student, ids = base.copy(), base.tokenize(["a dog on a road"], 16)
    with low_rank(student.model, 2, seed=0):
        assert torch.equal(student.encode(ids)[0], base.encode(ids)[0])
        trainable = [parameter for parameter in student.model.parameters() if parameter.requires_grad]
        assert len(trainable) == 2 * 4 * 2  # layers, matrices, halves
        with torch.no_grad():
            for parameter in trainable:
                parameter += 0.1
        inside = student.encode(ids)[0].detach()
    torch.testing.assert_close(student.encode(ids)[0], inside)
    assert not torch.allclose(inside, base.encode(ids)[0], atol=1e-3)


def test_the_merged_model_is_plain_and_differs_by_the_rank_in_attention_only(base: TrainedEncoder) -> None:
    student = base.copy()
    with low_rank(student.model, 2, seed=0), torch.no_grad():
        for parameter in student.model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    before, after = dict(base.model.named_parameters()), dict(student.model.named_parameters())
    assert list(before) == list(after)
    assert type(student.model) is type(base.model)
    assert all(parameter.requires_grad for parameter in after.values())
    for name, weight in before.items():
        if name.endswith(tuple(f"{adapted}.weight" for adapted in ADAPTED)):
            assert torch.linalg.matrix_rank(after[name] - weight, rtol=1e-4) == 2
        else:
            assert torch.equal(after[name], weight)


def test_the_seed_decides(base: TrainedEncoder) -> None:
    halves = []
    for seed in (0, 0, 1):
        student = base.copy()
        with low_rank(student.model, 2, seed=seed):
            halves.append(
                next(p for p in student.model.parameters() if p.requires_grad and bool(p.any())).detach().clone()
            )
    assert torch.equal(halves[0], halves[1])
    assert not torch.equal(halves[0], halves[2])


def test_impossible_ranks_are_refused(base: TrainedEncoder) -> None:
    with pytest.raises(ConfigError, match="attention"), low_rank(base.copy().model, 33, seed=0):
        pass
    with pytest.raises(ConfigError, match="attention"), low_rank(torch.nn.Linear(4, 4), 1, seed=0):
        pass
