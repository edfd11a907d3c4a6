"""What can go wrong with the local Hub on purpose: errors, and answers that are damaged, slow, endless or huge.

Knows: rules that match a request and count down. Refuses to know: what the Hub would have answered.
"""

import gzip
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amdet_hub.testing.local_hub.messages import HubRefusal, HubRequest, HubResponse, Stall, json_response

# Makes the answer that is given in place of the Hub's own.
Answer = Callable[[HubRequest], HubResponse]
# Changes an answer in place. Returns whether it had anything to change, which is when a use is counted.
Change = Callable[[HubResponse], bool]

# The header of an answer whose body is JSON.
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@dataclass
class _Rule:
    """Applies to the next `times` requests (None: to all) whose decoded path contains `text` and that have `method`.

    `instead` is given in place of an answer; else `change` changes one, of a file's bytes unless `any_answer`.
    """

    text: str
    times: int | None
    method: str | None = None
    instead: Answer | None = None
    change: Change = lambda response: False
    any_answer: bool = False

    def matches(self, request: HubRequest) -> bool:
        return self.times != 0 and self.text in request.path and self.method in (None, request.method)

    def count(self) -> None:
        if self.times is not None:
            self.times -= 1


def _setting(**fields: Any) -> Change:
    """A change of these fields of an answer that has a body."""

    def change(response: HubResponse) -> bool:
        vars(response).update(fields)
        return response.length > 0

    return change


