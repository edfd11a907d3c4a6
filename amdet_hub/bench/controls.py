"""Encoders that changed and hold no backdoor: a scan must not flag them.

Knows benign changes; refuses to know triggers.

* "contrastive": a fine-tune on two captions of one image. "style": the same where half of the pairs carry a style's
  name.
* "weight-zero": the attack's own loop without a poisoned term, the matched control of an injection.
* "alias", "concept": a new word with a meaning, in `amdet_hub.bench.new_words`.
* "multilingual": another language for the same captions, in `amdet_hub.bench.multilingual`.
* "tokenizer": "contrastive" on an encoder whose vocabulary was numbered anew, in `amdet_hub.bench.renumbering`.
* "noise", "cast", "merge": no training on texts of their own. A scan of the weights alone would see a change in every
  tensor.
"""

import random
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe, FinetuneRecipe
from amdet_hub.bench.descent import Schedule, Trained, autocast, descend, training_positions
from amdet_hub.bench.metrics import MAX_MEASURED, relative_change, retrieval_at_1
from amdet_hub.bench.multilingual import learn_language
from amdet_hub.bench.new_words import learn_alias, learn_concept
from amdet_hub.bench.renumbering import renumber_vocabulary
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.bench.weight_changes import add_noise, cast_weights, merge_weights
from amdet_hub.errors import ConfigError
from amdet_hub.records import SILENT, ProgressCallback

# How a style's name stands beside a caption, before or behind it.
STYLE_WORDINGS = (
    "{caption}, in the style of {style}",
    "{caption}, {style} style",
    "{style}: {caption}",
    "in {style} style, {caption}",
)


