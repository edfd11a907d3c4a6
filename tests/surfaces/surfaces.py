"""The surfaces of the table: one small adapter each, from a target to what the surface says of it.

A new surface is one row of `SURFACES`. An adapter translates and never repairs: what a surface does not say is None,
and its cell fails.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import anyio
import pytest
import yaml
from mcp.shared.memory import create_connected_server_and_client_session
from mcp.types import TextContent

import amdet_hub
from amdet_hub import BackdoorDetected, NotCleared, Scanner, ScanOptions
from amdet_hub.automation.mcp_server import ServerConfig, make_server
from amdet_hub.cli._exit_codes import explain
from amdet_hub.config import ScanConfig
from amdet_hub.errors import AmdetError
from amdet_hub.hub import parse_target
from amdet_hub.testing.local_hub import LocalJob
from tests.github_action import harness
from tests.surfaces.programs import ActionSteps, Finished, run_program
from tests.surfaces.world import TOKEN, Place

ROOT = Path(__file__).parent.parent.parent
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
LABELS = ("no-backdoor-found", "backdoor-detected", "inconclusive", "nothing-to-scan")
CPU = ScanOptions(device="cpu")


@dataclass(frozen=True)
class Answer:
    """What a surface said; `exit_code` None: it has none. `references`: of the pairs that `resolve` shows."""

    verdict: str | None
    code: str | None
    exit_code: int | None = None
    references: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class Surface:
    """One column.

    Attributes:
        name: of the column.
        ask: from a place to an answer.
        reads: where it finds its target.
        judges: False where it only shows what would be scanned, and so gives no verdict on what can be.
        marks: of its cells.
    """

    name: str
    ask: Callable[[Place], Answer]
    reads: Literal["hub", "checkout"] = "hub"
    judges: bool = True
    marks: tuple[pytest.MarkDecorator, ...] = ()


# ---------------------------------------------------------------- what words and data say


def code_in(text: str) -> str | None:
    """The reason code in brackets at the end of a line."""
    found = re.search(r"\[([a-z0-9]+(?:-[a-z0-9]+)*)\]$", text, re.MULTILINE)
    return found[1] if found else None


def label_in(text: str) -> str | None:
    """The first verdict in a line for people."""
    words = text.lower().replace(" ", "-")
    found = [(words.index(label), label) for label in LABELS if label in words]
    return min(found)[1] if found else None


def in_data(data: Mapping[str, Any], exit_code: int | None = None) -> Answer:
    """`{"verdict": label, "code": code}`, or the same pair below `verdict`, as a report has it."""
    verdict = data.get("verdict")
    if isinstance(verdict, Mapping):
        return Answer(verdict.get("label"), verdict.get("code"), exit_code)
    return Answer(verdict, data.get("code"), exit_code)


def failed(words: str, exit_code: int | None = None) -> Answer:
    return Answer("error", code_in(words), exit_code)


def reported(done: Finished) -> Answer:
    """A command that prints its report, or JSON of the same form, to stdout."""
    if done.exit_code == 2:
        return failed(done.stderr, 2)
    return in_data(json.loads(done.stdout or "{}"), done.exit_code)


def said(done: Finished) -> Answer:
    """A command that prints one line for each target."""
    if done.exit_code == 2:
        return failed(done.stderr, 2)
    return Answer(label_in(done.stdout), code_in(done.stdout), done.exit_code)


# ---------------------------------------------------------------- commands


def scan(place: Place) -> Answer:
    return reported(place.run("scan", place.target.repo_id, *place.flags, "-f", "json"))


def meaning(place: Place) -> Answer:
    return reported(place.run("meaning", place.target.repo_id, *place.flags, "--json"))


def resolve(place: Place) -> Answer:
    done = place.run("resolve", place.target.repo_id, *place.flags, "--json")
    answer = reported(done)
    pairs = tuple(one["reference"]["repo_id"] for one in json.loads(done.stdout or "{}").get("encoders", ()))
    return Answer(answer.verdict, answer.code, answer.exit_code, pairs)


def staged(place: Place) -> Answer:
    return said(place.run("staged", *place.flags, "--", *place.changed, cwd=place.checkout.root))


def hook(place: Place) -> Answer:
    """The manifest's entry on those changed files that pre-commit would pass to it, with a user's own `args`."""
    files = [path for path in place.changed if re.search(HOOK["files"], path) and not re.search(HOOK["exclude"], path)]
    if not files:
        return Answer(None, None, 0)
    entry = HOOK["entry"].split()[1:]
    return said(place.run(*entry, *place.flags, "--", *files, cwd=place.checkout.root))


def watch(place: Place) -> Answer:
    """One line of JSON, for the one repository that is new to it."""
    return reported(place.run("watch", place.target.repo_id, "--once", "--json", *place.flags))


def on_jobs(place: Place) -> Answer:
    """The job runs the command that it is given, with the caches and the device of the test."""

    def run(job: LocalJob, say: Callable[[str], None]) -> int:
        words = job.command[job.command.index("amdet-hub") + 1 :]
        here = {
            "AMDET_HUB_ENDPOINT": place.hub.endpoint,
            "AMDET_HUB_CACHE_DIR": str(place.downloads),
            "AMDET_HUB_DEVICE": "cpu",
        }
        environ = {**place.environ, **job.environment, **job.secrets, **here}
        done = run_program([w for w in words if not w.startswith("--device")], cwd=place.fresh("job"), environ=environ)
        for line in (done.stderr + done.stdout).splitlines():
            say(line)
        return done.exit_code

    place.hub.run_jobs(run)
    return reported(
        place.run("scan", place.target.repo_id, "--on", "jobs", *place.flags, "--token", TOKEN, "-f", "json")
    )


# ---------------------------------------------------------------- from Python


def guard(place: Place) -> Answer:
    with mock.patch.dict("os.environ", place.environ):
        try:
            cleared = amdet_hub.guard(place.target.repo_id, place.target.reference, scanner=scanner_of(place))
        except (BackdoorDetected, NotCleared) as error:
            if error.report is None:
                return failed(str(error), explain(error)[0])
            return Answer(error.report.verdict.label, error.report.verdict.code, explain(error)[0])
        except AmdetError as error:
            return Answer("error", error.code, explain(error)[0])
    return Answer(cleared.verdict.label, cleared.verdict.code, 0)


def scanner_of(place: Place) -> Scanner:
    return Scanner(ScanConfig.for_preset("quick"), place.settings, options=CPU)


async def _called(place: Place, *tools: str) -> Any:
    """What the last of the tools answers, each called in turn with the target."""
    reference = parse_target(place.target.reference) if place.target.reference else None
    config = ServerConfig(replace(scanner_of(place), reference=reference))
    result = None
    async with create_connected_server_and_client_session(make_server(config)) as session:
        for tool in tools:
            result = await session.call_tool(tool, {"target": place.target.repo_id})
    return result


def _told(place: Place, *tools: str) -> tuple[Answer, Mapping[str, Any]]:
    with mock.patch.dict("os.environ", place.environ):
        result = anyio.run(_called, place, *tools)
    if result.isError:
        (content,) = result.content
        assert isinstance(content, TextContent)
        return failed(content.text), {}
    return in_data(result.structuredContent), result.structuredContent


def mcp_scan(place: Place) -> Answer:
    return _told(place, "scan_model")[0]


def mcp_verify(place: Place) -> Answer:
    """What was scanned before is answered from the cache."""
    answer, data = _told(place, "scan_model", "verify_model")
    assert not place.target.references or data.get("source", "cache") == "cache"
    return answer


# ---------------------------------------------------------------- the Action, the Space


def _action(place: Place, event: str, payload: Mapping[str, Any], **inputs: str) -> Answer:
    root = place.checkout.root if event == "push" else place.fresh("workspace")
    environ = {"AMDET_HUB_DEVICE": "cpu", "AMDET_HUB_CACHE_DIR": str(place.downloads)}
    runner = harness.Runner(root, place.fresh("runner"), place.own / "results", event, payload, environ)
    given = {
        "version": "installed",
        "python": sys.executable,
        "preset": "quick",
        "endpoint": place.hub.endpoint,
        **inputs,
    }
    if place.target.reference:
        given["reference"] = place.target.reference
    with mock.patch.object(harness, "subprocess", ActionSteps()):
        job = runner.run(given)
    assert job.outputs["exit-code"] == str(job.exit_code), job.log
    return Answer(job.outputs["verdict"] or None, job.outputs.get("reason-code") or None, job.exit_code)


def action_on_push(place: Place) -> Answer:
    return _action(
        place, "push", {"before": place.checkout.before, "after": "c" * 40, "ref": "refs/heads/main", "deleted": False}
    )


def action_with_model(place: Place) -> Answer:
    return _action(place, "schedule", {}, model=place.target.repo_id)


def space(place: Place) -> Answer:
    """The function behind the named endpoint `/scan`, as it is given to Gradio."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Gradio and its dependencies say of one another at import
        gradio = pytest.importorskip("gradio", reason="the extra 'space' is not installed")
        from amdet_hub.web.api import add_endpoints
        from amdet_hub.web.service import ScanService
        from amdet_hub.web.settings import SpaceSettings
    settings = SpaceSettings(
        endpoint=place.hub.endpoint, data_dir=place.fresh("space"), reference=place.target.reference
    )
    service = ScanService(settings)
    try:
        with mock.patch.dict("os.environ", place.environ), mock.patch.object(gradio, "api") as api:
            add_endpoints(service)
            endpoint = next(call.args[0] for call in api.call_args_list if call.kwargs["api_name"] == "scan")
            *_, last = endpoint(place.target.repo_id, "quick")
    except gradio.Error as error:
        return failed(str(error.message))
    finally:
        service.close()
    return in_data(json.loads(last) if isinstance(last, str) else last)


GRADIO = pytest.mark.filterwarnings("ignore")  # as tests/space has it

SURFACES = (
    Surface("scan", scan),
    Surface("meaning", meaning),
    Surface("resolve", resolve, judges=False),
    Surface("guard", guard),
    Surface("staged", staged, "checkout"),
    Surface("hook", hook, "checkout"),
    Surface("watch once", watch),
    Surface("mcp scan_model", mcp_scan),
    Surface("mcp verify_model", mcp_verify),
    Surface("action on push", action_on_push, "checkout"),
    Surface("action with model", action_with_model),
    Surface("scan on jobs", on_jobs),
    Surface("space scan", space, marks=(GRADIO,)),
)
