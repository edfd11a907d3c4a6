"""The two statistics of a candidate, and their robust z under a null distribution.

A trigger makes different prompts alike: it *collapses* the features that a clean encoder keeps apart, and it moves
them away from where the reference has them: it *diverges*. A fine-tune that drifted, or a word learned anew, moves
features without collapsing them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amdet_hub.config import SweepConfig

_MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation in units of its median absolute deviation
_FLOOR = 1e-12  # keeps the logarithm of a variance finite when features coincide exactly


def robust_z(values: Tensor, null: Tensor, floor: float = 0.0) -> Tensor:
    """(x - median) / max(1.4826 * MAD, floor) of `values` under the vector `null`; zeros where that scale is zero.

    The floor is an absolute effect. Where suspect and reference hardly differ, the null has almost no spread, and
    without a floor the least of differences would stand out of it.
    """
    median = null.median()
    scale = max(float((null - median).abs().median()) * _MAD_TO_SIGMA, floor)
    return (values - median) / scale if scale > 0 else torch.zeros_like(values)


def cross_prompt_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: mean squared distance of the prompts to their mean, in squared feature units."""
    return (features - features.mean(0)).square().sum(-1).mean(0)


def log_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: natural log of `cross_prompt_variance`, finite for features that coincide."""
    return (cross_prompt_variance(features) + _FLOOR).log()


@torch.inference_mode()
def collapse_and_divergence(suspect: Tensor, reference: Tensor | None) -> Tensor:
    """Raw statistics of C candidates from the features of B prompts, `(B, C, D)` of each encoder.

    Returns:
        `(2, C)` on the CPU. Collapse: the natural log of the cross-prompt variance reference / suspect, without a
        reference minus the log of the suspect's. Divergence: the natural log of the mean squared feature difference,
        without a reference zero.
    """
    spread = log_variance(suspect)  # (C,)
    if reference is None:
        return torch.stack([-spread, torch.zeros_like(spread)]).cpu()
    divergence = ((suspect - reference).square().sum(-1).mean(0) + _FLOOR).log()
    return torch.stack([log_variance(reference) - spread, divergence]).cpu()


def z_scores(raw: Tensor, null: Tensor, config: SweepConfig) -> Tensor:
    """Robust z of collapse and divergence: `raw (2, C)` under `null (2, S)` -> `(2, C)`."""
    floors = (config.collapse_floor, config.divergence_floor)
    return torch.stack([robust_z(raw[i], null[i], floor) for i, floor in enumerate(floors)])


def combined(z: Tensor, *, with_reference: bool) -> Tensor:
    """`z (..., 2, C)` -> `(..., C)`: the smaller of collapse and divergence, the collapse alone without a reference."""
    return z.amin(-2) if with_reference else z[..., 0, :]
