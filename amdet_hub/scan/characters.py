"""Every single Unicode character as candidate triggers. Knows what a tokenizer makes of them; refuses to know encoders.

A byte-level vocabulary holds few characters whole: most of the rest are two to four pieces that mean nothing alone, and no sweep of single tokens tries them
together. There are some 150,000 assigned characters; all of them are cheap to try.
"""

from __future__ import annotations

import sys
import unicodedata

import torch
from torch import Tensor

from amdet_hub.encoders.tokenizer import PromptTokenizer

_UNTYPEABLE = frozenset({"Cn", "Cs", "Co"})  # unassigned, surrogates, private use


def character_sequences(tokenizer: PromptTokenizer, *, longest: int) -> list[Tensor]:
    """What a tokenizer makes of every assigned Unicode character that stands alone.

    Args:
        tokenizer: of the encoder.
        longest: longer sequences are left out.

    Returns:
        One `(S, N)` int64 tensor for each length N from 2 on, each sequence once. Characters that are a single token are the vocabulary sweep's.
    """
    found: dict[int, dict[tuple[int, ...], None]] = {}
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if unicodedata.category(character) not in _UNTYPEABLE:
            ids = tuple(tokenizer.encode(character))
            if 2 <= len(ids) <= longest:
                found.setdefault(len(ids), {}).setdefault(ids)
    return [torch.tensor(list(found[length])) for length in sorted(found)]
