"""Requests and responses of the local Hub, and its refusals. Standard library only; no sockets."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from amdet_hub.testing.local_hub.storage import Blob

Side = Literal["hub", "lfs"]
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class LoggedRequest:
    """One request as it was seen. Whether a token came is kept, the token is not.

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
        """What the log keeps of it before the answer is known."""
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


@dataclass(frozen=True)
class Stall:
    """Bytes in place of an answer: `opening`, then `repeated` every `every_s` seconds until the client hangs up."""

    opening: bytes
    repeated: bytes
    every_s: float


@dataclass
class HubResponse:
    """One answer. `content` marks the bytes of a repository's file: only those are truncated, damaged or slowed.

    `stop_after` sends that many bytes of the declared length and hangs up; `damaged` flips one bit; `bytes_per_s`
    limits the speed; `dropped` hangs up without a word; `stall` is sent in place of everything; `endless` declares no
    length and repeats the body until the client hangs up. `changed` says that the request changed the state of the
    Hub.
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
    stall: Stall | None = None

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
        headers = {
            **self.headers,
            **({"X-Error-Code": self.code} if self.code else {}),
            "X-Error-Message": "".join(c if c.isprintable() and c.isascii() else "?" for c in self.message),
        }
        return json_response({"error": self.message}, status=self.status, headers=headers)


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, changed: bool = False
) -> HubResponse:
    """`data` as a JSON answer."""
    return HubResponse(
        status,
        {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        json.dumps(data).encode(),
        changed=changed,
    )


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
