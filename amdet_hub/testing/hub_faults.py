"""What can go wrong with the local Hub on purpose: errors, rate limits, dropped, short, damaged and slow answers.

Knows: rules that match a request and count down. Refuses to know: what the Hub would have answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse


@dataclass
class FaultRule:
    """Applies to the next `times` requests (None: to all) whose decoded path contains `text` and whose method is `method` (None: any)."""

    text: str
    times: int | None
    method: str | None = None

    def matches(self, request: HubRequest) -> bool:
        """Whether the rule still has uses left and `request` is one of those it is meant for."""
        return self.times != 0 and self.text in request.path and self.method in (None, request.method)

    def use(self) -> None:
        """Count one use."""
        if self.times is not None:
            self.times -= 1


@dataclass
class Refuse(FaultRule):
    """Answer with `refusal`, or hang up when it is None."""

    refusal: HubRefusal | None = None


@dataclass
class Distort(FaultRule):
    """Change the answer with `change`; only answers that carry a file's bytes are changed and counted."""

    change: Callable[[HubResponse], bool] = lambda response: True


@dataclass
class Relabel(FaultRule):
    """Replace headers of an answer, whatever it carries; None takes one away."""

    headers: Mapping[str, str | None] = field(default_factory=dict)


class Faults:
    """The rules of one Hub, in the order they were made. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._lock = threading.Lock()

    def add(self, rule: FaultRule) -> None:
        """Add a rule behind those already there."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Forget every rule."""
        with self._lock:
            self._rules.clear()

    def refuse(self, request: HubRequest) -> HubResponse | None:
        """The error that the first matching `Refuse` rule gives, None when there is none."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule, Refuse) and rule.matches(request):
                    rule.use()
                    return HubResponse(0, dropped=True) if rule.refusal is None else rule.refusal.response()
        return None

    def distort(self, request: HubRequest, response: HubResponse) -> None:
        """Let every matching `Relabel` and `Distort` rule change `response` in place."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule, Relabel) and rule.matches(request):
                    rule.use()
                    kept = {
                        k: v
                        for k, v in response.headers.items()
                        if k.lower() not in {name.lower() for name in rule.headers}
                    }
                    response.headers = kept | {k: v for k, v in rule.headers.items() if v is not None}
        if not response.content or request.method != "GET" or response.status not in (200, 206):
            return
        with self._lock:
            for rule in self._rules:
                if isinstance(rule, Distort) and rule.matches(request) and rule.change(response):
                    rule.use()


def truncation(keep_bytes: int, *, admit: bool) -> Callable[[HubResponse], bool]:
    """A change that sends only `keep_bytes`; `admit` also declares the short length, so that HTTP itself sees nothing wrong."""

    def change(response: HubResponse) -> bool:
        if response.length <= keep_bytes:
            return False
        if admit:
            response.stop = response.start + keep_bytes
        else:
            response.stop_after = keep_bytes
        return True

    return change


def damage(response: HubResponse) -> bool:
    """A change that flips one bit of the body."""
    response.damaged = response.length > 0
    return response.damaged


def without_range(response: HubResponse) -> bool:
    """A change that answers a range with the whole file, as a server does that knows no ranges."""
    if response.status != 206:
        return False
    response.status, response.start, response.stop = 200, 0, None
    response.headers.pop("Content-Range")
    return True


def unending(response: HubResponse) -> bool:
    """A change that repeats the body without end."""
    response.endless = True
    return True


def padding(extra_bytes: int) -> Callable[[HubResponse], bool]:
    """A change that sends `extra_bytes` zeros behind a body, and declares them."""

    def change(response: HubResponse) -> bool:
        response.body = b"".join(response.chunks()) + b"\0" * extra_bytes
        response.start, response.stop = 0, None
        return True

    return change


def throttle(bytes_per_s: float) -> Callable[[HubResponse], bool]:
    """A change that limits the speed of the body."""

    def change(response: HubResponse) -> bool:
        response.bytes_per_s = bytes_per_s
        return True

    return change


class FaultControls:
    """What a test can make go wrong; the part of `LocalHub` that does so.

    Every `text` is a part of the decoded path on either host (`"/resolve/"`, `".safetensors"`, `"/commit/"`), and
    every `times` counts the requests that a rule still applies to (None: all).
    """

    def __init__(self) -> None:
        self._faults = Faults()

    def behave(self) -> None:
        """Forget every fault."""
        self._faults.clear()

    def fail(
        self,
        text: str,
        *,
        status: int,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        error_code: str | None = None,
        message: str = "Injected failure",
        method: str | None = None,
    ) -> None:
        """Answer the next `times` requests (None: all) whose decoded path contains `text` with an error.

        Args:
            text: part of the path, on either host (`"/resolve/"`, `".safetensors"`, `"/commit/"`).
            status: the HTTP status.
            times: how often.
            headers: more headers.
            error_code: `X-Error-Code`, by which the client chooses its exception.
            message: `X-Error-Message`, and the body's `error`.
            method: only requests of this method (`"HEAD"`, `"POST"`).
        """
        self._faults.add(Refuse(text, times, method, HubRefusal(status, message, code=error_code, headers=headers)))

    def rate_limit(
        self, text: str, *, retry_after_s: int, times: int | None = None, method: str | None = None
    ) -> None:
        """Answer with 429 and `Retry-After`.

        The client itself waits that long, and a second more, where it retries.
        """
        headers = {"Retry-After": str(retry_after_s)}
        self.fail(text, status=429, times=times, headers=headers, message="Too Many Requests", method=method)

    def drop(self, text: str, *, times: int | None = 1, method: str | None = None) -> None:
        """Hang up without an answer."""
        self._faults.add(Refuse(text, times, method, None))

    def truncate(self, text: str, *, keep_bytes: int, times: int | None = 1, admit: bool = False) -> None:
        """Send only the first `keep_bytes` of the next `times` bodies of files that are longer.

        The declared length stays that of the whole file; with `admit` it is the short one, and HTTP itself sees
        nothing wrong.
        """
        self._faults.add(Distort(text, times, change=truncation(keep_bytes, admit=admit)))

    def corrupt(self, text: str, *, times: int | None = 1) -> None:
        """Flip one bit in the next `times` bodies of files.

        Lengths, ETag and sha256 stay those of the true content.
        """
        self._faults.add(Distort(text, times, change=damage))

    def relabel(
        self, text: str, headers: Mapping[str, str | None], *, times: int | None = None, method: str | None = None
    ) -> None:
        """Replace headers of answers (`ETag`, `X-Repo-Commit`, `Location`), redirects included; None takes one away.

        The bodies stay as they are.
        """
        self._faults.add(Relabel(text, times, method, headers))

    def pad(self, text: str, *, extra_bytes: int, times: int | None = None) -> None:
        """Send `extra_bytes` more than a file has, and declare them in `Content-Length`."""
        self._faults.add(Distort(text, times, change=padding(extra_bytes)))

    def slow(self, text: str, *, bytes_per_s: float, times: int | None = None) -> None:
        """Send bodies of files at this speed. Closing the Hub does not wait for them."""
        self._faults.add(Distort(text, times, change=throttle(bytes_per_s)))

    def ignore_ranges(self, text: str, *, times: int | None = None) -> None:
        """Answer requests for a range with the whole file."""
        self._faults.add(Distort(text, times, change=without_range))

    def never_end(self, text: str, *, times: int | None = 1) -> None:
        """Send bodies of files over and over, with no length declared, until the client hangs up."""
        self._faults.add(Distort(text, times, change=unending))
