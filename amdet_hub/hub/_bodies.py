"""What a server may send as an answer: how much, how slowly, and which names.

Every answer inside `_client.ask` is held to it.

Knows: sizes, pace, and that the client makes a file name of an ETag. Refuses to know: what a body means; hashes are
checked where files are stored. A time limit of the transport ends a silence; a server that sends a byte now and then
is never silent, and would hold a scan for days.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub.errors import HubError, HubUnavailable
from amdet_hub.hub._errors import Question

# Slower than this on average, after one time limit of grace, is no answer. A telephone modem is ten times as fast.
MIN_BYTES_PER_S = 512.0
# Most bytes of an answer that is no file. A page of a listing has about 300 kB.
MAX_ANSWER_BYTES = 64 << 20
# What a file's body may have beyond what was asked for: a server without ranges sends a small file whole.
MAX_FILE_MARGIN_BYTES = 16 << 20

_PLAIN_ETAG = re.compile(r'(?:W/)?"?[A-Za-z0-9_.+=-]{1,128}"?')
_NAMES = (("x-linked-etag", _PLAIN_ETAG), ("etag", _PLAIN_ETAG), ("x-repo-commit", re.compile(r"[0-9a-f]{40}")))


def check_names(response: Any, question: Question) -> None:
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


def guard(response: Any, question: Question, timeout_s: float) -> None:
    """Let the body of `response`, when it is read, end in an error as soon as it is too long or too slow."""
    size_bytes = None if question.path is None else question.size_bytes
    limit = MAX_ANSWER_BYTES if size_bytes is None else size_bytes + MAX_FILE_MARGIN_BYTES
    response.stream = _GuardedBody(response.stream, question, limit, timeout_s)


class _GuardedBody(httpx.SyncByteStream):
    """The body of one answer. Only the time spent waiting for the server counts, not what is done with the bytes."""

    def __init__(self, stream: Any, question: Question, limit_bytes: int, timeout_s: float) -> None:
        self._stream, self._question, self._limit_bytes, self._timeout_s = stream, question, limit_bytes, timeout_s

    def __iter__(self) -> Iterator[bytes]:
        received, waited_s, asked = 0, 0.0, time.monotonic()
        for piece in self._stream:
            waited_s += time.monotonic() - asked
            received += len(piece)
            self._check(received, waited_s)
            yield piece
            asked = time.monotonic()

    def _check(self, received: int, waited_s: float) -> None:
        question = self._question
        if received > self._limit_bytes:
            raise HubError(
                f"the Hub sends more than the {self._limit_bytes:,} bytes that the answer to '{question.action}' may"
                " have",
                **question.place,
            )
        if waited_s > self._timeout_s + received / MIN_BYTES_PER_S:
            raise HubUnavailable(f"it sends fewer than {MIN_BYTES_PER_S:.0f} bytes a second", **question.place)

    def close(self) -> None:
        self._stream.close()
