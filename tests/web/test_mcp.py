"""The page's endpoints as MCP tools: the protocol's own client over HTTP, against a page that is served with them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from amdet_hub.web.settings import SpaceSettings
from tests.web.conftest import unscanned

pytest.importorskip("mcp", reason="the extra 'space' is not installed")

if TYPE_CHECKING:
    from mcp import ClientSession

    from amdet_hub.web.app import RunningSpace

PATIENCE = timedelta(seconds=120)


@asynccontextmanager
async def connected(served: RunningSpace) -> AsyncIterator[ClientSession]:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(f"{served.url}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write, PATIENCE) as session,
    ):
        await session.initialize()
        yield session


async def said(session: ClientSession, tool: str, **arguments: Any) -> tuple[bool, str]:
    """(whether it is an error, its text)."""
    result = await session.call_tool(tool, arguments)
    (content,) = result.content
    assert content.type == "text"
    return bool(result.isError), content.text


def test_the_tools_are_the_endpoints_and_say_what_they_are(served: RunningSpace) -> None:
    async def look() -> None:
        async with connected(served) as session:
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {"resolve", "scan", "report"}
        for tool in tools.values():
            assert tool.description
            assert tool.description.endswith(".")
            assert set(tool.inputSchema["required"]) == {"model"}
            for name, field in tool.inputSchema["properties"].items():
                assert field.get("description"), f"{tool.name} does not say what {name} is"
        assert "backdoor" in (tools["scan"].description or "")
        assert set(tools["scan"].inputSchema["properties"]) == {"model", "preset"}, "who asks is no argument"

    anyio.run(look)


def test_an_agent_resolves_scans_and_reads(
    served: RunningSpace, hub_and_settings: tuple[SpaceSettings, LocalHub], tmp_path: Path
) -> None:
    async def ask() -> None:
        async with connected(served) as session:
            failed, text = await said(session, "resolve", model=FINETUNED)
            plan = json.loads(text)
            assert not failed
            assert plan["commit_sha"] == hub_and_settings[1].head(FINETUNED)
            assert (plan["verdict"], plan["encoders"][0]["reference"]["repo_id"]) == (None, BASE)
            failed, text = await said(session, "report", model=FINETUNED)
            assert failed
            assert "[not-scanned]" in text
            failed, text = await said(session, "scan", model=FINETUNED, preset="quick")
            assert not failed
            report = parse_report(text)
            assert (report.snapshot.repo_id, report.verdict.label) == (FINETUNED, "no-backdoor-found")
            failed, text = await said(session, "report", model=FINETUNED, form="markdown")
            assert not failed
            assert report.verdict.code in text

    with unscanned(served.service, tmp_path):
        anyio.run(ask)


def test_a_finding_is_told_at_once_when_it_is_known(served: RunningSpace) -> None:
    async def ask() -> None:
        async with connected(served) as session:
            failed, text = await said(session, "scan", model=BACKDOORED)
        assert not failed
        assert parse_report(text).verdict.label == "backdoor-detected"

    anyio.run(ask)


BAD: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("resolve", {"model": "/etc/passwd"}, "[target-error]"),
    ("resolve", {"model": "demo/nothing-here"}, "[repo-not-found]"),
    ("scan", {"model": "<img src=x onerror=alert(1)>"}, "[target-error]"),
    ("scan", {"model": BACKDOORED, "preset": "paper"}, "[config-error]"),
    ("report", {"model": BACKDOORED, "form": "exe"}, "[config-error]"),
    ("resolve", {"model": 17}, "Input validation error"),
    ("resolve", {}, "Input validation error"),
    ("no_such_tool", {"model": BACKDOORED}, "Unknown tool"),
)


def test_bad_input_gets_a_reason_code(served: RunningSpace) -> None:
    async def ask() -> None:
        async with connected(served) as session:
            for tool, arguments, words in BAD:
                failed, text = await said(session, tool, **arguments)
                assert failed, (tool, arguments)
                assert words in text
                assert "Traceback" not in text

    anyio.run(ask)


def test_the_tools_can_be_switched_off() -> None:
    assert SpaceSettings().mcp_server
    assert not SpaceSettings.from_environment({"AMDET_SPACE_MCP_SERVER": "false"}).mcp_server
    assert SpaceSettings.from_environment({"AMDET_SPACE_MCP_SERVER": "1"}).mcp_server
