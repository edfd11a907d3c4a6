"""From a result to a pull request: the exact diff first, sent on a second click, as the visitor.

On a Space the visitor signs in with the Hub's OAuth, and the token stays in the visitor's session. On the
demonstration's own Hub there is a stand-in.
"""

from typing import Any

import gradio as gr

from amdet_hub.errors import AmdetError, ConfigError
from amdet_hub.hub import HubSettings
from amdet_hub.model_card.publish import preview_card, push_card
from amdet_hub.web import panels
from amdet_hub.web.markup import note, text
from amdet_hub.web.service import ScanService
from amdet_hub.web.visitor import session_token


class NotSignedIn(AmdetError):
    """A pull request is opened in a visitor's name, and the visitor is not signed in."""


class PullRequestForm:
    """The part of the page that shows and sends a proposal; made where the page's layout is being built."""

    def __init__(self, service: ScanService, state: gr.State) -> None:
        self._settings = service.settings
        with gr.Accordion("Tell the owner: a pull request for the model card", open=False, elem_id="propose"):
            gr.Markdown(
                f"The first click shows exactly what would change; only the second one sends it. {self._identity()}"
            )
            show = gr.Button("Show the diff", elem_id="diff")
            answer = gr.HTML(elem_classes="panel", elem_id="proposal")
            send = gr.Button("Open the pull request", variant="primary", visible=False, elem_id="send")
        show.click(self._show_diff, state, [answer, send], api_visibility="private")
        send.click(self._send, state, [answer, send], api_visibility="private")

    def _identity(self) -> str:
        if self._settings.on_hub:
            return "It is opened as you, so sign in first."
        name = self._settings.stand_in_name
        return f"On this machine's Hub you are `{name}`." if name else "This needs a Space on the Hub, to sign in."

    def _visitor_hub(self, state: Any, request: gr.Request) -> HubSettings:
        if state.report is None:
            raise ConfigError("result", "there is none to propose; scan a model first")
        token = session_token(request) if self._settings.on_hub else self._settings.stand_in_token
        if not token:
            raise NotSignedIn("a pull request is opened in your name, and you are not signed in")
        return self._settings.hub(token)

    def _show_diff(self, state: Any, request: gr.Request) -> tuple[str, Any]:
        hidden = gr.update(visible=False)
        try:
            diff = preview_card(state.report, self._visitor_hub(state, request))
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            return panels.problem(error), hidden
        if not diff:
            return note(
                "plain", "Nothing would change", "<p>The card says this already.</p>", code="unchanged"
            ), hidden
        lines = "\n".join(text(line, limit=None) for line in diff.splitlines())
        return note(
            "plain",
            "What the pull request would change",
            f"<div class='wide' tabindex='0' role='region' aria-label='diff'><pre class='diff'>{lines}</pre></div>",
            code="diff",
        ), gr.update(visible=True)

    def _send(self, state: Any, request: gr.Request) -> tuple[str, Any]:
        try:
            result = push_card(state.report, self._visitor_hub(state, request))
        except Exception as error:  # noqa: BLE001
            return panels.problem(error), gr.update(visible=False)
        number = f"#{result.number} " if result.number is not None else ""
        url = text(result.url or "")
        link = (
            f"<a href='{url}' rel='noopener' target='_blank'>{url}</a>"
            if url.startswith(("https://", "http://"))
            else ""
        )
        answer = note("clean", f"Pull request {number}{result.action}", f"<p>{link}</p>", code=result.action)
        return answer, gr.update(visible=False)
