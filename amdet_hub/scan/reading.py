"""A found trigger in words: whether its ids can be typed, and what a triggered prompt says, as the nearest words and captions.

Knows the tokenizer and the captions of `amdet_hub.detect.prompts`; refuses to know how the trigger was found.
"""

from __future__ import annotations

from collections.abc import Callable

from amdet_hub.detect.prompts import PromptSet, caption_texts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.target import TextBank
from amdet_hub.encoders.tokenizer import PromptTokenizer

_FRAME = "a photo of a"  # what single words are put behind
_WORDS, _CAPTIONS = 1000, 500  # texts a target is read with: the most frequent words, and captions
_TAIL = 4  # positions read after the end of a triggered prompt
_NEAREST_WORDS, _NEAREST_CAPTIONS = 3, 2  # texts named of each kind


def read_target(
    trigger: tuple[int, ...], prompts: PromptSet, suspect: TextEncoder, reader: TextEncoder, tokenizer: PromptTokenizer, *, seed: int
) -> tuple[str, ...]:
    """The texts nearest to what triggered prompts say: the vocabulary's first (most frequent) whole words in a frame, then captions.

    Args:
        trigger: token ids, put at the end of every prompt.
        prompts: what is triggered.
        suspect: the encoder that obeys the trigger.
        reader: in whose features the texts are embedded: the reference, or the suspect itself where there is none.
        tokenizer: of both.
        seed: of the choice of captions.
    """
    special, start = prompts.special, tokenizer.encode(_FRAME)
    words = [i for i in range(suspect.config.vocab_size) if i not in special.all() and tokenizer.is_word(i)]
    in_frame = [(*start, word) for word in words[:_WORDS]]
    captions = [ids for text in caption_texts(_CAPTIONS, seed) if (ids := tokenizer.encode(text))]
    length = int(prompts.framed().shape[1]) + len(trigger) + _TAIL
    found: list[str] = []
    # Two banks, each centred on itself: in one, every caption would be nearer than any word, or none.
    for texts, n in ((in_frame, _NEAREST_WORDS), (captions, _NEAREST_CAPTIONS)):
        if texts:
            similarity = TextBank(reader, texts, special, length=length).similarities(suspect, prompts, trigger)
            found += [tokenizer.decode(texts[i]) for i in similarity.topk(min(n, len(texts))).indices.tolist()]
    return tuple(found)


def typeable(tokenizer: PromptTokenizer | None) -> Callable[[tuple[int, ...]], bool]:
    """Whether some text gives these ids, alone or inside a word: half a letter of a byte-level vocabulary does not, nor do pieces in an order no word has."""

    def check(ids: tuple[int, ...]) -> bool:
        if tokenizer is None:
            return True
        text = tokenizer.decode(ids)
        return "\ufffd" not in text and any(
            _holds(tuple(tokenizer.encode(form)), ids) for form in (text, f"{text}o", f"o{text}", f"o{text}o")
        )

    return check


def is_text(tokenizer: PromptTokenizer | None) -> Callable[[tuple[int, ...]], bool]:
    """Whether some text gives exactly these ids: what a reader can copy. Never, without a tokenizer."""

    def check(ids: tuple[int, ...]) -> bool:
        if tokenizer is None:
            return False
        text = tokenizer.decode(ids)
        return "\ufffd" not in text and tuple(tokenizer.encode(text)) == tuple(ids)

    return check


def is_word(tokenizer: PromptTokenizer | None) -> Callable[[tuple[int, ...]], bool]:
    """`is_text`, of texts without a space."""
    text = is_text(tokenizer)
    return lambda ids: tokenizer is not None and " " not in tokenizer.decode(ids).strip() and text(ids)


def _holds(whole: tuple[int, ...], part: tuple[int, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
