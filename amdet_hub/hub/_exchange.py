"""One question to the Hub with all its attempts: what it may cost in time, requests and bytes, and what it has cost.

Knows: limits, and that the client makes a file name of an ETag. Refuses to know: what a body means; hashes are checked
where files are stored.

Only time that the server is waited for counts, not what is done with the bytes. It counts from when the waiting began,
whatever comes meanwhile: the HTTP library's own time limits begin anew with every byte, so that a server which sends
one now and then would hold a scan for days.
"""

import re
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub.errors import HubError, HubUnavailable
from amdet_hub.hub._errors import Question
from amdet_hub.hub.time_limit import time_left_s

# A body slower than this on average, after one time limit of grace, is no answer. A telephone modem is ten times as
# fast.
MIN_BYTES_PER_S = 512.0
# How many time limits a question may wait in all, for every page and redirect together. A file adds its bytes' time.
MAX_TIMEOUTS = 10
# Pages of a listing and redirects. A listing of 50,000 files has 50 pages.
MAX_REQUESTS = 500
# Most bytes of an answer that is no file, and of all pages together. A page of a listing has about 300 kB. Parsed, the
# worst JSON takes 30 times its bytes.
MAX_ANSWER_BYTES, MAX_PAGES_BYTES = 8 << 20, 64 << 20
# What a file's body may have beyond what was asked for: a server without ranges sends a small file whole.
MAX_FILE_MARGIN_BYTES = 16 << 20

_PLAIN_ETAG = re.compile(r'(?:W/)?"?[A-Za-z0-9_.+=-]{1,128}"?')
_NAMES = (("x-linked-etag", _PLAIN_ETAG), ("etag", _PLAIN_ETAG), ("x-repo-commit", re.compile(r"[0-9a-f]{40}")))


class Exchange:
    """A question and what answers it; the header of each answer must be there after `timeout_s`.

    Attributes:
        unanswered: method and address of this attempt's request that has no answer yet.
    """

    def __init__(self, question: Question, timeout_s: float) -> None:
        self.question, self.timeout_s = question, timeout_s
        self.unanswered: tuple[str, str] | None = None
        self._n_requests = self._pages_bytes = 0
        self._since: float | None = None
        self._waited_s, self._allowed_s = 0.0, timeout_s
        self._most_s = MAX_TIMEOUTS * timeout_s + (question.size_bytes or 0) / MIN_BYTES_PER_S

    def count_request(self) -> None:
        """Count one request, whose answer is waited for from now on. Raises: HubError, it is one too many."""
        self._n_requests += 1
        if self._n_requests > MAX_REQUESTS:
            raise self.question.unusable(f"it goes on after {MAX_REQUESTS} pages")
        self.wait(self.timeout_s)

    def wait(self, allowed_s: float) -> None:
        """From now on the server is waited for, for at most so many seconds."""
        self._since, self._allowed_s = time.monotonic(), allowed_s

    def came(self) -> float:
        """The server is no longer waited for. Returns the seconds that it was."""
        took_s = self._took_s()
        self._since, self._waited_s = None, self._waited_s + took_s
        return took_s

    @property
    def spent(self) -> bool:
        """Whether no time is left for another attempt."""
        return self._waited_s >= self._most_s

    def left_s(self) -> float:
        """Seconds that the server may still be waited for.

        Raises:
            HubUnavailable: none.
            TimeSpent: the scan's budget is spent.
        """
        budget_s, took_s = time_left_s(), self._took_s()
        left_s = min(self._allowed_s, self._most_s - self._waited_s) - took_s
        if left_s <= 0:
            waited_s = self._waited_s + took_s
            raise HubUnavailable(f"its answer is not there after {waited_s:.1f} s", **self.question.place)
        return min(left_s, budget_s)

    def _took_s(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def check(self, response: Any) -> None:
        """Check an answer's header, and let its body, when it is read, end in an error when it is too long or slow.

        Raises:
            HubError: the answer cannot be used.
        """
        self.unanswered = None
        self.came()
        # a packed body may unfold to a thousand times its bytes, so it is never asked for
        if (packing := response.headers.get("content-encoding", "identity")) != "identity":
            raise self.question.unusable(f"content-encoding {packing[:40]}")
        _check_names(response, self.question)
        # Xet has a client of its own, which knows no limits of ours
        response.headers.pop("x-xet-hash", None)
        response.stream = _Body(response.stream, self)

    def count_bytes(self, received: int, new: int) -> None:
        """Count bytes of a body, `received` those of this answer so far. Raises: HubError, they are too many."""
        size_bytes, limit = self.question.size_bytes, MAX_ANSWER_BYTES
        if self.question.path is not None and size_bytes is not None:
            limit = size_bytes + MAX_FILE_MARGIN_BYTES
        else:
            self._pages_bytes += new
        if received > limit or self._pages_bytes > MAX_PAGES_BYTES:
            raise HubError(
                f"the Hub sends more than the {limit if received > limit else MAX_PAGES_BYTES:,} bytes that the answer"
                f" to '{self.question.action}' may have",
                **self.question.place,
            )


# The one that is under way in this thread, None where the client is not used by us.
current: ContextVar[Exchange | None] = ContextVar("amdet_hub_exchange", default=None)


def _check_names(response: Any, question: Question) -> None:
    """Refuse an answer about a file whose ETag or commit could lead out of the cache.

    The client makes paths of both, unchecked.

    Raises:
        HubError: a header is not a plain name.
    """
    if question.path is None or "x-repo-commit" not in response.headers:
        return
    for name, plain in _NAMES:
        value = response.headers.get(name)
        if value is not None and (plain.fullmatch(value) is None or ".." in value):
            raise HubError(
                f"the Hub's answer about '{question.path}' cannot be used (its {name} header is not a plain name)",
                **question.place,
            )


class _Body(httpx.SyncByteStream):
    """The body of one answer, whose bytes and time are counted."""

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._stream, self._exchange = stream, exchange

    def __iter__(self) -> Iterator[bytes]:
        exchange, pieces, received, waited_s = self._exchange, iter(self._stream), 0, 0.0
        while True:
            exchange.wait(exchange.timeout_s + received / MIN_BYTES_PER_S - waited_s)
            exchange.left_s()
            piece = next(pieces, None)
            waited_s += exchange.came()
            if piece is None:
                return
            received += len(piece)
            exchange.count_bytes(received, len(piece))
            yield piece

    def close(self) -> None:
        self._stream.close()
