"""The base of the CLIP and the SigLIP tower: their layers, run from the hidden states on.

Knows transformers' layer modules; refuses to know files.

Two paths through the same weights:

* float32 goes through transformers' own encoder, so that features equal the full model's bit for bit;
* lower precision runs the matrix products in that dtype and keeps the residual stream, the layer norms, the softmax,
  the embeddings and the pooled projection in float32, because a statistic hangs on its last digits.

Shapes: see `amdet_hub.detect.protocol`; `H` heads of `Dh` values.
"""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTextModel, SiglipTextModel

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
        self._projector: Self | None = None

    @classmethod
    def from_tensors(
        cls, config: TowerConfig, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> Self:
        """A tower from canonical tensors (any float dtype); the matrix products will run in `dtype`.

        The names must be exactly right.
        """
        placed = {
            name: t.to(device, dtype if ".self_attn." in name or ".mlp." in name else torch.float32)
            for name, t in tensors.items()
        }
        inner = {name: t for name, t in placed.items() if not name.startswith("text_projection.")}
        with torch.device("meta"):
            model = cls._empty(config)
        model.load_state_dict(inner, strict=True, assign=True)
        # a buffer outside the state dict
        model.embeddings.position_ids = torch.arange(config.max_position_embeddings, device=device)[None]
        model.eval().requires_grad_(False)
        return cls(config, model, {name: t for name, t in placed.items() if name not in inner})

    @classmethod
    @abstractmethod
    def _empty(cls, config: TowerConfig) -> CLIPTextModel | SiglipTextModel:
        """The family's model without weights."""

    @property
    def token_embedding(self) -> Tensor:
        """`(V, D)` float32, the vocabulary's rows."""
        return cast(Tensor, self._model.embeddings.token_embedding.weight.detach())

    @property
    def position_embedding(self) -> Tensor:
        """`(max_position_embeddings, D)` float32."""
        return cast(Tensor, self._model.embeddings.position_embedding.weight.detach())

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.token_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the matrix products."""
        return cast(torch.dtype, self._layers[0].mlp.fc1.weight.dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same tower elsewhere; `self` is unchanged (and returned when there is nothing to do)."""
        if torch.device(device) == self.device and dtype == self.dtype:
            return self
        return self._alike(self.from_tensors(self.config, self.tensors(), torch.device(device), dtype))

    def tensors(self) -> dict[str, Tensor]:
        """The canonical tensors as held now; shared, not copied."""
        return {**self._model.state_dict(), **self._extra}

    def weights(self) -> dict[str, Tensor]:
        """The parameters `encode` runs with, by canonical name; shared, so that `requires_grad` may be set on them."""
        return dict(self._model.named_parameters())

    def between(self, other: Self, share: float) -> Self:
        """A tower of its own in float32: each tensor `self + share * (other - self)`.

        Source: linear interpolation of weights.

        A projection behind the pooling, which `encode` never sees, stays as it is here: one of the two may have none.

        Raises:
            ShapeError: the two differ in names or shapes otherwise.
        """
        start, end = self._model.state_dict(), other._model.state_dict()
        if {name: t.shape for name, t in start.items()} != {name: t.shape for name, t in end.items()}:
            raise ShapeError("two towers of different tensors have nothing between them")
        mixed = {n: torch.lerp(t.float(), end[n].to(t.device, torch.float32), share) for n, t in start.items()}
        return self._alike(self.from_tensors(self.config, {**mixed, **self._extra}, self.device, torch.float32))

    def penultimate(self) -> Self:
        """The tower without its last layer, weights shared.

        The final norm stays, as diffusers' `clip_skip` and ComfyUI have it for Stable Diffusion 1 and 2; SDXL reads
        the same state without.

        Source: `encode_prompt` of diffusers' `StableDiffusionPipeline` and `StableDiffusionXLPipeline`; ComfyUI's
        `comfy/sd1_clip.py` (`layer_norm_hidden_state`).

        Raises:
            ShapeError: there is one layer only.
        """
        last = len(self._layers) - 1
        if last < 1:
            raise ShapeError("a tower of one layer has no layer before the last")
        left = {name: t for name, t in self.tensors().items() if not name.startswith(f"encoder.layers.{last}.")}
        config = dataclasses.replace(self.config, num_hidden_layers=last)
        return self.from_tensors(config, left, self.device, self.dtype)

    def projected_by(self, other: Self) -> Self:
        """This tower, weights shared, with features `(B, T, P)` behind the projection of `other`, of unit length."""
        view = copy.copy(self)
        view._projector = other
        return view

    def project(self, features: Tensor) -> Tensor:
        """`features (..., D)` of the last layer -> `(..., P)`: projected, and of unit length."""
        return F.normalize(self._head(features), dim=-1)

    def _alike(self, other: Self) -> Self:
        """`other` behind the same projection as this one."""
        return other if self._projector is None else other.projected_by(self._projector)

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
            x = self._attend(layer, x, *self._project(layer, x))
        return self._final_norm(x)

    def pool(self, features: Tensor, input_ids: Tensor) -> Tensor:
        """`features (B, T, D)`, `input_ids (B, T)` -> `(B, P)` float32: the pooled feature, projected.

        Raises:
            ShapeError: the batch or the length of the two differ.
        """
        shape, asked = tuple(features.shape[:2]), tuple(input_ids.shape)
        if asked != shape:
            raise ShapeError(f"input_ids has shape {asked}, expected {shape} like features")
        rows = torch.arange(shape[0], device=features.device)
        return self._head(features[rows, self.pool_positions(input_ids).to(features.device)].float())  # (B, D)

    def attention_from(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """The attention weights of one position of each prompt, with which `encode` mixes its values.

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
            x = self._attend(layer, x, q, k, v)
        return torch.stack(found, dim=1)

    @abstractmethod
    def pool_positions(self, input_ids: Tensor) -> Tensor:
        """`input_ids (B, T)` -> `(B,)` int64: the position whose feature is pooled."""

    @abstractmethod
    def _head(self, pooled: Tensor) -> Tensor:
        """Pooled features `(B, D)` -> `(B, P)`: the family's projection."""

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

    def _project(self, layer: Any, x: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Residual stream `(B, R, D)` -> queries, keys, values, each `(B, H, R, Dh)` in the product dtype.

        `queries (B, Q, D)`: the part of the stream that is asked for, where that is not all of it.
        """
        normed = layer.layer_norm1(x).to(self.dtype)
        asking = normed if queries is None else layer.layer_norm1(queries).to(self.dtype)
        attention, heads = layer.self_attn, self.config.num_attention_heads
        q, k, v = (
            product(rows).view(*rows.shape[:2], heads, -1).transpose(1, 2)
            for product, rows in ((attention.q_proj, asking), (attention.k_proj, normed), (attention.v_proj, normed))
        )
        return q, k, v

    def _attend(self, layer: Any, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Residual stream `x (B, T, D)` and `q, k, v (B, H, T, Dh)` -> the residual stream behind the layer."""
        mixed = _attention(q, k, v, causal=self.config.causal and x.shape[1] > 1)
        return self._finish_layer(layer, x, mixed.transpose(1, 2).flatten(2))

    def _finish_layer(self, layer: Any, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a layer: residual stream `x` and attended values `mixed`, both `(B, R, D)` -> `(B, R, D)`."""
        x = x + layer.self_attn.out_proj(mixed)  # bfloat16 added to float32 stays float32
        normed = layer.layer_norm2(x).to(self.dtype)
        quick = self.config.hidden_act == "quick_gelu"
        return x + (_quick_gelu_mlp(layer.mlp, normed) if quick else layer.mlp(normed))

    def _final_norm(self, x: Tensor) -> Tensor:
        features = cast(Tensor, self._model.final_layer_norm(x))
        return features if self._projector is None else self._projector.project(features)


def _attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """`q, k, v (B, H, T, Dh)` -> `(B, H, T, Dh)`: scaled dot-product attention.

    On a CPU, where gradients are wanted, through plain products: the backward pass of torch's fused kernel takes most
    of an inversion step there at these lengths (BENCHMARKS.md).
    """
    gradients = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    if q.device.type != "cpu" or not gradients or q.shape[2] > _PLAIN_LENGTH:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, H, T, T)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    return cast(Tensor, scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v)


_QUICK = 1.702  # x * sigmoid(1.702 x); source: transformers' QuickGELUActivation


def _quick_gelu_mlp(mlp: Any, x: Tensor) -> Tensor:
    """`x (B, R, D)` -> `(B, R, D)`: a layer's two products with quick GELU between, as `silu(1.702 h) / 1.702`.

    The factors ride on the products, which leaves one pass over the wide middle instead of three.
    """
    up, down = mlp.fc1, mlp.fc2
    wide = torch.addmm(up.bias, x.flatten(0, 1), up.weight.t(), beta=_QUICK, alpha=_QUICK)  # (B * R, 4 D)
    wide = F.silu(wide, inplace=not torch.is_grad_enabled())
    return torch.addmm(down.bias, wide, down.weight.t(), alpha=1 / _QUICK).view(*x.shape[:2], -1)


def layer_config(config: TowerConfig) -> dict[str, Any]:
    """The keyword arguments that transformers' two text config classes share."""
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("family", "projection_dim")}
    return {**shared, "attention_dropout": 0.0, "attn_implementation": "sdpa"}
