from __future__ import annotations

import pytest
import torch

from amdet_hub.bench.metrics import relative_change
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.bench.weight_changes import add_noise, cast_weights, merge_weights


def test_noise_has_the_asked_size_in_every_tensor(base: TrainedEncoder) -> None:
    noisy = add_noise(base, 0.03, seed=4)
    for (name, weight), other in zip(base.model.named_parameters(), noisy.model.parameters(), strict=True):
        assert ((other - weight).norm() / weight.norm()).item() == pytest.approx(0.03, rel=1e-3), name
    assert relative_change(noisy, base) == pytest.approx(0.03, rel=1e-3)
    again, other_seed = add_noise(base, 0.03, seed=4), add_noise(base, 0.03, seed=5)
    assert relative_change(again, noisy) == 0.0
    assert relative_change(other_seed, noisy) == pytest.approx(
        0.03 * 2**0.5, rel=0.1
    )  # independent noise adds in squares


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cast_is_exactly_the_cast(base: TrainedEncoder, dtype: torch.dtype) -> None:
    start = add_noise(base, 0.01, seed=0)  # the stored base is float16 already
    rounded = cast_weights(start, dtype)
    for weight, other in zip(start.model.parameters(), rounded.model.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(other, weight.to(dtype).to(torch.float32))
    assert 0 < relative_change(rounded, start) < 0.01


def test_a_merge_is_the_weighted_mean(base: TrainedEncoder) -> None:
    first, second = add_noise(base, 0.1, seed=0), add_noise(base, 0.1, seed=1)
    kept = first.copy()
    merged = merge_weights(first, second, 0.25)
    for a, b, mean in zip(first.model.parameters(), second.model.parameters(), merged.model.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.75 * a + 0.25 * b)
    assert relative_change(first, kept) == 0.0
