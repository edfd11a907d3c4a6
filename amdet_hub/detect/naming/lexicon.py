"""What is known of token ids as text.

`detect` sees no text itself: whoever has a tokenizer says it (`amdet_hub.scanner.token_text`).
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
    """Questions about token ids, each answered as by a tokenizer of which nothing is known.

    Attributes:
        typeable: whether some text gives these ids.
        as_word: the ids that a text without a space gives which is made of these pieces and of nothing but what the
            tokenizer adds itself; None where there is none.
        characters: the ids of all characters that have one of these tokens as a piece, those that share most first.
        likelihood: log10 of how often people write this text, up to a constant; all alike where nothing is known of
            its language.
    """

    typeable: Callable[[Candidate], bool] = lambda ids: True
    as_word: Callable[[Candidate], Candidate | None] = lambda ids: None
    characters: Callable[[Sequence[int]], list[Candidate]] = lambda ids: []
    likelihood: Callable[[Candidate], float] = lambda ids: 0.0


def joined(text: Text) -> Candidate:
    """The ids of all its words."""
    return tuple(piece for word in text for piece in word)
