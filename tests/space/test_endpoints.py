"""The page from code: `gradio_client` on the named endpoints, two visitors at once, and the Hub's webhook."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from space.store import ResultStore
from space.webhook import pushed_commit
from tests.space.conftest import SECRET

if TYPE_CHECKING:
    from space.app import RunningSpace

PATIENCE_S = 120.0
SHA = "0123456789" * 4


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


# ---------------------------------------------------------------- the webhook


def payload(repo_id: str, sha: str, ref: str = "refs/heads/main") -> dict[str, Any]:
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "model", "name": repo_id},
        "updatedRefs": [{"ref": ref, "oldSha": SHA, "newSha": sha}],
    }


def call(served: RunningSpace, body: Any, secret: str | None = SECRET) -> tuple[int, dict[str, str]]:
    headers = {"Content-Type": "application/json", **({"X-Webhook-Secret": secret} if secret is not None else {})}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{served.url}webhooks/hub", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_webhook_checks_the_secret_before_anything_else(served: RunningSpace) -> None:
    for wrong in (None, "", "wrong", SECRET + "x"):
        assert call(served, b"not even json", wrong)[0] == 401
    assert call(served, b"not even json")[0] == 400


def test_a_push_is_scanned_once(served: RunningSpace, hub_and_settings: tuple[Any, LocalHub]) -> None:
    sha = hub_and_settings[1].head(BASE)
    status, said = call(served, payload(BASE, sha))
    assert status == 202
    job = served.service.jobs.get(said["queued"])
    assert job is not None
    assert served.service.jobs.wait(job, PATIENCE_S)
    assert job.report is not None
    assert job.report.snapshot.commit_sha == sha
    assert call(served, payload(BASE, sha)) == (200, {"ignored": "this commit was received before"})


def test_pull_requests_other_events_and_odd_payloads_are_ignored() -> None:
    assert pushed_commit(payload("a/b", SHA)) == ("a/b", SHA)
    assert pushed_commit(payload("a/b", SHA, "refs/pr/1")) is None, "our own proposals live there"
    assert pushed_commit({**payload("a/b", SHA), "repo": {"type": "dataset", "name": "a/b"}}) is None
    assert pushed_commit({**payload("a/b", SHA), "event": {"action": "create", "scope": "discussion"}}) is None
    odds: tuple[Any, ...] = (
        None,
        [],
        1,
        {},
        {"event": 1},
        payload("../x", SHA),
        payload("a/b", "HEAD"),
        {**payload("a/b", SHA), "updatedRefs": 3},
    )
    assert [pushed_commit(odd) for odd in odds] == [None] * len(odds)


def test_there_is_no_webhook_without_a_secret(hub_and_settings: tuple[Any, LocalHub]) -> None:
    from dataclasses import replace

    from starlette.applications import Starlette

    from space.service import Service
    from space.webhook import add_webhook

    service, app = Service(replace(hub_and_settings[0], webhook_secret="")), Starlette()
    add_webhook(app, service)
    service.close()
    assert app.router.routes == []


def test_the_first_paint_is_quick(served: RunningSpace) -> None:
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    start = time.monotonic()
    urllib.request.urlopen(served.url, timeout=PATIENCE_S).close()
    assert time.monotonic() - start < 2.0
