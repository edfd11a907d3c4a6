"""The page from code: `gradio_client` on the named endpoints, and several visitors at once."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, BASE
from amdet_hub.records import Monitor
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from amdet_hub.web.job_queue import Job
from tests.web.browsing import until
from tests.web.conftest import unscanned

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

PATIENCE_S = 120.0


def new_client(served: RunningSpace) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gradio_client import Client

        return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def client(served: RunningSpace) -> Any:
    return new_client(served)


def test_serving_leaves_no_event_loop_open(served: RunningSpace) -> None:
    gc.collect()
    loops = [one for one in gc.get_objects() if issubclass(type(one), asyncio.AbstractEventLoop)]
    assert any(one.is_running() for one in loops), "the server has one"
    assert [one for one in loops if not one.is_running() and not one.is_closed()] == []


def test_the_endpoints_that_are_promised_are_the_only_public_ones(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/resolve", "/scan", "/report"}
    for name, endpoint in named.items():
        parameters = {one["parameter_name"]: one.get("parameter_default") for one in endpoint["parameters"]}
        assert parameters == {"model": None, "preset": "quick", **({"form": "markdown"} if name == "/report" else {})}


def test_resolve(client: Any, hub_and_settings: tuple[Any, LocalHub]) -> None:
    plan = json.loads(client.predict(BACKDOORED, "quick", api_name="/resolve"))
    assert plan["commit_sha"] == hub_and_settings[1].head(BACKDOORED)
    assert (plan["verdict"], plan["code"]) == ("backdoor-detected", "trigger-confirmed")
    assert plan["encoders"][0]["reference"]["repo_id"] == BASE
    assert json.loads(client.predict(f"{hub_and_settings[1].endpoint}/{BACKDOORED}", api_name="/resolve")) == plan, (
        "an address will do"
    )


def test_report_in_every_form(client: Any) -> None:
    said = {
        form: client.predict(BACKDOORED, "quick", form, api_name="/report")
        for form in ("json", "markdown", "html", "sarif")
    }
    assert "trigger-confirmed" in said["markdown"]
    assert parse_report(said["json"]).verdict.label == "backdoor-detected"
    assert said["html"].startswith("<!doctype html>")
    assert json.loads(said["sarif"])["version"] == "2.1.0"


TARGETS = {
    "": "target-error",
    "/etc/passwd": "target-error",
    "../demo": "target-error",
    "https://evil.example/a/b": "target-error",
    "demo/nothing": "repo-not-found",
    "x" * 5000: "target-error",
    "a/b\u202e\x00": "target-error",
}
OTHERS = {
    ("/resolve", BACKDOORED, "paper"): "config-error",
    ("/scan", BACKDOORED, "paper"): "config-error",
    ("/report", BACKDOORED, "quick", "exe"): "config-error",
    ("/report", BASE, "standard"): "not-scanned",
}


@pytest.mark.parametrize("endpoint", ["/resolve", "/scan", "/report"])
def test_a_target_that_is_none_gets_a_reason_code(client: Any, endpoint: str) -> None:
    for target, code in TARGETS.items():
        with pytest.raises(Exception, match=rf"\[{code}\]") as caught:
            client.predict(target, api_name=endpoint)
        assert "Traceback" not in str(caught.value)


def test_other_bad_input_gets_a_reason_code(client: Any) -> None:
    for (endpoint, *given), code in OTHERS.items():
        with pytest.raises(Exception, match=rf"\[{code}\]"):
            client.predict(*given, api_name=endpoint)


def test_what_holds_nothing_to_scan_is_answered_with_a_verdict(
    client: Any, hub_and_settings: tuple[Any, LocalHub]
) -> None:
    hub_and_settings[1].add_model("endpoints/empty", {"README.md": b"# nothing"})
    plan = json.loads(client.predict("endpoints/empty", api_name="/resolve"))
    assert (plan["verdict"], plan["code"]) == ("nothing-to-scan", "no-model-files")
    report = parse_report(client.predict("endpoints/empty", api_name="/scan"))
    assert (report.verdict.label, report.verdict.code) == ("nothing-to-scan", "no-model-files")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"data": 3}',
        b'{"data": []}',
        b'{"data": [{"a": 1}, [], null]}',
        b'{"data": ["a", "b", "c", "d"]}',
    ],
)
def test_a_call_by_hand_that_makes_no_sense_harms_nobody(served: RunningSpace, client: Any, body: bytes) -> None:
    request = urllib.request.Request(
        f"{served.url}gradio_api/call/resolve", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{served.url}gradio_api/call/resolve/{event}", timeout=PATIENCE_S) as stream:
            assert b"event: error" in stream.read()
    except urllib.error.HTTPError as error:
        error.close()
        refused = error.code
        assert 400 <= refused < 500
    assert "repo_id" in json.loads(client.predict(BASE, api_name="/resolve")), "the next visitor is served"


# ---------------------------------------------------------------- many at once


def test_two_visitors_at_once_and_twenty_in_the_queue(
    client: Any, served: RunningSpace, hub_and_settings: tuple[Any, LocalHub], tmp_path: Path
) -> None:
    """Over HTTP: every visitor learns their place and gets the report of their own model; one too many is refused."""
    hub = hub_and_settings[1]
    base = {p.name: p.read_bytes() for p in (WEIGHTS / "base").iterdir() if p.name != "provenance.json"}
    *crowd, late = (f"queue/model-{n:02}" for n in range(21))
    for name in (*crowd, late):
        hub.add_model(name, base)
    gate = threading.Event()
    with unscanned(served.service, tmp_path) as service:
        before = service.jobs.submit(Job("somebody else", lambda monitor: wait_for(gate, monitor)))
        try:
            until(lambda: before.state == "running", "a scan under way")
            clients = client, new_client(served)
            asked = {name: clients[n % 2].submit(name, "quick", api_name="/scan") for n, name in enumerate(crowd)}
            until(lambda: len(service.jobs) == 21, "twenty in the queue")
            with pytest.raises(Exception, match=r"\[queue-refused\]"):
                client.predict(late, "quick", api_name="/scan")
            until(lambda: all(job.outputs() for job in asked.values()), "a place for everybody")
            service.jobs.cancel(before)
            until(lambda: len(service.jobs) <= 20, "a place that has become free")
            asked[late] = client.submit(late, "quick", api_name="/scan")
            reports = {name: parse_report(job.result(timeout=PATIENCE_S)) for name, job in asked.items()}
            board = {row.model for row in service.board.rows()}
        finally:
            gate.set()
    assert {name: report.snapshot.repo_id for name, report in reports.items()} == {name: name for name in asked}, (
        "nothing is mixed up"
    )
    assert {report.verdict.code for report in reports.values()} == {"identical-to-reference"}
    assert board >= set(crowd), "nothing is lost"
    places = {}
    for name, job in asked.items():
        told = [json.loads(text) for text in job.outputs()[:-1]]
        line = [state["place"] for state in told if state["state"] == "queued"]
        assert line == sorted(line, reverse=True), f"{name} never moves back"
        places[name] = max(line, default=0)
    assert sorted(places[name] for name in crowd) == list(range(1, 21)), "everybody has a place of their own"


def wait_for(gate: threading.Event, monitor: Monitor) -> Any:
    while not gate.wait(0.02):
        monitor.progress("sweep", 1, 2)


# ---------------------------------------------------------------- the page itself


def test_the_first_paint_is_quick(served: RunningSpace) -> None:
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    start = time.monotonic()
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    assert time.monotonic() - start < 2.0
