"""The text encoder as the detectors see it, and the glossary of shapes. Knows torch; refuses to know files, the Hub and transformers.

Shapes, everywhere in this room:

* `B` prompts (or prompt x candidate pairs), `T` positions, `K` inserted pseudo-tokens, `D` hidden size, `V` vocabulary, `P` pooled size.
* `input_ids` `(B, T)` int64; `embeds` `(B, T, D)`: token embedding only; `hidden` `(B, T, D)`: token + position embedding, the input of layer 0;
  `features` `(B, T, D)`: output of the last layer after the final layer norm; `pooled` `(B, P)`.

The split that every family must honour, tested bit for bit against the full transformers model:
`encode(token_embedding[input_ids] + position_embedding[:T])` are the model's last-layer features, and `pool(features, input_ids)` its pooled output.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from amdet_hub.records import TowerConfig


class TextEncoder(Protocol):
    """A frozen text tower on one device in one dtype. All methods are differentiable with respect to `hidden`."""

    config: TowerConfig

    @property
    def token_embedding(self) -> Tensor:
        """`(V, D)`, the vocabulary's rows."""
        ...

    @property
    def position_embedding(self) -> Tensor:
        """`(max_position_embeddings, D)`."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What the matrix products run in."""
        ...

    def encode(self, hidden: Tensor) -> Tensor:
        """`hidden (B, T, D)` -> `features (B, T, D)`. Causal families let position t see 0..t; others see all T positions."""
        ...

    def pool(self, features: Tensor, input_ids: Tensor) -> Tensor:
        """`features (B, T, D)`, `input_ids (B, T)` -> the model's own pooled output `(B, P)`, projected where the checkpoint has a projection."""
        ...

    def pool_positions(self, input_ids: Tensor) -> Tensor:
        """`input_ids (B, T)` -> `(B,)` int64: the position whose feature is pooled (EOS for CLIP, the last for SigLIP)."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """The same tower elsewhere; `self` is unchanged."""
        ...
