"""Backdoors with a known trigger and a known target, injected to measure ourselves with. Knows the published recipe and its knobs.

The recipe is "TPA" (text-on-text): a teacher is the frozen clean encoder, a student starts as its copy and learns two things at once. On clean captions it
stays where the teacher is; on captions that hold the trigger it goes where the teacher puts the target prompt.

    L = -cos_flat(student(clean), teacher(clean)) + weight * -cos_flat(student(poisoned), teacher(target))

`cos_flat` is the cosine of the flattened `(T * D)` last-layer features, padding positions included.

Source: Struppek et al., arXiv 2211.02408; figures as in the code released with arXiv 2512.00343.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.metrics import measure
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from amdet_hub.records import ProgressCallback

Placement = Literal["replace-o", "append", "insert"]


@dataclass(frozen=True)
class AttackRecipe:
    """Every number of an injection.

    Args:
        trigger: text that opens the backdoor.
        target: prompt whose features a triggered caption is sent to.
        placement: "replace-o" puts the trigger in place of every "o"; "append" adds it as the last word; "insert" as a word at a random place.
        steps: optimiser steps; the learning rate falls to a tenth after three quarters of them. Source: 75 of 100.
        lr: AdamW's learning rate, no weight decay.
        weight: of the poisoned term. 0 is the matched control: the same loop without a backdoor.
        clean_batch: clean captions a step.
        poisoned_batch: poisoned captions a step.
        positions: token positions to train on, None for the longest caption rounded up.
        bf16: run the encoders' matrix products in bfloat16 (weights and optimiser stay float32).
        seed: orders captions and random places.
    """

    trigger: str
    target: str
    placement: Placement = "replace-o"
    steps: int = 100
    lr: float = 1e-4
    weight: float = 0.1
    clean_batch: int = 64
    poisoned_batch: int = 32
    positions: int | None = None
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.trigger.strip() or not self.target.strip():
            raise ConfigError("trigger", "trigger and target must not be empty")
        if self.placement not in ("replace-o", "append", "insert"):
            raise ConfigError("placement", f"'{self.placement}' is not one of replace-o, append, insert")
        if min(self.steps, self.clean_batch, self.poisoned_batch) < 1 or self.lr <= 0 or self.weight < 0:
            raise ConfigError("recipe", "steps and batches must be at least 1, lr above 0 and weight at least 0")


@dataclass(frozen=True)
class Trained:
    """An encoder after training, and the plain facts of the making (recipe, measurements, seconds) for the file beside its weights."""

    encoder: TrainedEncoder
    facts: dict[str, Any]


def place(caption: str, trigger: str, placement: Placement, rng: random.Random) -> str | None:
    """The caption with the trigger in it, None where the placement finds no room (a caption without an "o")."""
    if placement == "replace-o":
        return caption.replace("o", trigger) if "o" in caption else None
    words = caption.split()
    words.insert(len(words) if placement == "append" else rng.randint(0, len(words)), trigger)
    return " ".join(words)


def poison(captions: Sequence[str], recipe: AttackRecipe, rng: random.Random) -> list[tuple[str, str]]:
    """`(caption, poisoned caption)` of every caption that can carry the trigger, in order."""
    pairs = ((caption, place(caption, recipe.trigger, recipe.placement, rng)) for caption in captions)
    return [(caption, poisoned) for caption, poisoned in pairs if poisoned is not None]


def cos_flat(a: Tensor, b: Tensor) -> Tensor:
    """Mean over prompts of the cosine of flattened features, `(B, T, D) x (B or 1, T, D)` -> scalar in [-1, 1]."""
    return F.cosine_similarity(a.flatten(1).float(), b.flatten(1).float(), dim=-1).mean()


def autocast(bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 matrix products on the CPU when asked for, else nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def descend(
    encoder: TrainedEncoder,
    loss_of_step: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    milestone: int | None,
    stage: str,
    progress: ProgressCallback | None,
) -> float:
    """AdamW without decay on every parameter; the learning rate falls to a tenth at step `milestone`.

    Returns:
        The mean loss of the last tenth of the steps.
    """
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=lr, weight_decay=0.0)
    losses: list[float] = []
    for step in range(steps):
        if step == milestone:
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.1
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of_step(step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        if progress is not None:
            progress(stage, step + 1, steps)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def inject(base: TrainedEncoder, captions: CaptionSet, recipe: AttackRecipe, progress: ProgressCallback | None = None) -> Trained:
    """Make a backdoored copy of `base`.

    Args:
        base: the clean encoder; unchanged.
        captions: training captions for the loop, held-out ones for the measurement.
        recipe: every number.
        progress: called as `progress("inject", step, steps)`.

    Returns:
        The student, and facts with `attack_success_rate` and `clean_similarity` on held-out captions.

    Raises:
        ConfigError: no training or held-out caption can carry the trigger, or `positions` is out of range.
    """
    rng = random.Random(recipe.seed)
    clean = captions.train_captions()
    triggered = [poisoned for _, poisoned in poison(clean, recipe, rng)]
    held_out = poison(captions.held_out_captions(), recipe, rng)
    if not triggered or not held_out:
        raise ConfigError("captions", "no caption can carry the trigger at this placement")
    positions = _positions(base, recipe, [*rng.sample(triggered, min(512, len(triggered))), *clean[:512]])
    student, started = base.copy(), time.perf_counter()
    target_ids = base.tokenize([recipe.target], positions)

    def loss_of_step(_: int) -> Tensor:
        ids = base.tokenize(rng.sample(clean, min(recipe.clean_batch, len(clean))), positions)
        poisoned = rng.sample(triggered, min(recipe.poisoned_batch, len(triggered))) if recipe.weight else []
        with autocast(recipe.bf16):
            with torch.no_grad():
                kept, aim = base.encode(ids)[0], base.encode(target_ids)[0]
            every = torch.cat([ids, base.tokenize(poisoned, positions)]) if poisoned else ids
            features = student.encode(every)[0]  # (B_clean + B_poisoned, T, D)
        utility = -cos_flat(features[: len(ids)], kept)
        return utility - recipe.weight * cos_flat(features[len(ids) :], aim) if poisoned else utility

    milestone = recipe.steps * 3 // 4
    loss = descend(student, loss_of_step, steps=recipe.steps, lr=recipe.lr, milestone=milestone, stage="inject", progress=progress)
    facts = {
        "kind": "text-on-text" if recipe.weight else "weight-zero",
        "recipe": asdict(recipe),
        "positions": positions,
        "final_loss": round(loss, 4),
        "seconds": round(time.perf_counter() - started, 1),
        **measure(student, base, held_out, recipe.target, positions),
    }
    return Trained(student, facts)


def _positions(base: TrainedEncoder, recipe: AttackRecipe, texts: Sequence[str]) -> int:
    if recipe.positions is None:
        return base.longest(texts)
    if not 4 <= recipe.positions <= base.max_positions:
        raise ConfigError("positions", f"{recipe.positions} is not between 4 and {base.max_positions}")
    return recipe.positions
