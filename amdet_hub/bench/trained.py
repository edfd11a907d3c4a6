"""A trainable encoder in a folder of our own. Knows transformers' CLIP text model, its tokenizer and how both are stored.

Refuses to know repositories: the folders opened here are made by us and trusted. Whatever a user scans goes through `amdet_hub.encoders`, which
trusts nothing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from amdet_hub.errors import ConfigError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")
"""The files of a tokenizer in transformers layout; those that exist are copied beside new weights."""

BENCH_FILE = "bench.json"
"""Written beside the weights: how they were made and what was measured."""


@dataclass(frozen=True)
class TrainedEncoder:
    """A CLIP text encoder and its tokenizer, in float32 on the CPU. `folder` is where the tokenizer's files lie."""

    model: Any
    tokenizer: Any
    folder: Path

    @property
    def max_positions(self) -> int:
        """Number of positions the encoder was built with, 77 for CLIP."""
        return int(self.model.config.max_position_embeddings)

    def copy(self) -> TrainedEncoder:
        """A second encoder with equal weights that can be trained apart."""
        return TrainedEncoder(copy.deepcopy(self.model), self.tokenizer, self.folder)

    def tokenize(self, texts: Sequence[str], positions: int) -> Tensor:
        """`B` texts -> `(B, positions)` int64, BOS and EOS included, cut and padded with the tokenizer's own padding id."""
        batch = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=positions, return_tensors="pt")
        ids: Tensor = batch["input_ids"]
        return ids

    def longest(self, texts: Sequence[str]) -> int:
        """Tokens of the longest text, BOS and EOS included, rounded up to a multiple of 8 and capped at the encoder's positions."""
        batch = self.tokenizer(list(texts), truncation=True, max_length=self.max_positions)
        most = max(len(ids) for ids in batch["input_ids"])
        return min(-(-most // 8) * 8, self.max_positions)

    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """`ids (B, T)` -> last-layer `features (B, T, D)` and projected `pooled (B, P)`; no padding mask, as diffusion pipelines do it."""
        output = self.model(input_ids=ids)
        return output.last_hidden_state, output.text_embeds

    @torch.no_grad()
    def embed(self, texts: Sequence[str], positions: int, *, batch_size: int = 128) -> Tensor:
        """`N` texts -> `(N, P)` float32 pooled features of unit length."""
        parts = [self.encode(self.tokenize(texts[i : i + batch_size], positions))[1].float() for i in range(0, len(texts), batch_size)]
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)


def open_trained(folder: Path) -> TrainedEncoder:
    """Open an encoder of our own.

    Args:
        folder: transformers layout, `config.json`, `model.safetensors` and a tokenizer.

    Raises:
        ConfigError: the folder lacks one of them.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ConfigError("base", f"{folder} has no {name}")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ConfigError("base", f"{folder} has no tokenizer")
    model = CLIPTextModelWithProjection.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return TrainedEncoder(model.eval(), tokenizer, folder)


def save_trained(encoder: TrainedEncoder, out: Path, facts: Mapping[str, Any], *, name: str = BENCH_FILE) -> dict[str, Any]:
    """Write float16 weights, config, tokenizer and the facts of the making.

    Args:
        encoder: what to store.
        out: folder, made when missing.
        facts: plain JSON data, stored with the sha256 of the weights under the key `sha256`.
        name: file the facts go to.

    Returns:
        The facts as stored.
    """
    out.mkdir(parents=True, exist_ok=True)
    stored = copy.deepcopy(encoder.model).to(torch.float16)
    stored.save_pretrained(out, safe_serialization=True)
    for file in TOKENIZER_FILES:
        source = encoder.folder / file
        if source.is_file() and source.parent.resolve() != out.resolve():
            shutil.copyfile(source, out / file)
    written = {**facts, "sha256": {"model.safetensors": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()}}
    (out / name).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return written
