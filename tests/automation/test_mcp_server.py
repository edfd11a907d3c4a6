"""`amdet-hub mcp` with the protocol's own client, over standard input and output, against a LocalHub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from amdet_hub.automation import answers
from amdet_hub.testing import LocalHub
from tests.demo_hub import BACKDOORED, BASE, FAST_TOML, FINETUNED, demo_hub
from tests.report import examples
from tests.report.nasty import NASTY

PATIENCE = timedelta(seconds=240)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with demo_hub() as hub:
        yield hub


def command(hub: LocalHub, folder: Path, *more: str) -> tuple[list[str], dict[str, str]]:
    config = folder / "fast.toml"
    config.write_text(FAST_TOML)
    environment = {**os.environ, **hub.environment(), "AMDET_HUB_CACHE": str(folder / "own"), "OMP_NUM_THREADS": "1"}
    return ["-m", "amdet_hub", "mcp", "--config", str(config), "--reference", BASE, *more], environment


@asynccontextmanager
async def connected(hub: LocalHub, folder: Path, *more: str) -> AsyncIterator[ClientSession]:
    arguments, environment = command(hub, folder, *more)
    with (folder / "stderr").open("w") as log:
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
        async with (
            stdio_client(parameters, errlog=log) as (read, write),
            ClientSession(read, write, PATIENCE) as session,
        ):
            yield session


async def call(session: ClientSession, tool: str, target: str, **extra: Any) -> dict[str, Any]:
    result = await session.call_tool(tool, {"target": target}, **extra)
    assert not result.isError, result.content
    assert result.structuredContent is not None
    (text,) = result.content
    assert isinstance(text, types.TextContent)
    assert json.loads(text.text) == result.structuredContent
    return result.structuredContent


def test_an_agent_asks_before_it_loads(hub: LocalHub, tmp_path: Path) -> None:
    async def conversation() -> None:
        async with connected(hub, tmp_path) as session:
            hello = await session.initialize()
            assert hello.serverInfo.name == "amdet-hub"
            assert "do-not-load" in str(hello.instructions)
            tools = (await session.list_tools()).tools
            assert {t.name for t in tools} == {"scan_model", "resolve_model", "verify_model"}
            assert all(t.annotations is not None and t.annotations.readOnlyHint for t in tools)

            plan = await call(session, "resolve_model", BACKDOORED)
            assert plan["commit_sha"] == hub.head(BACKDOORED)
            assert plan["encoders"][0]["dimensions"] == "3 x 96, 77 positions, 2,000 tokens"
            unknown = await call(session, "verify_model", BACKDOORED)
            assert (unknown["answer"], unknown["card"]["state"]) == ("unknown", "missing")
            assert [r for r in hub.requests if r.side == "lfs" and r.range is None] == [], (
                "no weights until a scan is asked for"
            )

            heard: list[str] = []

            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard.append(str(message))

            found = await call(session, "scan_model", BACKDOORED, progress_callback=on_progress)
            assert (found["answer"], found["source"]) == ("do-not-load", "scan")
            assert found["encoders"][0]["triggers"][0]["untrusted_text"] == "о"
            assert {e["kind"] for e in found["encoders"][0]["evidence"]} >= {"vocabulary-sweep", "trigger-success"}
            assert heard
            known = await call(session, "verify_model", BACKDOORED)
            assert (known["answer"], known["source"]) == ("do-not-load", "cache")
            same = await call(session, "scan_model", BASE)
            assert same["answer"] == "nothing-found"
            assert "not proof" in same["meaning"]

            for bad, words in (
                ("demo/none", "was not found"),
                ("./here", "Hub repositories only"),
                ("a b", "not a usable target"),
            ):
                refused = await session.call_tool("verify_model", {"target": bad})
                assert refused.isError
                assert isinstance(refused.content[0], types.TextContent)
                assert words in refused.content[0].text
            wrong = await session.call_tool("verify_model", {"target": FINETUNED, "endpoint": "https://evil.example"})
            assert wrong.isError, "where the Hub is, is not the agent's to say"

    anyio.run(conversation)
    assert hub.writes == []


def test_nothing_but_the_protocol_is_on_stdout(hub: LocalHub, tmp_path: Path) -> None:
    arguments, environment = command(hub, tmp_path, "-vv")
    messages: list[dict[str, Any]] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "resolve_model", "arguments": {"target": FINETUNED}}},
        {"id": 3, "method": "tools/call", "params": {"name": "no_such_tool", "arguments": {"target": FINETUNED}}},
    ]
    code = (
        "import os, sys\n"
        "from amdet_hub.automation import mcp_server\n"
        "opened = mcp_server._parse\n"
        "def noisy(*asked):\n"
        "    print('noise of a library')\n"
        "    os.write(1, b'noise of a C library\\n')\n"
        "    return opened(*asked)\n"
        "mcp_server._parse = noisy\n"
        "from amdet_hub.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments[2:]],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("not JSON at all\n")
    answers_by_id = {}
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        while "id" in message and message["id"] not in answers_by_id:
            answer = json.loads(process.stdout.readline())
            assert answer["jsonrpc"] == "2.0"
            answers_by_id[answer.get("id")] = answer
    out, err = process.communicate(timeout=240)
    assert out == "" or all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
    assert process.returncode == 0, err
    assert answers_by_id[2]["result"]["structuredContent"]["commit_sha"] == hub.head(FINETUNED)
    assert answers_by_id[3]["result"]["isError"]
    assert "noise of a library" in err
    assert "noise of a C library" in err


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'mcp' else real(name, *a)\n"
        "from amdet_hub.__main__ import main; sys.exit(main(['mcp']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2
    assert "pip install 'amdet-hub[mcp]'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("text", NASTY)
def test_text_of_a_repository_is_escaped_and_marked(text: str) -> None:
    from dataclasses import replace

    report = examples.backdoored()
    (meaning, *_) = examples.taught().results[0].meanings
    result = replace(report.results[0], meanings=(meaning,))
    report = replace(report, outcomes=(result, *report.outcomes[1:]))
    meaning = replace(meaning, text=text, before=(text,), after=(text,))
    trigger = replace(result.triggers[0], text=text, nearest_captions=(text,))
    hostile = replace(
        result, encoder=replace(result.encoder, component=text), triggers=(trigger,), meanings=(meaning,)
    )
    told = answers.told(replace(report, outcomes=(hostile, *report.outcomes[1:])), "scan")
    clean = answers.told(report, "scan")

    def leaves(data: Any, key: str = "") -> Iterator[tuple[str, str]]:
        if isinstance(data, dict):
            for name, value in data.items():
                yield from leaves(value, name)
        elif isinstance(data, list):
            for value in data:
                yield from leaves(value, key)
        elif isinstance(data, str):
            yield key, data

    changed = set(leaves(told)) - set(leaves(clean))
    assert all(key.startswith("untrusted_") for key, _ in changed)
    assert all(value.isprintable() and len(value) < 2000 for _, value in leaves(told))
