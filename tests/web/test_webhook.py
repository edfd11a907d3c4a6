"""The Hub's webhook over HTTP: who may call, what is too much, what is scanned once, and its own pull requests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from amdet_hub.demo.run import BACKDOORED, BASE
from amdet_hub.testing import LocalHub
from amdet_hub.web.demo import copy_examples
from amdet_hub.web.job_queue import JobQueue
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import SpaceSettings
from amdet_hub.web.webhook import MAX_BODY, WebhookReceiver, add_webhook, pushed_commit
from tests.web.conftest import SECRET, unscanned

if TYPE_CHECKING:
    from amdet_hub.web.app import RunningSpace

PATIENCE_S = 120.0
SHA = "0123456789" * 4


def payload(repo_id: str, sha: str, ref: str = "refs/heads/main") -> dict[str, Any]:
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "model", "name": repo_id},
        "updatedRefs": [{"ref": ref, "oldSha": SHA, "newSha": sha}],
    }


def call(
    served: RunningSpace, body: Any, secret: str | None = SECRET, method: str = "POST"
) -> tuple[int, dict[str, str]]:
    headers = {"Content-Type": "application/json", **({"X-Webhook-Secret": secret} if secret is not None else {})}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{served.url}webhooks/hub", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def empty(served: RunningSpace, tmp_path: Path) -> Iterator[ScanService]:
    """The served page's service, as if nothing had been scanned yet."""
    with unscanned(served.service, tmp_path) as service:
        yield service


# ---------------------------------------------------------------- who may call, and with what


@pytest.mark.parametrize("wrong", [None, "", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper(), "\xe9\xff"])
def test_a_missing_or_wrong_secret_ends_it(served: RunningSpace, wrong: str | None) -> None:
    for body in (b"not even json", payload(BASE, SHA)):
        status, said = call(served, body, wrong)
        assert status == 401
        assert SECRET not in str(said)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"not even json", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b'{"a":' + b"9" * 10_000 + b"}", 400, "not JSON"),
        (b" " * (MAX_BODY + 1), 413, "too large"),
        (b"[]", 200, "not a push"),
        (b"null", 200, "not a push"),
    ],
)
def test_a_body_that_is_none_is_refused_in_words(served: RunningSpace, body: bytes, status: int, words: str) -> None:
    code, said = call(served, body)
    assert code == status
    assert words in " ".join(said.values())


def test_a_body_without_an_end_is_cut_off(served: RunningSpace) -> None:
    """Sent in pieces, so that its length is not announced."""
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=PATIENCE_S)
    pieces = (b" " * 65536 for _ in range(2 * MAX_BODY // 65536))
    try:
        connection.request("POST", "/webhooks/hub", pieces, {"X-Webhook-Secret": SECRET}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # hung up on before everything was sent, which is as good
    finally:
        connection.close()


def test_there_is_no_webhook_without_a_secret(hub_and_settings: tuple[SpaceSettings, LocalHub]) -> None:
    from starlette.applications import Starlette

    service, app = ScanService(replace(hub_and_settings[0], webhook_secret="")), Starlette()
    add_webhook(app, service)
    service.close()
    assert app.router.routes == []


# ---------------------------------------------------------------- what is scanned


def test_a_push_is_scanned_once(
    served: RunningSpace, empty: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    sha = hub_and_settings[1].head(BASE)
    status, said = call(served, payload(BASE, sha))
    assert status == 202
    job = empty.jobs.get(said["queued"])
    assert job is not None
    assert empty.jobs.wait(job, PATIENCE_S)
    assert job.result is not None
    assert job.result.snapshot.commit_sha == sha
    assert call(served, payload(BASE, sha)) == (
        200,
        {"ignored": "this commit was received before"},
    ), "a replay costs nothing"


def test_pull_requests_other_events_and_odd_payloads_are_ignored(served: RunningSpace) -> None:
    assert pushed_commit(payload("a/b", SHA)) == ("a/b", SHA)
    odds: tuple[Any, ...] = (
        payload("a/b", SHA, "refs/pr/1"),
        payload("a/b", SHA, "refs/heads/other"),
        {**payload("a/b", SHA), "repo": {"type": "dataset", "name": "a/b"}},
        {**payload("a/b", SHA), "event": {"action": "create", "scope": "discussion"}},
        {**payload("a/b", SHA), "updatedRefs": 3},
        {"event": 1},
        payload("../x", SHA),
        payload("a/b", "HEAD"),
        1,
        {},
    )
    for odd in odds:
        assert pushed_commit(odd) is None
        assert call(served, odd) == (200, {"ignored": "not a push to the main branch of a model"})


def test_what_cannot_be_scanned_is_said(
    served: RunningSpace, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    hub = hub_and_settings[1]
    hub.add_model("hook/empty", {"README.md": b"# nothing"})
    status, said = call(served, payload("hook/empty", hub.head("hook/empty")))
    assert (status, said["verdict"], said["code"]) == (200, "nothing-to-scan", "no-model-files")
    status, said = call(served, payload("hook/nowhere", SHA))
    assert said["ignored"].endswith("[repo-not-found]")


def test_a_full_queue_and_a_silent_hub_are_no_last_word(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked for again, by a replay or the next push: the call must not count as done."""
    hub, asked = hub_and_settings[1], payload(BASE, hub_and_settings[1].head(BASE))
    receiver, kept = WebhookReceiver(service), service.jobs
    monkeypatch.setattr("amdet_hub.hub._client.FIRST_PAUSE_S", 0.01)
    hub.fail(f"/api/models/{BASE}", status=503, times=None)
    status, said = receiver.receive(asked)
    hub.behave()
    assert (status, list(said)) == (503, ["error"])
    service.jobs = JobQueue(size=0, per_owner=1, per_owner_hour=1)
    status, said = receiver.receive(asked)
    assert status == 429
    assert said["error"].endswith("[queue-refused]")
    service.jobs.close()
    service.jobs = kept
    assert receiver.receive(asked)[0] == 202


def test_its_own_pull_request_never_comes_back(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    """A detection is proposed; neither the pull request, nor a comment on it, nor its merge starts another scan."""
    hub = hub_and_settings[1]
    hub.add_user("scanner-bot", token="hf_bot")
    service.settings = replace(service.settings, webhook_token="hf_bot")
    copy_examples(service.settings)  # the copy is answered from the original's result
    source = {name: hub.read(BACKDOORED, name) for name in hub.files(BACKDOORED)}
    hub.add_model("hook/backdoored", source)
    receiver = WebhookReceiver(service)
    status, said = receiver.receive(payload("hook/backdoored", hub.head("hook/backdoored")))
    assert status == 202
    job = service.jobs.get(said["queued"])
    assert job is not None
    assert service.jobs.wait(job, PATIENCE_S)
    assert (job.error, job.result and job.result.verdict.label) == (None, "backdoor-detected")
    (proposed,) = hub.pull_requests("hook/backdoored")
    assert (proposed.author, proposed.status) == ("scanner-bot", "open")
    pushed = payload("hook/backdoored", proposed.head_sha, f"refs/pr/{proposed.number}")
    assert receiver.receive(pushed) == (200, {"ignored": "not a push to the main branch of a model"})
    commented = {**pushed, "event": {"action": "create", "scope": "discussion.comment"}}
    assert "ignored" in receiver.receive(commented)[1]
    hub.merge_pull_request("hook/backdoored", proposed.number)
    status, said = receiver.receive(payload("hook/backdoored", hub.head("hook/backdoored")))
    assert (status, said["verdict"], "ignored" in said) == (200, "backdoor-detected", True)
    assert len(hub.pull_requests("hook/backdoored")) == 1
