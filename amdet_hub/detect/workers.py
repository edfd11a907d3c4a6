"""How a detector shares its work over processes, as an interface. `amdet_hub.scanner` implements it with accelerate.

A detector cuts its work into numbered chunks whose bounds do not depend on the number of processes, so that one
process and several compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Workers(Protocol):
    """The processes of this scan."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        """Every chunk's result, in chunk order, on every process.

        Args:
            stage: name under which the batch size that fitted is recorded.
            batch: batch size to try first; shrunk on all processes together when one of them runs out of memory.
            n_chunks: batch size -> number of chunks.
            work: (batch size, chunk number) -> the chunk's result, CPU data only.
        """
        ...


class Alone:
    """One process that does not retry: for a library caller and the tests."""

    size = 1

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        """See `Workers.share`."""
        return [work(batch, chunk) for chunk in range(n_chunks(batch))]
