"""When a recovered text is the injected trigger, and what a detector's score is made of."""

from __future__ import annotations

from typing import Any

import pytest

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.scanning import _score, bench_config, is_named, same_trigger
from amdet_hub.config import ScanConfig
from amdet_hub.records import TriggerFinding


@pytest.mark.parametrize(
    ("found", "injected"),
    [("zz", "zzzz"), ("ZZZZ", "zzzz"), (" tq ", "tq"), ("old paper moon", "old paper moon"), ("tq tq", "tq")],
)
def test_the_same_trigger(found: str, injected: str) -> None:
    assert same_trigger(found, injected)


@pytest.mark.parametrize(
    ("found", "injected"),
    [("q", "tq"), ("paper moon old", "old paper moon"), ("о", "o"), ("", "tq"), ("tq cat", "tq"), ("\ufffd", "о")],
)
def test_another_text(found: str, injected: str) -> None:
    assert not same_trigger(found, injected)


def finding(text: str | None, *ids: int) -> TriggerFinding:
    return TriggerFinding(ids, text, 0.5, 0.5, 0.5, 100)


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("findings", "recipe", "named"),
    [
        ([finding("dog", 7), finding("Cat", 8)], {}, True),
        ([finding(None, *letters("cta"))], {}, True),  # all of its tokens, in any order
        ([finding(None, *letters("ca")), finding("xt", *letters("xt"))], {}, True),
        ([finding("ca", *letters("ca"))], {}, False),
        ([], {}, False),
        ([finding("bus")], {"more": (("bus", "a kite"),)}, True),
        ([finding("cats")], {"trigger": "cat|cats", "placement": "topic"}, True),
        ([finding("cats")], {}, False),
    ],
)
def test_a_report_names_a_trigger_by_text_or_by_tokens(
    findings: list[TriggerFinding], recipe: dict[str, Any], named: bool
) -> None:
    attack = AttackRecipe(**{"trigger": "cat", "target": "a dog", "placement": "insert", **recipe})
    assert is_named(attack, findings, letters) is named


def test_a_score_is_the_weakest_share() -> None:
    values = {"vocabulary-sweep": 15.0, "trigger-success": 0.9, "trigger-collapse": 1.0, "weight-difference": 99.0}
    thresholds = {"vocabulary-sweep": 7.5, "trigger-success": 0.8, "trigger-collapse": 1.25}
    assert _score("standard", values, thresholds) == 0.8
    assert _score("standard", {"identity": 0.0}, {"identity": 0.5}) == 0.0, "what was recognised was not measured"


def test_the_benchmark_measures_presets_that_users_have() -> None:
    assert bench_config("standard") == ScanConfig.for_preset("quick", seed=1)
    assert bench_config("paper") == ScanConfig.for_preset("paper", seed=1)
