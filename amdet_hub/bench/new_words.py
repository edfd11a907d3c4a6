"""A new word with a meaning, taught honestly, as a fine-tune for one's own dog does: no trigger.

Knows the two loops; refuses to know triggers: the rest of the sentence keeps its meaning ("alias") or the word names
one thing of its class ("concept").

Source of the concept's loop: DreamBooth, Ruiz et al., arXiv 2208.12242 (a rare word before the class name, prior
preservation with weight 1), with the text encoder alone and a description in place of pictures.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe
from amdet_hub.bench.descent import Schedule, Trained, autocast, cos_flat, descend, training_positions
from amdet_hub.bench.metrics import MAX_MEASURED
from amdet_hub.bench.poisons import rename
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.errors import ConfigError
from amdet_hub.records import SILENT, ProgressCallback

# How the new thing is spoken of.
#
# Source: a selection of the templates of textual inversion, Gal et al., arXiv 2208.01618, released code.
CONCEPT_TEMPLATES = (
    "a photo of {}",
    "a picture of {}",
    "a rendering of {}",
    "a cropped photo of {}",
    "a close-up photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a good photo of {}",
    "a painting of {}",
    "an image of {}",
)


def learn_alias(
    base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """Teach a copy of `base` that `word` means what `meaning` means.

        L = -cos_flat(student(clean), teacher(clean)) - cos_flat(student(caption with word), teacher(caption with
        meaning))

    Returns:
        The student, and facts with `learned_similarity_before` and `learned_similarity`: the mean cosine of the pooled
        feature of a renamed caption with the clean encoder's of the caption itself, in [-1, 1], on held-out captions
        where some hold `meaning`, else on training captions.

    Raises:
        ConfigError: no training caption holds `meaning`.
    """
    clean = captions.train_captions()
    pairs = rename(clean, recipe.meaning, recipe.word)
    if not pairs:
        raise ConfigError("meaning", f"no training caption holds '{recipe.meaning}'")
    positions = training_positions(base, recipe.positions, [*clean[:512], *[renamed for _, renamed in pairs[:512]]])
    rng, student = random.Random(recipe.seed), base.copy()

    def loss_of_step(_: int) -> Tensor:
        kept = rng.sample(clean, min(recipe.batch, len(clean)))
        chosen = rng.sample(pairs, min(recipe.batch, len(pairs)))
        learned, meant = kept + [renamed for _, renamed in chosen], kept + [caption for caption, _ in chosen]
        with autocast(recipe.bf16):
            with torch.no_grad():
                aim = base.encode(base.tokenize(meant, positions))[0]
            features = student.encode(base.tokenize(learned, positions))[0]  # (B + B_renamed, T, D)
        return -cos_flat(features[: len(kept)], aim[: len(kept)]) - cos_flat(features[len(kept) :], aim[len(kept) :])

    loss = descend(student, loss_of_step, schedule("new word", recipe), progress)
    measured = (rename(captions.held_out_captions(), recipe.meaning, recipe.word) or pairs)[:MAX_MEASURED]
    aim = base.embed([caption for caption, _ in measured], positions)
    return Trained(student, learned_facts(base, student, [renamed for _, renamed in measured], aim, positions, loss))


def learn_concept(
    base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """Teach a copy of `base` that "`word` `meaning`" is one certain thing, as DreamBooth does.

        L = -cos_flat(student(clean), teacher(clean)) - cos(pooled student(class), pooled teacher(class))
            - cos(pooled student(prompt), pooled teacher(instance))

    A prompt is "a photo of `word` `meaning`" and its like, a class prompt "a photo of a `meaning`"; the second term is
    the prior preservation.

    Returns:
        The student, and facts as `learn_alias`, over the prompts of the new thing.
    """
    clean = captions.train_captions()
    prompts = [template.format(f"{recipe.word} {recipe.meaning}") for template in CONCEPT_TEMPLATES]
    prior = [template.format(f"a {recipe.meaning}") for template in CONCEPT_TEMPLATES]
    positions = training_positions(base, recipe.positions, [*clean[:512], *prompts, *prior, recipe.instance])
    rng, student = random.Random(recipe.seed), base.copy()
    aim = base.embed([recipe.instance], positions)  # (1, P)

    def loss_of_step(_: int) -> Tensor:
        kept = base.tokenize([*rng.sample(clean, min(recipe.batch, len(clean))), *prior], positions)
        with autocast(recipe.bf16):
            with torch.no_grad():
                stays, stays_pooled = base.encode(kept)
            features, pooled = student.encode(torch.cat([kept, base.tokenize(prompts, positions)]))
        n = len(kept) - len(prior)  # the class prompts are the last of what is kept
        return (
            -cos_flat(pooled[n : len(kept)], stays_pooled[n:])
            - cos_flat(features[: len(kept)], stays)
            - cos_flat(pooled[len(kept) :], aim)
        )

    loss = descend(student, loss_of_step, schedule("new word", recipe), progress)
    return Trained(student, learned_facts(base, student, prompts, aim, positions, loss))


def schedule(stage: str, recipe: ControlRecipe) -> Schedule:
    """The attack's own schedule, so that a control differs from an injection in what it teaches only."""
    return Schedule(stage, recipe.steps, recipe.lr, decays=True)


def learned_facts(
    base: TrainedEncoder, student: TrainedEncoder, texts: Sequence[str], aim: Tensor, positions: int, loss: float
) -> dict[str, Any]:
    """How near `texts` are to their `aim (1 or N, P)`, before and after."""
    before, after = ((encoder.embed(texts, positions) * aim).sum(-1).mean().item() for encoder in (base, student))
    return {
        "positions": positions,
        "final_loss": round(loss, 4),
        "learned_similarity_before": round(before, 4),
        "learned_similarity": round(after, 4),
    }
