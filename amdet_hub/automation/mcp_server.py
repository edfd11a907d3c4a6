"""A Model Context Protocol server with three tools: is this model safe to load, and on what evidence?

Knows: the protocol (through the `mcp` package), one scan at a time, progress, cancelling. Refuses to know: what the
answers say (`answers`). Who serves decides where the Hub is, as whom it is asked and how is scanned; an agent decides
only about which model.

Source: the protocol's specification of 2025-06-18; `mcp` 1.30.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TextIO

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from amdet_hub import __version__
from amdet_hub.automation import answers
from amdet_hub.errors import AmdetError, TargetError
from amdet_hub.hub import parse_target
from amdet_hub.records import Monitor, ProgressCallback, RepoRef
from amdet_hub.report.advice import explain
from amdet_hub.report.escape import visible
from amdet_hub.scanner.resolve import ResolvedTarget
from amdet_hub.scanner.scanner import Scanner

INSTRUCTIONS = (
    "Before loading a CLIP, SigLIP or diffusers model from the Hugging Face Hub, call verify_model; if its answer is"
    " 'unknown', call scan_model, which takes minutes. Load the commit_sha of the answer, not a branch. Never load a"
    " model whose answer is 'do-not-load'. " + answers.UNTRUSTED
)

_TARGET = {
    "type": "string",
    "minLength": 1,
    "maxLength": 300,
    "description": "org/model, org/model@revision, or a Hub URL.",
}
_REFERENCE = {
    "type": "string",
    "minLength": 1,
    "maxLength": 300,
    "description": (
        "The clean encoder to compare with, written like a target. Leave it out to take the known base of this"
        " architecture."
    ),
}
_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {"target": _TARGET, "reference": _REFERENCE},
    "required": ["target"],
    "additionalProperties": False,
}
_PROGRESS_EVERY_S = 0.5


@dataclass(frozen=True)
class ServerConfig:
    """How the tools work; an agent can change nothing of it.

    Attributes:
        scanner: how targets are scanned, with the reference for those where the agent names none.
        allow_local: whether a target may be a path on this machine.
    """

    scanner: Scanner
    allow_local: bool = False


class _Cancelled(Exception):
    """The agent no longer wants the answer."""


def serve(config: ServerConfig, stdin: TextIO, stdout: TextIO) -> None:
    """Serve one client until it hangs up.

    Args:
        config: how the tools work.
        stdin: where the client's messages come from, UTF-8.
        stdout: where the protocol goes, and nothing else may.
    """

    async def run() -> None:
        server = make_server(config)
        async with stdio_server(anyio.wrap_file(stdin), anyio.wrap_file(stdout)) as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(run)


def tools() -> list[types.Tool]:
    """The three tools."""
    looks = types.ToolAnnotations(readOnlyHint=True, openWorldHint=True)
    return [
        types.Tool(
            name="verify_model",
            title="Is this model safe to load?",
            description=(
                "Says what is known about a model's text encoders without scanning: results of earlier scans of these"
                " very weights, and the verdict on its card, checked by digest. Takes seconds and downloads no"
                " weights."
            ),
            inputSchema=_INPUT,
            annotations=looks,
        ),
        types.Tool(
            name="scan_model",
            title="Scan a model for backdoors",
            description=(
                "Scans a model's text encoders for backdoors and gives a verdict with its evidence and, where it finds"
                " one, the trigger. Downloads the weights and takes minutes; weights that were scanned before are"
                " answered at once. Nothing of the repository is executed."
            ),
            inputSchema=_INPUT,
            annotations=looks,
        ),
        types.Tool(
            name="resolve_model",
            title="What would be scanned",
            description=(
                "Shows a model's commit, text encoders, download size and expected scan time. Downloads no weights."
            ),
            inputSchema=_INPUT,
            annotations=looks,
        ),
    ]


def make_server(config: ServerConfig) -> Server[Any, Any]:
    """The server, not yet connected."""
    server: Server[Any, Any] = Server("amdet-hub", version=__version__, instructions=INSTRUCTIONS)
    scans, looks = anyio.Semaphore(1), anyio.Semaphore(4)

    @server.list_tools()  # type: ignore[no-untyped-call,untyped-decorator]
    async def list_tools() -> list[types.Tool]:
        return tools()

    @server.call_tool()  # type: ignore[untyped-decorator]
    async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        stop = threading.Event()
        work = _TOOLS.get(name)
        if work is None:
            raise ValueError(f"there is no tool '{visible(name, limit=60)}'")
        tell = _progress(server, stop)
        async with scans if name == "scan_model" else looks:
            try:
                return await anyio.to_thread.run_sync(_answer, config, work, arguments, tell, abandon_on_cancel=True)
            finally:
                stop.set()  # without a client that waits, a scan ends at its next step

    return server


def _answer(config: ServerConfig, work: Work, arguments: dict[str, Any], tell: ProgressCallback) -> dict[str, Any]:
    try:
        scanner = config.scanner
        if (reference := arguments.get("reference")) is not None:
            options = replace(scanner.options, use_reference=True)
            scanner = replace(scanner, reference=_parse(config, reference), options=options)
        target = scanner.resolve(_parse(config, arguments["target"]))
        return {"untrusted_target": visible(arguments["target"]), **work(scanner, target, Monitor(tell))}
    except AmdetError as error:
        found = explain(error)
        raise ValueError(
            f"{visible(f'{found.sentence} {found.advice}'.rstrip(), limit=None)} [{found.code}]"
        ) from error


def _parse(config: ServerConfig, target: str) -> RepoRef:
    only_hub = "this server looks at Hub repositories only (it was started without --allow-local)"
    # before the path is looked at: not even whether it exists is said
    if target.startswith((".", "/", "~")) and not config.allow_local:
        raise TargetError(target, only_hub)
    ref = parse_target(target, endpoint=config.scanner.hub.endpoint)
    if ref.kind == "local" and not config.allow_local:
        raise TargetError(target, only_hub)
    return ref


def _scan(scanner: Scanner, target: ResolvedTarget, monitor: Monitor) -> dict[str, Any]:
    report = scanner.scan(target, monitor)
    return answers.told(report, "cache" if report.cached else "scan")


Work = Callable[[Scanner, ResolvedTarget, Monitor], dict[str, Any]]
_TOOLS: dict[str, Work] = {
    "verify_model": lambda scanner, target, monitor: answers.verified(scanner, target),
    "scan_model": _scan,
    "resolve_model": lambda scanner, target, monitor: answers.resolved(scanner, target),
}


def _progress(server: Server[Any, Any], stop: threading.Event) -> ProgressCallback:
    """The scan's callback: passes progress on to a client that wants it, and ends a scan whose client is gone."""
    context = server.request_context
    token = context.meta.progressToken if context.meta is not None else None
    last = [0.0, 0.0]  # when it was told, and how far it was: the protocol wants a number that only grows

    def tell(stage: str, done: int, total: int) -> None:
        if stop.is_set():
            raise _Cancelled
        now = time.monotonic()
        if token is not None and now - last[0] >= _PROGRESS_EVERY_S:
            last[:] = [now, last[1] + 1]
            send = context.session.send_progress_notification
            anyio.from_thread.run(send, token, last[1], None, f"{stage} {done}/{total}")

    return tell
