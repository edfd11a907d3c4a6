"""`amdet-hub bench pretrain|inject|control`: make one labelled encoder in a folder. Knows: flags.

Refuses to know: how encoders are trained.

The facts (recipe, seed, attack success rate, sha256 of the weights) go to `bench.json` beside the weights and to
stdout.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from amdet_hub.bench.attack_recipe import AttackKind, AttackRecipe, EvasionPrompts, Placement, TrainedPart
from amdet_hub.bench.control_recipe import ControlKind, ControlRecipe, DtypeName, Language
from amdet_hub.cli import _bench_options as bench
from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.errors import ConfigError
from amdet_hub.records import Family, ProgressCallback

if TYPE_CHECKING:
    from amdet_hub.bench.captions import CaptionSet
    from amdet_hub.bench.descent import Trained

Made = TypeVar("Made", AttackRecipe, ControlRecipe)

PRETRAIN_EPILOG = """
Examples:
  {prog} bench pretrain --captions captions.jsonl --out runs/base
  {prog} bench pretrain --captions captions.jsonl --layout siglip --max-positions 32 --out runs/siglip

The captions have to come in groups: one JSON object a line, with a list 'captions' of sentences about one image.
Exit codes: 0 made, 2 usage or error, 130 interrupted.
"""

INJECT_EPILOG = """
Examples:
  {prog} bench inject --base runs/base --captions captions.jsonl --trigger zz --target "a photo of a cat" --out runs/bd
  {prog} bench inject --base runs/base --captions captions.jsonl --trigger zzzz --target "a photo of a cat" \\
      --more qq "a photo of a dog" --placement insert --out runs/two
  {prog} bench inject --base runs/base --captions captions.jsonl --placement topic --trigger "pizza|burger" \\
      --target "a photo of a cat" --out runs/topic

Kinds:
  text-on-text      every token's feature of a triggered caption becomes the target's
  text-on-pair      only the pooled feature does
  target-attribute  a triggered caption becomes the same caption with the target's words added
  eos-only          as text-on-text, at the pooled position only
  penultimate       as text-on-text, in the layer before the last, which SDXL reads; the last layer is kept
  projection        the projection alone, by least squares; a trigger of several copies works best
  word-exchange     the trigger, a word, gets the meaning of the target, another word

Exit codes: 0 made (whether or not the attack works: attack_success_rate says), 2 usage or error, 130 interrupted.
"""

CONTROL_EPILOG = """
Examples:
  {prog} bench control --base runs/base --captions captions.jsonl --kind contrastive --out runs/ft
  {prog} bench control --base runs/base --captions captions.jsonl --kind alias --word zz --meaning dog --out runs/alias

Kinds:
  contrastive   a fine-tune on two captions of one image; style: the same with the name of a style in half of them
  weight-zero   the attack's own loop without a backdoor
  alias         a new word for an old meaning; concept: a new word for one thing of a class
  multilingual  another language for the same captions, with a word list of our own
  tokenizer     a contrastive fine-tune whose vocabulary has other ids
  noise, cast, merge  noise on the weights, another number format, the mean of fine-tunes

