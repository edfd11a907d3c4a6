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
from amdet_hub.records import Monitor, ScanReport
from amdet_hub.scanner import EncoderView, Probe
from amdet_hub.scanner.nearest_texts import NearText
from amdet_hub.testing import LocalHub
from amdet_hub.web import heat_maps, prompt_view
from amdet_hub.web.demo import copy_examples
from amdet_hub.web.error_messages import code_of
from amdet_hub.web.job_queue import Job, JobQueue, QueueRefused
from amdet_hub.web.service import Lookup, PromptTrial, ScanService
from tests.web.browsing import ask, complaints, part, picture, press, says, shows, until

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

Open = Callable[..., Any]

PATIENCE_S = 60.0
QUICK_S = 8.0
EVIL = "<script>alert(1)</script>\u202e'\"><img src=x onerror=alert(1)>"
PROMPT = "a brown dog sitting in a green field"


def earlier(service: ScanService, name: str) -> tuple[Lookup, ScanReport]:
    """A demonstration model as looked up, with the report that is shipped."""
    copy_examples(service.settings)
    found = service.look_up(name, "quick")
    assert found.earlier is not None, "the shipped examples are old: run python -m amdet_hub.web.make_examples"
    return found, found.earlier


def look(service: ScanService, name: str, **changes: Any) -> Job[Probe]:
    """A trial, finished."""
    trial = replace(PromptTrial(PROMPT, None, "start"), **changes)
    task = service.inspect_prompt(*earlier(service, name), trial, "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    return task


# ---------------------------------------------------------------- what the service does


def test_the_trigger_moves_the_prompt_and_the_second_look_is_quick(service: ScanService) -> None:
    began = time.monotonic()
    first = look(service, BACKDOORED)
    assert time.monotonic() - began < QUICK_S
    assert first.result is not None
    assert first.result.reference is not None
    assert prompt_view.share_left(first.result.suspect) < prompt_view.CHANGES
    assert prompt_view.share_left(first.result.reference) > prompt_view.STAYS
    again = look(service, BACKDOORED, place="end")
    assert service._pairs is not None
    assert (again.state, service._pairs.n_loaded) == ("done", 1)


def test_a_copy_is_read_under_its_own_name(service: ScanService, hub_and_settings: tuple[Any, LocalHub]) -> None:
    """The result is answered from the original's; what is loaded is the repository that the visitor looked up."""
    _, hub = hub_and_settings
    files = {p.name: p.read_bytes() for p in (WEIGHTS / "backdoored").iterdir() if p.name not in NOT_SERVED}
    hub.add_model("somebody/copy", files)
    found, report = earlier(service, "somebody/copy")
    assert report.results[0].encoder.repo_id == "somebody/copy"
    task = service.inspect_prompt(found, report, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert task.result is not None
    with pytest.raises(ConfigError):
        service.inspect_prompt(found, report, PromptTrial(PROMPT, None, "start", encoder=1), "visitor")


def test_weights_that_are_not_those_of_the_report_are_refused(service: ScanService) -> None:
    found, report = earlier(service, BACKDOORED)
    (result,) = report.results
    other = replace(report, outcomes=(replace(result, tower_digest="0" * 64),))
    task = service.inspect_prompt(found, other, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert (task.state, task.result) == ("failed", None)
    assert code_of(task.error or KeyError()) == "bad-repository"


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_towers_that_not_everybody_may_read_are_not_kept(
    service: ScanService, hub_and_settings: tuple[Any, LocalHub], kind: str
) -> None:
    hub, owner = hub_and_settings[1], f"{kind}-author"
    hub.add_user(owner, token=f"hf_{kind}_author")
    files = {p.name: p.read_bytes() for p in (WEIGHTS / "backdoored").iterdir() if p.name not in NOT_SERVED}
    hub.add_model(f"{owner}/hidden", files, private=kind == "private", gated=kind == "gated")
    hidden = service.look_up(f"{owner}/hidden", "quick", token=f"hf_{kind}_author")
    report = hidden.scanner.cached(hidden.target) or earlier_of(service, hidden)
    task = service.inspect_prompt(hidden, report, PromptTrial(PROMPT, None, "start"), "visitor")
    assert service.jobs.wait(task, PATIENCE_S)
    assert (task.error, task.state) == (None, "done")
    assert service._pairs is None or service._pairs.n_loaded == 0


def earlier_of(service: ScanService, hidden: Lookup) -> ScanReport:
    """The report of a hidden copy of a demonstration model, without scanning it."""
    copy_examples(service.settings)
    report = hidden.scanner.cached(hidden.target)
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("trial", "setting"),
    [
        (PromptTrial(" ", None, "start"), "prompt"),
        (PromptTrial("x" * 501, None, "start"), "prompt"),
        (PromptTrial(PROMPT, "y" * 501, "start"), "added"),
        (PromptTrial(PROMPT, None, "start", encoder=-1), "encoder"),
    ],
)
def test_what_cannot_be_read_never_waits(service: ScanService, trial: PromptTrial, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}:"):
        service.inspect_prompt(*earlier(service, BACKDOORED), trial, "visitor")


def test_a_benign_model_needs_words(service: ScanService) -> None:
    assert look(service, FINETUNED, added="cf").result is not None
    task = look(service, FINETUNED)
    assert code_of(task.error or KeyError()) == "config-error"


def test_trials_wait_in_the_same_line_and_count_for_the_hour() -> None:
    gate, started = threading.Event(), threading.Event()

    def slow(monitor: Monitor) -> int:
        started.set()
        while not gate.wait(0.01):
            monitor.progress("look", 0, 1)
        return 7

    jobs = JobQueue(size=1, per_owner=2, per_owner_hour=1)
    first = jobs.submit(Job("a", slow, share=0.5))
    assert started.wait(PATIENCE_S)
    second = jobs.submit(Job("a", slow, share=0.5))
    with pytest.raises(QueueRefused, match="under way"):
        jobs.submit(Job("a", slow, share=0.1))
    with pytest.raises(QueueRefused, match="full"):
        jobs.submit(Job("b", slow))
    jobs.cancel(first)
    assert jobs.wait(first, PATIENCE_S)
    gate.set()
    assert jobs.wait(second, PATIENCE_S)
    assert (first.state, type(first.error), second.result) == ("cancelled", Interrupted, 7)
    with pytest.raises(QueueRefused, match="within an hour"):
        jobs.submit(Job("a", slow, share=0.1))
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
    tags = Tags(prompt_view.prompt_answer(probe, "<code>x</code>"))
    assert not tags.tags & {"script", "img", "a", "iframe"}
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert "\u202e" not in prompt_view.prompt_answer(probe, "x")
    assert "&lt;script&gt;" in prompt_view.prompt_answer(probe, "x")


@pytest.mark.parametrize(
    ("suspect", "reference", "code"),
    [
        (0.1, 0.95, "taken-over"),
        (0.95, 0.95, "same-in-both"),
        (0.1, 0.2, "same-in-both"),
        (0.5, 0.95, "differs"),
        (0.1, None, "taken-over"),
        (0.95, None, "not-compared"),
    ],
)
def test_each_outcome_has_its_code(suspect: float, reference: float | None, code: str) -> None:
    shown = prompt_view.prompt_answer(made(suspect, reference), "x")
    assert f"data-code='{code}'" in shown
    assert ("class='reference'" in shown) == (reference is not None)


def test_maps_of_any_length_stay_small() -> None:
    pieces = tuple(f"word{i}</w>" for i in range(77))
    shown = prompt_view.prompt_answer(made(0.1, 0.9, pieces), "x")
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
    scale = heat_maps.color_scale(((-0.5, 1.0),))
    assert [heat_maps.level(scale, v) for v in (-1.0, -0.5, 0.25, 1.0)] == [0, 0, 10, 20]
    assert heat_maps.level(heat_maps.color_scale(((1.0,),)), 1.0) == 0, "no span, no division by it"


def test_what_is_added_at_first(service: ScanService) -> None:
    _, bad = earlier(service, BACKDOORED)
    _, good = earlier(service, FINETUNED)
    assert prompt_view.default_added(bad) == ""
    assert prompt_view.default_added(good).isalpha()
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
    assert prompt_view.default_added(evil) == "cf"


# ---------------------------------------------------------------- in a browser


def tried(browser: Any, *codes: str) -> None:
    press(browser, "try-go")
    says(browser, "looked-at", *codes)


def write(browser: Any, element_id: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box = browser.find_element("css selector", f"#{element_id} textarea, #{element_id} input")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    box.send_keys(text)


def test_from_a_verdict_to_a_closer_look(served: RunningSpace, open_browser: Open, artifacts: Path | None) -> None:
    browser = open_browser()
    browser.get(f"{served.url}?model={BACKDOORED}")
    says(browser, "verdict", "trigger-confirmed")
    press(browser, "scan")
    says(browser, "status", "running")
    assert not browser.find_elements("id", "try-go"), "there is nothing to try while the scan runs"
    until(lambda: not browser.find_elements("id", "cancel"), "the end of the scan")
    says(browser, "verdict", "trigger-confirmed")
    began = time.monotonic()
    tried(browser, "taken-over")
    assert time.monotonic() - began < QUICK_S
    assert BACKDOORED in part(browser, "looked-at").text
    assert len(browser.find_elements("css selector", "#looked-at .left")) == 2
    assert len(browser.find_elements("css selector", "#looked-at .heat svg")) == 3
    picture(browser, artifacts, "try-detected")
    write(browser, "try-added", "umbrella")
    tried(browser, "same-in-both")
    write(browser, "try-prompt", EVIL)
    press(browser, "try-go")
    shows(browser, "looked-at", "<script>")
    assert not browser.find_elements("css selector", "#looked-at img, #looked-at script")
    write(browser, "try-prompt", "word " * 90)
    tried(browser, "config-error")
    assert complaints(browser) == []


def test_a_clean_model_with_words_of_ones_own_in_the_dark(
    served: RunningSpace, open_browser: Open, artifacts: Path | None
) -> None:
    browser = open_browser()
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.get(f"{served.url}?model={FINETUNED}&__theme=dark")
    says(browser, "verdict", "no-trigger-found", "identical-to-reference")
    until(
        lambda: browser.find_element("css selector", "#try-added textarea, #try-added input").get_attribute("value"),
        "a word to begin with",
    )
    tried(browser, "same-in-both")
    picture(browser, artifacts, "try-clean-dark")
    write(browser, "try-added", " ")
    tried(browser, "config-error")
    ask(browser, BASE)
    shows(browser, "facts", BASE)
    until(lambda: not any(found.text for found in browser.find_elements("id", "looked-at")), "the old answer gone")
    assert complaints(browser) == []


def test_a_long_prompt_on_a_narrow_screen(served: RunningSpace, open_browser: Open, artifacts: Path | None) -> None:
    browser = open_browser(390, 844)
    browser.get(f"{served.url}?model={BACKDOORED}")
    says(browser, "verdict", "trigger-confirmed")
    tried(browser, "taken-over", "same-in-both", "differs")
    picture(browser, artifacts, "try-narrow")
    write(
        browser,
        "try-prompt",
        "an old fisherman and a young girl waiting on a busy street next to a red bus under a stormy sky, watercolor"
        " sketch",
    )
    press(browser, "try-go")
    shows(browser, "looked-at", "watercolor")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, (
        "nothing sticks out of the page"
    )
    picture(browser, artifacts, "try-narrow-long")
    assert complaints(browser) == []
