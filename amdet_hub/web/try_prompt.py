"""The part of the page where a visitor tries a prompt on a scanned encoder.

Knows Gradio; what it shows is made by `prompt_view`, the work is the queue's. It sees the report that the visitor's
own session holds, and nothing else.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import gradio as gr

from amdet_hub.errors import ConfigError
from amdet_hub.records import ScanReport
from amdet_hub.report import wording
from amdet_hub.report.escape import visible
from amdet_hub.web import panels, prompt_view
from amdet_hub.web.markup import code
from amdet_hub.web.service import PromptTrial, ScanService
from amdet_hub.web.visitor import owner_of

_PROMPT = "a brown dog sitting in a green field"
_PLACES = [("before the prompt", "start"), ("in its middle", "middle"), ("behind it", "end")]


class TryPrompt:
    """The accordion and its events; made where the page's layout is being built.

    Args:
        service: does the work.
        state: the state of the page.
    """

    def __init__(self, service: ScanService, state: gr.State) -> None:
        self._service = service
        with gr.Accordion("Look closer: try a prompt", visible=False, elem_id="try") as self._accordion:
            self._invitation = gr.HTML(elem_classes="panel", elem_id="try-words")
            with gr.Row(equal_height=False):
                prompt = gr.Textbox(_PROMPT, label="Your prompt", max_lines=2, scale=3, elem_id="try-prompt")
                self._added = gr.Textbox(label="Added text", max_lines=1, scale=2, elem_id="try-added")
            with gr.Row(equal_height=False):
                place = gr.Radio(_PLACES, value="start", label="Where", scale=3, elem_id="try-place")
                self._encoder = gr.Dropdown(
                    [("text encoder", 0)], value=0, label="Encoder", visible=False, scale=2, elem_id="try-encoder"
                )
            go = gr.Button("Try it", variant="primary", elem_id="try-go")
            self._answer = gr.HTML(elem_classes="panel", elem_id="looked-at")
        gr.on(
            [go.click, prompt.submit, self._added.submit],
            self._inspect,
            inputs=[state, prompt, self._added, place, self._encoder],
            outputs=self._answer,
            api_visibility="private",
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="once",
        )
        # The components that `shown` has values for.
        self.outputs = [self._accordion, self._invitation, self._added, self._encoder, self._answer]

    def shown(self, report: ScanReport) -> dict[Any, Any]:
        """The accordion for a new report."""
        if not report.results:
            return {self._accordion: gr.update(visible=False)}
        names = [(visible(result.encoder.label, limit=80), number) for number, result in enumerate(report.results)]
        triggered = [number for number, result in enumerate(report.results) if result.named_triggers]
        return {
            self._accordion: gr.update(visible=True),
            self._invitation: prompt_view.invitation(report),
            self._added: gr.update(
                value=prompt_view.default_added(report),
                label="Something else to add" if triggered else "Your word or phrase to add",
                placeholder="left empty: the trigger that was found" if triggered else "",
            ),
            self._encoder: gr.update(choices=names, value=[*triggered, 0][0], visible=len(names) > 1),
            self._answer: "",
        }

    def _inspect(
        self, state: Any, prompt: str, added: str | None, place: Any, encoder: Any, request: gr.Request
    ) -> Iterator[str]:
        try:
            if state.lookup is None or state.report is None:
                raise ConfigError("result", "there is none to look at; scan a model first")
            chosen = encoder if type(encoder) is int else 0
            trial = PromptTrial(prompt, added if added and added.strip() else None, place, chosen)
            job = self._service.inspect_prompt(state.lookup, state.report, trial, owner_of(request))
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            yield panels.problem(error)
            return
        for html, _ in groupby(prompt_view.working(job, place) for place in self._service.jobs.follow(job)):
            yield html
        if job.error is not None:
            yield panels.problem(job.error)
            return
        snapshot = state.lookup.snapshot
        model = f"{code(snapshot.repo_id)} at commit {code(wording.short(snapshot.commit_sha))}"
        yield prompt_view.prompt_answer(job.future.result(), model)
