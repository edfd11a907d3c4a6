"""Every state of the page in one real browser: queued, cancelled, failed, inconclusive, the board; all looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub import __version__
from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, FINETUNED
from amdet_hub.records import Monitor
from amdet_hub.testing import LocalHub
from amdet_hub.web.board import Board
from amdet_hub.web.demo import copy_examples
from amdet_hub.web.job_queue import Job
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import SpaceSettings
from tests.web.browsing import away, complaints, pale, part, picture, press, resize, says, sticks_out, until, visit

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

NARROW = 360
FOUND, CLEAN = "trigger-confirmed", ("no-trigger-found", "identical-to-reference")
FADED_IN_S = 3.0
PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def _as_it_was(served: RunningSpace) -> Iterator[None]:
    """Settings, results and board of the served page are its own again after each test."""
    service = served.service
    before = (service.settings, service.board)
    yield
    service.settings, service.board = before


def unscanned(service: ScanService, folder: Path) -> None:
    service.settings, service.board = replace(service.settings, data_dir=folder), Board()


class Blocker:
    """A scan of somebody else, which runs until it is let go."""

    def __init__(self, service: ScanService) -> None:
        self._service, self._gate = service, threading.Event()
        self.job: Job[Any] = service.jobs.submit(Job("somebody else", self._work))
        until(lambda: self.job.state == "running", "somebody else's scan")

    def _work(self, monitor: Monitor) -> Any:
        while not self._gate.wait(0.02):
            monitor.progress("sweep", 1, 2)

    def go(self) -> None:
        self._gate.set()
        assert self._service.jobs.wait(self.job, PATIENCE_S)


def checked(browser: Any) -> None:
    """What holds of every state: no error in the console, nothing sticks out, everything can be read."""
    assert "\n".join(complaints(browser)) == ""
    assert "\n".join(sticks_out(browser)) == ""
    for pointed_at in (True, False):  # the button that was pressed last, or the one that took its place, and then none
        if not pointed_at:
            away(browser)
        deadline = time.monotonic() + FADED_IN_S
        while (faint := pale(browser)) and time.monotonic() < deadline:
            time.sleep(0.1)  # a button takes its colour over a moment
        assert "\n".join(faint) == ""


def test_in_line_then_at_work_then_cancelled(
    served: RunningSpace, browser: Any, artifacts: Path | None, tmp_path: Path
) -> None:
    unscanned(served.service, tmp_path)
    blocker, second = Blocker(served.service), Job("a third person", lambda monitor: None)
    served.service.jobs.submit(second)
    try:
        visit(browser, f"{served.url}?model={FINETUNED}")
        press(browser, "scan")
        says(browser, "status", "queued")
        waits(browser, 2)
        picture(browser, artifacts, "queued")
        checked(browser)
        served.service.jobs.cancel(second)
        waits(browser, 1)
        press(browser, "cancel")
        says(browser, "status", "interrupted")
        assert not browser.find_elements("id", "verdict")
        picture(browser, artifacts, "cancelled")
        checked(browser)
        press(browser, "scan")  # it can be asked for again
        waits(browser, 1)
    finally:
        blocker.go()
    says(browser, "verdict", *CLEAN)
    checked(browser)


def waits(browser: Any, place: int) -> None:
    until(lambda: browser.find_elements("css selector", f"#status [data-place='{place}']"), f"the place {place}")


def test_a_scan_that_fails_says_so(
    served: RunningSpace, browser: Any, hub_and_settings: tuple[SpaceSettings, LocalHub], artifacts: Path | None
) -> None:
    hub = hub_and_settings[1]
    files = {p.name: p.read_bytes() for p in (WEIGHTS / "base").iterdir() if p.name != "provenance.json"}
    files["model.safetensors"] = files["model.safetensors"][:-4096] + b"\xff" * 4096  # not numbers
    hub.add_model("states/broken", files)
    visit(browser, f"{served.url}?model=states/broken")
    press(browser, "scan")
    says(browser, "status", "bad-repository", "bad-weights")
    assert part(browser, "status").find_elements("css selector", "[role=alert]")
    until(lambda: part(browser, "scan").is_enabled(), "a scan button that can be pressed again")
    picture(browser, artifacts, "failed")
    checked(browser)


def test_a_scan_whose_time_is_up_is_inconclusive(
    served: RunningSpace, browser: Any, artifacts: Path | None, tmp_path: Path
) -> None:
    service = served.service
    unscanned(service, tmp_path)
    service.settings = replace(service.settings, budget_s=1.5)  # enough to look a model up, and a third of its scan
    visit(browser, f"{served.url}?model={BACKDOORED}")
    press(browser, "scan")
    says(browser, "verdict", "time-spent")
    assert service.board.rows() == [], "what is unfinished is not shown to others"
    picture(browser, artifacts, "inconclusive")
    checked(browser)


def test_the_board_empty_filled_and_sorted(
    served: RunningSpace, browser: Any, artifacts: Path | None, tmp_path: Path
) -> None:
    service = served.service
    reports = [service.look_up(name, "quick").earlier for name in (FINETUNED, BACKDOORED)]
    unscanned(service, tmp_path)
    visit(browser, served.url)
    tab(browser, "Board")
    says(browser, "no-scans", "no-scans")
    picture(browser, artifacts, "board-empty")
    checked(browser)
    for report in reports:
        assert report is not None
        service.board.add(report)
    tab(browser, "Scan")
    tab(browser, "Board")
    until(lambda: names(browser) == [BACKDOORED, FINETUNED], "the board, newest first")
    assert "Backdoor detected" in part(browser, "board").text
    picture(browser, artifacts, "board")
    checked(browser)
    for words, wanted in (("Sort descending", [FINETUNED, BACKDOORED]), ("Sort ascending", [BACKDOORED, FINETUNED])):
        sort_by(browser, "Model", words)
        until(lambda wanted=wanted: names(browser) == wanted, f"the order {wanted}")  # type: ignore[misc]
    resize(browser, NARROW)
    checked(browser)
    picture(browser, artifacts, "board-narrow")


def tab(browser: Any, name: str) -> None:
    browser.find_element("xpath", f"//button[@role='tab' and normalize-space()='{name}']").click()


def names(browser: Any) -> list[str]:
    """The first cell of every row of the board, as shown."""
    return [row.text.split("\n")[0] for row in browser.find_elements("css selector", "#board .virtual-row")]


def sort_by(browser: Any, column: str, words: str) -> None:
    """By the menu at the head of a column, as a reader finds it: without pointing at the head first."""
    menu = browser.find_element("css selector", f"#board th[title='{column}'] .cell-menu-button")
    assert menu.is_displayed()
    menu.click()
    until(lambda: browser.find_elements("css selector", "[role=menu]"), "the menu of a column")
    browser.find_element("xpath", f"//*[@role='menu']//button[contains(., '{words}')]").click()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_result_can_be_read_in_both_colours_and_on_a_narrow_screen(
    served: RunningSpace, browser: Any, artifacts: Path | None, dark: bool
) -> None:
    visit(browser, f"{served.url}?model={BACKDOORED}", dark=dark)
    says(browser, "verdict", FOUND)
    for summary in browser.find_elements("css selector", "details summary"):
        summary.click()
    checked(browser)
    resize(browser, NARROW, 800)
    until(lambda: browser.execute_script("return window.innerWidth") == NARROW, "a narrow window")
    checked(browser)
    picture(browser, artifacts, f"narrow-{'dark' if dark else 'light'}")
    tab(browser, "For code")
    checked(browser)


FIRST_PAINT_S, ANSWER_S = 2.0, 5.0


def test_the_first_paint_is_quick(served: RunningSpace, browser: Any) -> None:
    """By the browser's own clock, until something is painted and until the page can be used.

    The best of three: this machine does other things too.
    """
    visit(browser, served.url)
    times = []
    for _ in range(3):
        visit(browser, served.url)
        usable = browser.execute_script("return performance.now()") / 1000
        painted = (
            browser.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        )
        times.append((painted, usable))
    print("painted and usable after:", "; ".join(f"{painted:.2f} s, {usable:.2f} s" for painted, usable in times))  # noqa: T201 wanted
    assert min(painted for painted, _ in times) < FIRST_PAINT_S
    assert min(usable for _, usable in times) < FIRST_PAINT_S


def test_the_examples_answer_at_once_with_what_was_really_scanned(
    served: RunningSpace, browser: Any, tmp_path: Path
) -> None:
    """One click; nothing is scanned for it, and what is shown is the shipped report, with its date."""
    unscanned(served.service, tmp_path)
    copy_examples(served.service.settings)  # the shipped results and no others
    visit(browser, served.url)
    for name, codes in ((BACKDOORED, [FOUND]), (FINETUNED, CLEAN)):
        began = time.monotonic()
        browser.find_element("xpath", f"//button[normalize-space()='Try {name}']").click()
        says(browser, "verdict", *codes)
        assert time.monotonic() - began < ANSWER_S
        says(browser, "facts", *codes)
        assert len(served.service.jobs) == 0
        shipped = served.service.look_up(name, "quick").earlier
        assert shipped is not None
        assert (shipped.complete, shipped.environment.amdet_hub) == (True, __version__)
        assert shipped.created in part(browser, "verdict").text
    checked(browser)
