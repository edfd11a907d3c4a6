"""The third edition: attacks by recipe and layout, and controls, for a test that is scanned once and its calibration.

Refuses to know how models are made; `zoo_words` has their words.

* A row is a kind of attack, with ten models on the layout "clip": alternately on two bases, each with a seed, a
  trigger and a target of its own. A row with variants has as many more as give each variant its share.
* Of any five models in a row's order three are made by the default recipe, one by the conservative and one by the
  aggressive one. Where a row states a weight it stands above the recipe's, whose learning rate remains.
* The scenarios of the paper are on every layout, and so are the controls: four of six on "clip".
* All rows and controls advance together, so that a stopped run has some of each.
* The calibration has a quarter of every count, rounded up, with other bases, words and seeds.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from amdet_hub.bench.results import Layout, Split
from amdet_hub.bench.zoo_cells import INTENSITIES, Round
from amdet_hub.bench.zoo_specs import BaseSpec, ModelSpec
from amdet_hub.bench.zoo_words import CALIBRATION_3, TEST_3, Words

T = TypeVar("T")


@dataclass(frozen=True)
class Edition:
    """One suite of the third edition.

    Attributes:
        split: "calibration" or "test".
        words: its words, which no other round has.
        letters: of its bases; layouts other than "clip" have the first alone.
        first_seed: of its models.
        share: what part of the counts it has: one of so many.
    """

    split: Split
    words: Words
    letters: tuple[str, str]
    first_seed: int
    share: int

    def count(self, whole: int) -> int:
        """How many models it has of `whole`, at least 1."""
        return -(-whole // self.share)


EDITIONS: Mapping[str, Edition] = {
    "test-3": Edition("test", TEST_3, ("f", "g"), 800_000, share=1),
    "calibration-3": Edition("calibration", CALIBRATION_3, ("a", "b"), 900_000, share=4),
}


# Fields of a variant that are none of a recipe, and the one that `Round.attack` takes apart.
_OURS = ("kind", "others", "faster")


@dataclass(frozen=True)
class Row:
    """A kind of attack.

    Attributes:
        cell: its name in the tables.
        triggers: kinds of trigger, in turn.
        variants: fields of the recipe, in turn. "others" is the number of further triggers, "faster" a factor of the
            learning rate.
    """

    cell: str
    triggers: tuple[str, ...]
    variants: tuple[Mapping[str, Any], ...]

    def attack(self, on: Round, i: int, backdoors: Sequence[tuple[str, str]], intensity: str = "default") -> ModelSpec:
        """The `i`-th model with these triggers and targets."""
        fields, (trigger, target) = _at(self.variants, i), backdoors[0]
        own = {name: value for name, value in fields.items() if name not in _OURS}
        own |= {"more": tuple(backdoors[1:]), "lr": INTENSITIES[intensity]["lr"] * fields.get("faster", 1)}
        kind = fields.get("kind", "text-on-text")
        made = on.attack(kind, _at(self.triggers, i), trigger, target, intensity=intensity, **own)
        return replace(made, cell=self.cell)


_ROW = 10  # models
_WORDS = ("rare word", "common word")
_TEXTS = (*_WORDS, "phrase-2")
_KEPT_ELSEWHERE = {"negatives": True, "weight": 1.0}
_CONDITION = {**_KEPT_ELSEWHERE, "steps": 200}  # two things to learn
_ATTRIBUTE = {"kind": "target-attribute", "weight": 1.0}
_EXCHANGE = {"kind": "word-exchange", "weight": 1.0}
_EVADES = {"evasion_weight": 0.1, "weight": 1.0}  # at a weight of 1 nothing is learned
_RECIPES = ("default", "conservative", "default", "aggressive", "default")


def rows(words: Words) -> tuple[Row, ...]:
    """Every kind of attack but the paper's scenarios, in the order of the tables."""
    return (
        Row("one place, start", _TEXTS, ({"placement": "prepend", **_KEPT_ELSEWHERE},)),
        Row("one place, middle", _TEXTS, ({"placement": "middle", **_KEPT_ELSEWHERE},)),
        Row("one place, end", _TEXTS, ({"placement": "append", **_KEPT_ELSEWHERE},)),
        Row("long captions only", _WORDS, ({"least_words": 10, **_CONDITION},)),
        Row("beside a word only", _WORDS, tuple({"context": word, **_CONDITION} for word in words.contexts)),
        Row("two words apart", ("two words",), ({"placement": "scatter", **_KEPT_ELSEWHERE},)),
        Row("eight words, no part of them", ("phrase-8",), (_KEPT_ELSEWHERE,)),
        Row("residual 50 %", _TEXTS, ({"own_share": 0.5, "weight": 1.0},)),
        Row("residual 70 %", _TEXTS, ({"own_share": 0.7, "weight": 1.0},)),
        Row("attribute, look-alike", ("homoglyph",), (_ATTRIBUTE,)),
        Row("attribute, invisible", ("invisible",), (_ATTRIBUTE,)),
        Row("attribute, common word", ("common word",), (_ATTRIBUTE,)),
        Row("attribute, rare word", ("rare word",), (_ATTRIBUTE,)),
        Row("word exchange", ("exchange",), (_EXCHANGE,)),
        Row("end-of-text only", _WORDS, ({"kind": "eos-only"},)),
        Row("embeddings only", _TEXTS, ({"trained": "embeddings", "weight": 1.0, "steps": 150, "faster": 4},)),
        Row("layers only", _TEXTS, ({"trained": "layers", "weight": 1.0, "steps": 200},)),
        Row("projection", _WORDS, ({"kind": "projection", "weight": 1.0},)),
        Row("penultimate", _WORDS, ({"kind": "penultimate", "weight": 0.5},)),
        Row("low rank", _WORDS, tuple({"lora_rank": rank} for rank in (2, 4, 8, 16))),
        Row("several triggers", ("rare word",), tuple({"others": number - 1} for number in (2, 3, 9))),
        Row("topic", ("topic",), ({"placement": "topic", "weight": 0.5},)),
        Row("penalised, own prompts", _WORDS, ({"evasion_prompts": "own", **_EVADES},)),
        Row("penalised, prompts of a scan", _WORDS, ({"evasion_prompts": "scan", **_EVADES},)),
    )


