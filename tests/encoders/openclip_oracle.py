"""OpenCLIP's text tower on `torch.nn.MultiheadAttention`, written from its module structure and from none of the code
under test.

It loads OpenCLIP's own state dict strictly and runs it as stored. Where open_clip can be imported, a test holds it
against the original. Source: open_clip 3.3 `transformer.py`: `ResidualAttentionBlock`, `Transformer`,
`TextTransformer`, `QuickGELU`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, act: nn.Module, eps: float) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            OrderedDict([("c_fc", nn.Linear(width, inner)), ("gelu", act), ("c_proj", nn.Linear(inner, width))])
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        x = x + self.mlp(self.ln_2(x))
        return x


class Oracle(nn.Module):
    """`config` is an `open_clip_config.json`; `forward(ids (B, T))` -> features `(B, T, D)` after the last norm,
    pooled output `(B, P)`.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> None:
        super().__init__()
        model, text = config["model_cfg"], config["model_cfg"]["text_cfg"]
        mine = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        mine = {name: t for name, t in mine.items() if not name.startswith(("visual.", "logit_"))}
        width, heads = text["width"], text["heads"]
        act: nn.Module = QuickGELU() if model.get("quick_gelu") else nn.GELU(**text.get("act_kwargs", {}))
        eps, inner = (
            text.get("norm_kwargs", {}).get("eps", 1e-5),
            mine["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        )
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(text["context_length"], width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, heads, inner, act, eps) for _ in range(text["layers"]))
        self.ln_final = nn.LayerNorm(width, eps=eps)
        if text.get("proj_bias"):
            self.text_projection: Any = nn.Linear(width, model["embed_dim"])
        else:
            self.text_projection = nn.Parameter(torch.empty(width, model["embed_dim"]))
        self.causal, self.pool = not text.get("no_causal_mask"), text.get("pool_type", "argmax")
        self.load_state_dict({name: t.float() for name, t in mine.items()}, strict=True)
        self.eval()

    @torch.no_grad()
    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        mask = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1) if self.causal else None
        blocks: Any = self.transformer.resblocks
        for block in blocks:
            x = block(x, mask)
        x = self.ln_final(x)
        at = ids.argmax(-1) if self.pool == "argmax" else torch.full((len(ids),), ids.shape[1] - 1)
        pooled = x[torch.arange(len(ids)), at]
        return x, (
            self.text_projection(pooled)
            if isinstance(self.text_projection, nn.Linear)
            else pooled @ self.text_projection
        )
