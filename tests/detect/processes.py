"""Two processes of a scan, as two threads that meet wherever the real ones would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from amdet_hub.detect.context import Workers

T = TypeVar("T")


@dataclass(frozen=True)
class Rank:
    """One of `size` workers; every second chunk is its own, and all get the whole."""

    rank: int
    size: int
    meeting: threading.Barrier
    table: list[dict[int, Any]]

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        mine = {number: work(batch, number) for number in range(self.rank, n_chunks(batch), self.size)}
        self.table[self.rank] = mine
        self.meeting.wait(timeout=60)
        merged = {number: result for part in self.table for number, result in part.items()}
        self.meeting.wait(timeout=60)  # no rank may overwrite the table before all have read it
        return [merged[number] for number in sorted(merged)]


def in_two_processes(task: Callable[[Workers], T]) -> list[T]:
    """What `task` gives on each of two workers."""
    meeting, table = threading.Barrier(2), [{}, {}]  # type: ignore[var-annotated]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda rank: task(Rank(rank, 2, meeting, table)), range(2)))