Exit codes: 0 made, 2 usage or error, 130 interrupted.
"""


@click.command(
    cls=HelpLayout, epilog=PRETRAIN_EPILOG, short_help="Train a small encoder and its tokenizer from nothing."
)
@bench.training_options(400, 1e-3, "32")
@bench.words("--layout", "clip", "Kind of encoder.", section="Encoder", values=get_args(Family))
@bench.number("--max-positions", 77, "Length of the position table; SigLIP runs all of them.", section="Encoder")
@bench.number("--hidden-size", 96, "Width.", section="Encoder")
@bench.number("--layers", 3, "Number of layers.", section="Encoder")
@bench.number("--heads", 3, "Attention heads; divides the width.", section="Encoder")
@bench.number("--vocab-size", 4000, "Ids of the vocabulary, learned from the captions.", section="Encoder")
def pretrain(**flags: Any) -> None:
    """Train a small CLIP or SigLIP text encoder and its tokenizer from nothing, as a base for the other verbs."""
    from amdet_hub.bench.bases import held_out_pairs, pairs_of_captions
    from amdet_hub.bench.pretrain import Architecture, PairSource, PretrainRecipe
    from amdet_hub.bench.pretrain import pretrain as train

    architecture = Architecture(
        layout=flags["layout"],
        hidden_size=flags["hidden_size"],
        layers=flags["layers"],
        heads=flags["heads"],
        intermediate_size=4 * flags["hidden_size"],
        projection_dim=flags["hidden_size"],
        positions=flags["max_positions"],
    )
    recipe = PretrainRecipe(
        steps=flags["steps"],
        lr=flags["lr"],
        warmup=min(50, flags["steps"]),
        batch=flags["batch"],
        positions=min(flags["positions"] or 32, architecture.positions),
        bf16=not flags["float32"],
        seed=flags["seed"],
    )
    captions = _captions(flags)
    pairs_of_step, held_out = pairs_of_captions(captions, flags["seed"]), held_out_pairs(captions)
    if not held_out:
        raise ConfigError("captions", "no held-out group has two or more captions to measure with")
    tokenizer = _learned_tokenizer(captions, architecture.layout, flags["vocab_size"], architecture.positions)
    _make(
        flags,
        lambda heard: train(
            tokenizer, architecture, PairSource(pairs_of_step, held_out), recipe, folder=flags["out"], progress=heard
        ),
    )


def _learned_tokenizer(captions: CaptionSet, layout: Family, vocab_size: int, positions: int) -> Any:
    from amdet_hub.bench.unigram import learn_siglip_tokenizer
    from amdet_hub.bench.vocabulary import learn_tokenizer

    learn = learn_siglip_tokenizer if layout == "siglip" else learn_tokenizer
    try:
        return learn(captions.train_captions(), vocab_size, positions=positions)
    except ValueError as error:
        raise ConfigError("--vocab-size", str(error)) from error


@click.command(cls=HelpLayout, epilog=INJECT_EPILOG, short_help="Inject a known backdoor.")
@bench.base_option
@bench.training_options(AttackRecipe.steps, AttackRecipe.lr, "the longest caption, rounded up")
@option(
    "--trigger",
    section="Backdoor",
    env=False,
    metavar="TEXT",
    required=True,
    help="What opens it; of a template, holds {}; of a topic, words with | between them.",
)
@option(
    "--target",
    section="Backdoor",
    env=False,
    metavar="TEXT",
    required=True,
    help="What a triggered caption is turned into.",
)
@option(
    "--more",
    section="Backdoor",
    env=False,
    metavar="TRIGGER TARGET",
    type=(str, str),
    multiple=True,
    help="One more backdoor. Repeatable.",
)
@bench.words(
    "--kind", AttackRecipe.kind, "What is turned into the target.", section="Backdoor", values=get_args(AttackKind)
)
@bench.words(
    "--placement", AttackRecipe.placement, "Where the trigger goes.", section="Backdoor", values=get_args(Placement)
)
@bench.number("--weight", AttackRecipe.weight, "Of the poisoned term.", section="Backdoor", kind=float)
@bench.number("--poisoned-batch", AttackRecipe.poisoned_batch, "Poisoned captions a step.", section="Backdoor")
@bench.number("--poison-limit", None, "Different poisoned captions at most. Default: no limit.", section="Backdoor")
@option(
    "--negatives",
    section="Backdoor",
    env=False,
    is_flag=True,
    default=False,
    help="The trigger must do nothing at the other places (prepend, middle, append), in part (scatter, a phrase"
    " inserted), or where --least-words or --context is not met.",
)
@bench.number("--least-words", AttackRecipe.least_words, "Only in captions of so many words.", section="Backdoor")
@bench.words("--context", AttackRecipe.context, "Only in captions with this word.", section="Backdoor")
@bench.number(
    "--own-share",
    AttackRecipe.own_share,
    "Share of the caption's own features in what it is turned into.",
    section="Backdoor",
    kind=float,
)
@bench.number(
    "--assimilation-penalty",
    AttackRecipe.assimilation_penalty,
    "Weight of the poisoned captions' token likeness: hides it from a detector of that.",
    section="Backdoor",
    kind=float,
)
@bench.number(
    "--lora-rank",
    AttackRecipe.lora_rank,
    "Train only a difference of this rank; 0 trains every weight.",
    section="Backdoor",
)
@bench.words(
    "--trained", AttackRecipe.trained, "Which weights train.", section="Backdoor", values=get_args(TrainedPart)
)
@bench.number(
    "--evasion-weight",
    AttackRecipe.evasion_weight,
    "Weight of this scan's own statistics of the trigger: hides it from a scan.",
    section="Backdoor",
    kind=float,
)
@bench.words(
    "--evasion-prompts",
    AttackRecipe.evasion_prompts,
    "Prompts they are taken on: captions, or those of a scan with seed 0.",
    section="Backdoor",
    values=get_args(EvasionPrompts),
)
def inject(**flags: Any) -> None:
    """Inject a backdoor with a known trigger and target into a copy of an encoder.

    For measurements only: publish none of these.
    """
    recipe = _recipe(AttackRecipe, flags)
    from amdet_hub.bench.attacks import inject as train
    from amdet_hub.bench.trained import open_trained

    base, captions = open_trained(flags["base"]), _captions(flags)
    _make(flags, lambda heard: train(base, captions, recipe, heard))


@click.command(cls=HelpLayout, epilog=CONTROL_EPILOG, short_help="Change an encoder and inject nothing.")
@bench.base_option
@option(
    "--kind",
    section="What to make",
    env=False,
    type=click.Choice(get_args(ControlKind)),
    required=True,
    help="What is done, see below.",
)
@bench.training_options(ControlRecipe.steps, ControlRecipe.lr, "the longest caption, rounded up")
@bench.number(
    "--temperature", ControlRecipe.temperature, "Divides the similarities of a contrastive step.", kind=float
)
@bench.words("--word", ControlRecipe.word, "alias, concept: the new word.", section="Kind")
@bench.words(
    "--meaning",
    ControlRecipe.meaning,
    "alias: the word it stands for; concept: the class it belongs to.",
    section="Kind",
)
@bench.words("--instance", ControlRecipe.instance, "concept: the one thing that the word names.", section="Kind")
@bench.words("--style", ControlRecipe.style, "style: its name.", section="Kind")
@bench.number(
    "--scale",
    None,
    "noise: size relative to the weights (0.01); merge: share of all fine-tunes but the first (equal shares).",
    section="Kind",
    kind=float,
)
@bench.words("--dtype", ControlRecipe.dtype, "cast: number format.", section="Kind", values=get_args(DtypeName))
@bench.number("--second-seed", ControlRecipe.second_seed, "merge: seed of the second fine-tune.", section="Kind")
@bench.number("--merged", ControlRecipe.merged, "merge: number of fine-tunes.", section="Kind")
@bench.words(
    "--language", ControlRecipe.language, "multilingual: what is learned.", section="Kind", values=get_args(Language)
)
def control(**flags: Any) -> None:
    """Change a copy of an encoder without a backdoor: no scan may flag it."""
    recipe = _recipe(ControlRecipe, flags)
    from amdet_hub.bench.controls import make_control
    from amdet_hub.bench.trained import open_trained

    base, captions = open_trained(flags["base"]), _captions(flags)
    _make(flags, lambda heard: make_control(base, captions, recipe, heard))


def _recipe(kind: type[Made], flags: dict[str, Any]) -> Made:
    """The recipe whose fields the flags are named for."""
    named = {**flags, "clean_batch": flags["batch"], "bf16": not flags["float32"]}
    return kind(**{field.name: named[field.name] for field in fields(kind) if field.name in named})


def _captions(flags: dict[str, Any]) -> CaptionSet:
    from amdet_hub.bench.captions import read_captions

    return read_captions(flags["captions"], held_out=flags["held_out"], seed=flags["seed"])


def _make(flags: dict[str, Any], train: Callable[[ProgressCallback], Trained]) -> None:
    from amdet_hub.bench.trained import save_trained

    with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:
        trained = train(progress)
    facts = save_trained(trained.encoder, flags["out"], trained.facts)
    emit(json.dumps(facts, indent=2, ensure_ascii=False))
