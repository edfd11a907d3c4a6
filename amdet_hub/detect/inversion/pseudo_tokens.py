"""What an inverted trigger may be: free vectors (the paper's), or points in the hull of the real token embeddings (ours).

A free vector may have many times the norm of any token embedding and finds *some* difference between any two encoders.
A user can only ever type tokens, so our search stays among mixtures of them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class PseudoTokens(Protocol):
    """A differentiable family of pseudo-token vectors."""

    @property
    def parameters(self) -> Tensor:
        """The leaf tensor an optimiser moves."""
        ...

    def vectors(self) -> Tensor:
        """`(R, K, D)` float32: R restarts of K pseudo-tokens, to be spliced in as they are."""
        ...


class FreeVectors:
    """`(R, K, D)` coordinates from N(0, 1), unconstrained. Source: AMDET released code."""

    def __init__(self, restarts: int, k: int, width: int, *, generator: torch.Generator, device: torch.device) -> None:
        start = torch.randn((restarts, k, width), generator=generator)
        self.parameters = start.to(device).requires_grad_()

    def vectors(self) -> Tensor:
        """See `PseudoTokens.vectors`."""
        return self.parameters


class HullVectors:
    """Softmax mixtures of token embeddings, with the position embedding of the slots they stand in, as a real token has it.

    Args:
        restarts: R.
        token_embedding: `(V, D)`.
        positions: `(K, D)` position embeddings of the slots.
        generator: source of the random starts, on the CPU.

    The logits start at N(0, 4^2): with that spread a handful of tokens carry most of a start's weight, so that starts
    differ (ours).
    """

    _SPREAD = 4.0

    def __init__(
        self, restarts: int, token_embedding: Tensor, positions: Tensor, *, generator: torch.Generator
    ) -> None:
        self._embedding, self._positions = token_embedding.float(), positions.float()
        start = (
            torch.randn((restarts, positions.shape[0], token_embedding.shape[0]), generator=generator) * self._SPREAD
        )
        self.parameters = start.to(token_embedding.device).requires_grad_()

    def vectors(self) -> Tensor:
        """See `PseudoTokens.vectors`."""
        return self.parameters.softmax(-1) @ self._embedding + self._positions  # (R, K, D)
