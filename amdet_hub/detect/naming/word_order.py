"""The pieces of a found trigger in the order of words that somebody would have typed.

A trigger works in more than one order, so the search may find its pieces shuffled. The embeddings say which pieces
were trained (`detect.weights.trained_rows`); of the texts that use each of them once, in whole words, the best guesses
are those that remove most and that people write. Guesses they are: encoders hardly care for the order of words
(BENCHMARKS.md). Refuses to know what counts as confirmed.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amdet_hub.detect.context import Candidate, Lexicon

# The ids of each of its words.
Text = tuple[Candidate, ...]
# How much candidates remove of the prompts, in natural-log units of variance.
Collapse = Callable[[list[Candidate]], list[float]]

_MOST_PIECES = 12
_MOST_PERMUTED = 4_000  # sequences of pieces that are tried as a word
_LONGEST_WORD = 5  # pieces
_MOST_COVERS, _MOST_TEXTS = 8, 720
_MOST_ORDERED, _BEAM = (
    5,
    6,
)  # words all of whose orders are tried; orders that stay while more words are put in one by one
_LIKELY = 96  # orders that stay while more words are put behind the ones before by likelihood alone
_NO_GAIN = 1e-6  # but for rounding
# standard deviations that a power of ten counts for each word, as a conditional logit of the calibration's phrases
# has it
_LIKELIHOOD = 0.4


def concatenate(text: Text) -> Candidate:
    """The ids of all words of a text."""
    return tuple(piece for word in text for piece in word)


def rank_word_orders(pieces: Sequence[int], lexicon: Lexicon, collapse: Collapse, *, n: int) -> list[Text]:
    """Texts made of all the pieces, each once, in whole words.

    Args:
        pieces: different token ids.
        lexicon: which words these make, and how likely a text is.
        collapse: see `Collapse`.
        n: how many.

    Returns:
        At most `n`, the best by `text_scores` first; none where the pieces make no words, or are more than twelve.
    """
    if not 1 <= len(pieces) <= _MOST_PIECES:
        return []
    texts: dict[Text, None] = {}
    for cover in _covers(frozenset(pieces), _words(pieces, lexicon), lexicon):
        if len(cover) <= _MOST_ORDERED:
            orders: Sequence[Text] = list(itertools.permutations(cover))
        else:
            orders = _likely_orders(cover, lexicon) or _insertion_orders(cover, lexicon, collapse)
        texts |= dict.fromkeys(orders)
        if len(texts) >= _MOST_TEXTS:
            break
    return _best_texts(list(texts)[:_MOST_TEXTS], lexicon, collapse, n)


def text_scores(texts: list[Text], lexicon: Lexicon, removed: Sequence[float]) -> Tensor:
    """`(C,)`: how much each text removes, standardised over them, plus how likely people write it.

    The second counts for more the more words there are: among many orders of many words an encoder tells the best ones
    hardly apart.
    """
    likelihood = torch.tensor([len(text) * lexicon.likelihood(concatenate(text)) for text in texts])
    return standardised(torch.tensor(removed)) + _LIKELIHOOD * likelihood


def standardised(values: Tensor) -> Tensor:
    """`(C,)`: less the mean, in standard deviations; zeros where there is no deviation."""
    spread = values.std() if len(values) > 1 else torch.zeros(())
    return (values - values.mean()) / spread if float(spread) > 0 else torch.zeros_like(values)


def most_removing(candidates: list[Candidate], collapse: Collapse, n: int) -> list[Candidate]:
    """The `n` that remove most, that first."""
    removed = collapse(candidates) if candidates else []
    return [candidates[i] for i in sorted(range(len(candidates)), key=lambda i: -removed[i])[:n]]


def adjacent_swaps(text: Text) -> list[Text]:
    """The same words with two that stand side by side in each other's place."""
    return [(*text[:i], text[i + 1], text[i], *text[i + 2 :]) for i in range(len(text) - 1)]


def _best_texts(texts: list[Text], lexicon: Lexicon, collapse: Collapse, n: int) -> list[Text]:
    if len(texts) < 2:  # nothing to choose
        return texts
    value = text_scores(texts, lexicon, collapse([concatenate(text) for text in texts]))
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
    # The tokenizer's own additions were not found by the search, so the fewer the better.
    least = min((len(concatenate(cover)) for cover in found), default=0)
    kept = [cover for cover in found if len(concatenate(cover)) == least]
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
        return lexicon.likelihood(concatenate(order)) - sum(alone[word] for word in order)

    beam: list[Text] = [()]
    for _ in words:
        grown = [(*order, word) for order in beam for word in words if word not in order]
        beam = sorted(grown, key=gain, reverse=True)[:_LIKELY]
    return [order for order in beam if gain(order) > _NO_GAIN]


def _insertion_orders(words: Text, lexicon: Lexicon, collapse: Collapse) -> list[Text]:
    """Good orders of many words: each word put in where that is best."""
    beam: list[Text] = [()]
    for _ in words:
        grown = {
            (*o[:at], word, *o[at:]): None for o in beam for word in words if word not in o for at in range(len(o) + 1)
        }
        beam = _best_texts(list(grown), lexicon, collapse, _BEAM)
    return beam
