"""The part of the page where a visitor tries a prompt on what was scanned.

Knows Gradio; what it shows is made by `close_up`, the work is the queue's.

It sees the report that the visitor's own session holds, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from amdet_hub.errors import ConfigError, Interrupted
from amdet_hub.records import ScanReport
from amdet_hub.report import wording
from amdet_hub.scanner import Probe
from amdet_hub.web import panels, prompt_view
from amdet_hub.web.job_queue import Task
from amdet_hub.web.markup import code
from amdet_hub.web.service import PromptTrial, ScanService
from amdet_hub.web.visitor import owner_of

PROMPT = "a brown dog sitting in a green field"
_PLACES = [("before the prompt", "start"), ("in its middle", "middle"), ("behind it", "end")]
_POLL_S, _PATIENCE_S = 0.3, 1800.0


class TryPrompt:
    """The accordion, its events, and what it shows of a new report.

    Args:
        service: does the work.
        reading_token: the visitor's own token, for what only they may read.
    """

    def __init__(self, service: ScanService, reading_token: Callable[[gr.Request], str | None]) -> None:
        self._service, self._reading_token = service, reading_token

    def build(self, visit: gr.State) -> list[Any]:
        """Add the accordion; returns the components that `shown` and `hidden` have values for."""
        with gr.Accordion("Look closer: try a prompt", open=True, visible=False, elem_id="try") as accordion:
            words = gr.HTML(elem_classes="panel", elem_id="try-words")
            with gr.Row(equal_height=False):
                prompt = gr.Textbox(PROMPT, label="Your prompt", max_lines=2, scale=3, elem_id="try-prompt")
                added = gr.Textbox(label="What is added", max_lines=1, scale=2, elem_id="try-added")
            with gr.Row(equal_height=False):
                place = gr.Radio(_PLACES, value="start", label="Where", scale=3, elem_id="try-place")
                encoder = gr.Dropdown(
                    [("text encoder", 0)], value=0, label="Encoder", visible=False, scale=2, elem_id="try-encoder"
                )
            go = gr.Button("Try it", variant="primary", elem_id="try-go")
            said = gr.HTML(elem_classes="panel", elem_id="looked-at")
        settings: dict[str, Any] = {
            "inputs": [visit, prompt, added, place, encoder],
            "outputs": said,
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
            "trigger_mode": "once",
        }
        gr.on([go.click, prompt.submit, added.submit], self._look, **settings)
        return [accordion, words, added, encoder, said]

    def shown(self, report: ScanReport) -> list[Any]:
        """The accordion for a new report."""
        if not report.results:
            return self.hidden()
        names = prompt_view.encoder_names(report)
        triggered = any(result.triggers for result in report.results)
        return [
            gr.update(visible=True),
            prompt_view.invitation(report),
            gr.update(
                value=prompt_view.default_words(report),
                label="Something else to add" if triggered else "A word or phrase of your own to add",
                placeholder="left empty: the trigger that was found" if triggered else "",
            ),
            gr.update(choices=names, value=prompt_view.default_encoder(report), visible=len(names) > 1),
            "",
        ]

    def hidden(self) -> list[Any]:
        """Nothing to try."""
        return [gr.update(visible=False), "", "", gr.skip(), ""]

    def _look(
        self, visit: Any, prompt: str, added: str, place: Any, encoder: Any, request: gr.Request
    ) -> Iterator[str]:
        """Queue the look and follow it to its end."""
        try:
            if visit.found is None or visit.report is None:
                raise ConfigError("result", "there is none to look at; scan a model first")
            trial = PromptTrial(
                str(prompt),
                str(added) if str(added or "").strip() else None,
                place,
                encoder if type(encoder) is int else 0,
            )
            token = self._reading_token(request)
            task = self._service.look_closer(visit.found, visit.report, trial, owner_of(request), token=token)
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            yield panels.problem(error)
            return
        try:
            yield from self._followed(task)
        finally:
            if not task.finished:  # the page was closed: nobody waits for this any more
                self._service.jobs.cancel(task)
        if task.result is None:
            yield panels.problem(task.error or Interrupted())
            return
        snapshot = visit.found.plan.snapshot
        yield prompt_view.looked_at(
            task.result, f"{code(snapshot.repo_id)} at commit {code(wording.short(snapshot.commit_sha))}"
        )

    def _followed(self, task: Task[Probe]) -> Iterator[str]:
        said, deadline = "", time.monotonic() + _PATIENCE_S
        while not self._service.jobs.wait(task, _POLL_S) and time.monotonic() < deadline:
            standing = prompt_view.working(task, self._service.jobs.place(task))
            if standing != said:
                said = standing
                yield standing
