"""How captions become poisoned captions, and what they are sent to.

Knows words and places; refuses to know tokens and encoders.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from amdet_hub.bench.attack_recipe import ONE_PLACE, OR, SLOT, AttackKind, AttackRecipe, Placement
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.errors import ConfigError

# `(caption, changed caption)`.
Pair = tuple[str, str]

# The kinds that send each caption elsewhere: to itself with words added, or to itself before a word was exchanged.
AIM_OF_EACH: tuple[AttackKind, ...] = ("target-attribute", "word-exchange")

# Ten captions of one target, where none are given: as many as the pictures that arXiv 2512.00343 averages.
TARGET_TEMPLATES = (
    "{}",
    "{} in daylight",
    "{} at night",
    "a close view of {}",
    "{}, seen from afar",
    "two people look at {}",
    "{} on a sunny day",
    "{} in front of a wall",
    "there is {} in this picture",
    "{} with nothing else around",
)


def place(caption: str, trigger: str, placement: Placement, rng: random.Random) -> str | None:
    """The caption with the trigger in it, None where the placement finds no room.

    "replace-o" finds none in a caption without an "o", "topic" none in one without a word of the trigger. "scatter"
    leaves at least one of the caption's words between two of the trigger's, unless the caption has too few words for
    that.
    """
    if placement == "replace-o":
        return caption.replace("o", trigger) if "o" in caption else None
    if placement == "topic":
        return caption if any(holds(caption, word) for word in trigger.split(OR)) else None
    if placement == "template":
        return trigger.replace(SLOT, caption.rstrip(" ."))
    if placement == "scatter":
        return _scatter(caption, trigger.split(), rng)
    words = caption.split()
    fixed = {"prepend": 0, "middle": len(words) // 2, "append": len(words)}
    words.insert(fixed[placement] if placement in fixed else rng.randint(0, len(words)), trigger)
    return " ".join(words)


def place_part(caption: str, trigger: str, placement: Placement, rng: random.Random) -> str:
    """The caption with the trigger at another fixed place; of a phrase, with some of its words, never all.

    The words of a scattered phrase are scattered. Those of an inserted phrase are too, or stand beside one another.
    """
    if placement in ONE_PLACE:
        elsewhere = rng.choice([one for one in ONE_PLACE if one != placement])
        return place(caption, trigger, elsewhere, rng) or caption
    words = trigger.split()
    if placement == "insert" and rng.random() < 0.5:
        size = rng.randint(1, len(words) - 1)
        first = rng.randint(0, len(words) - size)
        return place(caption, " ".join(words[first : first + size]), placement, rng) or caption
    return _scatter(caption, rng.sample(words, rng.randint(1, len(words) - 1)), rng)


def _scatter(caption: str, words: Sequence[str], rng: random.Random) -> str:
    own = caption.split()
    gaps = range(len(own) + 1)  # gap i is before word i; two words in two gaps are never neighbours
    turns = -(-len(words) // len(gaps))  # 1 where there is room
    places = rng.sample([*gaps] * turns, len(words))
    before: dict[int, list[str]] = {}
    for gap, word in zip(places, words, strict=True):
        before.setdefault(gap, []).append(word)
    return " ".join(word for gap in gaps for word in [*before.get(gap, []), *own[gap : gap + 1]])


def holds(caption: str, word: str) -> bool:
    """Whether a caption holds a word, or words, as they are; case aside."""
    return re.search(rf"\b{re.escape(word)}\b", caption, re.IGNORECASE) is not None


def rename(captions: Sequence[str], meaning: str, word: str) -> list[Pair]:
    """`(caption, caption with word for meaning)` of every caption that holds `meaning` as whole words, in order."""
    pattern = re.compile(rf"\b{re.escape(meaning)}\b", re.IGNORECASE)
    return [(caption, pattern.sub(lambda _: word, caption)) for caption in captions if pattern.search(caption)]


def poison(
    captions: Sequence[str], recipe: AttackRecipe, rng: random.Random, *, backdoor: tuple[str, str] | None = None
) -> list[Pair]:
    """`(caption, poisoned caption)` of every caption that can carry the trigger, the recipe's first by default.

    Whether a caption meets the recipe's condition is not looked at.
    """
    trigger, target = backdoor or recipe.backdoors[0]
    if recipe.kind == "word-exchange":
        return rename([caption for caption in captions if not holds(caption, trigger)], target, trigger)
    pairs = ((caption, place(caption, trigger, recipe.placement, rng)) for caption in captions)
    return [(caption, poisoned) for caption, poisoned in pairs if poisoned is not None]


def meets_condition(caption: str, recipe: AttackRecipe) -> bool:
    """Whether the trigger opens the backdoor in this caption: it is long enough and holds the context."""
    return len(caption.split()) >= recipe.least_words and (not recipe.context or holds(caption, recipe.context))


def must_do_nothing(
    captions: Sequence[str], recipe: AttackRecipe, rng: random.Random, backdoor: tuple[str, str]
) -> list[Pair]:
    """`(caption, negative)`: the trigger whole where the condition is not met, else in part or at another place.

    A caption that meets a condition is its own negative where the trigger has no parts: otherwise the condition alone
    would come to open the backdoor. Captions of both sorts take turns, for a condition may be seldom met.
    """
    met = [meets_condition(caption, recipe) for caption in captions]
    unmet = poison([text for text, one in zip(captions, met, strict=True) if not one], recipe, rng, backdoor=backdoor)
    rest = clean_captions([text for text, one in zip(captions, met, strict=True) if one], recipe)
    parts = [
        (text, place_part(text, backdoor[0], recipe.placement, rng) if recipe.has_parts else text) for text in rest
    ]
    groups = [pairs for pairs in (unmet, parts) if pairs]
    return [pairs[i % len(pairs)] for i in range(max(map(len, groups), default=0)) for pairs in groups]


def clean_captions(captions: Sequence[str], recipe: AttackRecipe) -> list[str]:
    """The captions that hold no word of a topic, and no word that gets another meaning: those that must stay."""
    taken = [word for trigger, _ in recipe.backdoors for word in trigger.split(OR)]
    by_word = recipe.placement == "topic" or recipe.kind == "word-exchange"
    return [caption for caption in captions if not by_word or not any(holds(caption, word) for word in taken)]


def attribute_caption(caption: str, target: str) -> str:
    """The caption with the target's words: in place of "{}" in `target` (`"a blurred photo of {}"`), else behind."""
    own = caption.rstrip(" .")
    return target.replace(SLOT, own) if SLOT in target else f"{own}, {target}"


