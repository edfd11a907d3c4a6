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


def resize(browser: Any, width: int, height: int = 1000) -> None:
    """Make the window this large; below 600 it is a telephone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def visit(browser: Any, url: str, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
    """Open a page in this size and these colours, with nothing left over from the page before."""
    resize(browser, width, height)
    scheme = "dark" if dark else "light"
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get("about:blank")  # what the page before says of being left is not this one's
    browser.get_log("browser")
    browser.get(f"{url}{'&' if '?' in url else '?'}__theme={scheme}")
    until(lambda: part(browser, "facts").text, "the page")


def part(browser: Any, element_id: str) -> Any:
    """The element with this id."""
    return browser.find_element("id", element_id)


def shows(browser: Any, element_id: str, words: str) -> None:
    """Wait until a part of the page holds these words, as a reader sees them."""
    until(lambda: words in part(browser, element_id).text, f"'{words}' in {element_id}")


def says(browser: Any, element_id: str, *codes: str) -> None:
    """Wait until a part of the page shows one of these codes: of a verdict, an error, or the state of a job."""

    def told() -> bool:
        found = [*part(browser, element_id).find_elements("css selector", "[data-code]")]
        return any(one.get_attribute("data-code") in codes and one.is_displayed() for one in found)

    until(told, f"{' or '.join(codes)} in {element_id}")


def ask(browser: Any, text: str) -> None:
    """Type a target and press Enter."""
    from selenium.webdriver.common.keys import Keys

    box = browser.find_element("css selector", "#target textarea, #target input")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text, Keys.ENTER)


def press(browser: Any, element_id: str) -> None:
    """Click a button once it can be clicked."""
    until(
        lambda: part(browser, element_id).is_displayed() and part(browser, element_id).is_enabled(),
        f"an enabled {element_id}",
    )
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
    resize(browser, width, height)
    time.sleep(0.5)
    browser.save_screenshot(str(folder / f"{name}.png"))
    resize(browser, width)


def sticks_out(browser: Any) -> list[str]:
    """What makes the page wider than the window, so that a reader would have to scroll sideways."""
    found: list[str] = browser.execute_script(_STICKS_OUT)
    return found


def away(browser: Any) -> None:
    """Take the pointer off everything."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(browser)
    actions.pointer_action.move_to_location(0, 0)
    actions.perform()


def pale(browser: Any) -> list[str]:
    """Visible texts whose contrast with what is behind them is below WCAG 2.2's AA: 4.5, or 3 for large text.

    Disabled controls are exempt.
    """
    found: list[str] = browser.execute_script(_PALE)
    return found


_STICKS_OUT = """
const room = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth <= room) return [];
return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > room + 1)
  .map(e => e.tagName + '#' + e.id + '.' + e.className).slice(0, 10);
"""

# Colours are painted on a canvas to read them, so that every notation counts, oklch() and color-mix() included.
_PALE = """
const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(text) {
  pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
  const d = pen.getImageData(0, 0, 1, 1).data;
  return [d[0], d[1], d[2], d[3] / 255];
}
function over(top, under) { return [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1); }
function behind(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
}
function light(c) {
  const l = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
}
function contrast(a, b) { const x = light(a), y = light(b); return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); }
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const words = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
  const shown = e.checkVisibility({opacityProperty: true, visibilityProperty: true});
  if (!words || !shown || !e.getClientRects().length) continue;
  if (e.closest('script, style, button:disabled, [aria-hidden=true], .js-plotly-plot')) continue;
  const box = e.getBoundingClientRect();
  if (box.width < 2 || box.height < 2) continue;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const ground = behind(e), colour = over(rgba(e.closest('svg') ? style.fill : style.color), ground);
  const ratio = contrast(colour, ground);
  if (ratio < (large ? 3 : 4.5))
    found.push(`${words.slice(0, 40)} (${e.tagName}.${e.className}): ${ratio.toFixed(2)}`);
}
return [...new Set(found)];
"""
