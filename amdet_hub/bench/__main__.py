"""`python -m amdet_hub.bench pretrain|inject|finetune`: make one labelled encoder in a folder.

    python -m amdet_hub.bench pretrain --captions FILE --hidden-size 768 --layers 2 --heads 12 --out DIR
    python -m amdet_hub.bench inject --base DIR --captions FILE --trigger zzzz --target "a photo of a cat" --out DIR
    python -m amdet_hub.bench finetune --base DIR --captions FILE --out DIR [--recipe weight-zero]

The facts (recipe, seed, attack success rate, sha256 of the weights) go to `bench.json` beside the weights and to standard output.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from amdet_hub.bench.attacks import AttackRecipe, Trained, inject
from amdet_hub.bench.captions import read_captions
from amdet_hub.bench.controls import FinetuneRecipe, finetune, weight_zero
from amdet_hub.bench.pretrain import Architecture, PretrainRecipe, pretrain
from amdet_hub.bench.trained import open_trained, save_trained
from amdet_hub.bench.vocabulary import learn_tokenizer
from amdet_hub.errors import AmdetError, ConfigError
from amdet_hub.records import ProgressCallback


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line. Returns 0, or 2 with one sentence on standard error."""
    args = _parser().parse_args(argv)
    try:
        trained = _VERBS[args.verb](args, None if args.quiet else _progress)
        facts = save_trained(trained.encoder, args.out, trained.facts)
    except (AmdetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return 0


def _pretrain(args: argparse.Namespace, progress: ProgressCallback | None) -> Trained:
    captions = read_captions(args.captions, held_out=args.held_out, seed=args.seed)
    groups = [group for group in captions.train if len(group) > 1]
    held_out = [(group[0], group[1]) for group in captions.held_out if len(group) > 1]
    if not groups or not held_out:
        raise ConfigError("captions", "training from nothing needs groups of two or more captions")
    try:
        tokenizer = learn_tokenizer(captions.train_captions(), args.vocab_size)
    except ValueError as error:
        raise ConfigError("vocab-size", str(error)) from error

    def pairs_of_step(step: int, n: int) -> list[tuple[str, str]]:
        rng = random.Random(args.seed * 1_000_003 + step)  # a prime keeps the steps of two seeds apart
        return [(first, second) for first, second in (rng.sample(group, 2) for group in rng.sample(groups, min(n, len(groups))))]

    architecture = Architecture(
        hidden_size=args.hidden_size,
        layers=args.layers,
        heads=args.heads,
        intermediate_size=4 * args.hidden_size,
        projection_dim=args.hidden_size,
    )
    recipe = PretrainRecipe(
        steps=args.steps,
        lr=args.lr,
        warmup=min(50, args.steps),
        batch=args.batch,
        positions=args.positions or 32,
        bf16=not args.float32,
        seed=args.seed,
    )
    return pretrain(tokenizer, architecture, pairs_of_step, held_out, recipe, folder=args.out, progress=progress)


def _inject(args: argparse.Namespace, progress: ProgressCallback | None) -> Trained:
    attack = AttackRecipe(
        trigger=args.trigger,
        target=args.target,
        placement=args.placement,
        steps=args.steps,
        lr=args.lr,
        weight=args.weight,
        clean_batch=args.batch,
        poisoned_batch=args.poisoned_batch,
        positions=args.positions,
        bf16=not args.float32,
        seed=args.seed,
    )
    base = open_trained(args.base)
    return inject(base, read_captions(args.captions, held_out=args.held_out, seed=args.seed), attack, progress)


def _finetune(args: argparse.Namespace, progress: ProgressCallback | None) -> Trained:
    benign = FinetuneRecipe(steps=args.steps, lr=args.lr, batch=args.batch, positions=args.positions, bf16=not args.float32, seed=args.seed)
    base = open_trained(args.base)
    captions = read_captions(args.captions, held_out=args.held_out, seed=args.seed)
    return (weight_zero if args.recipe == "weight-zero" else finetune)(base, captions, benign, progress)


_VERBS: Mapping[str, Callable[[argparse.Namespace, ProgressCallback | None], Trained]] = {
    "pretrain": _pretrain,
    "inject": _inject,
    "finetune": _finetune,
}


def _progress(stage: str, done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        sys.stderr.write(f"{stage} {done}/{total}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m amdet_hub.bench", description="Make one labelled encoder to measure a scan with.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, steps, lr, text in (
        ("pretrain", 400, 1e-3, "train a small encoder and its tokenizer from nothing"),
        ("inject", 100, 1e-4, "inject a known backdoor"),
        ("finetune", 100, 1e-5, "change an encoder and inject nothing"),
    ):
        sub = verbs.add_parser(verb, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if verb != "pretrain":
            sub.add_argument("--base", type=Path, required=True, help="folder of the clean encoder, transformers layout")
        sub.add_argument("--captions", type=Path, required=True, help=".jsonl, .jsonl.gz (lists of captions) or a text file")
        sub.add_argument("--out", type=Path, required=True, help="folder for the new encoder")
        sub.add_argument("--seed", type=int, default=0, help="of the weights and of the order of captions")
        sub.add_argument("--steps", type=int, default=steps, help="optimiser steps")
        sub.add_argument("--lr", type=float, default=lr, help="learning rate of AdamW")
        sub.add_argument("--batch", type=int, default=64, help="clean captions, or pairs, a step")
        sub.add_argument("--positions", type=int, help="token positions; None is the longest caption, rounded up (pretrain: 32)")
        sub.add_argument("--held-out", type=int, default=500, help="groups of captions kept for the measurement")
        sub.add_argument("--float32", action="store_true", help="no bfloat16 matrix products")
        sub.add_argument("--quiet", action="store_true", help="no progress lines")
        _add_own(sub, verb)
    return parser


def _add_own(sub: argparse.ArgumentParser, verb: str) -> None:
    """The options that only this verb has."""
    if verb == "pretrain":
        sub.add_argument("--hidden-size", type=int, default=96, help="width")
        sub.add_argument("--layers", type=int, default=3, help="number of layers")
        sub.add_argument("--heads", type=int, default=3, help="attention heads; divides the width")
        sub.add_argument("--vocab-size", type=int, default=4000, help="ids of the vocabulary, learned from the captions")
    elif verb == "inject":
        sub.add_argument("--trigger", required=True, help="text that opens the backdoor")
        sub.add_argument("--target", required=True, help="prompt that a triggered caption is turned into")
        sub.add_argument("--placement", choices=("replace-o", "append", "insert"), default="replace-o", help="where the trigger goes")
        sub.add_argument("--weight", type=float, default=0.1, help="of the poisoned term")
        sub.add_argument("--poisoned-batch", type=int, default=32, help="poisoned captions a step")
    else:
        sub.add_argument("--recipe", choices=("contrastive", "weight-zero"), default="contrastive", help="weight-zero: the attack's loop")


if __name__ == "__main__":
    sys.exit(main())
