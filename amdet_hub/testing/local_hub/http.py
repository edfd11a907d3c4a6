"""The sockets of the local Hub: HTTP/1.1 requests in, responses out, and a server that stops at once and cleanly.

Standard library only.

Knows: keep-alive, chunked bodies, ranges, answers that are sent short, damaged, slowly or never. Refuses to know: what
any address means.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from amdet_hub.testing.local_hub.messages import HubRequest, HubResponse, Side, Stall


class HubServer(ThreadingHTTPServer):
    """One listening socket on loopback, which answers once its `thread` is started.

    `close` hangs up on every client, so that keep-alive connections do not hold it open.
    """

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, side: Side, port: int, answer: Callable[[HubRequest], HubResponse]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.side: Side = side
        self.answer = answer
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"local-hub-{side}", daemon=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, then handle it in its own thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is its own affair, and errors of ours are kept by `LocalHub`."""

    def close(self) -> None:
        """Stop listening, hang up, wait for the threads."""
        self.stopping.set()
        self.shutdown()
        self.thread.join()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"
    server_version = "amdet-local-hub"
    sys_version = ""
    disable_nagle_algorithm = True  # headers and body are two writes; with Nagle each answer would wait 40 ms

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; `LocalHub.requests` is the log."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        response = self.server.answer(
            HubRequest(self.server.side, self.command, url.path, url.query, self.headers, self._body())
        )
        if response.dropped:
            self.close_connection = True
            return
        if response.stall is not None:
            self._stall(response.stall)
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        has_body = response.status not in (204, 304)
        if response.endless:
            self.send_header("Connection", "close")
        elif has_body:
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command != "HEAD" and has_body:
            self._send(response)
            while response.endless and not self.server.stopping.is_set():
                self._send(response)

    # the base class's names
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _send(self, response: HubResponse) -> None:
        sent = 0
        for chunk in response.chunks():
            step = len(chunk) if response.bytes_per_s is None else max(1, int(response.bytes_per_s / 20))
            for at in range(0, len(chunk), step):
                if response.bytes_per_s is not None and self.server.stopping.wait(step / response.bytes_per_s):
                    break
                sent += self.wfile.write(chunk[at : at + step])
        if sent < response.length:  # the client sees the end before the declared length
            self.close_connection = True

    def _stall(self, stall: Stall) -> None:
        self.close_connection = True
        self.wfile.write(stall.opening)
        while not self.server.stopping.wait(stall.every_s):
            self.wfile.write(stall.repeated)

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return b"".join(self._body_chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _body_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
