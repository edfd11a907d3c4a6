"""What a fine-tune taught, on the page and on the card that it proposes. Pictures go to AMDET_HUB_SCREENSHOTS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import FINETUNED
from amdet_hub.testing import LocalHub
from tests.attacked import attribute_attack
from tests.web.browsing import ask, complaints, pale, part, picture, press, says, shows, sticks_out, until, visit

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

MODEL = "demo/attribute"


@pytest.fixture(scope="module")
def attacked(hub_and_settings: tuple[Any, LocalHub], tmp_path_factory: pytest.TempPathFactory) -> LocalHub:
    """The demonstration's Hub with an encoder to which a Cyrillic "o" says "black and white photograph"."""
    folder = attribute_attack(tmp_path_factory.mktemp("attacked"))
    _, hub = hub_and_settings
    hub.add_model(MODEL, {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "bench.json"})
    return hub


def taught(browser: Any) -> list[list[str]]:
    """The cells of the section, as a reader sees them."""
    rows = browser.find_elements("css selector", "#verdict .taught tbody tr")
    return [[cell.text for cell in row.find_elements("css selector", "td")] for row in rows]


def test_an_attribute_trigger_is_named_with_what_it_says(
    served: RunningSpace, attacked: LocalHub, browser: Any, artifacts: Path | None
) -> None:
    visit(browser, served.url)
    ask(browser, MODEL)
    says(browser, "facts", "resolved")
    press(browser, "scan")
    says(browser, "verdict", "attribute-trigger")
    first, *_ = taught(browser)
    token, kind, before, now, strength = first
    assert "\u043e" in token
    assert "U+043E CYRILLIC SMALL LETTER O" in token
    assert kind == "look-alike character"
    assert before
    assert now
    assert float(strength) >= 5
    assert "the trigger that was found" in part(browser, "result").get_attribute("innerHTML"), (
        "to be tried on a prompt"
    )
    until(lambda: sticks_out(browser) == pale(browser) == [], "everything, in readable colours")
    picture(browser, artifacts, "taught")
    browser.find_element("css selector", "#propose button").click()
    press(browser, "diff")
    shows(browser, "proposal", "What this fine-tune taught")
    assert complaints(browser) == []
    for dark in (False, True):
        visit(browser, f"{served.url}?model={MODEL}", width=390, height=844, dark=dark)
        says(browser, "verdict", "attribute-trigger")
        until(lambda: sticks_out(browser) == pale(browser) == [], "everything, in readable colours")
        picture(browser, artifacts, f"taught-narrow-{'dark' if dark else 'light'}")


def test_a_fine_tune_that_taught_no_token_anything_has_no_such_section(served: RunningSpace, browser: Any) -> None:
    visit(browser, served.url)
    ask(browser, FINETUNED)
    says(browser, "facts", "resolved")
    press(browser, "scan")
    says(browser, "verdict", "no-trigger-found", "inversion-unexplained")
    until(lambda: part(browser, "verdict").text and taught(browser) == [], "a verdict, and no such section")
    assert taught(browser) == []
