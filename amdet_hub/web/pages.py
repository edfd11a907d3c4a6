"""Layout and events of the page.

Knows Gradio; everything it shows is made by `panels`, everything it does by `service`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import gradio as gr

from amdet_hub.records import ScanReport
from amdet_hub.report import wording
from amdet_hub.web import panels
from amdet_hub.web.api import add_endpoints
from amdet_hub.web.downloads import SUFFIXES, workflow, write_files
from amdet_hub.web.pull_requests import PullRequestForm
from amdet_hub.web.report_plots import landscape_figure
from amdet_hub.web.service import Lookup, ScanService
from amdet_hub.web.settings import PRESETS
from amdet_hub.web.try_prompt import TryPrompt
from amdet_hub.web.visitor import owner_of, session_token

TITLE = "Was this text encoder backdoored?"
_INTRO = (
    f"# {TITLE}\namdet-hub scans the weights of the text encoder of a CLIP-family model on the Hub and answers with a"
    " verdict, its evidence and, where it finds one, the trigger. It runs no code of the repository."
)
_ABOUT = """\
## Use it from code
Every button is a named endpoint:

```python
from gradio_client import Client

client = Client("owner/space")
plan = client.predict("org/model", "quick", api_name="/resolve")
report = client.predict("org/model", "quick", api_name="/scan")
```

Every answer is text, JSON where it is data. The same endpoints are tools for agents (MCP) at `/gradio_api/mcp/`.

## Your data
Only public models are scanned, unless you sign in. Results of public models are stored and shown to every visitor who
asks about the same weights; results of gated and private ones are for you alone, until you close the page.
"""
_BOARD = "Recent scans of public models, the newest first. The dots at the head of a column sort and filter by it."
_HEAD = ("Model", "Verdict", "Preset", "Scanned", "Commit")
_QUIET = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class PageState:
    """The state of one open page. Lives in Gradio's session state and dies with it."""

    lookup: Lookup | None = None
    report: ScanReport | None = None
    job: str = ""


