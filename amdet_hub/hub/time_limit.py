"""The time budget of a scan, as far as a Hub is waited for. Standard library only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ends: ContextVar[float] = ContextVar("amdet_hub_ends", default=math.inf)


class TimeSpent(Exception):
    """The scan's time budget is spent."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Let every question to a Hub inside the block end in `TimeSpent` after so many seconds; None sets no limit.

    The limit belongs to the context: another thread has it where it runs in a copy.
    """
    ends = math.inf if seconds is None else time.monotonic() + seconds
    token = _ends.set(min(ends, _ends.get()))
    try:
        yield
    finally:
        _ends.reset(token)


def time_left_s() -> float:
    """Seconds that are left, infinite without a limit. Raises: TimeSpent."""
    left_s = _ends.get() - time.monotonic()
    if left_s <= 0:
        raise TimeSpent
    return left_s
