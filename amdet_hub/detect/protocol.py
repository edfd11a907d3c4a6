"""The text encoder as the detectors see it, and the glossary of shapes.

Knows torch; refuses to know files, the Hub and transformers.

Shapes, everywhere in this room:

* `B` prompts (or prompt x candidate pairs), `T` positions, `K` inserted pseudo-tokens, `D` hidden size, `V`
  vocabulary, `P` pooled size.
* `input_ids` `(B, T)` int64; `embeds` `(B, T, D)`: token embedding only; `hidden` `(B, T, D)`: token + position
  embedding, the input of layer 0; `features` `(B, T, D)`: output of the last layer after the final layer norm;
  `pooled` `(B, P)`.

The split that every family must honour, tested bit for bit against the full transformers model:
`encode(token_embedding[input_ids] + position_embedding[:T])` are the model's last-layer features, and `pool(features,
input_ids)` its pooled output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from amdet_hub.records import TowerConfig


class TextEncoder(Protocol):
    """A frozen text tower on one device in one dtype. All methods are differentiable with respect to `hidden`."""

    config: TowerConfig

    @property
    def token_embedding(self) -> Tensor:
        """`(V, D)`, the vocabulary's rows."""

    @property
    def position_embedding(self) -> Tensor:
        """`(max_position_embeddings, D)`."""

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""

    @property
    def dtype(self) -> torch.dtype:
        """What the matrix products run in."""

    def encode(self, hidden: Tensor) -> Tensor:
        """`hidden (B, T, D)` -> `features (B, T, D)`.

        Causal families let position t see 0..t; others see all T positions.
        """

    def pool(self, features: Tensor, input_ids: Tensor) -> Tensor:
        """`features (B, T, D)`, `input_ids (B, T)` -> the model's own pooled output `(B, P)`.

        Projected where the checkpoint has a projection.
        """

    def pool_positions(self, input_ids: Tensor) -> Tensor:
        """`input_ids (B, T)` -> `(B,)` int64: the position that is pooled (EOS for CLIP, the last for SigLIP)."""

    def to(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """The same tower elsewhere; `self` is unchanged."""


@dataclass(frozen=True)
class PrefixCache:
    """Keys and values of a prefix, layer by layer: each `(B, heads, T0, Dh)`.

    Made by `prefix_cache`, read by `extend`.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """T0, the number of cached positions."""
        return int(self.keys[0].shape[2])


@runtime_checkable
class IncrementalTextEncoder(TextEncoder, Protocol):
    """A causal tower that can run new positions after a cached prefix; the vocabulary sweep lives on it.

    `extend(prefix_cache(hidden[:, :T0]), new)` equals the last positions of `encode` on the concatenation.
    """

    def prefix_cache(self, hidden: Tensor) -> PrefixCache:
        """`hidden (B, T0, D)` -> its keys and values."""

    def extend(self, cache: PrefixCache, hidden: Tensor, *, last_only: bool = False) -> Tensor:
        """`hidden (B, C, N, D)`: C continuations of N positions per prompt -> `features (B, C, N, D)`.

        Continuations do not see each other.

        `(1, C, N, D)` are the same continuations of every prompt. `last_only` gives the last position alone, `(B, C,
        1, D)`, and saves what only the others need.
        """

    def last_states(self, cache: PrefixCache, hidden: Tensor) -> Tensor:
        """`hidden` as for `extend` -> `(2, B, C, D)` of each last position: its feature, and that of `penultimate`.

        One run gives both: the second is what goes into the last layer, behind the final layer norm.
        """


@runtime_checkable
class ReadableTextEncoder(TextEncoder, Protocol):
    """A tower that consumers read in more than one place."""

    def penultimate(self) -> TextEncoder:
        """The tower without its last layer: what "clip skip 2" and, but for the final norm, SDXL read."""

    def projected_by(self, other: Any) -> TextEncoder:
        """This tower with features `(B, T, P)` behind the projection of `other`, of unit length."""

    def project(self, features: Tensor) -> Tensor:
        """`features (..., D)` of the last layer -> `(..., P)`: projected, and of unit length."""


@runtime_checkable
class TrainableTextEncoder(TextEncoder, Protocol):
    """A tower whose weights can be looked at and mixed; what a training left in them is read through it."""

    def weights(self) -> dict[str, Tensor]:
        """The parameters `encode` runs with, by canonical name, shared: gradients reach those that require them."""

    def between(self, other: Any, share: float) -> TrainableTextEncoder:
        """A tower of its own in float32, each tensor `self + share * (other - self)`; `other` has the same shapes."""


@runtime_checkable
class AttentiveTextEncoder(TextEncoder, Protocol):
    """A tower that tells where a position looks; what is drawn of a single prompt lives on it."""

    def attention_from(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """`hidden (B, T, D)`, `positions (B,)` int64 -> `(B, L, H, T)` float32 attention from those positions.

        Of each layer and head, to every position. Sums to 1 over T; a causal tower gives later positions 0.
        """
