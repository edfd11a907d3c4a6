from __future__ import annotations

from pathlib import Path

import click
import pytest

from amdet_hub.cli._output import OutputFile
from amdet_hub.cli._values import duration, output, size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("800", 800),
        ("2GB", 2_000_000_000),
        ("1.5GiB", 1_610_612_736),
        ("500 mb", 500_000_000),
        ("3k", 3000),
        ("1T", 10**12),
        ("7B", 7),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "1iB", "1PB", "1e9", "nan"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("0.5h", 1800), ("1m5", 65)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "1d", "inf", "m"])
def test_not_durations(text: str) -> None:
    with pytest.raises(click.BadParameter):
        duration(text)


def test_output_splits_at_the_first_equals_sign() -> None:
    assert output("json=a=b.json") == OutputFile("json", Path("a=b.json"))
