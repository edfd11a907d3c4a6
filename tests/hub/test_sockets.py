"""Every connection of the client is held to the time of the question, however it was made."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from huggingface_hub import close_session, get_session

from amdet_hub.errors import HubUnavailable
from amdet_hub.hub import HubSettings, _client
from amdet_hub.hub._errors import Question

TIMEOUT_S, SOON_S = 0.5, 5.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, or send a header that drips."""
        if self.path.endswith("/drip"):
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not self.server.stopping.wait(0.1):  # type: ignore[attr-defined]
                self.wfile.write(b"x")
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # some hold a connection that the client keeps

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stopping = threading.Event()
        self.scheme = "http" if context is None else "https"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what is wanted."""


@pytest.fixture(autouse=True)
def _fresh_session() -> Iterator[None]:
    close_session()
    yield
    close_session()


@pytest.fixture(params=["plain", "encrypted", "through a proxy"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a server answers, each time over another kind of connection."""
    server = _Server(certified(tmp_path) if request.param == "encrypted" else None)
    if request.param == "encrypted":
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    if request.param == "through a proxy":
        monkeypatch.setenv("HTTP_PROXY", server.address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield "http://hub.invalid" if request.param == "through a proxy" else server.address
    server.stopping.set()
    server.shutdown()
    thread.join()
    server.server_close()


def certified(folder: Path) -> ssl.SSLContext:
    """The context of a server whose certificate is written to `folder`/cert.pem."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def get(url: str) -> str:
    settings = HubSettings(timeout_s=TIMEOUT_S, max_retries=0)
    return str(_client.ask(Question("read a page", url), settings, lambda: get_session().get(url).text))


def given_up(url: str) -> None:
    began = time.monotonic()
    with pytest.raises(HubUnavailable):
        get(url)
    assert time.monotonic() - began < SOON_S


def test_an_answer_comes_or_is_given_up(address: str) -> None:
    assert [get(f"{address}/fine") for _ in range(2)] == ["ok", "ok"]
    given_up(f"{address}/drip")
    assert get(f"{address}/fine") == "ok"


def test_a_connection_that_was_made_before_is_not_used_unheld(address: str) -> None:
    """It is kept alive, and the next request would go over it."""
    assert get_session().get(f"{address}/fine").text == "ok"
    given_up(f"{address}/drip")


@pytest.mark.parametrize("sent", [b"", b"\x16"], ids=["silent", "drips"])
def test_an_encryption_that_does_not_come_about_is_given_up(sent: bytes) -> None:
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(sent and b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0")
                while not stopping.wait(0.1):
                    client.sendall(sent)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            given_up(f"https://127.0.0.1:{server.getsockname()[1]}/")
        finally:
            stopping.set()
            thread.join()
