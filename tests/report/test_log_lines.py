from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from amdet_hub.errors import ReportError
from amdet_hub.records import ScanReport
from amdet_hub.report.log_lines import PREFIX, LogReader, as_log_lines, is_log_key
from tests.report.examples import EXAMPLES, backdoored
from tests.report.nasty import NASTY, poisoned

KEY = "0123456789abcdef0123456789abcdef"


def read_log(lines: Iterable[str], key: str) -> ScanReport:
    """The report among the lines of a whole log."""
    reader = LogReader(key)
    for line in lines:
        reader.take(line)
    return reader.report()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_goes_into_a_log_comes_out(name: str) -> None:
    report = EXAMPLES[name]()
    lines = as_log_lines(report, KEY)
    talk = ["downloading ...", "", *lines, "done"]
    random.Random(1).shuffle(talk)
    assert read_log([f"{line}\r\n" for line in talk], KEY) == report
    assert max(map(len, lines)) < 1100


@pytest.mark.parametrize("text", ["newline", "surrogate", "long", "workflow command"])
def test_hostile_text_travels(text: str) -> None:
    report = poisoned(backdoored(), NASTY[text])
    assert read_log(as_log_lines(report, KEY), KEY) == report


def test_lines_of_another_key_are_talk() -> None:
    reader = LogReader(KEY)
    assert not any(reader.take(line) for line in as_log_lines(backdoored(), "f" * 32))
    assert not reader.complete
    with pytest.raises(ReportError, match="0 of the 0 lines"):
        reader.report()


def test_lost_and_damaged_lines_are_noticed() -> None:
    lines = as_log_lines(backdoored(), KEY)
    with pytest.raises(ReportError, match=f"{len(lines) - 1} of the {len(lines)} lines"):
        read_log(lines[:-1], KEY)
    swapped = lines[-1][:-6] + ("AAAAAA" if not lines[-1].endswith("AAAAAA") else "BBBBBB")
    with pytest.raises(ReportError, match="damaged"):
        read_log([*lines[:-1], swapped], KEY)


@pytest.mark.parametrize("numbers", ["7/3", "0/999999", "-1/3", "1/x"])
def test_odd_numbers_are_not_believed(numbers: str) -> None:
    reader = LogReader(KEY)
    reader.take(f"{PREFIX} {KEY} {numbers} AAAA")
    assert not reader.complete


def test_keys() -> None:
    assert is_log_key(KEY)
    assert not any(map(is_log_key, ("", KEY[:-1], KEY + "0", KEY.upper(), ".*" * 16)))