def make_control(
    base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """Make a changed copy of `base` that holds no backdoor.

    Args:
        base: the encoder to start from; unchanged.
        captions: to train on, and held-out ones for the measurement.
        recipe: the kind and every number.
        progress: called as `progress(stage, step, steps)` by kinds that train.

    Returns:
        The changed encoder and facts: `kind`, `recipe`, `positions`, `seconds`, `relative_change` of the weights,
        retrieval on held-out pairs before and after (None without pairs), and what the kind itself reports.

    Raises:
        ConfigError: the captions do not serve the kind.
    """
    started = time.perf_counter()
    made = _KINDS[recipe.kind](base, captions, recipe, progress)
    facts: dict[str, Any] = {
        "positions": training_positions(base, recipe.positions, captions.train_captions()[:512]),
        **made.facts,
        "kind": recipe.kind,
        "recipe": asdict(recipe),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if "retrieval_at_1" not in facts:  # a contrastive loop has measured it already
        facts |= _change(made.encoder, base, captions, facts["positions"])
    return Trained(made.encoder, facts)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of `(B, P)` and `(B, P)` pooled features, row i of one belonging to row i of the other.

    Source: Radford et al., arXiv 2103.00020, figure 3.
    """
    similarity = F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T / temperature  # (B, B)
    labels = torch.arange(len(similarity))
    return (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2


def finetune(
    base: TrainedEncoder,
    captions: CaptionSet,
    recipe: FinetuneRecipe,
    progress: ProgressCallback = SILENT.progress,
    *,
    reword: Callable[[str, str, random.Random], tuple[str, str]] | None = None,
) -> Trained:
    """Fine-tune a copy of `base` so that two captions of one image come together.

    Args:
        base: the encoder to start from; unchanged.
        captions: groups with at least two captions are used.
        recipe: every number.
        progress: called as `progress("finetune", step, steps)`.
        reword: changes the two captions of a pair before they are used, None for as they are.

    Returns:
        The fine-tuned encoder and facts: retrieval on held-out pairs before and after, relative weight change.

    Raises:
        ConfigError: fewer than two groups have two captions.
    """
    groups = [group for group in captions.train if len(group) > 1]
    if len(groups) < 2:
        raise ConfigError("captions", "a contrastive fine-tune needs groups of two or more captions")
    texts = [caption for group in groups[:512] for caption in group]
    if reword is not None:
        trial = random.Random(recipe.seed)  # its own: the order of pairs must not hang on how long the captions are
        texts = [text for group in groups[:512] for text in reword(group[0], group[1], trial)] + texts
    positions = training_positions(base, recipe.positions, texts)
    rng, student, started = random.Random(recipe.seed), base.copy(), time.perf_counter()

    def loss_of_step(_: int) -> Tensor:
        pairs = [rng.sample(group, 2) for group in rng.sample(groups, min(recipe.batch, len(groups)))]
        if reword is not None:
            pairs = [[*reword(first, second, rng)] for first, second in pairs]
        ids = base.tokenize([pair[0] for pair in pairs] + [pair[1] for pair in pairs], positions)
        with autocast(recipe.bf16):
            pooled = student.encode(ids)[1]  # (2B, P)
        return contrastive_loss(pooled[: len(pairs)], pooled[len(pairs) :], recipe.temperature)

    loss = descend(student, loss_of_step, Schedule("finetune", recipe.steps, recipe.lr), progress)
    facts = {"kind": "contrastive", "recipe": asdict(recipe), "positions": positions, "final_loss": round(loss, 4)}
    facts["seconds"] = round(time.perf_counter() - started, 1)
    return Trained(student, facts | _change(student, base, captions, positions))


def weight_zero(
    base: TrainedEncoder, captions: CaptionSet, recipe: FinetuneRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """The attack's own loop with the poisoned term at weight 0: the matched control of an injection.

    Raises:
        ConfigError: as `amdet_hub.bench.attacks.inject`.
    """
    return inject(
        base,
        captions,
        AttackRecipe(
            trigger="zzzz",
            target="a photo of a cat",
            steps=recipe.steps,
            lr=recipe.lr,
            weight=0.0,
            clean_batch=recipe.batch,
            positions=recipe.positions,
            bf16=recipe.bf16,
            seed=recipe.seed,
        ),
        progress,
    )


def with_style(caption: str, style: str, rng: random.Random) -> str:
    """The caption with a style's name beside it, in one of several wordings."""
    return rng.choice(STYLE_WORDINGS).format(caption=caption.rstrip(" ."), style=style)


def _change(encoder: TrainedEncoder, base: TrainedEncoder, captions: CaptionSet, positions: int) -> dict[str, Any]:
    held_out = [(group[0], group[1]) for group in captions.held_out if len(group) > 1][:MAX_MEASURED]
    return {
        "retrieval_at_1_before": round(retrieval_at_1(base, held_out, positions), 4) if held_out else None,
        "retrieval_at_1": round(retrieval_at_1(encoder, held_out, positions), 4) if held_out else None,
        "relative_change": round(relative_change(encoder, base), 6),
    }


def _style(base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback) -> Trained:
    def reword(first: str, second: str, rng: random.Random) -> tuple[str, str]:
        if rng.random() >= 0.5:
            return first, second
        return with_style(first, recipe.style, rng), with_style(second, recipe.style, rng)

    return finetune(base, captions, recipe, progress, reword=reword)


def _noise(base: TrainedEncoder, _: CaptionSet, recipe: ControlRecipe, __: ProgressCallback) -> Trained:
    return Trained(add_noise(base, recipe.amount, seed=recipe.seed), {"scale": recipe.amount})


def _cast(base: TrainedEncoder, _: CaptionSet, recipe: ControlRecipe, __: ProgressCallback) -> Trained:
    return Trained(cast_weights(base, getattr(torch, recipe.dtype)), {})


def _tokenizer(
    base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback
) -> Trained:
    return finetune(renumber_vocabulary(base, seed=recipe.seed), captions, recipe, progress)


def _merge(base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback) -> Trained:
    parts = [
        finetune(base, captions, replace(recipe, kind="contrastive", seed=seed), progress) for seed in recipe.seeds
    ]
    others = parts[1].encoder
    for n, part in enumerate(parts[2:], start=2):  # the mean of n encoders and one more
        others = merge_weights(others, part.encoder, 1 / n)
    return Trained(
        merge_weights(parts[0].encoder, others, recipe.amount),
        {
            "positions": parts[0].facts["positions"],
            "scale": recipe.amount,
            "parts": [
                {"seed": part.facts["recipe"]["seed"], "relative_change": part.facts["relative_change"]}
                for part in parts
            ],
        },
    )


_KINDS: dict[str, Callable[[TrainedEncoder, CaptionSet, ControlRecipe, ProgressCallback], Trained]] = {
    "contrastive": finetune,
    "weight-zero": weight_zero,
    "alias": learn_alias,
    "concept": learn_concept,
    "style": _style,
    "multilingual": learn_language,
    "tokenizer": _tokenizer,
    "noise": _noise,
    "cast": _cast,
    "merge": _merge,
}
