"""How likely people write a text: orders, unknown words, and what is not English."""

from __future__ import annotations

import pytest

from amdet_hub.scanner.word_frequency import log_likelihood


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("lost city of gold", "of lost gold city"),
        ("salty breeze", "salbreety ze"),
        ("thunder", "erundth"),
        ("once upon a time", "a once time upon"),
    ],
)
def test_what_people_write_is_likelier(right: str, wrong: str) -> None:
    assert log_likelihood(right) > log_likelihood(wrong) + 0.5


def test_by_hand_from_the_counts() -> None:
    """The files of wordsegment count 1,024,908,267,229 words, "of" 13,151,942,776 and "of the" 2,766,332,391 times."""
    total, of, of_the = 1_024_908_267_229, 13_151_942_776, 2_766_332_391
    assert 10 ** log_likelihood("of") == pytest.approx(of / total)
    assert 10 ** (log_likelihood("of the") - log_likelihood("of")) == pytest.approx(of_the / of)


def test_a_word_that_nobody_counted_and_one_that_hardly_anybody_did() -> None:
    assert log_likelihood("qzxqzx") == -8.5
    assert log_likelihood("qfz") == log_likelihood("vgx") == -6.5, (
        "the second is an abbreviation somewhere, and no likelier"
    )
    assert log_likelihood("marigold") > -6.5


@pytest.mark.parametrize("length", [25, 290, 300, 320, 400, 12_000])
def test_a_word_of_any_length(length: int) -> None:
    """A hostile vocabulary may hold pieces of a thousand letters."""
    assert log_likelihood("x" * length) == -6.5 - (length - 4)
    assert log_likelihood("y" * length + " of") == pytest.approx(-6.5 - (length - 4) + log_likelihood("of"))


def test_case_and_marks_do_not_matter() -> None:
    assert log_likelihood("Salty  Breeze!") == log_likelihood("salty breeze")


@pytest.mark.parametrize(
    "text", ["", "\u732b", "\u043a\u043e\u0448\u043a\u0430 \u0441\u043f\u0438\u0442", "\u00a4 \u2603"]
)
def test_other_scripts_are_all_alike(text: str) -> None:
    assert log_likelihood(text) == 0.0
