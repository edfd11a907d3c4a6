"""When a recovered text is the injected trigger, and what a detector's score is made of."""

from __future__ import annotations

import pytest

from amdet_hub.bench.scanning import _score, bench_config, same_trigger
from amdet_hub.config import ScanConfig


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


def test_a_score_is_the_weakest_share() -> None:
    values = {"vocabulary-sweep": 15.0, "trigger-success": 0.9, "trigger-collapse": 1.0, "weight-difference": 99.0}
    thresholds = {"vocabulary-sweep": 7.5, "trigger-success": 0.8, "trigger-collapse": 1.25}
    assert _score("standard", values, thresholds) == 0.8
    assert _score("standard", {"identity": 0.0}, {"identity": 0.5}) == 0.0, "what was recognised was not measured"


def test_the_benchmark_measures_presets_that_users_have() -> None:
    assert bench_config("standard") == ScanConfig.for_preset("quick")
    assert bench_config("paper") == ScanConfig.for_preset("paper")
