"""The page in a real browser: the whole journey, what goes wrong, a narrow screen, the keyboard.

Pictures go to AMDET_HUB_SCREENSHOTS.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import BACKDOORED, FINETUNED
from amdet_hub.families import calibration
from amdet_hub.testing import LocalHub
from amdet_hub.web.job_queue import Job
from tests.web.browsing import ask, complaints, part, picture, press, says, shows, until

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

Open = Callable[..., Any]


@pytest.fixture
def hub(hub_and_settings: tuple[Any, LocalHub]) -> LocalHub:
    return hub_and_settings[1]


def test_the_whole_journey(
    served: RunningSpace, hub: LocalHub, open_browser: Open, artifacts: Path | None, tmp_path: Path
) -> None:
    browser = open_browser(downloads=tmp_path)
    browser.get(served.url)
    says(browser, "facts", "welcome")
    assert not part(browser, "scan").is_enabled(), "nothing can be scanned before it was looked up"
    picture(browser, artifacts, "empty")
    ask(browser, f"{hub.endpoint}/{BACKDOORED}/tree/main")
    shows(browser, "facts", hub.head(BACKDOORED))
    says(browser, "verdict", "trigger-confirmed")  # the earlier result, with its date
    says(browser, "facts", "trigger-confirmed")
    press(browser, "scan")
    says(browser, "status", "running")
    for _ in range(2):
        drawn = plot(browser)
        until(lambda drawn=drawn: plot(browser) != drawn, "a plot that moves while the scan runs")  # type: ignore[misc]
    picture(browser, artifacts, "scanning")
    until(lambda: not browser.find_elements("id", "cancel"), "the end of the scan")
    says(browser, "verdict", "trigger-confirmed")
    said = part(browser, "verdict").text
    assert "CYRILLIC SMALL LETTER O" in said
    assert "burning" in said
    collapse = calibration("clip", with_reference=True).thresholds.trigger_collapse
    assert f"{collapse:g}" in said, "the thresholds are on the page"
    picture(browser, artifacts, "detected")
    press(browser, "download-json")
    until(lambda: [p for p in tmp_path.iterdir() if p.suffix == ".json"], "the downloaded report")
    (saved,) = [p for p in tmp_path.iterdir() if p.suffix == ".json"]
    assert json.loads(saved.read_text())["verdict"]["label"] == "backdoor-detected"
    before = len(hub.pull_requests(BACKDOORED))
    browser.find_element("css selector", "#propose button").click()
    press(browser, "diff")
    shows(browser, "proposal", "+<!-- amdet-hub:begin")
    assert len(hub.pull_requests(BACKDOORED)) == before, "the first click writes nothing"
    picture(browser, artifacts, "diff")
    press(browser, "send")
    says(browser, "proposal", "opened")
    (opened,) = hub.pull_requests(BACKDOORED)[before:]
    assert (opened.author, opened.status) == ("visitor", "open")
    assert complaints(browser) == []


def plot(browser: Any) -> str:
    until(lambda: browser.find_elements("css selector", "#status .live svg"), "a plot")
    return str(browser.find_element("css selector", "#status .live svg").get_attribute("outerHTML"))


def test_arriving_with_a_model_and_a_clean_result(
    served: RunningSpace, open_browser: Open, artifacts: Path | None
) -> None:
    browser = open_browser()
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.get(f"{served.url}?model={FINETUNED}&__theme=dark")
    says(browser, "verdict", "no-trigger-found")
    picture(browser, artifacts, "clean-dark")
    browser.find_element("css selector", "#preset input[value=standard]").click()
    shows(browser, "facts", "standard")
    until(
        lambda: browser.find_elements("css selector", "#landscape .js-plotly-plot, #landscape canvas"), "the landscape"
    )
    picture(browser, artifacts, "landscape-dark")
    assert complaints(browser) == []


WRONG = {
    "demo/nothing-here": "repo-not-found",
    "/etc/passwd": "target-error",
    "<img src=x onerror=alert(1)>": "target-error",
    "demo/locked": "repo-gated",
}


def test_what_goes_wrong_has_a_reason(
    served: RunningSpace, hub: LocalHub, open_browser: Open, artifacts: Path | None
) -> None:
    if not hub_has(hub, "demo/locked"):
        config = b'{"model_type": "clip", "architectures": ["CLIPModel"]}'
        hub.add_model("pickles/only", {"config.json": config, "pytorch_model.bin": b"pickle"})
        hub.add_model("demo/locked", {"config.json": b"{}", "README.md": b"# hello"}, gated=True)
    browser = open_browser(800, 900)
    browser.get(served.url)
    says(browser, "facts", "welcome")
    for typed, code in WRONG.items():
        ask(browser, typed)
        says(browser, "facts", code)
        assert part(browser, "facts").find_element("css selector", "[role=alert]")
        assert not browser.find_elements("css selector", "#facts img")
        assert not part(browser, "scan").is_enabled()
    ask(browser, "pickles/only")
    says(browser, "verdict", "refused-pickle")
    assert not part(browser, "scan").is_enabled()
    picture(browser, artifacts, "error")
    assert complaints(browser) == []


def hub_has(hub: LocalHub, repo_id: str) -> bool:
    try:
        return bool(hub.head(repo_id))
    except KeyError:
        return False


def test_a_narrow_screen(served: RunningSpace, open_browser: Open, artifacts: Path | None) -> None:
    browser = open_browser(390, 844)
    browser.get(f"{served.url}?model={BACKDOORED}")
    says(browser, "verdict", "trigger-confirmed")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, (
        "nothing sticks out of the page"
    )
    for name in ("look", "scan", "verdict", "facts"):
        box = part(browser, name).rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    picture(browser, artifacts, "narrow")


def test_the_keyboard_alone(served: RunningSpace, open_browser: Open) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = open_browser()
    browser.get(served.url)
    says(browser, "facts", "welcome")

    def tab_to(element_id: str) -> None:
        for _ in range(25):
            ActionChains(browser).send_keys(Keys.TAB).perform()
            if browser.execute_script(
                "return document.activeElement.closest('#' + arguments[0]) !== null", element_id
            ):
                return
        raise AssertionError(f"the keyboard never reaches {element_id}")

    def keys(*pressed: str) -> None:
        ActionChains(browser).send_keys(*pressed).perform()

    tab_to("target")
    keys("demo/base", Keys.ENTER)
    says(browser, "facts", "resolved")
    until(lambda: part(browser, "scan").is_enabled(), "a scan button")
    tab_to("preset")
    keys(Keys.TAB, Keys.SPACE)  # each of Gradio's choices is a stop of its own
    shows(browser, "facts", "standard")
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).send_keys(Keys.SPACE).perform()
    shows(browser, "facts", "quick")
    gate = threading.Event()
    other = served.service.jobs.submit(Job("somebody else", lambda monitor: gate.wait(60)))
    tab_to("scan")
    keys(Keys.ENTER)
    says(browser, "status", "queued")
    tab_to("cancel")
    keys(Keys.ENTER)
    says(browser, "status", "interrupted")
    gate.set()
    assert served.service.jobs.wait(other, 60)
    browser.find_element(
        "css selector", "#target textarea, #target input"
    ).click()  # the button that had the focus is gone
    tab_to("scan")
    keys(Keys.ENTER)
    says(browser, "verdict", "identical-to-reference")
    tab_to("download-json")
    assert complaints(browser) == []
