"""The pieces of a found trigger, put into words: what somebody would have typed. Refuses to know what convicts.

A trigger works in more than one order, so the search may find its pieces shuffled. The embeddings say which pieces were trained
(`detect.weights.outstanding_rows`); of the texts that use each of them once, in whole words, the one that removes most is the best guess.
It is a guess: encoders hardly care for the order of words, and the order of a phrase is right in a minority of cases (BENCHMARKS.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

Candidate = tuple[int, ...]

_MOST_PIECES = 7  # of more, there are too many texts
_LONGEST_WORD = 5  # pieces
_MOST_COVERS, _MOST_TEXTS = 24, 256


def spell(
    pieces: Sequence[int], is_word: Callable[[Candidate], bool], collapse: Callable[[list[Candidate]], list[float]], *, n: int = 3
) -> list[Candidate]:
    """Texts made of all the pieces, each once, in whole words.

    Args:
        pieces: different token ids.
        is_word: whether these ids are one whole word: some text without a space gives exactly them.
        collapse: what candidates remove of the prompts, in natural-log units of variance.
        n: how many.

    Returns:
        At most `n`, the one that removes most first; none where the pieces make no words, or are more than seven.
    """
    if not 1 <= len(pieces) <= _MOST_PIECES:
        return []
    words = [
        one for length in range(1, min(_LONGEST_WORD, len(pieces)) + 1) for one in itertools.permutations(pieces, length) if is_word(one)
    ]
    texts: dict[Candidate, None] = {}
    for cover in _covers(frozenset(pieces), words):
        for order in itertools.permutations(cover):
            texts[tuple(itertools.chain.from_iterable(order))] = None
    some = list(texts)[:_MOST_TEXTS]
    removed = collapse(some) if some else []
    return [some[i] for i in sorted(range(len(some)), key=lambda i: -removed[i])[:n]]


def _covers(pieces: frozenset[int], words: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Ways to use every piece exactly once, those of fewest words first."""
    found: list[tuple[Candidate, ...]] = []

    def extend(left: frozenset[int], chosen: tuple[Candidate, ...]) -> None:
        if not left:
            found.append(chosen)
            return
        first = min(left, key=lambda piece: sum(piece in word for word in words))
        for word in words:
            if first in word and left.issuperset(word):
                extend(left.difference(word), (*chosen, word))

    extend(pieces, ())
    return sorted(found, key=len)[:_MOST_COVERS]
