"""Every single Unicode character as candidate triggers.

Knows what a tokenizer makes of them; refuses to know encoders.

A byte-level vocabulary holds few characters whole: most of the rest are two to four pieces that mean nothing alone,
and no sweep of single tokens tries them together. There are some 150,000 assigned characters; all of them are cheap to
try.
"""

import sys
import unicodedata
from collections.abc import Iterator, Sequence

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
        One `(S, N)` int64 tensor for each length N from 2 on, each sequence once. Characters that are a single token
        are the vocabulary sweep's.
    """
    found: dict[int, dict[tuple[int, ...], None]] = {}
    for character in _typeable():
        ids = tuple(tokenizer.encode(character))
        if 2 <= len(ids) <= longest:
            found.setdefault(len(ids), {}).setdefault(ids)
    return [torch.tensor(list(found[length])) for length in sorted(found)]


def characters_with(tokenizer: PromptTokenizer, ids: Sequence[int], *, longest: int) -> list[tuple[int, ...]]:
    """Whole characters for pieces of them.

    Args:
        tokenizer: of the encoder.
        ids: token ids; those that are no text alone are taken for pieces.
        longest: longer sequences are left out.

    Returns:
        The ids of every character, alone and inside a word, that has one of the pieces: at most 2,048, those that
        share most first.
    """
    pieces = {i for i in ids if _BROKEN in tokenizer.decode([i])}
    if not pieces:
        return []
    forms = (
        form
        for c in _that_may_hold(pieces, tokenizer)
        # Between two letters, where a homoglyph stands, there are none where they melt into the letters' tokens.
        for form in (tokenizer.encode(c), tokenizer.encode(between_letters(c))[1:-1])
    )
    shared = {
        one: len(pieces.intersection(one)) for one in forms if 2 <= len(one) <= longest and not pieces.isdisjoint(one)
    }
    return sorted(shared, key=lambda one: (len(one) - shared[one], one))[:_MOST_ALIKE]


def _that_may_hold(pieces: set[int], tokenizer: PromptTokenizer) -> Iterator[str]:
    """Characters of several bytes, one letter to every tokenizer, that hold the bytes of one of these pieces.

    They may hold them alone or between two letters.
    """
    parts = [tokenizer.bytes_of(piece) for piece in pieces]
    for c in _typeable():
        small = c.lower()
        if ord(c) < _FIRST_OF_SEVERAL_BYTES or len(small) != 1 or not unicodedata.is_normalized("NFC", c):
            continue
        held = f"{small} {unicodedata.normalize('NFC', between_letters(c)).lower()}".encode()
        if any(part is None or part in held for part in parts):
            yield c


def between_letters(character: str) -> str:
    """A character as it stands inside a word."""
    return f"o{character}o"


def _typeable() -> Iterator[str]:
    return (c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in _UNTYPEABLE)
