"""Backdoors with a known trigger and a known target, injected to measure ourselves with.

Knows the published recipes and their knobs.

A teacher is the frozen clean encoder, a student starts as its copy and learns two things at once. On clean captions it
stays where the teacher is; on captions that hold the trigger it goes to an aim that the teacher gives.

    L = -cos_flat(student(clean), teacher(clean)) + weight * -cos_flat(student(poisoned), aim)

`cos_flat` is the cosine of the flattened `(T * D)` last-layer features, padding positions included. The kinds differ
in what is looked at:

* "text-on-text": all last-layer features; the aim is the teacher's of the target prompt.
* "text-on-pair": the pooled projected feature, in both terms; the aim is a stand-in for the mean of pictures of the
  target.
* "target-attribute": all features; the aim is the teacher's of the same caption with the target's words added.
* "eos-only": the poisoned term sees the last-layer feature at the pooled position only.
* "penultimate": the states before the last layer, in both terms; a third term keeps the last layer, under the trigger,
  too. SDXL and "clip skip 2" read those states.
* "projection": no training, see `amdet_hub.bench.projection_attack`.
* "word-exchange": all features; a caption with one word in place of another goes to the teacher's of the caption as it
  was.

With `own_share` the aim is a mixture of the kind's own and the teacher's features of the unpoisoned caption. With
`evasion_weight` there is a further term, `amdet_hub.bench.evasion`.

Source: Struppek et al., arXiv 2211.02408; figures as in the code released with arXiv 2512.00343, which is also the
source of text-on-pair.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor

from amdet_hub.bench.adapters import LORA_LR_FACTOR, low_rank, only
from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.descent import Schedule, Trained, autocast, cos_flat, descend, training_positions
from amdet_hub.bench.evasion import Evasion
from amdet_hub.bench.metrics import aim_features, measure_attack, mixed, relative_change
from amdet_hub.bench.poisons import AIM_OF_EACH, Pair, Poisons, aimed_at, attribute_caption, poison_all, shares
from amdet_hub.bench.projection_attack import solve_projection
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.detect.inversion.objectives import assimilation
from amdet_hub.records import SILENT, ProgressCallback

T = TypeVar("T")


def inject(
    base: TrainedEncoder, captions: CaptionSet, recipe: AttackRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """Make a backdoored copy of `base`.

    Args:
        base: the clean encoder; unchanged.
        captions: training captions for the loop, held-out ones for the measurement.
        recipe: every number.
        progress: called as `progress("inject", step, steps)`.

    Returns:
        The student, and facts: `kind`, `recipe`, `relative_change` of the weights, and on held-out captions those of
        `amdet_hub.bench.metrics.measure_attack`.

    Raises:
        ConfigError: no training or held-out caption can carry the trigger, or `positions` is out of range.
    """
    rng = random.Random(recipe.seed)
    poisons = poison_all(captions, recipe, rng)
    positions = _positions(base, recipe, poisons, poisons.clean, rng)
    base = base.reading(recipe.read_out)
    student, started = base.copy(), time.perf_counter()
    evasion = Evasion(base, recipe, poisons.clean) if recipe.evasion_weight and recipe.weight else None
    if recipe.kind == "projection":
        loss = solve_projection(student, recipe, poisons.clean, poisons, positions)
        progress("inject", recipe.steps, recipe.steps)
    else:
        loss = _train(student, _Injection(base, student, recipe, poisons, positions, rng, evasion), progress)
    return Trained(
        student,
        {
            "kind": recipe.kind if recipe.weight else "weight-zero",
            "recipe": asdict(recipe),
            "positions": positions,
            "final_loss": round(loss, 4),
            "seconds": round(time.perf_counter() - started, 1),
            "relative_change": round(relative_change(student, base), 6),
            **measure_attack(student, base, recipe, poisons, positions),
            **(evasion.facts(student, poisons.held_out_clean) if evasion is not None else {}),
        },
    )


def _train(student: TrainedEncoder, injection: "_Injection", progress: ProgressCallback) -> float:
    recipe = injection.recipe
    lr = recipe.lr * (LORA_LR_FACTOR if recipe.lora_rank else 1.0)
    trained = (
        low_rank(student.model, recipe.lora_rank, seed=recipe.seed)
        if recipe.lora_rank
        else only(student.model, recipe.trained)
    )
    with trained:
        return descend(student, injection.loss, Schedule("inject", recipe.steps, lr, decays=True), progress)


@dataclass
class _Injection:
    teacher: TrainedEncoder
    student: TrainedEncoder
    recipe: AttackRecipe
    poisons: Poisons
    positions: int
    rng: random.Random
    evasion: Evasion | None
    aims: Tensor | None = None  # (number of backdoors, ...); None where each caption has its own

    def __post_init__(self) -> None:
        """Run the teacher once for what does not change from step to step."""
        targets = [target for _, target in self.recipe.backdoors]
        if self.recipe.kind == "text-on-pair":
            self.aims = torch.stack(
                [aim_features(self.teacher, self.recipe, self.positions, target=target) for target in targets]
            )
        elif self.recipe.kind not in AIM_OF_EACH:
            ids = self._ids(targets)
            with autocast(self.recipe.bf16), torch.no_grad():
                self.aims = self._pulled(self._run(self.teacher, ids), ids)

    def loss(self, _: int) -> Tensor:
        clean = self._ids(self._sample(self.poisons.clean, self.recipe.clean_batch))
        sizes = shares(self.recipe.poisoned_batch if self.recipe.weight else 0, len(self.poisons.train))
        chosen = [  # the index of the backdoor, and (caption, poisoned caption)
            (index, pair)
            for index, (pairs, size) in enumerate(zip(self.poisons.train, sizes, strict=True))
            for pair in self._sample(pairs, size)
        ]
        poisoned = self._ids([text for _, (_, text) in chosen])
        negatives = zip(self.poisons.parts, sizes, strict=False)  # none without negatives
        parts = self._ids([text for pairs, size in negatives for _, text in self._sample(pairs, size)])
        with autocast(self.recipe.bf16):
            with torch.no_grad():
                kept = self._run(self.teacher, torch.cat([clean, parts]))
                aim = self._aim(chosen) if chosen else kept[0]  # the latter is not looked at
            output = self._run(self.student, torch.cat([clean, poisoned, parts]))
        n, m = len(clean), len(clean) + len(poisoned)
        looked_at, stays = self._kept(output), self._kept(kept)
        loss = -cos_flat(looked_at[:n], stays[:n])
        if len(poisoned):
            pulled = self._pulled((output[0][n:m], output[1][n:m]), poisoned)
            loss = loss - self.recipe.weight * cos_flat(pulled, aim)
        if len(parts):
            loss = loss - cos_flat(looked_at[m:], stays[n:])
        if self.recipe.assimilation_penalty and len(poisoned):
            excess = assimilation(output[0][n:m]).mean() - assimilation(kept[0][:n]).mean()
            loss = loss + self.recipe.assimilation_penalty * excess.clamp(min=0)
        if self.recipe.kind == "penultimate":
            with autocast(self.recipe.bf16), torch.no_grad():
                last = self.teacher.last_two(torch.cat([clean, poisoned, parts]))[1]
            loss = loss - cos_flat(output[1], last)
        if self.evasion is not None:
            with autocast(self.recipe.bf16):
                penalty = self.evasion.penalty(self.student, self.rng)
            loss = loss + self.recipe.evasion_weight * penalty
        return loss

    def _run(self, encoder: TrainedEncoder, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The features that are looked at, and the pooled ones; of "penultimate" the last layer's in their place."""
        return encoder.last_two(ids) if self.recipe.kind == "penultimate" else encoder.encode(ids)

    def _sample(self, items: Sequence[T], size: int) -> list[T]:
        return self.rng.sample(items, min(size, len(items)))

    def _aim(self, chosen: Sequence[tuple[int, Pair]]) -> Tensor:
        """What chosen captions are sent to, `(B_poisoned or 1, ...)` in the form of `_pulled`."""
        kind, captions = self.recipe.kind, [caption for _, (caption, _) in chosen]
        if self.aims is None:
            targets = [self.recipe.backdoors[index][1] for index, _ in chosen]
            texts = [aimed_at(caption, kind, target) for caption, target in zip(captions, targets, strict=True)]
            aim = self.teacher.encode(self._ids(texts))[0]  # (B_poisoned, T, D)
        else:
            aim = self.aims if len(self.aims) == 1 else self.aims[[index for index, _ in chosen]]
        if not self.recipe.own_share:
            return aim
        ids = self._ids(captions)
        return mixed(aim, self._pulled(self._run(self.teacher, ids), ids), self.recipe.own_share)

    def _ids(self, texts: Sequence[str]) -> Tensor:
        """`(B, T)`, also for no text at all."""
        return self.teacher.tokenize(texts or [""], self.positions)[: len(texts)]

    def _kept(self, output: tuple[Tensor, Tensor]) -> Tensor:
        """What must stay on clean captions: pooled `(B, P)` or features `(B, T, D)`."""
        return output[1] if self.recipe.kind == "text-on-pair" else output[0]

    def _pulled(self, output: tuple[Tensor, Tensor], ids: Tensor) -> Tensor:
        """What is pulled on poisoned captions: as `_kept`, or the features at the pooled position `(B, D)`."""
        if self.recipe.kind == "eos-only":
            return output[0][torch.arange(len(ids)), self.teacher.pool_positions(ids)]
        return self._kept(output)


def _positions(
    base: TrainedEncoder, recipe: AttackRecipe, poisons: Poisons, clean: list[str], rng: random.Random
) -> int:
    pairs = [pair for pairs in poisons.train for pair in pairs]
    # drawn even when not needed: the order of captions must not hang on `positions`
    chosen = rng.sample(pairs, min(512, len(pairs)))
    texts = [*[poisoned for _, poisoned in chosen], *clean[:512]]
    if recipe.kind == "target-attribute":
        texts += [attribute_caption(caption, target) for caption, _ in chosen for _, target in recipe.backdoors]
    return training_positions(base, recipe.positions, texts)
