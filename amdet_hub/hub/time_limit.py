"""The time budget of a scan, as far as a Hub is waited for. Standard library only."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class TimeSpent(Exception):
    """The scan's time budget is spent."""


class TimeLimit:
    """When questions to a Hub must have ended, in seconds of `time.monotonic`."""

    def __init__(self, ends: float) -> None:
        self._ends = ends

    @property
    def left_s(self) -> float:
        """Seconds that are left, infinite without a limit, not positive when it is over."""
        return self._ends - time.monotonic()

    def end(self) -> None:
        """Let it be over now; other threads notice within a second."""
        self._ends = -math.inf


_limit: ContextVar[TimeLimit | None] = ContextVar("amdet_hub_time_limit", default=None)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[TimeLimit]:
    """Let every question to a Hub inside the block end in `TimeSpent` after so many seconds; None sets no limit.

    The limit belongs to the context: another thread has it where it runs in a copy. One around the block holds too.
    """
    outer = _limit.get()
    left_s = min(math.inf if seconds is None else seconds, math.inf if outer is None else outer.left_s)
    limit = TimeLimit(time.monotonic() + left_s)
    token = _limit.set(limit)
    try:
        yield limit
    finally:
        _limit.reset(token)


def time_left_s() -> float:
    """Seconds that are left, infinite without a limit. Raises: TimeSpent."""
    limit = _limit.get()
    left_s = math.inf if limit is None else limit.left_s
    if left_s <= 0:
        raise TimeSpent
    return left_s
