"""The losses that an inversion minimises. Knows features, refuses to know how vectors are searched for.

Two forms of the same three terms: the paper's, on raw features and every position; and ours, on features centred on
the reference's mean, because token features share a large common component that makes any two of them look alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def assimilation(features: Tensor) -> Tensor:
    """Mean of the full T x T token cosine matrix of each prompt, diagonal included.

    Args:
        features: `(..., T, D)`.

    Returns:
        `(...)` in [0, 1]: the mean of all pairwise cosines is the squared norm of the mean unit vector, so no T x T
        matrix is made.

    Source: AMDET, feature assimilation, released code.
    """
    return F.normalize(features.float(), dim=-1).mean(-2).square().sum(-1)


def positionwise_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean over positions of the cosine between `a` and `b`, both `(..., T, D)` -> `(...)` in [-1, 1].

    Source: AMDET released code.
    """
    return F.cosine_similarity(a.float(), b.float(), dim=-1).mean(-1)


@dataclass(frozen=True)
class Terms:
    """The parts of the loss, each `(...)` per prompt."""

    assimilation: Tensor
    to_clean: Tensor
    to_reference: Tensor

    def loss(self, weight_clean: float, weight_reference: float) -> Tensor:
        """`-assimilation + weight_clean * to_clean + weight_reference * to_reference`, lower is better.

        Source: AMDET released code (weights 0.1 and 0.1).
        """
        return -self.assimilation + weight_clean * self.to_clean + weight_reference * self.to_reference


def paper_terms(triggered: Tensor, clean: Tensor, reference_triggered: Tensor | None) -> Terms:
    """The published terms, on raw features `(..., T, D)`. Without a reference its term is zero."""
    # The terms are computed in this order: gradients are summed in the reverse one, and a sum of floats depends on it.
    assimilated, to_clean = assimilation(triggered), positionwise_similarity(clean.expand_as(triggered), triggered)
    if reference_triggered is None:
        return Terms(assimilated, to_clean, torch.zeros(triggered.shape[:-2], device=triggered.device))
    return Terms(assimilated, to_clean, positionwise_similarity(reference_triggered, triggered))


def centred_terms(triggered: Tensor, clean: Tensor, reference_triggered: Tensor | None, centre: Tensor) -> Terms:
    """The same terms after subtracting `centre (D,)`, the reference's mean feature over clean prompts.

    Source: this project (docs, method).
    """
    shifted = None if reference_triggered is None else reference_triggered - centre
    return paper_terms(triggered - centre, clean - centre, shifted)
