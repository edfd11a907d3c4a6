"""A small CLIP or SigLIP text encoder, trained from nothing.

Knows architecture numbers and the contrastive loop; refuses to know where the texts come from.
Three layouts are made with it: CLIP (77 positions), CLIP with a longer position table (248, as LongCLIP, arXiv
2403.15378) and SigLIP.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers.models import Unigram
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, SiglipTextConfig, SiglipTextModel

from amdet_hub.bench.controls import contrastive_loss
from amdet_hub.bench.descent import Trained, autocast
from amdet_hub.bench.metrics import retrieval_at_1
from amdet_hub.bench.rules import contrastive, one_of, require
from amdet_hub.bench.trained import TrainedEncoder, read_siglip_tokenizer
from amdet_hub.encoders.tower_config import siglip_ids
from amdet_hub.errors import ConfigError
from amdet_hub.records import SILENT, Family, ProgressCallback

Pair = tuple[str, str]


@dataclass(frozen=True)
class Architecture:
    """Dimensions and kind of a text encoder.

    Args:
        hidden_size: width of the residual stream; a multiple of `heads`.
        layers: number of transformer layers.
        heads: attention heads.
        intermediate_size: width of the MLPs.
        positions: length of the position table. "clip": longest sequence, 77 (CLIP) or 248 (LongCLIP). "siglip":
            length of every sequence.
        projection_dim: size of the pooled feature.
        layout: "clip" is causal and pools at the end of text; "siglip" is bidirectional, sees padding and pools at the
            last position.

    Raises:
        ConfigError: a number is below 1, `heads` does not divide `hidden_size`, or there is no such layout.
    """

    hidden_size: int = 96
    layers: int = 3
    heads: int = 3
    intermediate_size: int = 384
    positions: int = 77
    projection_dim: int = 64
    layout: Family = "clip"

    def __post_init__(self) -> None:
        require(
            (
                self.heads >= 1 and self.hidden_size >= 1 and self.hidden_size % self.heads == 0,
                "heads",
                f"{self.heads} does not divide the hidden size {self.hidden_size}",
            ),
            *(
                (getattr(self, name) >= 1, name, "must be at least 1")
                for name in ("layers", "intermediate_size", "positions", "projection_dim")
            ),
            one_of("layout", self.layout, Family),
        )


@dataclass(frozen=True)
class PretrainRecipe:
    """Every number of the training from nothing.

    Args:
        steps: optimiser steps.
        lr: peak learning rate of AdamW; linear rise over `warmup` steps, then half a cosine to zero.
        warmup: steps of the rise.
        weight_decay: of AdamW, on matrices only. 0.1 would be CLIP's; small encoders of short runs take less.
        batch: pairs a step.
        temperature: divides the similarities.
        positions: token positions of a usual step. SigLIP always runs at all of them.
        long_every: every such step runs two texts in one at all positions, so that late positions are trained too; 0
            for never. No meaning for SigLIP, every step of which trains all positions.
        bf16: run the encoder's matrix products in bfloat16.
        seed: of the initial weights.
    """

    steps: int = 1200
    lr: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.01
    batch: int = 128
    temperature: float = 0.07
    positions: int = 32
    long_every: int = 10
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require(contrastive(self.steps, self.batch, self.lr, self.temperature))


def new_encoder(tokenizer: Any, architecture: Architecture, folder: Path, *, seed: int) -> TrainedEncoder:
    """An encoder with transformers' own initial weights, drawn with `seed`; its tokenizer is written to `folder`.

    Raises:
        ConfigError: the tokenizer is not one of the architecture's layout.
    """
    siglip = architecture.layout == "siglip"
    if isinstance(tokenizer.backend_tokenizer.model, Unigram) != siglip:
        raise ConfigError("layout", f"the tokenizer was not learned for a {architecture.layout} encoder")
    config = _config(tokenizer, architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = (SiglipTextModel if siglip else CLIPTextModelWithProjection)(config).eval()
    tokenizer.save_pretrained(folder)
    return TrainedEncoder(model, read_siglip_tokenizer(folder, config) if siglip else tokenizer, folder)


def _config(tokenizer: Any, architecture: Architecture) -> Any:
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.intermediate_size,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "max_position_embeddings": architecture.positions,
    }
    if architecture.layout == "siglip":
        bos, eos, pad = siglip_ids(len(tokenizer))
        return SiglipTextConfig(
            **sizes,
            projection_size=architecture.projection_dim,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=pad,
            architectures=["SiglipTextModel"],
        )
    return CLIPTextConfig(
        **sizes,
        projection_dim=architecture.projection_dim,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        architectures=["CLIPTextModelWithProjection"],
    )


@dataclass(frozen=True)
class PairSource:
    """Pairs of texts of one scene.

    Attributes:
        of_step: `(step, n)` -> `n` pairs; a function of its arguments only, so that a run can be repeated.
        held_out: pairs for the measurement; none of them may be trained on.
    """

    of_step: Callable[[int, int], Sequence[Pair]]
    held_out: Sequence[Pair]


def pretrain(
    tokenizer: Any,
    architecture: Architecture,
    pairs: PairSource,
    recipe: PretrainRecipe,
    *,
    folder: Path,
    progress: ProgressCallback = SILENT.progress,
) -> Trained:
    """Train an encoder so that two texts of one scene come together.

    Args:
        tokenizer: of `vocabulary.learn_tokenizer`, or of `unigram.learn_siglip_tokenizer` for SigLIP.
        architecture: dimensions.
        pairs: for training and measuring.
        recipe: every number.
        folder: of the tokenizer's files.
        progress: called as `progress("pretrain", step, steps)`.

    Returns:
        The encoder, and facts with `retrieval_at_1` on the held-out pairs.
    """
    encoder, started = new_encoder(tokenizer, architecture, folder, seed=recipe.seed), time.perf_counter()
    optimizer = torch.optim.AdamW(_groups(encoder.model, recipe.weight_decay), lr=recipe.lr, betas=(0.9, 0.98))
    loss = torch.zeros(())
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * _schedule(step, recipe)
        ids = _batch(encoder, pairs.of_step(step, recipe.batch), step, recipe)  # (2B, T)
        optimizer.zero_grad(set_to_none=True)
        with autocast(recipe.bf16):
            pooled = encoder.encode(ids)[1]  # (2B, P)
        first, second = pooled.chunk(2)
        loss = contrastive_loss(first, second, recipe.temperature)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.model.parameters(), 1.0)
        optimizer.step()
        progress("pretrain", step + 1, recipe.steps)
    retrieval = retrieval_at_1(encoder, pairs.held_out, min(recipe.positions, encoder.max_positions))
    facts = {
        "kind": "pretrained",
        "recipe": asdict(recipe),
        "architecture": asdict(architecture),
        "vocab_size": len(tokenizer),
        "final_loss": round(loss.item(), 4),
        "seconds": round(time.perf_counter() - started, 1),
        "retrieval_at_1": round(retrieval, 4),
        "n_held_out": len(pairs.held_out),
    }
    return Trained(encoder, facts)


def _batch(encoder: TrainedEncoder, pairs: Sequence[Pair], step: int, recipe: PretrainRecipe) -> Tensor:
    """Ids of all first texts, then of all second ones; on a long step of CLIP two neighbouring pairs are one."""
    positions = min(recipe.positions, encoder.max_positions)
    if encoder.layout == "clip" and recipe.long_every > 0 and (step + 1) % recipe.long_every == 0:
        positions = encoder.max_positions
        pairs = [(f"{a[0]}, {b[0]}", f"{a[1]}, {b[1]}") for a, b in zip(pairs[::2], pairs[1::2], strict=False)]
    return encoder.tokenize([pair[0] for pair in pairs] + [pair[1] for pair in pairs], positions)


def _schedule(step: int, recipe: PretrainRecipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)))


def _groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
