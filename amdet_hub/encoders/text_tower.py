"""What the CLIP and the SigLIP tower share: their layers, run from the hidden states on.

Knows transformers' layer modules; refuses to know files.

Two paths through the same weights:

* float32 goes through transformers' own encoder, so that features equal the full model's bit for bit;
* lower precision runs the matrix products in that dtype and keeps the residual stream, the layer norms, the softmax,
  the embeddings and the pooled projection in float32, where a statistic lives or dies by its last digits.

Shapes: see `amdet_hub.detect.protocol`; `H` heads of `Dh` values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, SiglipTextModel

from amdet_hub.encoders.canonical_names import POSITION_EMBEDDING, TOKEN_EMBEDDING
from amdet_hub.errors import ShapeError
from amdet_hub.records import TowerConfig

_PLAIN_LENGTH = 128  # positions up to which attention with gradients runs as plain products on a CPU


class TextTower(ABC):
    """A frozen tower of either family; `ClipTextEncoder` and `SiglipTextEncoder` add masks and pooling.

    Args:
        config: the tower's facts.
        model: an eval-mode `CLIPTextModel` or `SiglipTextModel` holding the weights, embeddings and norms in float32.
        extra: canonical tensors outside `model`: CLIP's `text_projection.weight`, float32.
    """

    def __init__(self, config: TowerConfig, model: Any, extra: Mapping[str, Tensor]) -> None:
        self.config = config
        self._model = model
        self._extra = dict(extra)

    @classmethod
    def from_tensors(
        cls, config: TowerConfig, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> Self:
        """A tower from canonical tensors (any float dtype); the matrix products will run in `dtype`.

        The names must be exactly right.
        """
        placed = {
            name: t.to(device, dtype if _in_matrix_product(name) else torch.float32) for name, t in tensors.items()
        }
        inner = {name: t for name, t in placed.items() if not name.startswith("text_projection.")}
        with torch.device("meta"):
            model = cls._empty(config)
        model.load_state_dict(inner, strict=True, assign=True)
        model.embeddings.position_ids = torch.arange(config.max_position_embeddings, device=device)[
            None
        ]  # a buffer outside the state dict
        model.eval().requires_grad_(False)
        return cls(config, model, {name: t for name, t in placed.items() if name not in inner})

    @classmethod
    @abstractmethod
    def _empty(cls, config: TowerConfig) -> CLIPTextModel | SiglipTextModel:
        """The family's model without weights."""

    @property
    def token_embedding(self) -> Tensor:
        """`(V, D)` float32, the vocabulary's rows."""
        weight: Tensor = self._model.embeddings.token_embedding.weight.detach()
        return weight

    @property
    def position_embedding(self) -> Tensor:
        """`(max_position_embeddings, D)` float32."""
        weight: Tensor = self._model.embeddings.position_embedding.weight.detach()
        return weight

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.token_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """What the matrix products run in."""
        dtype: torch.dtype = self._layers[0].mlp.fc1.weight.dtype
        return dtype

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same tower elsewhere; `self` is unchanged (and returned when there is nothing to do)."""
        if torch.device(device) == self.device and dtype == self.dtype:
            return self
        return self.from_tensors(self.config, self.tensors(), torch.device(device), dtype)

    def tensors(self) -> dict[str, Tensor]:
        """The canonical tensors as held now; shared, not copied."""
        return {**self._model.state_dict(), **self._extra}

    def weights(self) -> dict[str, Tensor]:
        """The parameters `encode` runs with, by canonical name; shared.

        Whoever sets `requires_grad` on those of a tower of their own has gradients.
        """
        return dict(self._model.named_parameters())

    def between(self, other: Self, share: float) -> Self:
        """A tower of its own in float32: each tensor `self + share * (other - self)`.

        Source: linear interpolation of weights.

        A projection behind the pooling, which `encode` never sees, stays as it is here: one of the two may have none.

        Raises:
            ShapeError: the two differ in names or shapes otherwise.
        """
        ours, theirs = self._model.state_dict(), other._model.state_dict()
        if {name: t.shape for name, t in ours.items()} != {name: t.shape for name, t in theirs.items()}:
            raise ShapeError("two towers of different tensors have nothing between them")
        mixed = {
            name: torch.lerp(t.float(), theirs[name].to(t.device, torch.float32), share) for name, t in ours.items()
        }
        return self.from_tensors(self.config, {**mixed, **self._extra}, self.device, torch.float32)

    def encode(self, hidden: Tensor) -> Tensor:
        """`hidden (B, T, D)` -> `features (B, T, D)` after the final layer norm, float32.

        Raises:
            ShapeError: `hidden` is not `(B, T, D)` with 1 <= T <= `max_position_embeddings`.
        """
        self._check_hidden(hidden)
        if self.dtype == torch.float32:
            return self._encode_exactly(hidden.float())
        x = hidden.float()
        for layer in self._layers:
            q, k, v = self._project(layer, x)  # each (B, H, T, Dh)
            mixed = _attention(q, k, v, causal=self.config.causal and x.shape[1] > 1)
            x = self._finish_layer(layer, x, mixed.transpose(1, 2).flatten(2))
        return self._final_norm(x)

    def attention_from(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Where one position of each prompt looks: the attention weights that `encode` mixes its values with, before the output projection.

        Args:
            hidden: `(B, T, D)`, as for `encode`.
            positions: `(B,)` int64 in [0, T), usually those of `pool_positions`. One row a layer is all that is kept,
                so that memory stays small.

        Returns:
            `(B, L, H, T)` float32 in [0, 1], for L layers of H heads; sums to 1 over T. A causal tower gives positions
            behind the asking one 0.

        Raises:
            ShapeError: `hidden` is not `(B, T, D)`, or `positions` not `(B,)` inside it.
        """
        self._check_hidden(hidden)
        b, t = hidden.shape[:2]
        at = positions.to(hidden.device)
        if at.shape != (b,) or bool(((at < 0) | (at >= t)).any()):
            raise ShapeError(f"positions has shape {tuple(positions.shape)}, expected ({b},) with 0 <= position < {t}")
        rows = torch.arange(b, device=hidden.device)
        behind = (torch.arange(t, device=hidden.device) > at[:, None])[:, None]  # (B, 1, T)
        x, found = hidden.float(), []
        for layer in self._layers:
            q, k, v = self._project(layer, x)  # each (B, H, T, Dh)
            asking = q[rows, :, at] * q.shape[-1] ** -0.5  # (B, H, Dh)
            scores = (k @ asking[..., None])[..., 0]  # (B, H, T)
            if self.config.causal:
                scores = scores.masked_fill(behind, -torch.inf)
            found.append(scores.softmax(-1, dtype=torch.float32))
            mixed = _attention(q, k, v, causal=self.config.causal and t > 1)
            x = self._finish_layer(layer, x, mixed.transpose(1, 2).flatten(2))
        return torch.stack(found, dim=1)

    @abstractmethod
    def _encode_exactly(self, hidden: Tensor) -> Tensor:
        """`encode` in float32, through transformers' own layers and the family's mask."""

    @property
    def _layers(self) -> Any:
        return self._model.encoder.layers

    def _check_hidden(self, hidden: Tensor) -> None:
        longest, d = self.config.max_position_embeddings, self.config.hidden_size
        if hidden.ndim != 3 or hidden.shape[2] != d or not 1 <= hidden.shape[1] <= longest:
            raise ShapeError(f"hidden has shape {tuple(hidden.shape)}, expected (B, T, {d}) with 1 <= T <= {longest}")

    def _project(self, layer: nn.Module, x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Residual stream `(B, R, D)` -> queries, keys, values, each `(B, H, R, Dh)` in the product dtype.

        `queries (B, Q, D)`: the part of the stream that is asked for, where that is not all of it.
        """
        attention: Any = layer.self_attn
        normed = layer.layer_norm1(x).to(self.dtype)  # type: ignore[operator]
        asking = normed if queries is None else layer.layer_norm1(queries).to(self.dtype)  # type: ignore[operator]
        heads = self.config.num_attention_heads

        def by_head(product: nn.Module, rows: Tensor) -> Tensor:
            wide: Tensor = product(rows)
            return wide.view(*rows.shape[:2], heads, -1).transpose(1, 2)

        return by_head(attention.q_proj, asking), by_head(attention.k_proj, normed), by_head(attention.v_proj, normed)

    def _finish_layer(self, layer: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a layer: residual stream `x (B, R, D)` and attended values `mixed (B, R, D)` -> residual stream `(B, R, D)`."""
        module: Any = layer
        x = x + module.self_attn.out_proj(mixed)  # bfloat16 added to float32 stays float32
        normed = module.layer_norm2(x).to(self.dtype)
        return x + (
            _quick_gelu_mlp(module.mlp, normed) if self.config.hidden_act == "quick_gelu" else module.mlp(normed)
        )

    def _final_norm(self, x: Tensor) -> Tensor:
        features: Tensor = self._model.final_layer_norm(x)
        return features


def _attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """`q, k, v (B, H, T, Dh)` -> `(B, H, T, Dh)`: scaled dot-product attention.

    On a CPU, where gradients are wanted, through plain products: the backward pass of torch's fused kernel takes most
    of an inversion step there at these lengths (BENCHMARKS.md).
    """
    if (
        q.device.type != "cpu"
        or not (torch.is_grad_enabled() and (q.requires_grad or k.requires_grad))
        or q.shape[2] > _PLAIN_LENGTH
    ):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, H, T, T)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    mixed: Tensor = scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
    return mixed


_QUICK = 1.702  # x * sigmoid(1.702 x); source: transformers' QuickGELUActivation


def _quick_gelu_mlp(mlp: Any, x: Tensor) -> Tensor:
    """`x (B, R, D)` -> `(B, R, D)`: the two products of a layer with quick GELU between them, as `silu(1.702 h) / 1.702`.

    The factors ride on the products, which leaves one pass over the wide middle instead of three.
    """
    up, down = mlp.fc1, mlp.fc2
    wide = torch.addmm(up.bias, x.flatten(0, 1), up.weight.t(), beta=_QUICK, alpha=_QUICK)  # (B * R, 4 D)
    wide = F.silu(wide, inplace=not torch.is_grad_enabled())
    return torch.addmm(down.bias, wide, down.weight.t(), alpha=1 / _QUICK).view(*x.shape[:2], -1)


def layer_config(config: TowerConfig) -> dict[str, Any]:
    """The keyword arguments that transformers' two text config classes share."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.layer_norm_eps,
        "attention_dropout": 0.0,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "attn_implementation": "sdpa",
    }


def _in_matrix_product(name: str) -> bool:
    return name not in (TOKEN_EMBEDDING, POSITION_EMBEDDING) and (".self_attn." in name or ".mlp." in name)