class Page:
    """The page of one service."""

    def __init__(self, service: ScanService) -> None:
        self._service = service

    def build(self) -> gr.Blocks:
        """The whole page with its events and endpoints."""
        with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
            gr.Markdown(_INTRO)
            if self._service.settings.on_hub:
                gr.LoginButton()
            with gr.Tabs():
                with gr.Tab("Scan"):
                    self._ask()
                    self._answer()
                    self._connect(page)
                with gr.Tab("Board") as tab:
                    gr.Markdown(_BOARD)
                    empty = gr.HTML(panels.no_scans(), elem_classes="panel", elem_id="no-scans")
                    board = gr.Dataframe(
                        headers=list(_HEAD),
                        datatype="str",
                        interactive=False,
                        wrap=True,
                        visible=False,
                        elem_id="board",
                    )
                    tab.select(self._list_scans, None, [empty, board], **_QUIET)
                with gr.Tab("For code"):
                    gr.Markdown(_ABOUT)
            add_endpoints(self._service)
        return page

    def _ask(self) -> None:
        self._state = gr.State(PageState())
        with gr.Row(equal_height=False):
            self._target = gr.Textbox(
                label="Model id or address", placeholder="org/model", max_lines=1, scale=4, elem_id="target"
            )
            self._preset = gr.Radio(list(PRESETS), value=PRESETS[0], label="Preset", scale=2, elem_id="preset")
        with gr.Row():
            self._look = gr.Button("Look up", variant="primary", elem_id="look")
            self._scan = gr.Button("Scan", interactive=False, elem_id="scan")
            self._cancel = gr.Button("Cancel", visible=False, variant="stop", elem_id="cancel")
        with gr.Row():
            self._examples = {
                name: gr.Button(f"Try {name}", size="sm", elem_classes="example")
                for name in self._service.settings.examples
            }

    def _answer(self) -> None:
        self._facts = gr.HTML(panels.welcome(self._service.settings.examples), elem_classes="panel", elem_id="facts")
        self._status = gr.HTML(visible=False, elem_classes="panel", elem_id="status")
        with gr.Column(visible=False, elem_id="result") as self._result:
            self._verdict = gr.HTML(elem_classes="panel", elem_id="verdict")
            with gr.Accordion(
                "Loss landscape around the best vector", open=True, visible=False, elem_id="landscape"
            ) as self._landscape:
                self._surface = gr.Plot(show_label=False)
            self._prompt = TryPrompt(self._service, self._state)
            with gr.Accordion("Take it away", open=True):
                with gr.Row():
                    self._files = [
                        gr.DownloadButton(f"Download {form}", elem_id=f"download-{form}") for form in SUFFIXES
                    ]
                self._command = gr.Code(
                    label="The same scan on your machine", language="shell", interactive=False, lines=1
                )
                self._action = gr.Code(label="Every week, in a GitHub workflow", language="yaml", interactive=False)
            PullRequestForm(self._service, self._state)

    def _connect(self, page: gr.Blocks) -> None:
        outputs = [
            self._state,
            self._facts,
            self._status,
            self._scan,
            self._cancel,
            self._result,
            self._verdict,
            self._landscape,
            self._surface,
            *self._files,
            self._command,
            self._action,
            self._target,
            *self._prompt.outputs,
        ]
        looking = {"inputs": [self._target, self._preset, self._state], "outputs": outputs, **_QUIET}
        gr.on([self._look.click, self._target.submit], self._look_up, **looking)
        self._preset.change(self._look_up_again, **looking)
        for name, button in self._examples.items():
            button.click(partial(str, name), None, self._target, **_QUIET).then(self._look_up, **looking)
        page.load(self._arrive, [self._preset, self._state], outputs, **_QUIET)
        self._scan.click(self._run_scan, self._state, outputs, concurrency_limit=None, trigger_mode="once", **_QUIET)
        self._cancel.click(self._cancel_scan, self._state, self._status, **_QUIET)

    def _look_up(self, text: str, preset: str, state: PageState, request: gr.Request) -> dict[Any, Any]:
        hidden = gr.update(visible=False)
        try:
            lookup = self._service.look_up(text, preset, token=session_token(request))
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            return {
                self._state: PageState(),
                self._facts: panels.problem(error),
                self._status: hidden,
                self._scan: gr.update(interactive=False, variant="secondary"),
                self._result: hidden,
            }
        return {
            self._state: PageState(lookup, lookup.earlier),
            self._facts: panels.looked_up(lookup),
            self._status: hidden,
            self._scan: gr.update(interactive=bool(lookup.target.pairs), variant="primary"),
            **(self._shown(lookup.earlier) if lookup.earlier is not None else {self._result: hidden}),
        }

    def _look_up_again(self, text: str, preset: str, state: PageState, request: gr.Request) -> dict[Any, Any]:
        """Another preset has another result and another time."""
        if state.lookup is None or state.job:
            return {self._state: state}
        return self._look_up(text, preset, state, request)

    def _arrive(self, preset: str, state: PageState, request: gr.Request) -> dict[Any, Any]:
        """A visitor who came with `?model=org/model` sees it looked up."""
        asked = str(dict(request.query_params).get("model") or "")
        if not asked:
            return {self._state: state}
        return {self._target: asked, **self._look_up(asked, preset, state, request)}

    def _run_scan(self, state: PageState, request: gr.Request) -> Iterator[dict[Any, Any]]:
        lookup = state.lookup
        if lookup is None or not lookup.target.pairs:
            return
        idle = {self._scan: gr.update(interactive=True), self._cancel: gr.update(visible=False)}
        try:
            job = self._service.start(lookup, owner_of(request), rescan=state.report is not None)
        except Exception as error:  # noqa: BLE001
            yield {self._status: gr.update(value=panels.problem(error), visible=True), **idle}
            return
        yield {
            self._state: PageState(lookup, None, job.id),
            self._status: gr.update(value=panels.waiting(job, self._service.jobs.place(job)), visible=True),
            self._scan: gr.update(interactive=False),
            self._cancel: gr.update(visible=True),
            self._result: gr.update(visible=False),
        }
        for html, _ in groupby(panels.waiting(job, place) for place in self._service.jobs.follow(job)):
            yield {self._status: gr.update(value=html, visible=True)}
        if job.error is not None:
            yield {
                self._state: PageState(lookup),
                self._status: gr.update(value=panels.problem(job.error), visible=True),
                **idle,
            }
        else:
            report = job.future.result()
            yield {
                self._state: PageState(lookup, report),
                self._status: gr.update(visible=False),
                **idle,
                **self._shown(report),
            }

    def _cancel_scan(self, state: PageState) -> Any:
        job = self._service.jobs.get(state.job)
        if job is None or job.finished:
            return gr.skip()
        self._service.jobs.cancel(job)
        return gr.update(value=panels.stopping(), visible=True)

    def _shown(self, report: ScanReport) -> dict[Any, Any]:
        figure = landscape_figure(report)
        paths = write_files(report, self._service.settings.data_dir / "files")
        return {
            self._result: gr.update(visible=True),
            self._verdict: panels.verdict(report),
            self._landscape: gr.update(visible=figure is not None),
            self._surface: figure,
            **dict(zip(self._files, paths, strict=True)),
            self._command: wording.reproduce_command(report),
            self._action: workflow(report),
            **self._prompt.shown(report),
        }

    def _list_scans(self) -> tuple[Any, Any]:
        rows = self._service.board.rows()
        return gr.update(visible=not rows), gr.update(value=panels.board(rows), visible=bool(rows))
