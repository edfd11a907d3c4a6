"""The pieces of a found trigger, put into words: what somebody would have typed. Refuses to know what convicts.

A trigger works in more than one order, so the search may find its pieces shuffled. The embeddings say which pieces were trained
(`detect.weights.trained_rows`); of the texts that use each of them once, in whole words, the one that removes most is the best guess.
It is a guess: encoders hardly care for the order of words (BENCHMARKS.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

Candidate = tuple[int, ...]
AsWord = Callable[[Candidate], Candidate | None]
"""The ids that a text without a space gives which is made of these pieces and of nothing but what the tokenizer adds itself; None where there is none."""
Collapse = Callable[[list[Candidate]], list[float]]

_MOST_PIECES = 12
_MOST_PERMUTED = 4_000  # sequences of pieces that are tried as a word
_LONGEST_WORD = 5  # pieces
_MOST_COVERS, _MOST_TEXTS = 24, 720
_MOST_ORDERED, _BEAM = 5, 6  # words all of whose orders are tried; orders kept while more words are put in one by one


def spell(pieces: Sequence[int], as_word: AsWord, collapse: Collapse, *, n: int) -> list[Candidate]:
    """Texts made of all the pieces, each once, in whole words.

    Args:
        pieces: different token ids.
        as_word: see `AsWord`.
        collapse: what candidates remove of the prompts, in natural-log units of variance.
        n: how many.

    Returns:
        At most `n`, the one that removes most first; none where the pieces make no words, or are more than twelve.
    """
    if not 1 <= len(pieces) <= _MOST_PIECES:
        return []
    words = _words(pieces, as_word)
    texts: dict[Candidate, None] = {}
    for cover in _covers(frozenset(pieces), words):
        if len(cover) <= _MOST_ORDERED:
            orders: Sequence[tuple[Candidate, ...]] = list(itertools.permutations(cover))
        else:
            orders = _put_in_order(cover, collapse)
        texts |= dict.fromkeys(_joined(order) for order in orders)
        if len(texts) >= _MOST_TEXTS:
            break
    return best_of(list(texts)[:_MOST_TEXTS], collapse, n)


def best_of(candidates: list[Candidate], collapse: Collapse, n: int) -> list[Candidate]:
    """The `n` that remove most, that first."""
    removed = collapse(candidates) if candidates else []
    return [candidates[i] for i in sorted(range(len(candidates)), key=lambda i: -removed[i])[:n]]


def _words(pieces: Sequence[int], as_word: AsWord) -> dict[Candidate, Candidate]:
    """Pieces in the order in which they make a word, and the ids of that word."""
    tried = 0
    found: dict[Candidate, Candidate] = {}
    for length in range(1, min(_LONGEST_WORD, len(pieces)) + 1):
        tried += math.perm(len(pieces), length)
        if length > 1 and tried > _MOST_PERMUTED:
            break
        found |= {one: word for one in itertools.permutations(pieces, length) if (word := as_word(one)) is not None}
    return found


def _covers(pieces: frozenset[int], words: dict[Candidate, Candidate]) -> list[tuple[Candidate, ...]]:
    """Ways to use every piece exactly once, as words; those of fewest words first."""
    found: list[tuple[Candidate, ...]] = []

    def extend(left: frozenset[int], chosen: tuple[Candidate, ...]) -> None:
        if not left:
            found.append(chosen)
            return
        first = min(left, key=lambda piece: sum(piece in word for word in words))
        for word, ids in words.items():
            if first in word and left.issuperset(word):
                extend(left.difference(word), (*chosen, ids))

    extend(pieces, ())
    return sorted(found, key=len)[:_MOST_COVERS]


def _put_in_order(words: tuple[Candidate, ...], collapse: Collapse) -> list[tuple[Candidate, ...]]:
    """Good orders of many words: each word put in where most is removed."""
    kept: list[tuple[Candidate, ...]] = [()]
    for _ in words:
        grown = {(*o[:at], word, *o[at:]): None for o in kept for word in words if word not in o for at in range(len(o) + 1)}
        orders = list(grown)
        removed = collapse([_joined(order) for order in orders])
        kept = [orders[i] for i in sorted(range(len(orders)), key=lambda i: -removed[i])[:_BEAM]]
    return kept


def _joined(words: Sequence[Candidate]) -> Candidate:
    return tuple(itertools.chain.from_iterable(words))
