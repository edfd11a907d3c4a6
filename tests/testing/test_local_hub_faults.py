"""What the local Hub does wrong on request, seen through the real client."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]
from huggingface_hub.utils._http import get_session, http_backoff

from amdet_hub.testing import LocalHub, LoggedRequest

WEIGHTS = bytes(range(256)) * 8


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_model("org/m", {"config.json": b"{}", "model.safetensors": WEIGHTS})
        yield hub


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds the client meant to sleep; it does not."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def _download(hub: LocalHub, cache: Path, name: str = "model.safetensors") -> bytes:
    return Path(hf_hub_download("org/m", name, endpoint=hub.endpoint, cache_dir=cache, token=False)).read_bytes()


def test_a_failure_that_passes(hub: LocalHub, naps: list[float]) -> None:
    hub.fail("/resolve/", status=503, times=2)
    response = http_backoff("GET", hf_hub_url("org/m", "config.json", endpoint=hub.endpoint))
    assert response.content == b"{}"
    assert [r.status for r in hub.requests] == [503, 503, 200]
    assert len(naps) == 2


def test_a_failure_that_stays(hub: LocalHub, tmp_path: Path, naps: list[float]) -> None:
    hub.fail("/resolve/", status=500, times=None)
    with pytest.raises(LocalEntryNotFoundError) as failed:
        _download(hub, tmp_path)
    assert isinstance(failed.value.__cause__, HfHubHTTPError)
    assert {r.status for r in hub.requests} == {500}
    assert naps  # it did try again
    hub.behave()
    assert _download(hub, tmp_path) == WEIGHTS


def test_a_failure_with_a_code_and_a_method(hub: LocalHub, tmp_path: Path) -> None:
    hub.fail(
        "model.safetensors",
        status=403,
        message="no\r\nentry",
        method="HEAD",
        headers={"X-Error-Code": "GatedRepo", "X-More": "1"},
    )
    with pytest.raises(GatedRepoError) as refused:
        _download(hub, tmp_path)
    assert refused.value.response.headers["X-More"] == "1"
    assert refused.value.response.headers["X-Error-Message"] == "no??entry"


def test_rate_limit_names_its_seconds(hub: LocalHub, naps: list[float]) -> None:
    hub.rate_limit("/api/models", retry_after_s=7, times=1)
    with pytest.raises(HfHubHTTPError) as refused:
        HfApi(endpoint=hub.endpoint, token=False).model_info("org/m")
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"] == "7"
    hub.rate_limit("/tree/", retry_after_s=7, times=1)
    assert len(list(HfApi(endpoint=hub.endpoint, token=False).list_repo_tree("org/m"))) == 2
    assert naps == [8.0]


def test_a_dropped_connection(hub: LocalHub, tmp_path: Path) -> None:
    hub.drop("/api/models")
    with pytest.raises(httpx.TransportError):
        HfApi(endpoint=hub.endpoint, token=False).model_info("org/m")
    assert hub.requests[-1].status == 0
    assert HfApi(endpoint=hub.endpoint, token=False).model_info("org/m").sha == hub.head("org/m")


def test_the_client_recovers_from_a_truncated_body(hub: LocalHub, tmp_path: Path, naps: list[float]) -> None:
    hub.truncate(".safetensors", keep_bytes=100)
    assert _download(hub, tmp_path) == WEIGHTS
    assert [r.status for r in hub.requests if r.side == "lfs"] == [200, 200]
    assert naps == [1]


def test_a_short_body_that_admits_it(hub: LocalHub, tmp_path: Path) -> None:
    hub.truncate(".safetensors", keep_bytes=100, admit=True)
    with pytest.raises(OSError, match="Consistency check failed"):
        _download(hub, tmp_path)
    response = get_session().get(hf_hub_url("org/m", "config.json", endpoint=hub.endpoint))
    assert response.content == b"{}"


def test_a_body_that_fits_is_not_truncated(hub: LocalHub) -> None:
    hub.truncate("config.json", keep_bytes=2)
    url = hf_hub_url("org/m", "config.json", endpoint=hub.endpoint)
    assert get_session().get(url).content == b"{}"
    hub.commit("org/m", {"config.json": b"[1]"})
    with pytest.raises(httpx.RemoteProtocolError):
        get_session().get(url)
    assert get_session().get(url).content == b"[1]"


def test_a_damaged_body_has_the_right_length_and_the_wrong_content(hub: LocalHub, tmp_path: Path) -> None:
    hub.corrupt(".safetensors")
    got = _download(hub, tmp_path)
    assert len(got) == len(WEIGHTS)
    assert [i for i, (a, b) in enumerate(zip(got, WEIGHTS, strict=True)) if a != b] == [len(WEIGHTS) - 1]
    hub.corrupt(".safetensors")
    url = hf_hub_url("org/m", "model.safetensors", endpoint=hub.endpoint)
    assert get_session().get(url, headers={"range": "bytes=10-19"}).content == WEIGHTS[10:19] + bytes(
        [WEIGHTS[19] ^ 1]
    )
    assert get_session().get(url).content == WEIGHTS
    assert hub.read("org/m", "model.safetensors") == WEIGHTS


def test_a_slow_body_times_out_and_closing_does_not_wait(tmp_path: Path) -> None:
    with LocalHub() as hub:
        hub.add_model("org/m", {"model.safetensors": WEIGHTS})
        hub.slow(".safetensors", bytes_per_s=4000)
        started = time.monotonic()
        assert _download(hub, tmp_path) == WEIGHTS
        assert time.monotonic() - started > 0.3
        hub.behave()
        hub.slow(".safetensors", bytes_per_s=1)
        with pytest.raises(httpx.ReadTimeout):
            get_session().get(hf_hub_url("org/m", "model.safetensors", endpoint=hub.endpoint), timeout=0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 1.0


def test_hooks_see_requests_before_the_answer(hub: LocalHub) -> None:
    seen: list[LoggedRequest] = []
    hub.on_request(seen.append)
    HfApi(endpoint=hub.endpoint, token=False, library_name="amdet-hub", library_version="1").model_info("org/m")
    assert [(r.method, r.path, r.status) for r in seen] == [("GET", "/api/models/org/m", 0)]
    assert seen[0].user_agent.startswith("amdet-hub/1")
    assert hub.requests[-1].status == 200
    hub.forget_requests()
    assert hub.requests == []


def test_a_mistake_in_a_hook_reaches_the_test() -> None:
    def broken(request: LoggedRequest) -> None:
        raise ZeroDivisionError(request.path)

    hub = LocalHub().start()
    hub.on_request(broken)
    assert get_session().get(hub.endpoint).status_code == 500
    with pytest.raises(RuntimeError, match="while it was answering") as failed:
        hub.__exit__(None, None, None)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


def test_it_is_closed_at_once_and_for_good() -> None:
    hub = LocalHub()
    with pytest.raises(RuntimeError, match="not started"):
        _ = hub.endpoint
    with hub:
        port = int(hub.endpoint.rpartition(":")[2])
        folder = Path(hub.environment()["HF_HOME"]).parent
        get_session().get(hub.endpoint)  # leaves a keep-alive connection behind
        started = time.monotonic()
    assert time.monotonic() - started < 1.0
    assert not folder.exists()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    hub.close()


def test_ports_can_be_chosen_and_a_taken_one_is_an_error() -> None:
    with LocalHub() as hub:
        port = int(hub.endpoint.rpartition(":")[2])
        with pytest.raises(OSError):
            LocalHub(port=port).start()
        with pytest.raises(OSError):
            LocalHub(lfs_port=port).start()
    with LocalHub(port=port) as again:
        assert again.endpoint == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere/at/all/of/it", b"", 404),
        ("GET", "/api/models/org/m/tree/main?cursor=x", b"", 400),
        ("GET", "/api/models/org/m/discussions/7", b"", 404),
        ("GET", "/api/models/org/m?expand=nonsense", b"", 400),
        ("POST", "/api/validate-yaml", b"{", 400),
        ("DELETE", "/api/models/org/m", b"", 404),
    ],
)
def test_odd_requests_are_refused_not_crashed(hub: LocalHub, method: str, path: str, body: bytes, status: int) -> None:
    response = get_session().request(method, hub.endpoint + path, content=body)
    assert response.status_code == status
    assert response.headers["X-Error-Message"]


def test_a_server_that_knows_no_ranges(hub: LocalHub) -> None:
    hub.ignore_ranges(".safetensors", times=1)
    url = hf_hub_url("org/m", "model.safetensors", endpoint=hub.endpoint)
    answers = [get_session().get(url, headers={"range": "bytes=3-7"}) for _ in range(2)]
    assert [(a.status_code, a.content) for a in answers] == [(200, WEIGHTS), (206, WEIGHTS[3:8])]
    assert "content-range" not in answers[0].headers
    assert [r.length for r in hub.requests if r.side == "lfs"] == [len(WEIGHTS), 5]


def test_a_body_without_end(hub: LocalHub) -> None:
    hub.never_end(".safetensors", times=1)
    with get_session().stream("GET", hf_hub_url("org/m", "model.safetensors", endpoint=hub.endpoint)) as answer:
        assert "content-length" not in answer.headers
        came = 0
        for chunk in answer.iter_raw():
            came += len(chunk)
            if came > 100 * len(WEIGHTS):
                break
    assert came > 100 * len(WEIGHTS)


def test_headers_that_say_something_else(hub: LocalHub) -> None:
    hub.relabel("/resolve/", {"x-linked-etag": '"other"', "X-Repo-Commit": None}, times=1)
    url = hf_hub_url("org/m", "model.safetensors", endpoint=hub.endpoint)
    first, second = (get_session().head(url, follow_redirects=False) for _ in range(2))
    assert first.headers["x-linked-etag"] == '"other"'
    assert "x-repo-commit" not in first.headers
    assert second.headers["x-linked-etag"] != '"other"'
    assert "x-repo-commit" in second.headers


@pytest.mark.parametrize(
    ("fault", "opening"),
    [
        ("drip_headers", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Long: xxx"),
        (
            "drip_chunks",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;xxx",
        ),
        ("endless_continue", b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
    ],
)
def test_an_answer_that_does_not_come(fault: str, opening: bytes) -> None:
    """Seen on the socket: the client would wait for its end. Closing the Hub does not."""
    with LocalHub() as hub:
        getattr(hub, fault)("/api/", every_s=0.02)
        with socket.create_connection(("127.0.0.1", int(hub.endpoint.rpartition(":")[2]))) as client:
            client.sendall(b"GET /api/models/org/m HTTP/1.1\r\nHost: h\r\n\r\n")
            came = b""
            while len(came) < len(opening):
                came += client.recv(1000)
            assert came.startswith(opening)
        started = time.monotonic()
    assert time.monotonic() - started < 1.0


def test_pages_without_end(hub: LocalHub) -> None:
    hub.endless_pages(
        "/tree/", lambda page: [{"type": "directory", "oid": "0", "path": f"{page}/{i}"} for i in range(2)]
    )
    rows = HfApi(endpoint=hub.endpoint, token=False).list_repo_tree("org/m")
    assert [next(iter(rows)).path for _ in range(5)] == ["0/0", "0/1", "1/0", "1/1", "2/0"]


@pytest.mark.parametrize("packed", [True, False])
def test_a_huge_listing(hub: LocalHub, packed: bool) -> None:
    hub.huge_listing("/tree/", b'{"a":1}', size_bytes=800_000, packed=packed)
    answer = get_session().get(f"{hub.endpoint}/api/models/org/m/tree/main")
    assert answer.json() == [{"a": 1}] * 100_001
    assert (hub.requests[-1].length < 20_000) is packed
