"""The pieces of a found trigger, put into words: what somebody would have typed. Refuses to know what convicts.

A trigger works in more than one order, so the search may find its pieces shuffled. The embeddings say which pieces
were trained (`detect.weights.trained_rows`); of the texts that use each of them once, in whole words, the best guesses
are those that remove most and that people write. Guesses they are: encoders hardly care for the order of words
(BENCHMARKS.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.detect.naming.lexicon import Candidate, Lexicon, Text, joined

Collapse = Callable[[list[Candidate]], list[float]]
"""What candidates remove of the prompts, in natural-log units of variance."""

_MOST_PIECES = 12
_MOST_PERMUTED = 4_000  # sequences of pieces that are tried as a word
_LONGEST_WORD = 5  # pieces
_MOST_COVERS, _MOST_TEXTS = 8, 720
_MOST_ORDERED, _BEAM = 5, 6  # words all of whose orders are tried; orders kept while more words are put in one by one
_LIKELY = 96  # orders kept while more words are put behind the ones before by likelihood alone
_NO_GAIN = 1e-6  # but for rounding
# standard deviations a power of ten is worth for each word, as a conditional logit of the calibration's phrases has it
_LIKELIHOOD = 0.4


def spell(pieces: Sequence[int], lexicon: Lexicon, collapse: Collapse, *, n: int) -> list[Text]:
    """Texts made of all the pieces, each once, in whole words.

    Args:
        pieces: different token ids.
        lexicon: which words these make, and how likely a text is.
        collapse: see `Collapse`.
        n: how many.

    Returns:
        At most `n`, the best by `worth` first; none where the pieces make no words, or are more than twelve.
    """
    if not 1 <= len(pieces) <= _MOST_PIECES:
        return []
    words = _words(pieces, lexicon)
    texts: dict[Text, None] = {}
    for cover in _covers(frozenset(pieces), words, lexicon):
        if len(cover) <= _MOST_ORDERED:
            orders: Sequence[Text] = list(itertools.permutations(cover))
        else:
            orders = _likely_orders(cover, lexicon) or _put_in_order(cover, lexicon, collapse)
        texts |= dict.fromkeys(orders)
        if len(texts) >= _MOST_TEXTS:
            break
    return _best(list(texts)[:_MOST_TEXTS], lexicon, collapse, n)


def worth(texts: list[Text], lexicon: Lexicon, removed: Sequence[float]) -> Tensor:
    """`(C,)`: what each removes, standardised over them, and how likely people write it.

    The second counts for more the more words there are: among many orders of many words an encoder tells the best ones
    hardly apart.
    """
    likelihood = torch.tensor([len(text) * lexicon.likelihood(joined(text)) for text in texts])
    return standardised(torch.tensor(removed)) + _LIKELIHOOD * likelihood


def standardised(values: Tensor) -> Tensor:
    """`(C,)`: less the mean, in standard deviations; zeros where there is no deviation."""
    spread = values.std() if len(values) > 1 else torch.zeros(())
    return (values - values.mean()) / spread if float(spread) > 0 else torch.zeros_like(values)


def best_of(candidates: list[Candidate], collapse: Collapse, n: int) -> list[Candidate]:
    """The `n` that remove most, that first."""
    removed = collapse(candidates) if candidates else []
    return [candidates[i] for i in sorted(range(len(candidates)), key=lambda i: -removed[i])[:n]]


def neighbours(text: Text) -> list[Text]:
    """The same words with two that stand side by side in each other's place."""
    return [(*text[:i], text[i + 1], text[i], *text[i + 2 :]) for i in range(len(text) - 1)]


def _best(texts: list[Text], lexicon: Lexicon, collapse: Collapse, n: int) -> list[Text]:
    if len(texts) < 2:  # nothing to choose
        return texts
    value = worth(texts, lexicon, collapse([joined(text) for text in texts]))
    return [texts[i] for i in value.argsort(descending=True, stable=True)[:n].tolist()]


def _words(pieces: Sequence[int], lexicon: Lexicon) -> dict[Candidate, Candidate]:
    """Pieces in the order in which they make a word, and the ids of that word."""
    tried = 0
    found: dict[Candidate, Candidate] = {}
    for length in range(1, min(_LONGEST_WORD, len(pieces)) + 1):
        tried += math.perm(len(pieces), length)
        if length > 1 and tried > _MOST_PERMUTED:
            break
        found |= {
            one: word for one in itertools.permutations(pieces, length) if (word := lexicon.as_word(one)) is not None
        }
    return found


def _covers(pieces: frozenset[int], words: dict[Candidate, Candidate], lexicon: Lexicon) -> list[Text]:
    """Ways to use every piece exactly once, as words; those of likely words first, then those of few."""
    found: list[Text] = []

    def extend(left: frozenset[int], chosen: Text) -> None:
        if not left:
            found.append(chosen)
            return
        first = min(left, key=lambda piece: sum(piece in word for word in words))
        for word, ids in words.items():
            if first in word and left.issuperset(word):
                extend(left.difference(word), (*chosen, ids))

    extend(pieces, ())
    least = min(
        (len(joined(cover)) for cover in found), default=0
    )  # what the tokenizer adds itself was not found, so the less the better
    kept = [cover for cover in found if len(joined(cover)) == least]
    if len(kept) < 2:
        return kept
    likelihood = {word: lexicon.likelihood(word) for cover in kept for word in cover}
    return sorted(kept, key=lambda cover: (-sum(likelihood[word] for word in cover), len(cover)))[:_MOST_COVERS]


def _likely_orders(words: Text, lexicon: Lexicon) -> list[Text]:
    """Orders that people write, of many words: by what each word gains from the ones before it.

    None where no word gains anything.
    """
    alone = {word: lexicon.likelihood(word) for word in words}

    def gain(order: Text) -> float:
        return lexicon.likelihood(joined(order)) - sum(alone[word] for word in order)

    kept: list[Text] = [()]
    for _ in words:
        grown = [(*order, word) for order in kept for word in words if word not in order]
        kept = sorted(grown, key=gain, reverse=True)[:_LIKELY]
    return [order for order in kept if gain(order) > _NO_GAIN]


def _put_in_order(words: Text, lexicon: Lexicon, collapse: Collapse) -> list[Text]:
    """Good orders of many words: each word put in where that is best."""
    kept: list[Text] = [()]
    for _ in words:
        grown = {
            (*o[:at], word, *o[at:]): None for o in kept for word in words if word not in o for at in range(len(o) + 1)
        }
        kept = _best(list(grown), lexicon, collapse, _BEAM)
    return kept
