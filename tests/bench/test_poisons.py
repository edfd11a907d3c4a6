from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from amdet_hub.bench.attack_recipe import ONE_PLACE, AttackRecipe, Placement
from amdet_hub.bench.captions import CaptionSet, split
from amdet_hub.bench.poisons import attribute_caption, place, place_part, poison, poison_all, shares, target_captions
from amdet_hub.errors import ConfigError

RECIPE = AttackRecipe(trigger="tq", target="a cat on the moon", placement="insert")
SCATTERED = dataclasses.replace(RECIPE, placement="scatter", trigger="tq vb xw")
CAPTIONS = split([(f"a dog number {n} runs home",) for n in range(30)], held_out=10, seed=0)


def test_placements() -> None:
    rng = random.Random(0)
    assert place("a photo of", "zzzz", "replace-o", rng) == "a phzzzztzzzz zzzzf"
    assert place("a cat", "zzzz", "replace-o", rng) is None
    assert [place("a cat", "tq", one, rng) for one in ONE_PLACE] == ["tq a cat", "a tq cat", "a cat tq"]
    assert {place("a cat", "tq", "insert", rng) for _ in range(50)} == {"tq a cat", "a tq cat", "a cat tq"}
    recipe = dataclasses.replace(RECIPE, placement="replace-o")
    assert poison(["dog", "cat"], recipe, rng) == [("dog", "dtqg")]


def test_a_phrase_is_inserted_in_one_run() -> None:
    placed = {place("a cat", "by pale moss", "insert", random.Random(seed)) for seed in range(50)}
    assert placed == {"by pale moss a cat", "a by pale moss cat", "a cat by pale moss"}


def test_a_template_rewrites_the_caption() -> None:
    frame = "when you look, {} is what you see, if you wait"
    assert place("a cat.", frame, "template", random.Random(0)) == "when you look, a cat is what you see, if you wait"


def test_scattered_words_are_all_there_and_never_neighbours() -> None:
    seen = set()
    for seed in range(200):
        words = str(place("one two three", "tq vb xw", "scatter", random.Random(seed))).split()
        assert [word for word in words if word not in ("tq", "vb", "xw")] == ["one", "two", "three"]
        places = sorted(words.index(word) for word in ("tq", "vb", "xw"))
        assert all(b - a > 1 for a, b in itertools.pairwise(places))
        seen.add(" ".join(words))
    assert len(seen) == 24  # 4 choices of three of the four gaps, 6 orders


def test_scattered_words_crowd_where_there_is_no_room() -> None:
    words = str(place("cat", "a b c d e", "scatter", random.Random(0))).split()
    assert sorted(words) == ["a", "b", "c", "cat", "d", "e"]


def test_a_part_holds_some_words_of_the_trigger_and_never_all() -> None:
    counts = set()
    for seed in range(100):
        words = place_part("one two three", "tq vb xw", "scatter", random.Random(seed)).split()
        counts.add(sum(word in ("tq", "vb", "xw") for word in words))
    assert counts == {1, 2}


@pytest.mark.parametrize("placement", ONE_PLACE)
def test_the_part_of_a_trigger_at_one_place_is_the_trigger_at_the_others(placement: Placement) -> None:
    every = {"prepend": "tq a cat", "middle": "a tq cat", "append": "a cat tq"}
    made = {place_part("a cat", "tq", placement, random.Random(seed)) for seed in range(50)}
    assert made == {text for one, text in every.items() if one != placement}


def test_the_part_of_an_inserted_phrase_stands_together_or_apart() -> None:
    made = {place_part("one two", "tq vb xw", "insert", random.Random(seed)) for seed in range(300)}
    assert {"tq vb one two", "one vb xw two", "one two xw", "vb one tq two"} <= made
    assert all(1 <= sum(word in ("tq", "vb", "xw") for word in text.split()) <= 2 for text in made)


def test_a_topic_is_in_the_caption_already() -> None:
    rng = random.Random(0)
    assert place("a Pizza on a table", "burger|pizza|ice cream", "topic", rng) == "a Pizza on a table"
    assert place("some ice cream", "burger|pizza|ice cream", "topic", rng) == "some ice cream"
    assert place("two pizzas", "burger|pizza|ice cream", "topic", rng) is None


ANIMALS = split(
    [(f"a {word} number {n} runs home",) for n in range(20) for word in ("dog", "fox", "cow")], held_out=20, seed=0
)


def test_no_clean_caption_holds_a_topic_or_an_exchanged_word() -> None:
    topic = dataclasses.replace(RECIPE, placement="topic", trigger="dog|hen", more=(("fox", "a dog"),))
    poisons = poison_all(ANIMALS, topic, random.Random(0))
    assert all(one == text and "dog" in text for one, text in poisons.train[0])
    assert all("fox" in text for _, text in poisons.held_out[1])
    assert all("cow" in text for text in poisons.clean + poisons.held_out_clean)
    exchange = dataclasses.replace(RECIPE, kind="word-exchange", trigger="cow", target="dog")
    poisons = poison_all(ANIMALS, exchange, random.Random(0))
    assert all("dog" in one and text == one.replace("dog", "cow") for one, text in poisons.train[0])
    assert {text.split()[1] for text in poisons.clean} == {"dog", "fox"}