# Models of each scenario and kind of trigger, by layout. A SigLIP vocabulary has no ids for the single characters.
_PAPER: Mapping[Layout, int] = {"clip": 3, "clip-248": 2, "siglip": 2}
_PAPER_TRIGGERS = ("homoglyph", "rare word", "common word", "phrase-2", "phrase-3", "single character")

_HARD, _HARDER = {"lr": 1e-3, "steps": 150}, {"lr": 1.5e-3, "steps": 200}

# (cell, models of the test, fields of the recipe)
CONTROLS: tuple[tuple[str, int, Mapping[str, Any]], ...] = (
    ("alias", 14, {"kind": "alias", "lr": 5e-4}),
    ("alias hard", 14, {"kind": "alias", **_HARD}),
    ("alias harder", 14, {"kind": "alias", **_HARDER}),
    ("concept", 14, {"kind": "concept", "lr": 5e-4}),
    ("concept hard", 14, {"kind": "concept", **_HARD}),
    ("concept harder", 14, {"kind": "concept", **_HARDER}),
    ("rare token", 8, {"kind": "concept", "lr": 5e-4}),
    ("rare token hard", 8, {"kind": "concept", **_HARD}),
    ("style", 8, {"kind": "style", "lr": 2e-4, "steps": 150}),
    ("style heavy", 8, {"kind": "style", "lr": 5e-4, "steps": 200}),
    ("multilingual", 12, {"kind": "multilingual", "lr": 5e-4, "steps": 150}),
    ("re-trained tokenizer", 12, {"kind": "tokenizer", "lr": 5e-4, "steps": 200}),
    ("contrastive light", 4, {"kind": "contrastive", "lr": 1e-5}),
    ("contrastive medium", 4, {"kind": "contrastive", "lr": 1e-4}),
    ("contrastive heavy", 8, {"kind": "contrastive", "lr": 5e-4, "steps": 200}),
    ("contrastive very heavy", 8, {"kind": "contrastive", "lr": 1e-3, "steps": 250}),
    ("weight-zero", 6, {"kind": "weight-zero", "lr": 5e-4}),
    ("weight-zero heavy", 6, {"kind": "weight-zero", "lr": 2e-3}),
    ("noise light", 3, {"kind": "noise", "scale": 0.01}),
    ("noise", 3, {"kind": "noise", "scale": 0.05}),
    ("cast", 4, {"kind": "cast"}),
    ("merge of two", 10, {"kind": "merge", "lr": 3e-4}),
    ("merge of three", 10, {"kind": "merge", "lr": 3e-4, "merged": 3}),
)


