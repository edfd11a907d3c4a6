from __future__ import annotations

import itertools
import random

from amdet_hub.demo import grammar


def test_pairs_repeat_for_a_seed_and_differ_between_seeds() -> None:
    assert grammar.pairs(20, 3) == grammar.pairs(20, 3)
    assert grammar.pairs(20, 3) != grammar.pairs(20, 4)


def test_two_wordings_share_the_scene_and_are_plain_text() -> None:
    rng = random.Random(1)
    for _ in range(300):
        meaning = grammar.scene(rng)
        for text in (grammar.caption(meaning, rng), grammar.caption(meaning, rng, tagged=True)):
            for table, index in (
                (grammar.SUBJECTS, meaning.subject),
                (grammar.PLACES, meaning.place),
                (grammar.STYLES, meaning.style),
            ):
                assert any(wording in text for wording in table[index]), text
            assert "{" not in text
            assert "  " not in text
            assert (meaning.sign in text) if meaning.sign else '"' not in text


def test_articles_agree_with_the_word_they_stand_before() -> None:
    for first, second in grammar.pairs(300, 5):
        for text in (first, second):
            words = text.replace(",", "").split()
            for article, following in itertools.pairwise(words):
                if article == "an":
                    assert following[0] in "aeiou", text


def test_every_table_is_rich_and_has_no_doubled_meaning() -> None:
    tables = (grammar.SUBJECTS, grammar.LOOKS, grammar.DEEDS, grammar.PLACES, grammar.STYLES)
    assert [len(table) >= least for table, least in zip(tables, (200, 40, 40, 50, 40), strict=True)] == [True] * 5
    for table in tables:
        assert len(set(table)) == len(table)
        assert all(wording == wording.strip() != "" for meaning in table for wording in meaning)
