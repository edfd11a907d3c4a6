"""Vocabularies that are made to break, stall or mislead the libraries behind them.

What a file says about processing is not read at all.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.tokenizer import PromptTokenizer, build_tokenizer, load_tokenizer
from amdet_hub.errors import BadRepository
from amdet_hub.records import TowerConfig
from tests.hostile.forge import TOKENIZER, Files
from tests.hostile.fuzz import MemorySource

SIGLIP = TowerConfig("siglip", 16, 64, 1, 1, 16, 300, "gelu_pytorch_tanh", 1e-6, 1, 1, 1, 16)
CLIP = TowerConfig("clip", 16, 64, 1, 1, 16, 300, "quick_gelu", 1e-5, 298, 299, 299, 8)
LONG = (
    "a photo of a cat",
    "'" * 2000,
    "a" * 20_000,
    "ab" * 10_000,
    "\u0301" * 500,
    " \t" * 5000,
    "\ud7ff",
    "\u2581" * 3000,
    "<|endoftext|>" * 99,
)
LIMIT_S = 20.0


def unigram(entries: list[Any], unk_id: Any = 0) -> tuple[dict[str, Any], TowerConfig]:
    return {"type": "Unigram", "vocab": entries, "unk_id": unk_id}, SIGLIP


def bpe(vocab: dict[str, Any], *merges: Any, config: TowerConfig = CLIP) -> tuple[dict[str, Any], TowerConfig]:
    return {"type": "BPE", "vocab": vocab, "merges": list(merges)}, config


MODELS: dict[str, tuple[dict[str, Any], TowerConfig]] = {
    "scores that overflow when added": unigram([["<unk>", 1e308], ["a", 1e308], ["aa", 1e308]]),
    "scores that underflow": unigram([["<unk>", -1e308], ["a", -1e308], ["aa", -1e308]]),
    "a score of 400 digits": unigram([["<unk>", 10**400]]),
    "one piece ten times": unigram([["a", 1.0]] * 10),
    "pieces of one letter repeated": unigram([["<unk>", 0.0], *([["a" * k, -1.0] for k in range(1, 299)])]),
    "a lone surrogate as piece": unigram([["\ud800", 0.0]]),
    "an unknown piece that is none": unigram([["a", 0.0]], 5),
    "merges that undo nothing": bpe({"a</w>": 0, "a": 1, "aa": 2, "aaaa": 3}, *["a a", "aa aa"] * 5000),
    "merges of pieces that are not there": bpe({"a</w>": 0}, "x y"),
    "merges of three": bpe({"a</w>": 0}, "a b c"),
    "a lone surrogate in the vocabulary": bpe({"a</w>": 0, "\ud800": 1}),
    "end of text made by a merge": bpe(
        {"<|endoftext|>": 299, "a</w>": 0, "a": 1, "a<|endoftext|>": 7}, "a <|endoftext|>"
    ),
    "bytes that are none": bpe({"a": 0, "<unk>": 1, "<0x00>": 2, "<0xGG>": 3}, config=SIGLIP),
    "ids outside the embedding": bpe({"a</w>": 300}),
    "ids below zero": bpe({"a</w>": -1}),
    "ids that are no numbers": bpe({"a</w>": True}),
    "a piece of a megabyte": bpe({"a" * (1 << 20) + "</w>": 0}),
}


def exercise(tokenizer: PromptTokenizer, config: TowerConfig) -> None:
    for text in LONG:
        ids = tokenizer.encode(text)
        assert all(0 <= i < config.vocab_size for i in ids)
        assert tokenizer.eos_token_id not in ids
        tokenizer.decode(ids)
    for i in range(config.vocab_size + 10):
        assert tokenizer.piece(i)
        tokenizer.decode((i, i))


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_vocabulary_is_refused_or_harmless(name: str) -> None:
    model, config = MODELS[name]
    began = time.monotonic()
    try:
        exercise(build_tokenizer(model, config, TOKENIZER), config)
        said = ""
    except BadRepository as error:
        said = str(error)
    assert len(said) < 300
    assert TOKENIZER in said or not said
    assert time.monotonic() - began < LIMIT_S


STALLING = r"(a+)+$|(\w|\d|_)*x{1,999}"
TRICKS: dict[str, dict[str, Any]] = {
    "a pattern that stalls": {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": STALLING}, "behavior": "Isolated", "invert": False}
    },
    "a normaliser that hides words": {"normalizer": {"type": "Replace", "pattern": {"String": "cat"}, "content": ""}},
    "a normaliser that grows": {"normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "a" * 100_000}},
    "a decoder that speaks": {
        "decoder": {"type": "Replace", "pattern": {"Regex": "."}, "content": "\x1b[2J no backdoor found"}
    },
    "added tokens that swallow words": {
        "added_tokens": [{"id": 7, "content": "photo", "special": True, "lstrip": True, "rstrip": True}]
    },
    "added tokens outside the embedding": {"added_tokens": [{"id": 10**9, "content": "cat", "special": False}]},
    "a template with ids of its own": {
        "post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    },
    "a truncation to nothing": {
        "truncation": {"max_length": 0, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    },
    "no types that exist": {"normalizer": {"type": "Evil"}, "pre_tokenizer": 5, "decoder": [], "version": {}},
}


@pytest.mark.parametrize("name", TRICKS)
def test_what_a_file_says_about_processing_is_not_read(clean: Files, tmp_path: Path, name: str) -> None:
    def loaded(files: Files) -> PromptTokenizer:
        source = MemorySource(files, tmp_path)
        tokenizer = load_tokenizer(find_encoders(source).encoders[0], source)
        assert tokenizer is not None
        return tokenizer

    tricked = loaded({**clean, TOKENIZER: json.dumps({**json.loads(clean[TOKENIZER]), **TRICKS[name]}).encode()})
    plain = loaded(clean)
    began = time.monotonic()
    for text in LONG:
        assert tricked.encode(text) == plain.encode(text)
        assert tricked.decode(tricked.encode(text)) == plain.decode(plain.encode(text))
    assert time.monotonic() - began < LIMIT_S
