"""Every single Unicode character as candidate triggers. Knows what a tokenizer makes of them; refuses to know encoders.

A byte-level vocabulary holds few characters whole: most of the rest are two to four pieces that mean nothing alone, and no sweep of single tokens tries them
together. There are some 150,000 assigned characters; all of them are cheap to try.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from amdet_hub.encoders.tokenizer import PromptTokenizer

_UNTYPEABLE = frozenset({"Cn", "Cs", "Co"})  # unassigned, surrogates, private use
_BROKEN = "\ufffd"  # what a piece of a character decodes to
_FIRST_OF_SEVERAL_BYTES = 0x80
_MOST_ALIKE = 2048


def character_sequences(tokenizer: PromptTokenizer, *, longest: int) -> list[Tensor]:
    """What a tokenizer makes of every assigned Unicode character that stands alone.

    Args:
        tokenizer: of the encoder.
        longest: longer sequences are left out.

    Returns:
        One `(S, N)` int64 tensor for each length N from 2 on, each sequence once. Characters that are a single token are the vocabulary sweep's.
    """
    found: dict[int, dict[tuple[int, ...], None]] = {}
    for character in _typeable():
        ids = tuple(tokenizer.encode(character))
        if 2 <= len(ids) <= longest:
            found.setdefault(len(ids), {}).setdefault(ids)
    return [torch.tensor(list(found[length])) for length in sorted(found)]


def characters_with(tokenizer: PromptTokenizer | None, *, longest: int) -> Callable[[Sequence[int]], list[tuple[int, ...]]]:
    """Whole characters for pieces of them.

    Args:
        tokenizer: of the encoder; without one there are none.
        longest: longer sequences are left out.

    Returns:
        A function of token ids: those among them that are no text alone are taken for pieces; the ids of every character, alone and inside a word,
        that has one of them, at most 2,048, those that share most first.
    """

    @functools.cache
    def known() -> dict[tuple[int, ...], None]:
        assert tokenizer is not None
        single = (
            c for c in _typeable() if ord(c) >= _FIRST_OF_SEVERAL_BYTES and len(c.lower()) == 1 and unicodedata.is_normalized("NFC", c)
        )
        forms = ((tokenizer.encode(c), _inside(tokenizer, c)) for c in single)
        return {ids: None for both in forms for ids in both if 2 <= len(ids) <= longest}

    def check(ids: Sequence[int]) -> list[tuple[int, ...]]:
        pieces = {i for i in ids if tokenizer is not None and _BROKEN in tokenizer.decode([i])}
        shared = {one: len(pieces.intersection(one)) for one in known() if not pieces.isdisjoint(one)} if pieces else {}
        return sorted(shared, key=lambda one: (len(one) - shared[one], one))[:_MOST_ALIKE]

    return check


def _inside(tokenizer: PromptTokenizer, character: str) -> tuple[int, ...]:
    """Its ids between two letters, where a homoglyph stands; none where they melt into the letters' tokens."""
    return tokenizer.encode(f"o{character}o")[1:-1]


def _typeable() -> Iterator[str]:
    return (c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in _UNTYPEABLE)
