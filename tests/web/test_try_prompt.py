"""Trying a prompt on what was scanned: what is asked of the service, what is shown, and the journey in a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED, NOT_SERVED
from amdet_hub.errors import ConfigError, Interrupted
from amdet_hub.records import ScanReport
from amdet_hub.scanner import EncoderView, Probe
from amdet_hub.scanner.nearest_texts import NearText
from amdet_hub.testing import LocalHub
from amdet_hub.web import heat_maps, prompt_view
from amdet_hub.web.job_queue import JobQueue, QueueRefused, Task
from amdet_hub.web.result_store import ResultStore
from amdet_hub.web.service import Lookup, PromptTrial, ScanService
from tests.web.browsing import ask, complaints, part, picture, press, shows, until

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

Open = Callable[..., Any]

PATIENCE_S = 60.0
QUICK_S = 8.0
EVIL = "<script>alert(1)</script>\u202e'\"><img src=x onerror=alert(1)>"
PROMPT = "a brown dog sitting in a green field"


def earlier(service: ScanService, name: str) -> tuple[Lookup, ScanReport]:
    """A demonstration model as looked up, with the report that is shipped."""
    found = service.look_up(name, "quick")
    report = ResultStore(Path("nowhere")).get(found.key)
    assert report is not None, "the shipped examples are of another version: run python -m amdet_hub.web.make_examples"
    return found, report


def look(service: ScanService, name: str, **changes: Any) -> Task[Probe]:
    """A trial, finished."""
    trial = replace(PromptTrial(PROMPT, None, "start"), **changes)
    task = service.look_closer(*earlier(service, name), trial, "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    return task


# ---------------------------------------------------------------- what the service does


def test_the_trigger_moves_the_prompt_and_the_second_look_is_quick(service: ScanService) -> None:
    began = time.monotonic()
    first = look(service, BACKDOORED)
    assert time.monotonic() - began < QUICK_S
    assert first.result is not None
    assert first.result.reference is not None
    assert prompt_view.left_of(first.result.suspect) < prompt_view.CHANGES
    assert prompt_view.left_of(first.result.reference) > prompt_view.STAYS
    again = look(service, BACKDOORED, place="end")
    assert (again.state, service._pairs.n_loaded) == ("done", 1)
    assert again.elapsed_s < first.elapsed_s


def test_a_copy_is_read_under_its_own_name(service: ScanService, hub_and_settings: tuple[Any, LocalHub]) -> None:
    """The result is the original's; what is loaded is what the visitor looked up."""
    _, hub = hub_and_settings
    files = {p.name: p.read_bytes() for p in (WEIGHTS / "backdoored").iterdir() if p.name not in NOT_SERVED}
    hub.add_model("somebody/copy", files)
    found = service.look_up("somebody/copy", "quick")
    _, report = earlier(service, BACKDOORED)
    task = service.look_closer(found, report, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert task.result is not None
    with pytest.raises(ConfigError):
        service.look_closer(found, report, PromptTrial(PROMPT, None, "start", encoder=1), "visitor")


def test_another_models_report_does_not_fit(service: ScanService) -> None:
    found, _ = earlier(service, FINETUNED)
    _, report = earlier(service, BACKDOORED)
    task = service.look_closer(found, report, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert (task.state, task.result) == ("failed", None)
    assert "not those that were scanned" in str(task.error)


@pytest.mark.parametrize("field", ["private", "gated"])
def test_towers_that_not_everybody_may_read_are_not_kept(service: ScanService, field: str) -> None:
    found, report = earlier(service, BACKDOORED)
    snapshot = replace(found.plan.snapshot, private=field == "private", gated=field == "gated")
    hidden = replace(found, plan=replace(found.plan, snapshot=snapshot))
    task = service.look_closer(hidden, report, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert task.state == "done"
    assert (service._pairs.n_loaded, len(service._pairs._pairs)) == (0, 0)


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (PromptTrial(" ", None, "start"), "nothing in it"),
        (PromptTrial("x" * 501, None, "start"), "501"),
        (PromptTrial(PROMPT, "y" * 501, "start"), "501"),
        (PromptTrial(PROMPT, None, "start", encoder=-1), "no such encoder"),
    ],
)
def test_what_cannot_be_read_never_waits(service: ScanService, trial: PromptTrial, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        service.look_closer(*earlier(service, BACKDOORED), trial, "visitor")


def test_a_benign_model_needs_words(service: ScanService) -> None:
    assert look(service, FINETUNED, added="cf").result is not None
    task = look(service, FINETUNED)
    assert "say what to add" in str(task.error)


def test_trials_wait_in_the_same_line_and_count_for_the_hour() -> None:
    gate, started = threading.Event(), threading.Event()

    def slow(progress: Any) -> int:
        started.set()
        while not gate.wait(0.01):
            progress("look", 0, 1)
        return 7

    jobs = JobQueue(size=1, per_owner=2, per_owner_hour=1)
    first = jobs.submit(Task("a", slow, share=0.5))
    assert started.wait(PATIENCE_S)
    second = jobs.submit(Task("a", slow, share=0.5))
    with pytest.raises(QueueRefused, match="under way"):
        jobs.submit(Task("a", slow, share=0.1))
    with pytest.raises(QueueRefused, match="full"):
        jobs.submit(Task("b", slow))
    jobs.cancel(first)
    assert jobs.wait(first, PATIENCE_S)
    gate.set()
    assert jobs.wait(second, PATIENCE_S)
    assert (first.state, type(first.error), second.result) == ("cancelled", Interrupted, 7)
    with pytest.raises(QueueRefused, match="within an hour"):
        jobs.submit(Task("a", slow, share=0.1))
    jobs.close()


# ---------------------------------------------------------------- what is shown


class Tags(HTMLParser):
    """The tags and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def view(kept: float, n: int, added: tuple[int, ...], texts: str = "a cat") -> EncoderView:
    near = (NearText(texts, 0.5),)
    square = tuple(tuple(1.0 if i == j else 0.3 for j in range(n)) for i in range(n))
    attention = tuple(tuple(0.2 if i in added else 0.01 for i in range(n)) for _ in range(3))
    return EncoderView(kept, 0.1, near, near, square, square, attention)


def made(
    suspect: float,
    reference: float | None,
    pieces: tuple[str, ...] = ("a</w>", "b</w>", "c</w>"),
    texts: str = "a cat",
) -> Probe:
    added = (1,)
    other = None if reference is None else view(reference, len(pieces), added, texts)
    return Probe("a b", texts, "start", pieces, pieces, added, view(suspect, len(pieces), added, texts), other)


def test_hostile_texts_are_shown_and_never_obeyed() -> None:
    probe = replace(made(0.1, 0.9, (EVIL, EVIL + "</w>", "\u2581" + EVIL), EVIL), prompt=EVIL)
    tags = Tags(prompt_view.looked_at(probe, "<code>x</code>"))
    assert not tags.tags & {"script", "img", "a", "iframe"}
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert "\u202e" not in prompt_view.looked_at(probe, "x")
    assert "&lt;script&gt;" in prompt_view.looked_at(probe, "x")


@pytest.mark.parametrize(
    ("suspect", "reference", "title"),
    [
        (0.1, 0.95, "taken over"),
        (0.95, 0.95, "Nothing unusual"),
        (0.1, 0.2, "Nothing unusual"),
        (0.5, 0.95, "moves differently"),
        (0.1, None, "taken over"),
        (0.95, None, "It moves the prompt"),
    ],
)
def test_what_happened_is_said_in_words(suspect: float, reference: float | None, title: str) -> None:
    shown = prompt_view.looked_at(made(suspect, reference), "x")
    assert title in shown
    assert "it does not judge" in shown
    assert ("clean one" in shown) == (reference is not None)


def test_maps_of_any_length_stay_small() -> None:
    pieces = tuple(f"word{i}</w>" for i in range(77))
    shown = prompt_view.looked_at(made(0.1, 0.9, pieces), "x")
    assert len(shown) < 250_000
    assert "maps large" in shown
    assert shown.count("<svg") == 5


def test_names_and_levels() -> None:
    assert [
        heat_maps.short_name(p) for p in ("cat</w>", "\u2581cat", "Ð¾</w>", "<|endoftext|>", "extraordinarily</w>")
    ] == [
        "cat",
        "cat",
        "о",
        "[end]",
        "extraordi…",
    ]
    scale = heat_maps.Scale.of(((-0.5, 1.0),))
    assert [scale.level(v) for v in (-1.0, -0.5, 0.25, 1.0)] == [0, 0, 10, 20]
    assert heat_maps.Scale.of(((1.0,),)).level(1.0) == 0, "no span, no division by it"


def test_what_is_added_at_first(service: ScanService) -> None:
    _, bad = earlier(service, BACKDOORED)
    _, good = earlier(service, FINETUNED)
    assert prompt_view.default_words(bad) == ""
    assert prompt_view.default_words(good).isalpha()
    (result,) = good.results
    evil = replace(
        good,
        outcomes=(
            replace(
                result,
                evidence=tuple(replace(e, details={"top_tokens": [{"piece": EVIL}, 7]}) for e in result.evidence),
            ),
        ),
    )
    assert prompt_view.default_words(evil) == "cf"


# ---------------------------------------------------------------- in a browser


def tried(browser: Any, words: str) -> None:
    press(browser, "try-go")
    shows(browser, "looked-at", words)


def write(browser: Any, element_id: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box = browser.find_element("css selector", f"#{element_id} textarea, #{element_id} input")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    box.send_keys(text)


def test_from_a_verdict_to_a_closer_look(served: RunningSpace, open_browser: Open, artifacts: Path | None) -> None:
    browser = open_browser()
    browser.get(f"{served.url}?model={BACKDOORED}")
    shows(browser, "verdict", "Backdoor detected")
    press(browser, "scan")
    shows(browser, "status", "Scanning")
    assert not browser.find_elements("id", "try-go"), "there is nothing to try while the scan runs"
    until(
        lambda: not browser.find_elements("id", "cancel") and "Backdoor detected" in part(browser, "verdict").text,
        "the new result",
    )
    began = time.monotonic()
    tried(browser, "taken over")
    assert time.monotonic() - began < QUICK_S
    said = part(browser, "looked-at").text
    for words in ("% left", "What the prompt says", "Which tokens are alike", "Where the encoder looks", BACKDOORED):
        assert words in said
    assert len(browser.find_elements("css selector", "#looked-at .heat svg")) == 3
    picture(browser, artifacts, "try-detected")
    write(browser, "try-added", "umbrella")
    tried(browser, "Nothing unusual")
    write(browser, "try-prompt", EVIL)
    tried(browser, "<script>")
    assert not browser.find_elements("css selector", "#looked-at img, #looked-at script")
    write(browser, "try-prompt", "word " * 90)
    tried(browser, "there is room for")
    assert complaints(browser) == []


def test_a_clean_model_with_words_of_ones_own_in_the_dark(
    served: RunningSpace, open_browser: Open, artifacts: Path | None
) -> None:
    browser = open_browser()
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.get(f"{served.url}?model={FINETUNED}&__theme=dark")
    shows(browser, "verdict", "No backdoor found")
    until(
        lambda: browser.find_element("css selector", "#try-added textarea, #try-added input").get_attribute("value"),
        "a word to begin with",
    )
    tried(browser, "Nothing unusual")
    picture(browser, artifacts, "try-clean-dark")
    write(browser, "try-added", " ")
    tried(browser, "say what to add")
    ask(browser, BASE)
    shows(browser, "facts", BASE)
    until(lambda: not any(found.text for found in browser.find_elements("id", "looked-at")), "the old answer gone")
    assert complaints(browser) == []


def test_a_long_prompt_on_a_narrow_screen(served: RunningSpace, open_browser: Open, artifacts: Path | None) -> None:
    browser = open_browser(390, 844)
    browser.get(f"{served.url}?model={BACKDOORED}")
    shows(browser, "verdict", "Backdoor detected")
    tried(browser, "% left")
    picture(browser, artifacts, "try-narrow")
    write(
        browser,
        "try-prompt",
        "an old fisherman and a young girl waiting on a busy street next to a red bus under a stormy sky, watercolor"
        " sketch",
    )
    tried(browser, "watercolor")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, (
        "nothing sticks out of the page"
    )
    picture(browser, artifacts, "try-narrow-long")
    assert complaints(browser) == []
