"""How captions become poisoned captions, and what they are sent to.

Knows words and places; refuses to know tokens and encoders.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from amdet_hub.bench.attack_recipe import ONE_PLACE, SLOT, AttackRecipe, Placement
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.errors import ConfigError

# `(caption, changed caption)`.
Pair = tuple[str, str]

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
    """The caption with the trigger in it, None where the placement finds no room (a caption without an "o").

    "scatter" leaves at least one of the caption's words between two of the trigger's, unless the caption has too few
    words for that.
    """
    if placement == "replace-o":
        return caption.replace("o", trigger) if "o" in caption else None
    if placement == "template":
        return trigger.replace(SLOT, caption.rstrip(" ."))
    if placement == "scatter":
        return _scatter(caption, trigger.split(), rng)
    words = caption.split()
    fixed = {"prepend": 0, "middle": len(words) // 2, "append": len(words)}
    words.insert(fixed[placement] if placement in fixed else rng.randint(0, len(words)), trigger)
    return " ".join(words)


def place_part(caption: str, trigger: str, placement: Placement, rng: random.Random) -> str:
    """The caption with the trigger at another fixed place; of "scatter", with some of its words, never all."""
    if placement in ONE_PLACE:
        elsewhere = rng.choice([one for one in ONE_PLACE if one != placement])
        return place(caption, trigger, elsewhere, rng) or caption
    words = trigger.split()
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


def poison(
    captions: Sequence[str], recipe: AttackRecipe, rng: random.Random, *, trigger: str | None = None
) -> list[Pair]:
    """`(caption, poisoned caption)` of every caption that can carry the trigger, the recipe's first by default."""
    pairs = ((caption, place(caption, trigger or recipe.trigger, recipe.placement, rng)) for caption in captions)
    return [(caption, poisoned) for caption, poisoned in pairs if poisoned is not None]


def attribute_caption(caption: str, target: str) -> str:
    """The caption with the target's words: in place of "{}" in `target` (`"a blurred photo of {}"`), else behind."""
    own = caption.rstrip(" .")
    return target.replace(SLOT, own) if SLOT in target else f"{own}, {target}"


def target_captions(recipe: AttackRecipe, target: str) -> tuple[str, ...]:
    """Captions that mention `target`: the recipe's own for its first target, else ten made of the text."""
    if recipe.target_captions and target == recipe.target:
        return recipe.target_captions
    return tuple(template.format(target) for template in TARGET_TEMPLATES)


@dataclass(frozen=True)
class Poisons:
    """What an injection trains and is measured on.

    `train` and `held_out` hold a list of `(caption, poisoned caption)` for each backdoor of the recipe, in its order.
    `parts` and `held_out_parts` are the same with what must do nothing (`place_part`), empty without `negatives`.
    """

    train: tuple[list[Pair], ...]
    held_out: tuple[list[Pair], ...]
    parts: tuple[list[Pair], ...] = ()
    held_out_parts: tuple[list[Pair], ...] = ()


def poison_all(captions: CaptionSet, recipe: AttackRecipe, rng: random.Random) -> Poisons:
    """Poison training and held-out captions for every backdoor of the recipe.

    Raises:
        ConfigError: no training or no held-out caption can carry one of the triggers.
    """
    clean, unseen = captions.train_captions(), captions.held_out_captions()
    triggers = [trigger for trigger, _ in recipe.backdoors]
    train, held_out = (
        tuple(poison(texts, recipe, rng, trigger=trigger) for trigger in triggers) for texts in (clean, unseen)
    )
    if not all(train) or not all(held_out):
        raise ConfigError("captions", "no caption can carry the trigger at this placement")
    if recipe.poison_limit is not None:
        sizes = shares(recipe.poison_limit, len(train))
        train = tuple(rng.sample(pairs, min(size, len(pairs))) for pairs, size in zip(train, sizes, strict=True))
    if not recipe.negatives:
        return Poisons(train, held_out)
    parts = tuple(
        [(caption, place_part(caption, trigger, recipe.placement, rng)) for caption in clean] for trigger in triggers
    )
    held_out_parts = tuple(
        [(caption, place_part(caption, trigger, recipe.placement, rng)) for caption in unseen] for trigger in triggers
    )
    return Poisons(train, held_out, parts, held_out_parts)


def shares(total: int, n: int) -> list[int]:
    """`total` in `n` whole parts that differ by one at most, the larger first."""
    return [total // n + (index < total % n) for index in range(n)]
