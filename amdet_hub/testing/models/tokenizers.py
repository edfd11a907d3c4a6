"""Tiny tokenizers in the real file forms, trained in milliseconds on a few sentences.

Knows the `tokenizers` library and the shape of CLIP's, SigLIP's and SigLIP 2's tokenizer files. Refuses to know
models.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

START_OF_TEXT, END_OF_TEXT = "<|startoftext|>", "<|endoftext|>"
# Rows a byte-level vocabulary with end-of-word forms needs before the first merge: 256 bytes, each also as the end of
# a word.
BYTE_TOKENS = 512

_CLIP_PATTERN = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_WORDS = (
    "a an the of on in with under beside two three small large red blue green black white old young wooden photo"
    " painting drawing picture cat dog horse bird boat bridge castle garden kitchen mountain river street table train"
    " tree window woman man child runner teacher standing sitting running sleeping waiting looking holding wearing"
    " covered during near bright quiet crowded snowy golden morning evening"
).split()


def sentences(n: int = 400, seed: int = 0) -> Iterator[str]:
    """`n` short word sequences to train a tokenizer on; the same on every machine."""
    draw = random.Random(seed)
    for _ in range(n):
        yield " ".join(draw.choices(_WORDS, k=8))


def _clip_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def clip_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly `vocab_size` entries in CLIP's order.

    The order is bytes, byte ends, merges, start and end of text.

    Raises:
        ValueError: `vocab_size` leaves no room for the bytes, or more merges are asked for than the sentences yield.
    """
    n_merges = vocab_size - BYTE_TOKENS - 2
    if n_merges < 0:
        raise ValueError(
            f"a byte-level vocabulary needs at least {BYTE_TOKENS + 2} entries, {vocab_size} were asked for"
        )
    merges = _trained_merges()[:n_merges]
    if len(merges) < n_merges:
        raise ValueError(f"the sentences yield {len(merges)} merges, {n_merges} were asked for")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges), START_OF_TEXT, END_OF_TEXT]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=END_OF_TEXT,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = _clip_pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START_OF_TEXT, END_OF_TEXT])
    tokenizer.post_processor = processors.RobertaProcessing(
        (END_OF_TEXT, vocab_size - 1), (START_OF_TEXT, vocab_size - 2), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def siglip_tokenizer(vocab_size: int) -> Tokenizer:
    """A Unigram tokenizer in SigLIP's form, of at most `vocab_size` entries.

    `<pad>`, `</s>` and `<unk>` come first, metaspace pieces after. The pieces are counted, not trained: the library's
    Unigram trainer gives other scores on every run.
    """
    words = Counter(word for sentence in sentences() for word in sentence.split())
    counted = [
        ("▁", sum(words.values())),
        *sorted(Counter("".join(words)).items()),
        *(("▁" + word, n) for word, n in words.most_common()),
    ]
    total = sum(n for _, n in counted)
    pieces = [(piece, math.log(n / total)) for piece, n in counted]
    tokenizer = Tokenizer(
        models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces][:vocab_size], unk_id=2)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer


def siglip2_tokenizer(vocab_size: int) -> Tokenizer:
    """A BPE tokenizer with byte fallback in Gemma's form: five special tokens, 256 bytes, then pieces."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    trained.train_from_iterator(
        sentences(), trainers.BpeTrainer(vocab_size=max(vocab_size - 261, 1), show_progress=False)
    )
    learned = json.loads(trained.to_str())["model"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    learned_in_order = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    tokens = [*special, *(f"<0x{i:02X}>" for i in range(256)), *learned_in_order][:vocab_size]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [(a, b) for a, b in map(tuple, learned["merges"]) if a + b in vocab and a in vocab and b in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    return tokenizer


def write_tokenizer_json(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json`, the one-file form."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")


def write_vocab_and_merges(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `vocab.json` and `merges.txt`, the two-file form of the diffusers pipelines."""
    folder.mkdir(parents=True, exist_ok=True)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]) + "\n", encoding="utf-8"
    )


def _trained_merges() -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END_OF_TEXT))
    tokenizer.pre_tokenizer = _clip_pre_tokenizer()
    tokenizer.train_from_iterator(
        sentences(), trainers.BpeTrainer(vocab_size=1500, end_of_word_suffix="</w>", show_progress=False)
    )
    return [(a, b) for a, b in json.loads(tokenizer.to_str())["model"]["merges"]]
