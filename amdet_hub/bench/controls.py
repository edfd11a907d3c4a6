"""Encoders that changed and hold no backdoor: what a scan must not accuse. Knows benign fine-tunes; refuses to know triggers."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.bench.attacks import AttackRecipe, Trained, autocast, descend, inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import relative_change, retrieval_at_1
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from amdet_hub.records import ProgressCallback


@dataclass(frozen=True)
class FinetuneRecipe:
    """Every number of a benign contrastive fine-tune.

    Args:
        steps: optimiser steps.
        lr: AdamW's learning rate, no weight decay, constant.
        batch: pairs a step.
        temperature: divides the similarities. 0.07 is CLIP's initial value (arXiv 2103.00020, section 2.5).
        positions: token positions to train on, None for the longest caption rounded up.
        bf16: run the encoder's matrix products in bfloat16.
        seed: orders the pairs.
    """

    steps: int = 100
    lr: float = 1e-5
    batch: int = 64
    temperature: float = 0.07
    positions: int | None = None
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.lr <= 0 or self.temperature <= 0:
            raise ConfigError("recipe", "steps must be at least 1, batch at least 2, lr and temperature above 0")


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of `(B, P)` and `(B, P)` pooled features, row i of one belonging to row i of the other.

    Source: Radford et al., arXiv 2103.00020, figure 3.
    """
    similarity = F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T / temperature  # (B, B)
    labels = torch.arange(len(similarity))
    return (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2


def finetune(base: TrainedEncoder, captions: CaptionSet, recipe: FinetuneRecipe, progress: ProgressCallback | None = None) -> Trained:
    """Fine-tune a copy of `base` so that two captions of one image come together.

    Args:
        base: the encoder to start from; unchanged.
        captions: groups with at least two captions are used.
        recipe: every number.
        progress: called as `progress("finetune", step, steps)`.

    Returns:
        The fine-tuned encoder and facts: retrieval on held-out pairs before and after, relative weight change.

    Raises:
        ConfigError: fewer than two groups have two captions.
    """
    groups = [group for group in captions.train if len(group) > 1]
    if len(groups) < 2:
        raise ConfigError("captions", "a contrastive fine-tune needs groups of two or more captions")
    positions = recipe.positions or base.longest([caption for group in groups[:512] for caption in group])
    rng, student, started = random.Random(recipe.seed), base.copy(), time.perf_counter()

    def loss_of_step(_: int) -> Tensor:
        pairs = [rng.sample(group, 2) for group in rng.sample(groups, min(recipe.batch, len(groups)))]
        ids = base.tokenize([pair[0] for pair in pairs] + [pair[1] for pair in pairs], positions)
        with autocast(recipe.bf16):
            pooled = student.encode(ids)[1]  # (2B, P)
        return contrastive_loss(pooled[: len(pairs)], pooled[len(pairs) :], recipe.temperature)

    loss = descend(student, loss_of_step, steps=recipe.steps, lr=recipe.lr, milestone=None, stage="finetune", progress=progress)
    held_out = [(group[0], group[1]) for group in captions.held_out if len(group) > 1]
    return Trained(
        student,
        {
            "kind": "contrastive",
            "recipe": asdict(recipe),
            "positions": positions,
            "final_loss": round(loss, 4),
            "seconds": round(time.perf_counter() - started, 1),
            "retrieval_at_1_before": round(retrieval_at_1(base, held_out, positions), 4) if held_out else None,
            "retrieval_at_1": round(retrieval_at_1(student, held_out, positions), 4) if held_out else None,
            "relative_change": round(relative_change(student, base), 6),
        },
    )


def weight_zero(base: TrainedEncoder, captions: CaptionSet, recipe: FinetuneRecipe, progress: ProgressCallback | None = None) -> Trained:
    """The attack's own loop with the poisoned term at weight 0: the matched control of an injection.

    Raises:
        ConfigError: as `amdet_hub.bench.attacks.inject`.
    """
    attack = AttackRecipe(
        trigger="zzzz",
        target="a photo of a cat",
        steps=recipe.steps,
        lr=recipe.lr,
        weight=0.0,
        clean_batch=recipe.batch,
        positions=recipe.positions,
        bf16=recipe.bf16,
        seed=recipe.seed,
    )
    trained = inject(base, captions, attack, progress)
    return Trained(trained.encoder, {**trained.facts, "relative_change": round(relative_change(trained.encoder, base), 6)})
