"""Token ids as text.

`detect` sees no text itself: a caller with a tokenizer answers for it (`amdet_hub.scanner.token_text`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Candidate = tuple[int, ...]
"""Token ids of a possible trigger, in their order."""
Text = tuple[Candidate, ...]
"""The ids of each of its words."""


@dataclass(frozen=True)
class Lexicon:
    """Answers about token ids; the defaults are those of an unknown tokenizer.

    Attributes:
        typeable: whether some text gives these ids.
        as_word: the ids of a text without a space that is made of these pieces and the tokenizer's own additions;
            None where there is none.
        characters: the ids of all characters that have one of these tokens as a piece, those that share most first.
        likelihood: log10 of how often people write this text, up to a constant; equal for all texts of an unknown
            language.
    """

    typeable: Callable[[Candidate], bool] = lambda ids: True
    as_word: Callable[[Candidate], Candidate | None] = lambda ids: None
    characters: Callable[[Sequence[int]], list[Candidate]] = lambda ids: []
    likelihood: Callable[[Candidate], float] = lambda ids: 0.0


def concatenate(text: Text) -> Candidate:
    """The ids of all words of a text."""
    return tuple(piece for word in text for piece in word)
