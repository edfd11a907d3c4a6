"""The page from code: `gradio_client` on the named endpoints, and several visitors at once."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from space.store import ResultStore

if TYPE_CHECKING:
    from space.app import RunningSpace

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def client(served: RunningSpace) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gradio_client import Client

        return Client(served.url, verbose=False)


def test_the_endpoints_that_are_promised_are_the_only_public_ones(client: Any) -> None:
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/resolve", "/scan", "/report"}


def test_resolve_and_report(client: Any, hub_and_settings: tuple[Any, LocalHub]) -> None:
    plan = json.loads(client.predict(BACKDOORED, "quick", api_name="/resolve"))
    assert plan["commit_sha"] == hub_and_settings[1].head(BACKDOORED)
    assert plan["earlier_verdict"] == "backdoor-detected"
    assert plan["encoders"][0]["reference"]["repo_id"] == BASE
    assert "Backdoor detected" in client.predict(BACKDOORED, "quick", "markdown", api_name="/report")


@pytest.mark.parametrize("target", ["/etc/passwd", "demo/nothing", "../demo"])
def test_errors_are_sentences(client: Any, target: str) -> None:
    with pytest.raises(Exception, match=r"not a usable target|not found"):
        client.predict(target, "quick", api_name="/resolve")


def test_two_visitors_at_once_get_their_own_verdict(client: Any, served: RunningSpace) -> None:
    service = served.service
    kept, service.store = service.store, ResultStore(service.settings.data_dir / "fresh", examples=None)
    try:
        jobs = {name: client.submit(name, "quick", api_name="/scan") for name in (BACKDOORED, FINETUNED)}
        reports = {name: parse_report(job.result(timeout=PATIENCE_S)) for name, job in jobs.items()}
    finally:
        service.store = kept
    assert {name: report.snapshot.repo_id for name, report in reports.items()} == {name: name for name in jobs}
    assert reports[BACKDOORED].verdict.label == "backdoor-detected"
    assert reports[FINETUNED].verdict.label == "no-backdoor-found"


# ---------------------------------------------------------------- the page itself


def test_the_first_paint_is_quick(served: RunningSpace) -> None:
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    start = time.monotonic()
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    assert time.monotonic() - start < 2.0
