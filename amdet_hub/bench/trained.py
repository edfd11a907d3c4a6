"""A trainable encoder in a folder of our own.

Knows transformers' CLIP and SigLIP text models, their tokenizers and how they are stored.

Refuses to know repositories: the folders opened here are made by us and trusted. Whatever a user scans goes through
`amdet_hub.encoders`, which trusts nothing. Both must see the same ids for the same text: SigLIP's come from
`amdet_hub.encoders.tokenizer` itself, CLIP's are compared in the tests.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, SiglipTextModel

from amdet_hub.encoders.strict_json import parse_json_object
from amdet_hub.encoders.tokenizer import PromptTokenizer, build_tokenizer
from amdet_hub.encoders.tower_config import FAMILY_OF_MODEL_TYPE, LEGACY_EOS, tower_config
from amdet_hub.errors import BadRepository, ConfigError
from amdet_hub.files import write_atomically
from amdet_hub.records import Family, ReadOut

# The files of a tokenizer in transformers layout; those that exist are copied beside new weights.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
)

_BATCH = 128  # texts that are embedded at once

# Written beside the weights: how they were made and what was measured.
BENCH_FILE = "bench.json"


@dataclass(frozen=True)
class TrainedEncoder:
    """A text encoder and its tokenizer, in float32 on the CPU.

    Attributes:
        model: `CLIPTextModelWithProjection`, or `SiglipTextModel`.
        tokenizer: `CLIPTokenizer`, or `amdet_hub.encoders.tokenizer.PromptTokenizer` for SigLIP. The ids that frame a
            text are its `bos_token_id` (None for SigLIP), `eos_token_id` and `pad_token_id`.
        folder: where the tokenizer's files lie; None for one that was made in memory.
        read_out: "projected", or "penultimate": what `encode` and `embed` give.
    """

    model: Any
    tokenizer: Any
    folder: Path | None
    read_out: ReadOut = "projected"

    @property
    def layout(self) -> Family:
        """The rules: "clip" (causal, pooled at end of text) or "siglip" (bidirectional, pooled at its end)."""
        return FAMILY_OF_MODEL_TYPE[self.model.config.model_type]

    @property
    def max_positions(self) -> int:
        """Number of positions the encoder was built with, 77 for CLIP."""
        return int(self.model.config.max_position_embeddings)

    def copy(self) -> TrainedEncoder:
        """A second encoder with equal weights that can be trained apart."""
        return replace(self, model=copy.deepcopy(self.model))

    def reading(self, read_out: ReadOut) -> TrainedEncoder:
        """The same weights, read elsewhere."""
        return replace(self, read_out=read_out)

    def token_ids(self, text: str) -> tuple[int, ...]:
        """The ids of `text` alone, uncut, never a special one: a special token spelled out is ordinary characters."""
        return self._rows([text])[0]

    def tokenize(self, texts: Sequence[str], positions: int) -> Tensor:
        """`B` texts -> `(B, positions)` int64, framed, cut and padded by `tokenize_ids`.

        SigLIP always takes `max_positions`.
        """
        return self.tokenize_ids(self._rows(texts), positions)

    def tokenize_ids(self, rows: Sequence[Sequence[int]], positions: int) -> Tensor:
        """Frame word ids: BOS (CLIP only), words, EOS, then the tokenizer's own padding id.

        When cut, the last id is still EOS.

        Args:
            rows: `B` rows of ids without special ones, of any length.
            positions: length of every row, 2 to `max_positions`. SigLIP takes `max_positions` whatever is asked for.

        Returns:
            `(B, positions)` int64.

        Raises:
            ConfigError: `positions` is out of range.
        """
        length = self.max_positions if self.layout == "siglip" else positions
        if not 2 <= length <= self.max_positions:
            raise ConfigError("positions", f"{length} is not between 2 and {self.max_positions}")
        start = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        room, end, pad = length - len(start) - 1, [self.tokenizer.eos_token_id], self.tokenizer.pad_token_id
        framed = [[*start, *row[:room], *end, *[pad] * (room - len(row))] for row in rows]
        return torch.tensor(framed, dtype=torch.int64).reshape(len(rows), length)  # no rows: (0, positions)

    def longest(self, texts: Sequence[str]) -> int:
        """Tokens of the longest text with special ones, rounded up to a multiple of 8, at most `max_positions`."""
        if self.layout == "siglip":
            return self.max_positions
        most = max(len(row) for row in self._rows(texts)) + 2
        return min(-(-most // 8) * 8, self.max_positions)

    def pool_positions(self, ids: Tensor) -> Tensor:
        """`ids (B, T)` -> `(B,)` int64, the pooled position: the first end of text (CLIP; 0 without one) or the last.

        Source: transformers, `CLIPTextModel.forward` (for the legacy EOS id the largest id of the row) and
        `SiglipTextModel.forward`.
        """
        if self.layout == "siglip":
            return torch.full((ids.shape[0],), ids.shape[1] - 1, dtype=torch.int64, device=ids.device)
        eos = self.model.config.eos_token_id
        return ids.argmax(dim=-1) if eos == LEGACY_EOS else (ids == eos).int().argmax(dim=-1)

    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """`ids (B, T)` -> last-layer `features (B, T, D)` and `pooled (B, P)`, projected or through the head.

        Read as "penultimate": the states before the last layer, as SDXL takes them, and those at the pooled position.
        No padding mask: diffusion pipelines run CLIP without one, and SigLIP was trained without one.
        """
        if self.read_out == "penultimate":
            states, _ = self.last_two(ids)
            return states, states[torch.arange(len(ids)), self.pool_positions(ids)]
        output = self.model(input_ids=ids)
        return output.last_hidden_state, output.pooler_output if self.layout == "siglip" else output.text_embeds

    def last_two(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """`ids (B, T)` -> the states before the last layer and the last features, each `(B, T, D)`."""
        output = self.model(input_ids=ids, output_hidden_states=True)
        return output.hidden_states[-2], output.last_hidden_state

    def embed(self, texts: Sequence[str], positions: int) -> Tensor:
        """`N` texts -> `(N, P)` float32 pooled features of unit length."""
        return self.embed_ids(self._rows(texts), positions)

    @torch.no_grad()
    def embed_ids(self, rows: Sequence[Sequence[int]], positions: int) -> Tensor:
        """`N` rows of word ids, as in `tokenize_ids` -> `(N, P)` float32 pooled features of unit length."""
        pooled = [
            self.encode(self.tokenize_ids(rows[i : i + _BATCH], positions))[1].float()
            for i in range(0, len(rows), _BATCH)
        ]
        return torch.nn.functional.normalize(torch.cat(pooled), dim=-1)

    def _rows(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        if isinstance(self.tokenizer, PromptTokenizer):
            return [self.tokenizer.encode(text) for text in texts]
        if not texts:
            return []
        # split_special_tokens: as the scan reads a text, in which no special token can be spelled
        batch = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [tuple(row) for row in batch["input_ids"]]


def open_trained(folder: Path) -> TrainedEncoder:
    """Open an encoder of our own, in the layout that its `config.json` names.

    Args:
        folder: transformers layout, `config.json`, `model.safetensors` and a tokenizer (SigLIP: `tokenizer.json`).

    Raises:
        ConfigError: the folder lacks one of them, or holds another kind of model.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ConfigError("base", f"{folder} has no {name}")
    family = _family(folder)
    vocabularies = ("tokenizer.json",) if family == "siglip" else ("tokenizer.json", "vocab.json")
    if not any((folder / name).is_file() for name in vocabularies):
        raise ConfigError("base", f"{folder} has no tokenizer")
    architecture: Any = SiglipTextModel if family == "siglip" else CLIPTextModelWithProjection
    model = architecture.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    tokenizer = (
        read_siglip_tokenizer(folder, model.config)
        if family == "siglip"
        else CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    )
    return TrainedEncoder(model.eval(), tokenizer, folder)


