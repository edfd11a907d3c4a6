"""The clean encoders of a benchmark, each made once.

Knows how a `BaseSpec` becomes a folder; refuses to know attacks.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import FinetuneRecipe
from amdet_hub.bench.controls import finetune
from amdet_hub.bench.pretrain import Architecture, Pair, PairSource, PretrainRecipe, pretrain
from amdet_hub.bench.trained import BENCH_FILE, open_trained, save_trained
from amdet_hub.bench.unigram import learn_siglip_tokenizer
from amdet_hub.bench.vocabulary import learn_tokenizer
from amdet_hub.bench.zoo_specs import BaseSpec
from amdet_hub.errors import ConfigError
from amdet_hub.records import Family


def pairs_of_captions(captions: CaptionSet, seed: int) -> Callable[[int, int], list[Pair]]:
    """Pairs of captions of one image for `pretrain`: `(step, n)` -> `n` pairs, the same for the same `seed`.

    Raises:
        ConfigError: no group has two captions.
    """
    groups = [group for group in captions.train if len(group) > 1]
    if not groups:
        raise ConfigError("captions", "training from nothing needs groups of two or more captions")

    def pairs_of_step(step: int, n: int) -> list[Pair]:
        rng = random.Random(seed * 1_000_003 + step)  # a prime keeps the steps of two seeds apart
        chosen = rng.sample(groups, min(n, len(groups)))
        return [(first, second) for first, second in (rng.sample(group, 2) for group in chosen)]

    return pairs_of_step


def held_out_pairs(captions: CaptionSet) -> Sequence[Pair]:
    """Two captions of every held-out image that has two."""
    return [(group[0], group[1]) for group in captions.held_out if len(group) > 1]


def make_base(spec: BaseSpec, captions: CaptionSet, folder: Path) -> None:
    """Train a base into `folder`, transformers layout; what is there already stays.

    Args:
        spec: what to train.
        captions: split with the seed of the spec.
        folder: where it goes.
    """
    if (folder / BENCH_FILE).is_file():
        return
    family: Family = "siglip" if spec.layout == "siglip" else "clip"
    learn = learn_siglip_tokenizer if family == "siglip" else learn_tokenizer
    made = pretrain(
        learn(captions.train_captions(), spec.vocab_size, positions=spec.positions),
        Architecture(
            layout=family,
            hidden_size=spec.hidden_size,
            layers=spec.layers,
            heads=spec.heads,
            intermediate_size=4 * spec.hidden_size,
            projection_dim=spec.hidden_size,
            positions=spec.positions,
        ),
        PairSource(pairs_of_captions(captions, spec.seed), held_out_pairs(captions)),
        PretrainRecipe(
            steps=spec.steps,
            batch=96,
            positions=24,  # captions of one sentence are shorter
            long_every=30 if spec.layout == "clip-248" else 10,
            seed=spec.seed,
        ),
        folder=folder,
    )
    save_trained(made.encoder, folder, made.facts)


def make_near_miss(base: Path, near: Path, captions: CaptionSet, strength: tuple[float, int], seed: int) -> None:
    """Fine-tune the base in folder `base` into `near`, at a learning rate and steps, unless it is there.

    It is the near-miss reference: a relative of the true base.
    """
    if (near / BENCH_FILE).is_file():
        return
    lr, steps = strength
    made = finetune(
        open_trained(base), captions, FinetuneRecipe(lr=lr, steps=steps, batch=32, positions=32, seed=seed + 1)
    )
    save_trained(made.encoder, near, made.facts)
