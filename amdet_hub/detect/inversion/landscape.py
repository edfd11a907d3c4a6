"""The loss landscape around an inverted vector.

An injected trigger sits in a smooth bowl, a natural backdoor on jagged ground. A *natural backdoor* is a vector that
behaves like a trigger though it was not injected.
Source: AMDET, arXiv 2512.00343, released code (grid, directions, finite differences, threshold on the eigenvalues).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from amdet_hub.detect.context import DetectionContext

_POINTS_A_BATCH = 25  # grid points per forward pass to begin with


@dataclass(frozen=True)
class Landscape:
    """A square of the loss surface.

    Attributes:
        losses: `(G, G)` float64, first axis along the negative gradient.
        positive_rate: share in [0, 1] of the eigenvalues of the 2 x 2 Hessians at the interior points that exceed the
            configured floor.
        n_eigenvalues: how many there are: 2 (G - 2)^2.
    """

    losses: Tensor
    positive_rate: float
    n_eigenvalues: int


def loss_landscape(loss_of: Callable[[Tensor], Tensor], vector: Tensor, context: DetectionContext) -> Landscape:
    """Loss on a grid around `vector`, along its negative gradient and a random orthogonal direction.

    Args:
        loss_of: `vectors (N, K, D)` -> `(N,)` losses.
        vector: `(K, D)` the inverted pseudo-tokens.
        context: grid size G, radius, eigenvalue floor, and the seed of the orthogonal direction.
    """
    config = context.config.landscape
    downhill, across = _directions(loss_of, vector, context.config.seed)
    radius = config.radius * (float(vector.norm()) if config.relative_radius else 1.0)
    steps = torch.linspace(-radius, radius, config.grid, dtype=torch.float32).to(vector.device)
    grid = torch.cartesian_prod(steps, steps)  # (G * G, 2)

    @torch.no_grad()
    def work(size: int, number: int) -> Tensor:
        part = grid[number * size : (number + 1) * size]
        points = vector + part[:, :1, None] * downhill + part[:, 1:, None] * across  # (N, K, D)
        context.monitor.progress("landscape", number * size + len(part), len(grid))
        return loss_of(points).double().cpu()

    parts = context.workers.share("landscape", _POINTS_A_BATCH, lambda size: -(-len(grid) // size), work)
    surface = torch.cat(parts).view(config.grid, config.grid)
    eigenvalues = hessian_eigenvalues(surface, spacing=2 * radius / (config.grid - 1))
    return Landscape(surface, float((eigenvalues > config.positive_above).double().mean()), eigenvalues.numel())


def _directions(loss_of: Callable[[Tensor], Tensor], vector: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Unit `(K, D)` directions: down the gradient, and a random one at a right angle to it."""
    at = vector.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(at[None]).sum(), at)
    downhill = -gradient / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
    other = torch.randn(vector.shape, generator=torch.Generator().manual_seed(seed)).to(vector.device)
    other = other - (other * downhill).sum() * downhill
    return downhill, other / other.norm()


def hessian_eigenvalues(surface: Tensor, *, spacing: float) -> Tensor:
    """Eigenvalues of the central-difference Hessian at every interior point of a `(G, G)` surface.

    Returns:
        `(G - 2, G - 2, 2)`, ascending.

    Source: AMDET released code (2 x 2 Hessian by finite differences).
    """
    centre, h2 = surface[1:-1, 1:-1], spacing**2
    xx = (surface[2:, 1:-1] - 2 * centre + surface[:-2, 1:-1]) / h2
    yy = (surface[1:-1, 2:] - 2 * centre + surface[1:-1, :-2]) / h2
    xy = (surface[2:, 2:] - surface[2:, :-2] - surface[:-2, 2:] + surface[:-2, :-2]) / (4 * h2)
    hessians = torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)  # (G - 2, G - 2, 2, 2)
    return cast(Tensor, torch.linalg.eigvalsh(hessians))