def read_siglip_tokenizer(folder: Path, config: Any) -> PromptTokenizer:
    """The tokenizer in `folder` as a scan would read it.

    Args:
        folder: holds `tokenizer.json`.
        config: a `SiglipTextConfig`; its vocabulary size tells the special ids.

    Raises:
        ConfigError: the file does not belong to a SigLIP encoder of that size.
    """
    name = "tokenizer.json"
    try:
        model = parse_json_object((folder / name).read_bytes(), name).get("model")
        tower = tower_config(config.to_dict(), "config.json", "siglip", projection_dim=None)
        return build_tokenizer(model if isinstance(model, dict) else {}, tower, name)
    except BadRepository as error:
        raise ConfigError("base", f"{folder}: {error}") from error


def _family(folder: Path) -> Family:
    try:
        model_type = parse_json_object((folder / "config.json").read_bytes(), "config.json").get("model_type")
    except BadRepository as error:
        raise ConfigError("base", f"{folder}: {error}") from error
    if not isinstance(model_type, str) or model_type not in FAMILY_OF_MODEL_TYPE:
        raise ConfigError(
            "base", f"{folder} holds a model of type {model_type!r}, not one of {', '.join(FAMILY_OF_MODEL_TYPE)}"
        )
    return FAMILY_OF_MODEL_TYPE[model_type]


def save_trained(
    encoder: TrainedEncoder, out: Path, facts: Mapping[str, Any], *, name: str = BENCH_FILE
) -> dict[str, Any]:
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
    copy.deepcopy(encoder.model).to(torch.float16).save_pretrained(out, safe_serialization=True)
    if encoder.folder is None:
        encoder.tokenizer.save_pretrained(out)
    for file in TOKENIZER_FILES:
        source = (encoder.folder or out) / file
        if source.is_file() and source.parent.resolve() != out.resolve():
            shutil.copyfile(source, out / file)
    written = {**facts, "sha256": {"model.safetensors": sha256_of(out / "model.safetensors")}}
    # whole or not at all: the file says that the folder is finished
    write_atomically(out / name, (json.dumps(written, indent=2, ensure_ascii=False) + "\n").encode())
    return written


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
