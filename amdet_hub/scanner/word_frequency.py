"""How likely people write an English text, to choose between texts that an encoder hardly tells apart.

Refuses to know triggers and tokens.
"""

import functools
import math

from wordsegment import Segmenter

_RARE, _SHORT = -6.5, 4  # log10 of the probability of "marigold" is -6.35; letters
_LONGEST = 24  # letters of a word that was counted; wordsegment divides by ten to the power of the length


def log_likelihood(text: str) -> float:
    """Log10 of the probability of an English text, at most 0: of each word behind the one before it.

    No word costs more than 6.5 and one for each letter beyond the fourth: which of two strings of letters is an
    abbreviation somewhere says nothing here. Case does not matter. What is no ASCII letter or digit is not looked at,
    so texts in other scripts are all alike: 0.

    The counts are read when first asked (half a second, some 100 MB). Source: the Google Web Trillion Word Corpus, in
    the selection of P. Norvig, "Natural Language Corpus Data" (Beautiful Data, 2009), with its back-off from pairs to
    single words, as the package wordsegment has them.
    """
    words = [word for word in map(_counts().clean, text.split()) if word]
    return sum(_of_word(word, previous) for previous, word in zip([None, *words], words, strict=False))


def _of_word(word: str, previous: str | None) -> float:
    least = _RARE - max(0, len(word) - _SHORT)
    return max(math.log10(_counts().score(word, previous)), least) if len(word) <= _LONGEST else least


@functools.cache
def _counts() -> Segmenter:
    counts = Segmenter()
    counts.load()
    return counts
