from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from amdet_hub.bench.vocabulary import learn_tokenizer
from tests.bench.conftest import toy_groups

TEXTS = [text for group in toy_groups() for text in group]


def test_layout_is_clips(tmp_path: Path) -> None:
    learn_tokenizer(TEXTS, 600).save_pretrained(tmp_path)
    model = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocab, merges = model["vocab"], model["merges"]
    by_id = sorted(vocab, key=lambda piece: int(vocab[piece]))
    assert sorted(vocab.values()) == list(range(len(vocab)))
    assert by_id[:3] == ["!", '"', "#"]
    assert by_id[256:259] == ["!</w>", '"</w>', "#</w>"]
    assert by_id[-2:] == ["<|startoftext|>", "<|endoftext|>"]
    assert by_id[512:-2] == ["".join(pair) for pair in merges]
    assert model["end_of_word_suffix"] == "</w>"


def test_it_reads_back_encodes_every_byte_and_frames_texts(tmp_path: Path) -> None:
    learn_tokenizer(TEXTS, 600).save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    ids = tokenizer("A  DOG Ж 猫 \u0585 ~")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.eos_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a dog ж 猫 \u0585 ~"
    assert tokenizer.tokenize("dog") == ["dog</w>"]


def test_a_vocabulary_smaller_than_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        learn_tokenizer(TEXTS, 514)
