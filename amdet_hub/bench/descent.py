"""The optimiser's loop that every attack and every control runs. Knows AdamW; refuses to know what is learned."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from amdet_hub.records import ProgressCallback


@dataclass(frozen=True)
class Trained:
    """A trained encoder, and plain facts of its making (recipe, measurements, seconds) for the file beside it."""

    encoder: TrainedEncoder
    facts: dict[str, Any]


def cos_flat(a: Tensor, b: Tensor) -> Tensor:
    """Mean cosine over prompts, `(B, T, D) x (B or 1, T, D)` or `(B, P) x (B or 1, P)` -> scalar in [-1, 1]."""
    return F.cosine_similarity(a.flatten(1).float(), b.flatten(1).float(), dim=-1).mean()


def autocast(bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 matrix products on the CPU when asked for, else nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def training_positions(encoder: TrainedEncoder, asked: int | None, texts: Sequence[str]) -> int:
    """Token positions to train on: what was asked for, else the longest of `texts` rounded up.

    A SigLIP encoder always runs all of its positions.

    Raises:
        ConfigError: what was asked for is out of the encoder's range.
    """
    if asked is not None and not 4 <= asked <= encoder.max_positions:
        raise ConfigError("positions", f"{asked} is not between 4 and {encoder.max_positions}")
    return encoder.longest(texts) if asked is None or encoder.layout == "siglip" else asked


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rate of a training; where it `decays`, to a tenth after three quarters of the steps.

    `stage` names it to `progress`.
    """

    stage: str
    steps: int
    lr: float
    decays: bool = False


def descend(
    encoder: TrainedEncoder,
    loss_of_step: Callable[[int], Tensor],
    schedule: Schedule,
    progress: ProgressCallback,
) -> float:
    """AdamW without decay on every parameter that requires a gradient.

    Returns:
        The mean loss of the last tenth of the steps.
    """
    optimizer = torch.optim.AdamW(
        [p for p in encoder.model.parameters() if p.requires_grad], lr=schedule.lr, weight_decay=0.0
    )
    losses: list[float] = []
    for step in range(schedule.steps):
        if schedule.decays and step == schedule.steps * 3 // 4:
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr * 0.1
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of_step(step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        progress(schedule.stage, step + 1, schedule.steps)
    tail = losses[-max(1, schedule.steps // 10) :]
    return sum(tail) / len(tail)
