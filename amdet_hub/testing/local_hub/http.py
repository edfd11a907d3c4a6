"""The sockets of the local Hub: HTTP/1.1 requests in, responses out, and a server that stops at once and cleanly.

Standard library only.

Knows: keep-alive, chunked bodies, ranges, bodies that are sent short, damaged or slowly. Refuses to know: what any
address means.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from amdet_hub.testing.local_hub.storage import Blob

Side = Literal["hub", "lfs"]

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
_BODILESS = (204, 304)


@dataclass(frozen=True)
class LoggedRequest:
    """One request as it was seen. It says whether a token came, and not which.

    `path` is decoded; `host` is the Host header; `side` says which of the two hosts answered; `status` is 0 before the
    answer (in a hook) and for a connection that was dropped; `changed` says that the request changed something.
    `length` is the declared size of the answer's body.
    """

    method: str
    path: str
    host: str
    query: str
    status: int
    had_token: bool
    range: str | None
    side: Side = "hub"
    user_agent: str = ""
    changed: bool = False
    length: int = 0


@dataclass(frozen=True)
class HubRequest:
    """One request as it came. `raw_path` is still percent-encoded (a revision may hold `%2F`), `path` is not."""

    side: Side
    method: str
    raw_path: str
    raw_query: str
    headers: Message = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The decoded path."""
        return unquote(self.raw_path)

    @property
    def query(self) -> dict[str, list[str]]:
        """The decoded query: every name with all its values."""
        return parse_qs(self.raw_query, keep_blank_values=True)

    def logged(self) -> LoggedRequest:
        """The row of the log before the answer is known."""
        return LoggedRequest(
            method=self.method,
            path=self.path,
            host=self.headers.get("Host") or "",
            query=self.raw_query,
            status=0,
            had_token=self.headers.get("Authorization") is not None,
            range=self.headers.get("Range"),
            side=self.side,
            user_agent=self.headers.get("User-Agent") or "",
        )

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def number(self, name: str, default: int) -> int:
        """A query parameter as a number that is not negative.

        Raises:
            HubRefusal: 400, it is not.
        """
        text = self.first(name)
        if text and not (text.isascii() and text.isdigit()):
            raise HubRefusal(400, f"'{name}' must be a number")
        return int(text) if text else default

    def flag(self, name: str) -> bool:
        """Whether a query parameter is switched on."""
        return self.first(name).lower() in ("1", "true")

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; none and `null` are an empty one.

        Raises:
            HubRefusal: 400, it is something else.
        """
        try:
            data = json.loads(self.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise HubRefusal(400, "the body is not JSON") from error
        if not isinstance(data, dict | None):
            raise HubRefusal(400, "the body is not a JSON object")
        return data or {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A list of objects inside the JSON body.

        Raises:
            HubRefusal: 400, it is something else.
        """
        rows = self.json().get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise HubRefusal(400, f"'{name}' must be a list of objects")
        return rows


@dataclass
class HubResponse:
    """One answer. `content` marks the bytes of a repository's file: only those are truncated, damaged or slowed.

    `stop_after` sends that many bytes of the declared length and hangs up; `damaged` flips one bit; `bytes_per_s`
    limits the speed; `dropped` hangs up without a word; `endless` declares no length and repeats the body until the
    client hangs up. `changed` says that the request changed the state of the Hub.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Blob = b""
    start: int = 0
    stop: int | None = None
    content: bool = False
    changed: bool = False
    dropped: bool = False
    damaged: bool = False
    endless: bool = False
    stop_after: int | None = None
    bytes_per_s: float | None = None

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        size = self.body.size if isinstance(self.body, Blob) else len(self.body)
        return (size if self.stop is None else self.stop) - self.start

    def chunks(self) -> Iterator[bytes]:
        """The body as it is sent, faults included."""
        left = self.length if self.stop_after is None else min(self.stop_after, self.length)
        body, ends = self.body, (self.start, self.stop)
        pieces = body.chunks(*ends) if isinstance(body, Blob) else iter([body[slice(*ends)]])
        for number, piece in enumerate(pieces):
            if left > 0:
                # the last byte of the first piece: in a safetensors file most likely a weight, not the header
                spoilt = self.damaged and number == 0
                yield (piece[:-1] + bytes([piece[-1] ^ 1]) if spoilt else piece)[:left]
                left -= len(piece)


class HubRefusal(Exception):
    """An error answer. `code` becomes `X-Error-Code`, by which the client chooses its exception."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, dict(headers or {})

    def response(self) -> HubResponse:
        """The answer that says so, in the headers and the body the real Hub uses."""
        # file names come from repositories, and a newline in one would start a new header
        said = "".join(c if c.isprintable() and c.isascii() else "?" for c in self.message)
        headers = {**self.headers, **({"X-Error-Code": self.code} if self.code else {}), "X-Error-Message": said}
        return json_response({"error": self.message}, status=self.status, headers=headers)


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, changed: bool = False
) -> HubResponse:
    """`data` as a JSON answer."""
    typed = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return HubResponse(status, typed, json.dumps(data).encode(), changed=changed)


def file_response(request: HubRequest, blob: Blob, headers: Mapping[str, str]) -> HubResponse:
    """The bytes of a file: all of them (200) or the one range that was asked for (206).

    Several ranges at once are answered with everything, as object stores do.

    Raises:
        HubRefusal: 416, the range starts behind the end.
    """
    response = HubResponse(200, {"Accept-Ranges": "bytes", **headers}, blob, content=True)
    match = _RANGE.fullmatch(request.headers.get("Range") or "")
    if match is None or match.groups() == ("", ""):
        return response
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else blob.size, blob.size)
    else:
        start, stop = max(blob.size - int(last), 0), blob.size
    if start >= stop:
        raise HubRefusal(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{blob.size}"})
    response.status, response.start, response.stop = 206, start, stop
    response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return response


Answer = Callable[[HubRequest], HubResponse]


class HubServer(ThreadingHTTPServer):
    """One listening socket on loopback, which answers once its `thread` is started.

    `close` hangs up on every client, so that keep-alive connections do not hold it open.
    """

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, side: Side, port: int, answer: Answer) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.side: Side = side
        self.answer = answer
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self.port = int(self.server_address[1])
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
        """Say nothing: a client that hangs up is its own affair, and `LocalHub` has the errors of ours."""

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
        request = HubRequest(self.server.side, self.command, url.path, url.query, self.headers, self._body())
        response = self.server.answer(request)
        if response.dropped:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        has_body = response.status not in _BODILESS
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
