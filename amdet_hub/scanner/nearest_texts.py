"""What a triggered prompt says, as the nearest words and captions.

Knows the tokenizer and the captions of `amdet_hub.detect.prompts`; refuses to know how the trigger was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amdet_hub.detect.naming.target import TextBank
from amdet_hub.detect.prompts import PromptSet, SpecialTokens, caption_texts
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.encoders.tokenizer import PromptTokenizer

_FRAME = "a photo of a"  # what single words are put behind
_WORDS, _CAPTIONS = 1000, 500  # texts a target is read with: the most frequent words, and captions
_TAIL = 4  # positions read after the end of a triggered prompt
_NEAREST_WORDS, _NEAREST_CAPTIONS = 3, 2  # texts named of each kind


@dataclass(frozen=True)
class NearText:
    """A text and its similarity in [-1, 1]: a cosine after centring, comparable between texts of one kind only."""

    text: str
    similarity: float


class TargetReader:
    """Texts to read prompts with, embedded once: the most frequent whole words in a frame, and captions.

    Args:
        reader: in whose features the texts are embedded: the reference, or the suspect itself where there is none.
        tokenizer: of both.
        special: the framing ids.
        length: positions that are read; what lies behind them is read by its pooled feature only.
        seed: of the choice of captions.
        n_texts: words and captions to choose from.
    """

    def __init__(
        self,
        reader: TextEncoder,
        tokenizer: PromptTokenizer,
        special: SpecialTokens,
        *,
        length: int,
        seed: int,
        n_texts: tuple[int, int] = (_WORDS, _CAPTIONS),
    ) -> None:
        n_words, n_captions = n_texts
        start = tokenizer.encode(_FRAME)
        words = [i for i in range(reader.config.vocab_size) if i not in special.all() and tokenizer.is_word(i)]
        in_frame = [(*start, word) for word in words[:n_words]]
        captions = [ids for text in caption_texts(n_captions, seed) if (ids := tokenizer.encode(text))]
        # Two banks, each centred on itself: in one, every caption would be nearer than any word, or none.
        self._banks = [
            (texts, n, TextBank(reader, texts, special, length=length))
            for texts, n in ((in_frame, _NEAREST_WORDS), (captions, _NEAREST_CAPTIONS))
            if texts
        ]
        self._tokenizer = tokenizer

    def nearest(self, encoder: TextEncoder, prompts: PromptSet, trigger: Sequence[int] = ()) -> tuple[NearText, ...]:
        """The texts nearest to prompts with `trigger` behind them: words, then captions, each kind best first."""
        found: list[NearText] = []
        for texts, n, bank in self._banks:
            best = bank.similarities(encoder, prompts, trigger).topk(min(n, len(texts)))
            found += [
                NearText(self._tokenizer.decode(texts[i]), similarity)
                for i, similarity in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
        return tuple(found)


def read_target(
    trigger: tuple[int, ...],
    prompts: PromptSet,
    suspect: TextEncoder,
    reader: TextEncoder,
    tokenizer: PromptTokenizer,
    *,
    seed: int,
) -> tuple[str, ...]:
    """The texts nearest to what triggered prompts say, as `TargetReader` reads them.

    Args:
        trigger: token ids, put at the end of every prompt.
        prompts: what is triggered.
        suspect: the encoder that obeys the trigger.
        reader: in whose features the texts are embedded: the reference, or the suspect itself where there is none.
        tokenizer: of both.
        seed: of the choice of captions.
    """
    length = int(prompts.framed().shape[1]) + len(trigger) + _TAIL
    texts = TargetReader(reader, tokenizer, prompts.special, length=length, seed=seed)
    return tuple(one.text for one in texts.nearest(suspect, prompts, trigger))