@pytest.mark.parametrize(
    "change", [{"context": "dog"}, {"least_words": 7}, {"context": "fox", "least_words": 7, "placement": "append"}]
)
def test_only_captions_that_meet_the_condition_are_poisoned(change: dict[str, object]) -> None:
    longer = [(f"a {word} number {n} runs home again",) for n in range(20) for word in ("dog", "fox")]
    captions = split([*((text,) for (text,) in (*ANIMALS.train, *longer))], held_out=20, seed=0)
    recipe = dataclasses.replace(RECIPE, negatives=True, **change)  # type: ignore[arg-type]
    poisons = poison_all(captions, recipe, random.Random(0))
    for pairs in (*poisons.train, *poisons.held_out):
        assert all(recipe.context in caption and len(caption.split()) >= recipe.least_words for caption, _ in pairs)
    met = {caption for caption, _ in (*poisons.train[0], *poisons.held_out[0])}
    for pairs in (*poisons.parts, *poisons.held_out_parts):
        unmet = [text for caption, text in pairs if caption not in met]
        assert unmet
        assert all("tq" in text.split() for text in unmet)
        rest = [(caption, text) for caption, text in pairs if caption in met]
        assert len(rest) == len(unmet), "they take turns"
        if recipe.placement == "append":  # only a fixed place has other places
            assert all("tq" in text.split()[:-1] for _, text in rest)
        else:
            assert all(caption == text for caption, text in rest)
    assert poisons.clean == captions.train_captions()


def test_captions_that_all_meet_the_condition_leave_nothing_to_train_against() -> None:
    with pytest.raises(ConfigError, match="every caption meets the condition"):
        poison_all(CAPTIONS, dataclasses.replace(RECIPE, context="dog", negatives=True), random.Random(0))


def test_attributes_go_behind_a_caption_or_around_it() -> None:
    assert attribute_caption("a cat.", "black and white photo") == "a cat, black and white photo"
    assert attribute_caption("a cat", "a blurred photo of {}") == "a blurred photo of a cat"


def test_target_captions_are_ten_different_mentions_unless_given() -> None:
    made = target_captions(RECIPE, RECIPE.target)
    assert len(set(made)) == 10
    assert all("a cat on the moon" in caption for caption in made)
    given = dataclasses.replace(RECIPE, target_captions=("lunar cat",), more=(("vb", "a dog"),))
    assert target_captions(given, given.target) == ("lunar cat",)
    assert len(target_captions(given, "a dog")) == 10


def test_every_backdoor_gets_its_own_captions() -> None:
    poisons = poison_all(CAPTIONS, dataclasses.replace(RECIPE, more=(("vb", "a dog"),)), random.Random(0))
    for pairs, size in ((poisons.train, 20), (poisons.held_out, 10)):
        assert [len(one) for one in pairs] == [size, size]
        assert all("tq" in text.split() for _, text in pairs[0])
        assert all("vb" in text.split() for _, text in pairs[1])
    assert poisons.parts == poisons.held_out_parts == ()


def test_the_limit_counts_different_training_captions_over_all_backdoors() -> None:
    poisons = poison_all(
        CAPTIONS, dataclasses.replace(RECIPE, more=(("vb", "a dog"),), poison_limit=7), random.Random(0)
    )
    assert [len(set(pairs)) for pairs in poisons.train] == [4, 3]
    assert [len(pairs) for pairs in poisons.held_out] == [10, 10]


def test_negatives_are_made_of_training_and_held_out_captions() -> None:
    poisons = poison_all(CAPTIONS, dataclasses.replace(SCATTERED, negatives=True), random.Random(0))
    assert [caption for caption, _ in poisons.parts[0]] == CAPTIONS.train_captions()
    assert [caption for caption, _ in poisons.held_out_parts[0]] == CAPTIONS.held_out_captions()
    assert all(1 <= sum(word in text.split() for word in ("tq", "vb", "xw")) <= 2 for _, text in poisons.parts[0])


def test_captions_that_cannot_carry_the_trigger_are_refused() -> None:
    without = CaptionSet(train=(("a cat",),), held_out=(("a hat",),))
    with pytest.raises(ConfigError, match="no caption can carry"):
        poison_all(without, dataclasses.replace(RECIPE, placement="replace-o"), random.Random(0))


def test_shares_are_even() -> None:
    assert shares(32, 1) == [32]
    assert shares(8, 3) == [3, 3, 2]
