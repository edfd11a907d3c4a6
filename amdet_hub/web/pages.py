"""Layout and events of the page.

Knows Gradio; everything it shows is made by `panels`, everything it does by `service`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gradio as gr

from amdet_hub.records import ScanReport
from amdet_hub.web import panels
from amdet_hub.web.api import add_endpoints
from amdet_hub.web.board import BoardRow
from amdet_hub.web.downloads import command_line, formats, workflow, write_files
from amdet_hub.web.job_queue import Job
from amdet_hub.web.pull_requests import PullRequestForm
from amdet_hub.web.report_plots import landscape_figure
from amdet_hub.web.service import Lookup, ScanService
from amdet_hub.web.settings import PRESETS
from amdet_hub.web.try_prompt import TryPrompt
from amdet_hub.web.visitor import owner_of

TITLE = "Was this text encoder backdoored?"
_INTRO = (
    f"# {TITLE}\nSomebody fine-tuned a CLIP-family model and put it on the Hub. amdet-hub scans the weights of its"
    " text encoder and answers with a verdict, the evidence for it and, where it finds one, the trigger. It runs no"
    " code of the repository."
)
_ABOUT = (
    "## Use it from code\nEvery button is a named endpoint:\n\n```python\nfrom gradio_client import Client\n\nclient ="
    ' Client("owner/space")\nplan = client.predict("org/model", "quick", api_name="/resolve")\nreport ='
    ' client.predict("org/model", "quick", api_name="/scan")\n```\n\nEvery answer is text, JSON where it is data. The'
    " same endpoints are tools for agents (MCP) at `/gradio_api/mcp/`.\n\n## What happens to what you paste\nOnly"
    " public models are scanned, unless you sign in. Results of public models are kept and shown to whoever asks about"
    " the same weights; results of gated and private ones are kept for you alone, until you close the page."
)
_POLL_S, _PATIENCE_S = 0.4, 6 * 3600.0
_HEAD = ("Model", "Verdict", "Preset", "Scanned", "Commit")


@dataclass
class PageState:
    """What one open page holds. Lives in Gradio's session state and dies with it."""

    found: Lookup | None = None
    report: ScanReport | None = None
    job: str = field(default="")


