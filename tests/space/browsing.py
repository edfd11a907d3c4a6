"""What the browser tests say about a page: wait until it holds something, look at a part of it, keep a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


def until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds. An element that is being replaced does not count as an answer."""
    from selenium.common.exceptions import WebDriverException

    deadline, last = time.monotonic() + timeout_s, ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (WebDriverException, IndexError) as error:
            last = type(error).__name__
        time.sleep(0.1)
    raise AssertionError(f"the page never showed {what} {last}")


def part(browser: Any, element_id: str) -> Any:
    """The element with this id."""
    return browser.find_element("id", element_id)


def shows(browser: Any, element_id: str, words: str) -> None:
    """Wait until a part of the page holds these words, as a reader sees them."""
    until(lambda: words in part(browser, element_id).text, f"'{words}' in {element_id}")


def ask(browser: Any, text: str) -> None:
    """Type a target and press Enter."""
    from selenium.webdriver.common.keys import Keys

    box = browser.find_element("css selector", "#target textarea, #target input")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text, Keys.ENTER)


def press(browser: Any, element_id: str) -> None:
    """Click a button once it can be clicked."""
    until(lambda: part(browser, element_id).is_displayed() and part(browser, element_id).is_enabled(), f"an enabled {element_id}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", part(browser, element_id))
    part(browser, element_id).click()


def complaints(browser: Any) -> list[str]:
    """What the page wrote to the console as an error."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def picture(browser: Any, folder: Path | None, name: str) -> None:
    """Keep a picture of the whole page, where pictures are kept."""
    if folder is None:
        return
    width = int(browser.execute_script("return window.innerWidth"))
    height = min(6000, int(browser.execute_script("return document.documentElement.scrollHeight")))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    time.sleep(0.5)
    browser.save_screenshot(str(folder / f"{name}.png"))
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "height": 1000})
