"""From a result to a pull request: the exact diff first, sent on a second click, as the visitor.

Knows Gradio and who is signed in.

On a Space the visitor signs in with the Hub's OAuth, and the token stays in the visitor's session. On the
demonstration's own Hub there is a stand-in.
"""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from amdet_hub.errors import AmdetError
from amdet_hub.web import panels
from amdet_hub.web.markup import note, text
from amdet_hub.web.service import ScanService


class NotSignedIn(AmdetError):
    """A pull request is opened in somebody's name, and nobody is signed in."""


class PullRequestForm:
    """The part of the page that shows and sends a proposal."""

    def __init__(self, service: ScanService) -> None:
        self._service = service

    def build(self, visit: gr.State) -> None:
        """The accordion with its two buttons."""
        with gr.Accordion("Tell the owner: a pull request for the model card", open=False, elem_id="propose"):
            gr.Markdown(
                f"First you see exactly what would change. Nothing is sent before the second click. {self._who()}"
            )
            show = gr.Button("Show the diff", elem_id="diff")
            said = gr.HTML(elem_classes="panel", elem_id="proposal")
            send = gr.Button("Open the pull request", variant="primary", visible=False, elem_id="send")
        settings: dict[str, Any] = {"api_visibility": "private"}
        show.click(self._diff, visit, [said, send], **settings)
        send.click(self._send, visit, [said, send], **settings)

    def _who(self) -> str:
        if self._service.settings.on_hub:
            return "It is opened as you, so sign in first."
        name = self._service.settings.stand_in_name
        return (
            f"On this machine's Hub you are `{name}`."
            if name
            else "This needs a Space on the Hub, where you can sign in."
        )

    def reading_token(self, request: gr.Request) -> str | None:
        """The token to read gated models with: the visitor's own, never the Space's."""
        return _session_token(request) if self._service.settings.on_hub else None

    def _token(self, request: gr.Request) -> str:
        token = _session_token(request) if self._service.settings.on_hub else self._service.settings.stand_in_token
        if not token:
            raise NotSignedIn("nobody is signed in, and a pull request is opened in somebody's name")
        return token

    def _diff(self, visit: Any, request: gr.Request) -> tuple[str, Any]:
        try:
            diff = self._service.diff(_report(visit), self._token(request))
        except Exception as error:  # noqa: BLE001 every failure is a sentence on the page
            return panels.problem(error), gr.update(visible=False)
        if not diff:
            return note("plain", "Nothing would change", "<p>The card says this already.</p>", live=True), gr.update(
                visible=False
            )
        lines = "\n".join(text(line, limit=None) for line in diff.splitlines())
        body = f"<div class='wide' tabindex='0' role='region' aria-label='diff'><pre class='diff'>{lines}</pre></div>"
        return note("plain", "What the pull request would change", body, live=True), gr.update(visible=True)

    def _send(self, visit: Any, request: gr.Request) -> tuple[str, Any]:
        try:
            result = self._service.propose(_report(visit), self._token(request))
        except Exception as error:  # noqa: BLE001
            return panels.problem(error), gr.update(visible=False)
        number = f"#{result.number} " if result.number is not None else ""
        url = result.url or ""
        link = (
            f"<a href='{html.escape(url)}' rel='noopener' target='_blank'>{text(url)}</a>"
            if url.startswith(("https://", "http://"))
            else ""
        )
        return note("clean", f"Pull request {number}{result.action}", f"<p>{link}</p>", live=True), gr.update(
            visible=False
        )


def _report(visit: Any) -> Any:
    if visit.report is None:
        raise NotSignedIn("there is no result to propose; scan a model first")
    return visit.report


def _session_token(request: gr.Request) -> str | None:
    """The signed-in visitor's token, None when nobody is signed in or it has expired."""
    import time

    session = getattr(getattr(request, "request", request), "session", None)
    info = session.get("oauth_info") if session else None
    if not isinstance(info, dict) or float(info.get("expires_at") or 0) < time.time():
        return None
    token = info.get("access_token")
    return token if isinstance(token, str) and token else None
