"""The forms of an inverted trigger: free vectors (the paper's), or points in the hull of the token embeddings (ours).

A free vector may have many times the norm of any token embedding and finds *some* difference between any two encoders.
A user can only ever type tokens, so our search stays among mixtures of them.
"""

import torch
from torch import Tensor


class FreeVectors:
    """R restarts of K unconstrained pseudo-tokens. Source: AMDET released code.

    Attributes:
        parameters: the leaf tensor that an optimiser moves.

    Args:
        start: `(R, K, D)` the vectors to begin with.
    """

    def __init__(self, start: Tensor) -> None:
        self.parameters = start.requires_grad_()

    def vectors(self) -> Tensor:
        """`(R, K, D)` float32, differentiable, to be spliced in as they are."""
        return self.parameters


class HullVectors(FreeVectors):
    """Softmax mixtures of token embeddings, with the position embedding of their slots, as a real token has it.

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
        start = torch.randn(restarts, len(positions), len(token_embedding), generator=generator) * self._SPREAD
        super().__init__(start.to(token_embedding.device))
        self._embedding, self._positions = token_embedding.float(), positions.float()

    def vectors(self) -> Tensor:
        """See `FreeVectors.vectors`."""
        return self.parameters.softmax(-1) @ self._embedding + self._positions
