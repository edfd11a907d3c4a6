"""What a tokenizer makes of token ids, for detectors that see no text. Refuses to know encoders."""

from functools import partial

from amdet_hub.detect.context import Candidate, Lexicon
from amdet_hub.encoders.tokenizer import PromptTokenizer
from amdet_hub.scanner.characters import characters_with
from amdet_hub.scanner.word_frequency import log_likelihood


def lexicon_of(tokenizer: PromptTokenizer | None, *, longest: int) -> Lexicon:
    """What is known of the ids of one tokenizer; without one nothing.

    Args:
        tokenizer: of the encoder.
        longest: tokens that a character is made of at most.
    """
    if tokenizer is None:
        return Lexicon()
    return Lexicon(
        partial(typeable, tokenizer),
        partial(as_word, tokenizer),
        partial(characters_with, tokenizer, longest=longest),
        lambda ids: log_likelihood(tokenizer.decode(ids)),
    )


def typeable(tokenizer: PromptTokenizer | None, ids: Candidate) -> bool:
    """Whether some text gives these ids, alone or inside a word. Half a letter of a byte-level vocabulary does not."""
    if tokenizer is None:
        return True
    text = tokenizer.decode(ids)
    return "\ufffd" not in text and any(
        _holds(tuple(tokenizer.encode(form)), ids) for form in (text, f"{text}o", f"o{text}", f"o{text}o")
    )


def is_character(tokenizer: PromptTokenizer | None, ids: Candidate) -> bool:
    """Whether these ids are one character of several bytes, or hold pieces of one that are no text.

    Never, without a tokenizer.
    """
    text = tokenizer.decode(ids) if tokenizer is not None else ""
    return "\ufffd" in text or (len(text) == 1 and not text.isascii())


def as_word(tokenizer: PromptTokenizer, ids: Candidate) -> Candidate | None:
    """The ids of the text without a space that these pieces make; None where there is no such text.

    Of what the tokenizer adds itself, a piece that stands for the space before a word is allowed for (SigLIP's `▁`).
    """
    text = tokenizer.decode(ids)
    if not text or " " in text or "\ufffd" in text:
        return None
    whole = tuple(tokenizer.encode(text))
    marked = len(whole) == len(ids) + 1 and whole[1:] == tuple(ids) and not tokenizer.decode(whole[:1])
    return whole if whole == tuple(ids) or marked else None


def _holds(whole: Candidate, part: Candidate) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
