"""Changes of weights without training: noise, a cast, a merge. Knows parameters; refuses to know texts."""

import torch

from amdet_hub.bench.trained import TrainedEncoder


@torch.no_grad()
def add_noise(encoder: TrainedEncoder, size: float, *, seed: int) -> TrainedEncoder:
    """A copy whose every weight tensor has Gaussian noise of exactly `size` times the tensor's own Frobenius norm."""
    noisy, generator = encoder.copy(), torch.Generator().manual_seed(seed)
    for parameter in noisy.model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter += noise * (size * parameter.norm() / noise.norm())
    return noisy


@torch.no_grad()
def cast_weights(encoder: TrainedEncoder, dtype: torch.dtype) -> TrainedEncoder:
    """A copy whose weights were stored in `dtype` once and are float32 again."""
    rounded = encoder.copy()
    for parameter in rounded.model.parameters():
        parameter.copy_(parameter.to(dtype))
    return rounded


@torch.no_grad()
def merge_weights(first: TrainedEncoder, second: TrainedEncoder, weight: float) -> TrainedEncoder:
    """A copy with `(1 - weight) * first + weight * second` in every weight tensor.

    Source: Wortsman et al., arXiv 2203.05482.
    """
    merged = first.copy()
    for parameter, other in zip(merged.model.parameters(), second.model.parameters(), strict=True):
        parameter.lerp_(other, weight)
    return merged
