"""CLIP's text tower: causal, pooled at the end-of-text token, with an exact incremental form for vocabulary sweeps.

Knows CLIP's mask and pooling rules. Refuses to know files and configs beyond `TowerConfig`. Shapes: see
`amdet_hub.detect.protocol`. Source: transformers `models/clip/modeling_clip.py` (`CLIPTextModel.forward`), masks
included.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel
from transformers.masking_utils import create_causal_mask

from amdet_hub.detect.protocol import PrefixCache
from amdet_hub.encoders.canonical_names import PROJECTION
from amdet_hub.encoders.text_tower import TextTower, layer_config
from amdet_hub.encoders.tower_config import LEGACY_EOS
from amdet_hub.errors import ShapeError
from amdet_hub.records import TowerConfig


class ClipTextEncoder(TextTower):
    """A CLIP text tower, with or without projection. Implements `IncrementalTextEncoder`."""

    @classmethod
    def _empty(cls, config: TowerConfig) -> CLIPTextModel:
        return CLIPTextModel(CLIPTextConfig(**layer_config(config)))

    def _encode_exactly(self, hidden: Tensor) -> Tensor:
        mask = create_causal_mask(
            config=self._model.config, inputs_embeds=hidden, attention_mask=None, past_key_values=None
        )
        return self._final_norm(
            self._model.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=True).last_hidden_state
        )

    def pool_positions(self, input_ids: Tensor) -> Tensor:
        """`input_ids (B, T)` -> `(B,)` int64: the first end-of-text token, or the largest id for legacy configs.

        Source: `CLIPTextModel.forward`; OpenAI's configs carry the wrong id 2.
        """
        ids = input_ids.to(device=self.device, dtype=torch.int)
        if self.config.eos_token_id == LEGACY_EOS:
            return ids.argmax(dim=-1)
        return (ids == self.config.eos_token_id).int().argmax(dim=-1)

    def _head(self, pooled: Tensor) -> Tensor:
        return F.linear(pooled, self._extra[PROJECTION]) if PROJECTION in self._extra else pooled

    def prefix_cache(self, hidden: Tensor) -> PrefixCache:
        """`hidden (B, T0, D)` of positions 0..T0-1 -> their keys and values, layer by layer, each `(B, H, T0, Dh)`.

        Raises:
            ShapeError: `hidden` is not `(B, T0, D)`.
        """
        self._check_hidden(hidden)
        x, cached = hidden.float(), []
        for i, layer in enumerate(self._layers):
            q, k, v = self._project(layer, x)
            cached.append((k.contiguous(), v.contiguous()))
            if i < len(self._layers) - 1:  # the last layer's own output is not needed
                x = self._attend(layer, x, q, k, v)
        keys, values = zip(*cached, strict=True)
        return PrefixCache(keys, values)

    def extend(self, cache: PrefixCache, hidden: Tensor, *, last_only: bool = False) -> Tensor:
        """Run C continuations of N new positions after each cached prefix.

        All `B * C * N` rows go through each linear layer at once, and the prefix is read in place: nothing is copied
        per continuation. Continuations that all prompts share, `(1, C, N, D)`, are normed and projected once in the
        first layer; they differ from there on.

        Args:
            cache: from `prefix_cache`, B prompts of length T0.
            hidden: `(B, C, N, D)` or `(1, C, N, D)`, token + position embedding of positions T0..T0+N-1.
            last_only: give the last position alone. The last layer then runs for that position only; its keys and
                values are of all.

        Returns:
            `(B, C, N, D)` float32 features, those of `encode` on the concatenation; `(B, C, 1, D)` if `last_only`.

        Raises:
            ShapeError: `hidden` is not `(B, C, N, D)` with the cache's B or 1, or is too long for the position table.
        """
        x, _ = self._continue(cache, hidden, last_only=last_only)
        return self._final_norm(x)

    def last_states(self, cache: PrefixCache, hidden: Tensor) -> Tensor:
        """See `IncrementalTextEncoder.last_states`. Raises: as `extend`; ShapeError: the tower has a single layer."""
        if len(self._layers) < 2:
            raise ShapeError("a tower of one layer has no layer before the last")
        x, before = self._continue(cache, hidden, last_only=True)
        return self._final_norm(torch.stack([x[:, :, 0], before]))

    def _continue(self, cache: PrefixCache, hidden: Tensor, *, last_only: bool) -> tuple[Tensor, Tensor]:
        """The residual stream of `extend` before the final norm, and that before the last layer of the last positions.

        Returns:
            `(B, C, N, D)` or `(B, C, 1, D)`, and `(B, C, D)`.
        """
        longest, width, b = self.config.max_position_embeddings, self.config.hidden_size, cache.keys[0].shape[0]
        if hidden.ndim != 4 or hidden.shape[0] not in (b, 1) or hidden.shape[3] != width:
            raise ShapeError(f"hidden has shape {tuple(hidden.shape)}, expected ({b}, C, N, {width})")
        _, c, n, d = hidden.shape
        if not 1 <= n <= longest - cache.length:
            raise ShapeError(f"{n} new positions after {cache.length} do not fit {longest}")
        x = hidden.float().flatten(1, 2)  # (B or 1, C*N, D)
        before = x
        future = torch.ones(n, n, dtype=torch.bool, device=hidden.device).triu(1) if n > 1 else None
        for i, (layer, k0, v0) in enumerate(zip(self._layers, cache.keys, cache.values, strict=True)):
            before = x.view(-1, c, n, d)[:, :, -1]  # (B, C, D)
            ends = before if last_only and n > 1 and i == len(self._layers) - 1 else None
            q, k, v = (
                t.view(*t.shape[:2], c, -1, t.shape[3]) for t in self._project(layer, x, ends)
            )  # each (B, H, C, N, Dh); q of the ends: N = 1
            mixed = _attend(q, k, v, k0, v0, future if ends is None else None).flatten(1, 2)  # (B, C*N, D)
            x = self._finish_layer(layer, x if ends is None else ends, mixed)
        x = x.view(x.shape[0], c, -1, d)
        return (x[:, :, -1:] if last_only else x), before


def _attend(q: Tensor, k: Tensor, v: Tensor, k0: Tensor, v0: Tensor, future: Tensor | None) -> Tensor:
    """Attention of new positions over the whole prefix and, causally, over themselves.

    `q (B, H, C, Q, Dh)`, `k, v (B, H, C, N, Dh)`, `k0, v0 (B, H, T0, Dh)`, `future (Q, N)` True where a position must
    not look, None where all may see all new positions -> `(B, C, Q, H*Dh)`. The batch of q, k and v may be 1 where
    that of the prefix is B.
    """
    b, (_, h, c, n_queries, dh), n = k0.shape[0], q.shape, k.shape[3]
    q = q * dh**-0.5
    to_prefix = (q.flatten(2, 3) @ k0.transpose(-1, -2)).view(b, h, c, n_queries, -1)  # (B, H, C, Q, T0)
    to_new = (q * k).sum(-1, keepdim=True) if n == 1 else q @ k.transpose(-1, -2)  # (B, H, C, Q, N)
    if future is not None:
        to_new = to_new.masked_fill(future, -torch.inf)
    # (B, H, C, Q, T0+N); torch sums in float32
    weights = torch.cat([to_prefix, to_new.expand(b, -1, -1, -1, -1)], dim=-1).softmax(-1)
    old, new = weights[..., :-n], weights[..., -n:]
    mixed = (old.flatten(2, 3) @ v0).view(b, h, c, n_queries, dh) + (new * v if n == 1 else new @ v)
    return mixed.permute(0, 2, 3, 1, 4).reshape(b, c, n_queries, h * dh)
