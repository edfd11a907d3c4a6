"""The landscape: exact on surfaces whose curvature is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from amdet_hub.config import ScanConfig
from amdet_hub.config_stages import LandscapeConfig
from amdet_hub.detect.inversion.landscape import Landscape, hessian_eigenvalues, loss_landscape
from tests.detect.processes import in_two_processes
from tests.detect.towers import context

VECTOR = torch.tensor([[3.0, 4.0, 0.0]])  # (K = 1, D = 3), norm 5
CONFIG = LandscapeConfig(grid=7, radius=2.0)


def landscape(
    loss_of: Callable[[Tensor], Tensor], config: LandscapeConfig = CONFIG, seed: int = 0, **others: Any
) -> Landscape:
    return loss_landscape(loss_of, VECTOR, context(ScanConfig(seed=seed, landscape=config), **others))


def quadratic(*curvatures: float) -> Callable[[Tensor], Tensor]:
    """`(N, K, D)` -> `(N,)`: half of the weighted squares, the Hessian is diagonal."""
    weights = torch.tensor(curvatures)
    return lambda vectors: (vectors.square() * weights).sum((1, 2)) / 2


def surface(f: Callable[[Tensor, Tensor], Tensor], spacing: float = 0.5) -> Tensor:
    axis = torch.arange(-4, 5, dtype=torch.float64) * spacing
    return f(axis[:, None], axis[None, :])


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x, y: x**2 + 2 * y**2, (2.0, 4.0)),
        (lambda x, y: x**2 - y**2, (-2.0, 2.0)),
        (lambda x, y: x * y, (-1.0, 1.0)),
        (lambda x, y: 3 * x + y + 1, (0.0, 0.0)),
        (lambda x, y: -(x**2) - x * y - y**2, (-3.0, -1.0)),
    ],
)
def test_eigenvalues_are_exact_on_quadratics(
    f: Callable[[Tensor, Tensor], Tensor], expected: tuple[float, float]
) -> None:
    found = hessian_eigenvalues(surface(f), spacing=0.5)
    assert found.shape == (7, 7, 2)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9)


def test_a_bowl_is_positive_and_a_saddle_half() -> None:
    bowl = landscape(quadratic(1.0, 1.0, 1.0))
    assert bowl.positive_rate == 1.0
    assert bowl.n_eigenvalues == 2 * 5 * 5
    assert bowl.losses.shape == (7, 7)

    # steep along the gradient at VECTOR, which is its first axis and second, and falling across
    def saddle(vectors: Tensor) -> Tensor:
        along = vectors @ torch.tensor([0.6, 0.8, 0.0])
        across = vectors - along[..., None] * torch.tensor([0.6, 0.8, 0.0])
        return along.square().sum(-1) - across.square().sum((1, 2))

    assert landscape(saddle).positive_rate == 0.5
    assert landscape(lambda v: -quadratic(1.0, 1.0, 1.0)(v)).positive_rate == 0.0


def directions(found: list[Tensor], grid: int) -> tuple[Tensor, Tensor]:
    points = torch.cat(found).view(grid, grid, -1)
    middle = grid // 2
    assert torch.allclose(points[middle, middle], VECTOR.flatten(), atol=1e-5), "the centre is the vector"
    return points[-1, middle] - points[middle, middle], points[middle, -1] - points[middle, middle]


@pytest.mark.parametrize(("relative", "reach"), [(False, 2.0), (True, 10.0)])
def test_directions_are_a_right_angle_of_the_radius(relative: bool, reach: float) -> None:
    seen: list[Tensor] = []

    def watched(vectors: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            seen.append(vectors.detach())
        return quadratic(1.0, 2.0, 3.0)(vectors)

    landscape(watched, LandscapeConfig(grid=7, radius=2.0, relative_radius=relative))
    downhill, across = directions(seen, 7)
    assert float(downhill.norm()) == pytest.approx(reach, rel=1e-4)
    assert float(across.norm()) == pytest.approx(reach, rel=1e-4)
    assert float(downhill @ across) == pytest.approx(0.0, abs=1e-3)
    gradient = VECTOR.flatten() * torch.tensor([1.0, 2.0, 3.0])
    assert float(torch.cosine_similarity(downhill, -gradient, dim=0)) == pytest.approx(1.0, abs=1e-5)


def test_two_processes_draw_the_same_surface() -> None:
    loss = quadratic(1.0, 2.0, 3.0)
    alone = landscape(loss, seed=4)
    for found in in_two_processes(lambda workers: landscape(loss, seed=4, workers=workers)):
        assert torch.equal(found.losses, alone.losses)
        assert found.positive_rate == alone.positive_rate
    assert not torch.equal(landscape(loss, seed=5).losses, alone.losses), "the second direction is drawn"


def test_a_flat_surface_has_no_downhill_and_no_curvature() -> None:
    found = landscape(lambda v: v.sum((1, 2)) * 0.0)
    assert found.positive_rate == 0.0