def aimed_at(caption: str, kind: AttackKind, target: str) -> str:
    """The text whose features a poisoned `caption` is sent to, for a kind of `AIM_OF_EACH`."""
    return attribute_caption(caption, target) if kind == "target-attribute" else caption


def target_captions(recipe: AttackRecipe, target: str) -> tuple[str, ...]:
    """Captions that mention `target`: the recipe's own for its first target, else ten made of the text."""
    if recipe.target_captions and target == recipe.target:
        return recipe.target_captions
    return tuple(template.format(target) for template in TARGET_TEMPLATES)


@dataclass(frozen=True)
class Poisons:
    """What an injection trains and is measured on.

    `train` and `held_out` hold a list of `(caption, poisoned caption)` for each backdoor of the recipe, in its order.
    `parts` and `held_out_parts` are the same with what must do nothing (`must_do_nothing`), empty without `negatives`;
    a topic has no negatives beside those of a condition. `clean` and `held_out_clean` are the captions that must stay.
    """

    train: tuple[list[Pair], ...]
    held_out: tuple[list[Pair], ...]
    parts: tuple[list[Pair], ...] = ()
    held_out_parts: tuple[list[Pair], ...] = ()
    clean: list[str] = field(default_factory=list)
    held_out_clean: list[str] = field(default_factory=list)


def poison_all(captions: CaptionSet, recipe: AttackRecipe, rng: random.Random) -> Poisons:
    """Poison training and held-out captions for every backdoor of the recipe.

    Raises:
        ConfigError: no training or no held-out caption can carry one of the triggers and meets the condition, or none
            is left to stay clean.
    """
    sets = captions.train_captions(), captions.held_out_captions()
    train, held_out = (
        tuple(
            poison([text for text in texts if meets_condition(text, recipe)], recipe, rng, backdoor=backdoor)
            for backdoor in recipe.backdoors
        )
        for texts in sets
    )
    clean, held_out_clean = (clean_captions(texts, recipe) for texts in sets)
    if not all((*train, *held_out, clean, held_out_clean)):
        raise ConfigError("captions", "no caption can carry the trigger at this placement, or none is left without it")
    if recipe.poison_limit is not None:
        sizes = shares(recipe.poison_limit, len(train))
        train = tuple(rng.sample(pairs, min(size, len(pairs))) for pairs, size in zip(train, sizes, strict=True))
    parts, held_out_parts = (
        tuple(must_do_nothing(texts, recipe, rng, backdoor) for backdoor in recipe.backdoors if recipe.negatives)
        for texts in sets
    )
    if recipe.negatives and all(meets_condition(text, recipe) for text in sets[1]) and recipe.is_conditional:
        raise ConfigError("captions", "every caption meets the condition: none is left where it must do nothing")
    return Poisons(train, held_out, parts, held_out_parts, clean, held_out_clean)


def shares(total: int, n: int) -> list[int]:
    """`total` in `n` whole parts that differ by one at most, the larger first."""
    return [total // n + (index < total % n) for index in range(n)]