class FaultControls:
    """What a test can make go wrong; the part of `LocalHub` that does so. Thread-safe.

    Every `text` is a part of the decoded path on either host (`"/resolve/"`, `".safetensors"`, `"/commit/"`), and
    every `times` counts the requests that a rule still applies to (None: all).
    """

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._rules_lock = threading.Lock()

    def behave(self) -> None:
        """Forget every fault."""
        with self._rules_lock:
            self._rules.clear()

    def _add(self, rule: _Rule) -> None:
        with self._rules_lock:
            self._rules.append(rule)

    def _refused(self, request: HubRequest) -> HubResponse | None:
        """The answer of the first matching rule that has one in place of the Hub's, None when there is none."""
        with self._rules_lock:
            for rule in self._rules:
                if rule.instead is not None and rule.matches(request):
                    rule.count()
                    return rule.instead(request)
        return None

    def _distort(self, request: HubRequest, response: HubResponse) -> None:
        is_file = response.content and request.method == "GET" and response.status in (200, 206)
        with self._rules_lock:
            for rule in self._rules:
                if (rule.any_answer or is_file) and rule.matches(request) and rule.change(response):
                    rule.count()

    def fail(
        self,
        text: str,
        *,
        status: int,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        message: str = "Injected failure",
        method: str | None = None,
    ) -> None:
        """Answer with an error.

        Args:
            text: part of the path.
            status: the HTTP status.
            times: how often.
            headers: more headers; `X-Error-Code` is the one by which the client chooses its exception.
            message: `X-Error-Message`, and the body's `error`.
            method: only requests of this method (`"HEAD"`, `"POST"`).
        """
        refusal = HubRefusal(status, message, headers=headers)
        self._add(_Rule(text, times, method, lambda request: refusal.response()))

    def rate_limit(
        self, text: str, *, retry_after_s: int, times: int | None = None, method: str | None = None
    ) -> None:
        """Answer with 429 and `Retry-After`.

        The client itself waits that long, and a second more, where it retries.
        """
        self.fail(
            text,
            status=429,
            times=times,
            headers={"Retry-After": str(retry_after_s)},
            message="Too Many Requests",
            method=method,
        )

    def drop(self, text: str, *, times: int | None = 1, method: str | None = None) -> None:
        """Hang up without an answer."""
        self._add(_Rule(text, times, method, lambda request: HubResponse(0, dropped=True)))

    def relabel(
        self, text: str, headers: Mapping[str, str | None], *, times: int | None = None, method: str | None = None
    ) -> None:
        """Replace headers of answers (`ETag`, `X-Repo-Commit`, `Location`), redirects included; None takes one away.

        The bodies stay as they are.
        """
        replaced = {name.lower() for name in headers}

        def change(response: HubResponse) -> bool:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in replaced}
            response.headers = kept | {name: value for name, value in headers.items() if value is not None}
            return True

        self._add(_Rule(text, times, method, change=change, any_answer=True))

    def truncate(self, text: str, *, keep_bytes: int, times: int | None = 1, admit: bool = False) -> None:
        """Send only the first `keep_bytes` of bodies of files that are longer.

        The declared length stays that of the whole file; with `admit` it is the short one, and HTTP itself sees
        nothing wrong.
        """

        def change(response: HubResponse) -> bool:
            if response.length <= keep_bytes:
                return False
            if admit:
                response.stop = response.start + keep_bytes
            response.stop_after = keep_bytes
            return True

        self._add(_Rule(text, times, change=change))

    def corrupt(self, text: str, *, times: int | None = 1) -> None:
        """Flip one bit in bodies of files. Lengths, ETag and sha256 stay those of the true content."""
        self._add(_Rule(text, times, change=_setting(damaged=True)))

    def pad(self, text: str, *, extra_bytes: int, times: int | None = None) -> None:
        """Send `extra_bytes` more than a file has, and declare them in `Content-Length`."""

        def change(response: HubResponse) -> bool:
            response.body = b"".join(response.chunks()) + b"\0" * extra_bytes
            response.start, response.stop = 0, None
            return True

        self._add(_Rule(text, times, change=change))

    def slow(self, text: str, *, bytes_per_s: float, times: int | None = None) -> None:
        """Send bodies of files at this speed. Closing the Hub does not wait for them."""
        self._add(_Rule(text, times, change=_setting(bytes_per_s=bytes_per_s)))

    def ignore_ranges(self, text: str, *, times: int | None = None) -> None:
        """Answer requests for a range with the whole file, as a server does that knows no ranges."""

        def change(response: HubResponse) -> bool:
            was_range = response.headers.pop("Content-Range", None) is not None
            response.status, response.start, response.stop = 200, 0, None
            return was_range

        self._add(_Rule(text, times, change=change))

    def never_end(self, text: str, *, times: int | None = 1) -> None:
        """Send bodies of files over and over, with no length declared, until the client hangs up."""
        self._add(_Rule(text, times, change=_setting(endless=True)))

    def drip_headers(self, text: str, *, every_s: float, times: int | None = None) -> None:
        """Send the header of an answer one byte at a time, and never its end."""
        self._stall(text, Stall(_JSON + b"X-Long: ", b"x", every_s), times)

    def drip_chunks(self, text: str, *, every_s: float, times: int | None = None, method: str | None = None) -> None:
        """Send a header, and then the announcement of a body's first chunk, one byte at a time, and never its end."""
        self._stall(text, Stall(_JSON + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x", every_s), times, method)

    def endless_continue(self, text: str, *, every_s: float, times: int | None = None) -> None:
        """Send `100 Continue` again and again, and never an answer."""
        self._stall(text, Stall(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every_s), times)

    def _stall(self, text: str, stall: Stall, times: int | None, method: str | None = None) -> None:
        self._add(_Rule(text, times, method, lambda request: HubResponse(0, stall=stall)))

    def endless_pages(
        self, text: str, rows: Callable[[int], Sequence[Mapping[str, Any]]], *, times: int | None = None
    ) -> None:
        """Answer with page after page of a listing: `rows` of 0, 1, 2, ..., each of which names the next page."""

        def page(request: HubRequest) -> HubResponse:
            number = request.number("cursor", 0)
            following = f"http://{request.headers['Host']}{request.raw_path}?cursor={number + 1}"
            return json_response(list(rows(number)), headers={"Link": f'<{following}>; rel="next"'})

        self._add(_Rule(text, times, None, page))

    def huge_listing(
        self, text: str, piece: bytes, *, size_bytes: int, packed: bool = False, times: int | None = None
    ) -> None:
        """Answer with a JSON list of `piece` that takes `size_bytes`; `packed` sends it as gzip."""
        body = b"[" + (piece + b",") * (size_bytes // (len(piece) + 1)) + piece + b"]"
        headers = {"Content-Type": "application/json", **({"Content-Encoding": "gzip"} if packed else {})}
        sent = gzip.compress(body, 1) if packed else body
        self._add(_Rule(text, times, None, lambda request: HubResponse(200, dict(headers), sent)))
