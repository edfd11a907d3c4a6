"""Which byte ranges of a file to ask for. Pure arithmetic on offsets; knows no network and no file format."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Bytes between two wanted ranges that are fetched and thrown away rather than paid for with a request of their own.
SMALL_GAP_BYTES = 128 << 10
# Wanted ranges that are still apart after merging; with more of them, wider gaps are bridged.
MAX_SPANS = 64
# Most bytes of one request: what is lost, at most, by a connection that is killed, and what several threads share out.
PART_BYTES = 32 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes `start <= i < stop` of the repository's file that lie from `to` on in the local one."""

    start: int
    stop: int
    to: int


@dataclass(frozen=True, order=True)
class Span:
    """Bytes `start <= i < stop` of the repository's file."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the span."""
        return self.stop - self.start


def merged(pieces: Iterable[Piece]) -> list[Span]:
    """The spans that cover every piece, neighbours joined over small gaps, and over wider ones until there are few."""
    spans = _joined((Span(p.start, p.stop) for p in pieces if p.start < p.stop), SMALL_GAP_BYTES)
    if len(spans) > MAX_SPANS:
        gaps = sorted(after.start - before.stop for before, after in itertools.pairwise(spans))
        spans = _joined(spans, gaps[len(spans) - MAX_SPANS - 1])
    return spans


def without(spans: Iterable[Span], done: Iterable[Span]) -> list[Span]:
    """What of `spans` is not covered by `done`."""
    finished = _joined(done, 0)
    left = []
    for span in spans:
        at = span.start
        for one in finished:
            if one.stop <= at or one.start >= span.stop:
                continue
            if one.start > at:
                left.append(Span(at, one.start))
            at = max(at, one.stop)
        if at < span.stop:
            left.append(Span(at, span.stop))
    return left


def divided(spans: Iterable[Span], most_bytes: int) -> list[Span]:
    """The same bytes in parts of at most `most_bytes`."""
    return [Span(at, min(at + most_bytes, s.stop)) for s in spans for at in range(s.start, s.stop, most_bytes)]


def within(pieces: Sequence[Piece], span: Span) -> list[Piece]:
    """The pieces, cut to what of them lies in `span`, in the order of the repository's file."""
    cut = (
        Piece(max(p.start, span.start), min(p.stop, span.stop), p.to + max(span.start - p.start, 0))
        for p in pieces
        if max(p.start, span.start) < min(p.stop, span.stop)
    )
    return sorted(cut, key=lambda p: p.start)


def _joined(spans: Iterable[Span], gap_bytes: int) -> list[Span]:
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start - result[-1].stop <= gap_bytes:
            result[-1] = Span(result[-1].start, max(result[-1].stop, span.stop))
        else:
            result.append(span)
    return result