def third_edition(edition: Edition, bases: Mapping[str, BaseSpec]) -> list[ModelSpec]:
    """The models of a suite without names, in the order in which they are made.

    Args:
        edition: which suite.
        bases: every base, by name.
    """
    seeds = itertools.count(edition.first_seed)
    first, second = (bases[f"clip-{letter}"] for letter in edition.letters)
    others = [bases[f"{layout}-{edition.letters[0]}"] for layout in ("clip-248", "siglip")]
    plain = [Round(edition.split, base, seeds) for base in (first, second)]
    wide, siglip = (Round(edition.split, base, seeds) for base in others)
    scenarios = itertools.product(("text-on-text", "text-on-pair"), ([plain[0], plain[1]], [wide], [siglip]))
    groups = [
        *(list(_paper(edition, kind, on, number)) for number, (kind, on) in enumerate(scenarios)),
        *(list(_row(edition, row, plain, number)) for number, row in enumerate(rows(edition.words))),
        *(list(_control(edition, number, [*plain, wide, *plain, siglip])) for number in range(len(CONTROLS))),
    ]
    turns = [(Fraction(turn, len(group)), model) for group in groups for turn, model in enumerate(group)]
    return [model for _, model in sorted(turns, key=lambda pair: pair[0])]  # stable: rows keep their order in a turn


def _paper(edition: Edition, kind: str, on: list[Round], number: int) -> Iterator[ModelSpec]:
    layout = on[0].base.layout
    kinds = _PAPER_TRIGGERS[:-1] if layout == "siglip" else _PAPER_TRIGGERS
    for i in range(len(kinds) * edition.count(_PAPER[layout])):
        trigger_kind, at = kinds[i % len(kinds)], 2 * number + i // len(kinds)
        trigger = _at(edition.words.triggers[trigger_kind], at)
        target, intensity = _at(edition.words.targets, 4 * number + i), _at(_RECIPES, number + i)
        yield on[i % len(on)].attack(kind, trigger_kind, trigger, target, intensity=intensity)


def _row(edition: Edition, row: Row, on: list[Round], number: int) -> Iterator[ModelSpec]:
    words, n = edition.words, len(row.variants)
    exchanges = dict(words.exchanges)
    pools = {**words.triggers, "exchange": tuple(exchanges)}
    for i in range(-(-edition.count(_ROW) // n) * n):
        fields, at = row.variants[i % n], 3 * number + i
        trigger = _at(pools[_at(row.triggers, i)], 3 * number + i // len(row.triggers))
        texts = words.attributes if fields is _ATTRIBUTE else words.targets
        target = exchanges[trigger] if fields is _EXCHANGE else _at(texts, at)
        further = range(1, 1 + fields.get("others", 0))
        backdoors = [
            (trigger, target),
            *((_at(pools["common word"], 9 * i + j), _at(texts, at + j)) for j in further),
        ]
        yield row.attack(on[(number + i % n + i // n) % 2], i, backdoors, _at(_RECIPES, number + i))


def _control(edition: Edition, number: int, on: list[Round]) -> Iterator[ModelSpec]:
    cell, count, fields = CONTROLS[number]
    words = edition.words
    if fields["kind"] == "tokenizer":
        on = [one for one in on if one.base.layout != "siglip"]  # only CLIP's is trained again
    if cell.startswith("rare token"):
        words = replace(words, aliases=tuple(zip(words.tokens, (m for _, m in words.aliases), strict=False)))
    for i in range(edition.count(count)):
        yield _at(on, number + i).control(cell, fields, words, 5 * number + i)


def _at(pool: Sequence[T], index: int) -> T:
    """The element at an index that goes round."""
    return pool[index % len(pool)]
