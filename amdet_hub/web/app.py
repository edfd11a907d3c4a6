"""Start the Space: `python space/app.py` on the Hub, `amdet-hub space` on a machine of one's own.

Thin: limits, page, webhook, server.
"""

import asyncio
import importlib
import importlib.util
import os
import socket
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when the clients are imported. No scan may act with the token that this machine or Space holds, and no usage is
# reported.
os.environ.update(
    HF_HUB_DISABLE_IMPLICIT_TOKEN="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DISABLE_SAFETENSORS_CONVERSION="1",
    GRADIO_ANALYTICS_ENABLED="0",
    HF_HUB_DISABLE_XET=os.environ.get("HF_HUB_DISABLE_XET", "1"),
)

if os.environ.get("SPACES_ZERO_GPU"):
    importlib.import_module("spaces")  # before gradio and torch, or it refuses

import gradio as gr
from gradio.themes.utils import colors

from amdet_hub.web.pages import Page
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import SpaceSettings
from amdet_hub.web.webhook import add_webhook
from amdet_hub.web.zerogpu import borrow_gpu, on_zerogpu

STYLE = Path(__file__).with_name("style.css")

# Visitors that can be followed at once: each open scan occupies a thread while it waits for news.
THREADS = 80


@dataclass
class RunningSpace:
    """A served page; `close` it at the end."""

    url: str
    service: ScanService
    page: gr.Blocks

    def serve_until_interrupted(self) -> None:
        """Serve until Ctrl-C, then close."""
        try:
            self.page.block_thread()
        finally:
            self.close()

    def close(self) -> None:
        """Hang up and stop the worker."""
        self.service.close()
        self.page.close(verbose=False)


def serve(settings: SpaceSettings, *, host: str | None = None, port: int | None = None) -> RunningSpace:
    """Serve the page. `port` None takes a free one from 7860 on, 0 any free one.

    Not to be called where an event loop runs.
    """
    return asyncio.run(_serve(settings, host, port))


async def _serve(settings: SpaceSettings, host: str | None, port: int | None) -> RunningSpace:
    """`serve` where a loop runs: without one Gradio opens a loop for every app that it makes, and closes none."""
    service = ScanService(settings, gpu=borrow_gpu(sys.modules["spaces"]) if on_zerogpu() else None)
    page = Page(service).build()
    page.queue(default_concurrency_limit=20, max_size=200)
    with redirect_stdout(sys.stderr):  # where Gradio says that it serves tools, even when it is told to be quiet
        app, url, _ = page.launch(
            server_name=host,
            server_port=_free_port(host) if port == 0 else port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            max_threads=THREADS,
            max_file_size=1,
            allowed_paths=[str(settings.data_dir / "files")],
            show_error=True,
            mcp_server=settings.mcp_server and importlib.util.find_spec("mcp") is not None,
            theme=_theme(),
            css=STYLE.read_text(encoding="utf-8"),
            run_history=False,
            footer_links=["api", "settings"],
        )
    add_webhook(app, service)
    return RunningSpace(url, service, page)


def _theme() -> Any:
    """Gradio's own, without fonts from elsewhere, and with buttons dark enough for the white words on them."""
    button = {
        "button_primary_background_fill": "*primary_700",
        "button_primary_background_fill_hover": "*primary_800",
        "button_cancel_background_fill": colors.red.c700,
        "button_cancel_background_fill_hover": colors.red.c800,
    }
    return gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(**button, **{f"{name}_dark": colour for name, colour in button.items()})


def _free_port(host: str | None) -> int:
    """A port on which no server listens; Gradio itself only looks between 7860 and 7959."""
    with socket.socket() as probe:
        probe.bind((host or "127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve with the settings of the environment until the process ends."""
    serve(SpaceSettings.from_environment()).serve_until_interrupted()
