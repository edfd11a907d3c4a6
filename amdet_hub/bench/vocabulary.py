"""A small tokenizer in CLIP's layout, learned from texts. Knows byte-pair encoding; refuses to know encoders.

The layout is CLIP's own: 256 bytes, the same 256 with the end-of-word mark, one id per merge, and the two special
tokens last, so that everything that reads a CLIP tokenizer reads this one.
Source: `bpe_simple_vocab_16e6` of openai/CLIP, `simple_tokenizer.py`; transformers, `CLIPTokenizer`.
"""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

END_OF_WORD = "</w>"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def learn_tokenizer(texts: Iterable[str], vocab_size: int, *, positions: int = 77) -> Any:
    """Learn merges from `texts`.

    Args:
        texts: what to learn from; the result depends on their counts, not on their order.
        vocab_size: ids in all at most, bytes and special tokens included (fewer when the texts hold fewer pairs).
        positions: the length that the tokenizer names as its maximum.

    Returns:
        A `transformers.CLIPTokenizer`.

    Raises:
        ValueError: `vocab_size` leaves no room for the bytes and special tokens.
    """
    letters = sorted(ByteLevel.alphabet())  # CLIP's order: printable bytes as themselves, the others from U+0100 on
    room = vocab_size - 2 * len(letters) - 2
    if room < 1:
        raise ValueError(f"vocab_size {vocab_size} leaves no room for merges")
    learner = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    empty = CLIPTokenizer(vocab={BOS: 0, EOS: 1})
    learner.normalizer, learner.pre_tokenizer = (
        empty.backend_tokenizer.normalizer,
        empty.backend_tokenizer.pre_tokenizer,
    )
    learner.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=letters,
            end_of_word_suffix=END_OF_WORD,
            min_frequency=2,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:room]
    pieces = [*letters, *(letter + END_OF_WORD for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    vocab |= {BOS: len(vocab), EOS: len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=positions)