class Page:
    """The page of one service."""

    def __init__(self, service: ScanService) -> None:
        self._service = service
        self._proposals = PullRequestForm(service)
        self._try = TryPrompt(service, self._proposals.reading_token)

    def build(self) -> gr.Blocks:
        """The whole page with its events and endpoints."""
        with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
            gr.Markdown(_INTRO)
            if self._service.settings.on_hub:
                gr.LoginButton()
            with gr.Tabs():
                with gr.Tab("Scan"):
                    self._scan_tab(page)
                with gr.Tab("Board") as board_tab:
                    gr.Markdown(
                        "Recent scans of public models, the newest first. The dots at the head of a column sort and"
                        " filter by it."
                    )
                    empty = gr.HTML(panels.no_scans(), elem_classes="panel", elem_id="no-scans")
                    board = gr.Dataframe(
                        headers=list(_HEAD),
                        datatype="str",
                        interactive=False,
                        wrap=True,
                        visible=False,
                        elem_id="board",
                    )
                    board_tab.select(
                        self._board, None, [empty, board], api_visibility="private", show_progress="hidden"
                    )
                with gr.Tab("For code"):
                    gr.Markdown(_ABOUT)
            add_endpoints(self._service)
        return page

    def _scan_tab(self, page: gr.Blocks) -> None:
        settings = self._service.settings
        visit = gr.State(PageState())
        with gr.Row(equal_height=False):
            target = gr.Textbox(
                label="Model id or address", placeholder="org/model", max_lines=1, scale=4, elem_id="target"
            )
            preset = gr.Radio(list(PRESETS), value=PRESETS[0], label="Preset", scale=2, elem_id="preset")
        with gr.Row():
            look = gr.Button("Look up", variant="primary", elem_id="look")
            scan = gr.Button("Scan", interactive=False, elem_id="scan")
            cancel = gr.Button("Cancel", visible=False, variant="stop", elem_id="cancel")
        with gr.Row():
            examples = [gr.Button(f"Try {one}", size="sm", elem_classes="example") for one in settings.examples]
        facts = gr.HTML(panels.welcome(settings.examples), elem_classes="panel", elem_id="facts")
        status = gr.HTML(visible=False, elem_classes="panel", elem_id="status")
        with gr.Column(visible=False, elem_id="result") as result:
            banner = gr.HTML(elem_classes="panel", elem_id="verdict")
            with gr.Accordion(
                "Loss landscape around what was found", open=True, visible=False, elem_id="landscape"
            ) as bowl:
                surface = gr.Plot(show_label=False)
            trying = self._try.build(visit)
            with gr.Accordion("Take it away", open=True):
                with gr.Row():
                    files = [gr.DownloadButton(f"Download {form}", elem_id=f"download-{form}") for form in formats()]
                command = gr.Code(label="The same scan on your machine", language="shell", interactive=False, lines=1)
                action = gr.Code(label="Every week, in a GitHub workflow", language="yaml", interactive=False)
            self._proposals.build(visit)
        shown = [result, banner, bowl, surface, *files, command, action, *trying]
        found_outputs = [visit, facts, scan, status, *shown]
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        looking = {"inputs": [target, preset, visit], "outputs": found_outputs, **quiet}
        gr.on([look.click, target.submit], self._look_up, **looking)
        preset.change(self._look_up_again, **looking)
        for name, button in zip(settings.examples, examples, strict=True):
            button.click(partial(str, name), None, target, **quiet).then(self._look_up, **looking)
        page.load(self._arrive, [preset, visit], [target, *found_outputs], **quiet)
        running = {"concurrency_limit": None, "trigger_mode": "once", **quiet}
        scan.click(self._scan, visit, [visit, status, scan, cancel, *shown], **running)
        cancel.click(self._cancel, visit, status, **quiet)

    def _look_up(self, text: str, preset: str, visit: PageState, request: gr.Request) -> tuple[Any, ...]:
        try:
            found = self._service.look_up(text, preset, token=self._proposals.reading_token(request))
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            return (
                PageState(),
                panels.problem(error),
                gr.update(interactive=False, variant="secondary"),
                gr.update(visible=False),
                *self._hidden(),
            )
        visit = PageState(found, found.earlier)
        shown = self._shown(found.earlier) if found.earlier is not None else self._hidden()
        return (
            visit,
            panels.looked_up(found),
            gr.update(interactive=True, variant="primary"),
            gr.update(visible=False),
            *shown,
        )

    def _look_up_again(self, text: str, preset: str, visit: PageState, request: gr.Request) -> tuple[Any, ...]:
        """Another preset has another result and another time."""
        if visit.found is None or visit.job:
            return (visit, *[gr.skip() for _ in range(3 + len(self._hidden()))])
        return self._look_up(text, preset, visit, request)

    def _arrive(self, preset: str, visit: PageState, request: gr.Request) -> tuple[Any, ...]:
        """A visitor who came with `?model=org/model` sees it looked up."""
        asked = str(dict(request.query_params).get("model") or "")
        if not asked:
            return gr.skip(), visit, *[gr.skip() for _ in range(3 + len(self._hidden()))]
        return asked, *self._look_up(asked, preset, visit, request)

    def _scan(self, visit: PageState, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Queue the scan and follow it to its end."""
        skip = [gr.skip() for _ in self._hidden()]
        if visit.found is None:
            return
        try:
            job = self._service.start(visit.found, owner_of(request), token=self._proposals.reading_token(request))
        except Exception as error:  # noqa: BLE001
            yield (
                visit,
                gr.update(value=panels.problem(error), visible=True),
                gr.update(interactive=True),
                gr.update(visible=False),
                *skip,
            )
            return
        visit = PageState(visit.found, None, job.id)
        yield visit, self._standing(job), gr.update(interactive=False), gr.update(visible=True), *self._hidden()
        said, deadline = "", time.monotonic() + _PATIENCE_S
        try:
            while not self._service.jobs.wait(job, _POLL_S) and time.monotonic() < deadline:
                standing = panels.waiting(job, self._service.jobs.place(job))
                if standing != said:
                    said = standing
                    yield visit, gr.update(value=standing, visible=True), gr.skip(), gr.skip(), *skip
        finally:
            if not job.finished:  # the page was closed: nobody waits for this any more
                self._service.jobs.cancel(job)
        visit = PageState(visit.found, job.report)
        if job.report is None:
            problem = panels.problem(job.error or TimeoutError())
            yield (
                visit,
                gr.update(value=problem, visible=True),
                gr.update(interactive=True),
                gr.update(visible=False),
                *skip,
            )
            return
        done = gr.update(visible=False)
        yield visit, done, gr.update(interactive=True), gr.update(visible=False), *self._shown(job.report)

    def _standing(self, job: Job) -> Any:
        return gr.update(value=panels.waiting(job, self._service.jobs.place(job)), visible=True)

    def _cancel(self, visit: PageState) -> Any:
        job = self._service.jobs.get(visit.job)
        if job is None or job.finished:
            return gr.skip()
        self._service.jobs.cancel(job)
        return gr.update(value=panels.stopping(), visible=True)

    def _shown(self, report: ScanReport) -> list[Any]:
        figure = landscape_figure(report)
        paths = write_files(report, self._service.settings.data_dir / "files")
        return [
            gr.update(visible=True),
            panels.verdict(report),
            gr.update(visible=figure is not None),
            figure,
            *paths,
            command_line(report),
            workflow(report),
            *self._try.shown(report),
        ]

    def _hidden(self) -> list[Any]:
        return [
            gr.update(visible=False),
            "",
            gr.update(visible=False),
            None,
            *[None for _ in formats()],
            "",
            "",
            *self._try.hidden(),
        ]

    def _board(self) -> tuple[Any, Any]:
        rows: list[BoardRow] = self._service.board.rows()
        return gr.update(visible=not rows), gr.update(value=panels.board(rows), visible=bool(rows))
