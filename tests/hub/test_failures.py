"""Everything that a Hub or a network can answer instead of what was asked, through the real client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import get_session, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from amdet_hub.errors import (
    AccessDenied,
    FileNotInRepo,
    HubError,
    HubUnavailable,
    OfflineMiss,
    RateLimited,
    RepoNotFound,
)
from amdet_hub.hub import open_at, whoami
from amdet_hub.hub._errors import Question, retry_after_s, translate
from amdet_hub.records import RepoSource
from amdet_hub.testing import LocalHub
from tests.hub.conftest import WEIGHTS, Settle

PATH = "text_encoder/model.safetensors"

READS: Mapping[str, Callable[[RepoSource], object]] = {
    "/resolve/": lambda source: source.fetch(PATH),
    "config.json": lambda source: source.read_small("config.json", max_bytes=99),
    ".safetensors": lambda source: source.read_range(PATH, 0, 9),
}


@pytest.mark.parametrize("text", READS)
def test_a_long_retry_after_is_not_slept_through(hub: LocalHub, settle: Settle, text: str) -> None:
    source = open_at("org/m", None, settle(max_retries=3))
    hub.rate_limit(text, retry_after_s=300)
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        READS[text](source)
    assert time.monotonic() - began < 2
    assert (caught.value.retry_after_s, caught.value.repo_id, caught.value.endpoint) == (300.0, "org/m", hub.endpoint)


@pytest.mark.parametrize("text", ["/api/models/org/m", "/tree/", "README.md"])
def test_a_rate_limit_is_never_not_found(hub: LocalHub, settle: Settle, text: str) -> None:
    hub.rate_limit(text, retry_after_s=60)
    with pytest.raises(RateLimited):
        open_at("org/m", None, settle())


def test_a_short_retry_after_is_waited_for_once(hub: LocalHub, settle: Settle) -> None:
    hub.rate_limit("/api/models/org/m", retry_after_s=1, times=1)
    began = time.monotonic()
    assert open_at("org/m", None, settle()).snapshot.files
    assert 1 <= time.monotonic() - began < 4
    hub.rate_limit("/api/models/org/m", retry_after_s=0, times=2)
    with pytest.raises(RateLimited):
        open_at("org/m", None, settle(max_retries=3))


def test_retry_after_in_every_form() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert retry_after_s({"Retry-After": "7"}) == 7.0
    assert 95 < (retry_after_s({"retry-after": soon}) or 0) <= 100
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_s({"ratelimit": '"api";r=0;t=55'}) == 55.0
    for odd in (
        {},
        {"retry-after": "soon"},
        {"retry-after": "inf"},
        {"retry-after": "nan"},
        {"ratelimit": '"api";r=3;t=55'},
    ):
        assert retry_after_s(odd) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("text", ["/api/models/org/m", "/tree/", "README.md"])
def test_a_server_error_that_passes(hub: LocalHub, settle: Settle, text: str, status: int) -> None:
    hub.fail(text, status=status, times=2)
    assert open_at("org/m", None, settle(max_retries=2)).snapshot.license == "mit"
    hub.fail(text, status=status, times=None)
    with pytest.raises(HubUnavailable) as caught:
        open_at("org/m", None, settle(max_retries=1, cache_dir=None))
    assert (caught.value.status, caught.value.repo_id) == (status, "org/m")


@pytest.mark.parametrize("text", READS)
def test_a_server_error_while_a_file_is_read(hub: LocalHub, settle: Settle, text: str) -> None:
    source = open_at("org/m", None, settle(max_retries=1))
    hub.fail(text, status=503, times=1)
    READS[text](source)
    assert 503 in [request.status for request in hub.requests], "the fault was met, and the read went on after it"


def test_a_server_error_of_the_host_that_keeps_the_weights(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle(max_retries=2))
    sha256 = source.snapshot.file(PATH)
    assert sha256 is not None
    hub.fail(f"/{sha256.sha256}/", status=502, times=2)
    assert source.fetch(PATH).read_bytes() == WEIGHTS


def test_no_network_is_told_apart_and_told_soon(settle: Settle) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(HubUnavailable) as caught:
            open_at("org/m", None, settle(endpoint=dead, max_retries=2))
        assert time.monotonic() - began < 2
    assert (caught.value.status, caught.value.endpoint) == (None, dead)


@pytest.mark.parametrize("text", READS)
def test_a_network_that_goes_down_before_a_download(hub: LocalHub, settle: Settle, text: str) -> None:
    source = open_at("org/m", None, settle(max_retries=1))
    hub.close()
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        READS[text](source)
    assert time.monotonic() - began < 2


def test_a_connection_that_is_dropped(hub: LocalHub, settle: Settle) -> None:
    hub.drop("/api/models/org/m", times=1)
    source = open_at("org/m", None, settle(max_retries=1))
    hub.drop("/resolve/", times=1)
    assert source.fetch(PATH).read_bytes() == WEIGHTS
    hub.drop("/api/models/org/m", times=None)
    with pytest.raises(HubUnavailable):
        open_at("org/m", None, settle(max_retries=1))


def test_a_server_that_says_nothing_is_given_up(settle: Settle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(HubUnavailable):
            open_at("org/m", None, settle(endpoint=f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.3))
        assert time.monotonic() - began < 3


def test_a_body_that_stops_flowing_is_given_up(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle(timeout_s=0.3))
    hub.slow(".safetensors", bytes_per_s=1)
    with pytest.raises(HubUnavailable):
        source.read_range(PATH, 0, 5000)


def test_a_file_that_is_gone_though_it_was_listed(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle())
    for read in (lambda: source.fetch(PATH), lambda: source.read_range(PATH, 0, 9)):
        hub.fail("/resolve/", status=404, times=1, headers={"X-Error-Code": "EntryNotFound"})
        with pytest.raises(FileNotInRepo) as caught:
            read()
        assert caught.value.path == PATH


def test_a_right_that_was_taken_away(hub: LocalHub, settle: Settle) -> None:
    source = open_at("org/m", None, settle(token="hf_alice"))
    for read in (lambda: source.fetch(PATH), lambda: source.read_range(PATH, 0, 9)):
        hub.fail("/resolve/", status=403, times=1)
        with pytest.raises(AccessDenied) as caught:
            read()
        assert (caught.value.status, caught.value.action) == (403, "read 'org/m'")


class _Portal(BaseHTTPRequestHandler):
    """What a hotel's network answers to everything."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>sign in</html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"id": "org/m", "sha": "main"}'),
        (200, b'{"id": "org/m", "sha": 7}'),
        (404, b"not here"),
        (418, b"teapot"),
    ],
)
def test_an_answer_that_is_no_hubs(settle: Settle, status: int, body: bytes) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Portal) as portal:
        portal.answer = (status, body)  # type: ignore[attr-defined]
        thread = threading.Thread(target=portal.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(HubError, match="answer") as caught:
                open_at("org/m", None, settle(endpoint=f"http://127.0.0.1:{portal.server_port}"))
        finally:
            portal.shutdown()
            thread.join()
    assert type(caught.value) is HubError
    assert caught.value.repo_id == "org/m"


def test_whoami(settle: Settle) -> None:
    assert whoami(settle(token="hf_alice")) == "alice"
    for token in (None, "hf_wrong"):
        with pytest.raises(AccessDenied) as caught:
            whoami(settle(token=token))
        assert caught.value.status == 401
    with pytest.raises(OfflineMiss):
        whoami(settle(token="hf_alice", offline=True))


def test_defects_are_not_dressed_up_as_answers() -> None:
    question = Question("read 'a/b'", "https://hub.example.org", "a/b")
    assert translate(ZeroDivisionError(), question) is None
    assert type(translate(KeyError("sha"), question)) is HubError
    known = RepoNotFound("a/b", token_sent=False)
    assert translate(known, question) is known


def test_the_client_of_others_is_left_alone(hub: LocalHub, settle: Settle) -> None:
    """Our hooks stay on the shared session; outside of our own calls they do nothing."""
    open_at("org/m", None, settle())
    hub.fail("/org/m/resolve/", status=503, times=1)
    assert get_session().get(f"{hub.endpoint}/org/m/resolve/main/config.json").status_code == 503
    assert get_session().get(f"{hub.endpoint}/api/nothing").status_code == 404
    hub.fail("/api/models/org/m", status=503, times=None)
    with pytest.raises(HfHubHTTPError):
        hf_hub_download("org/x", "config.json", endpoint=hub.endpoint, cache_dir=settle().cache_dir)
