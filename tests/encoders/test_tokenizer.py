"""Tokenizers from data alone: equal to transformers' own on its own files, deaf to everything else a file says, strict
on what is taken.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer, Siglip2Tokenizer

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.tokenizer import PromptTokenizer, build_tokenizer, load_tokenizer, special_ids
from amdet_hub.errors import BadRepository
from amdet_hub.records import TowerConfig
from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip
from tests.encoders.folder_source import FolderSource, edit_json

TEXTS = (
    "a photo of a cat",
    "A Painting of TWO dogs, isn't it?",
    "  many\t\n spaces ",
    "naïve café ﬁ ½ ①",
    "日本語 テキスト",
    "emoji 😀👍🏽 x",
    "it's o'clock 1234",
    "АБВ օ armenian",
    "e\u0301 combining",
    "it'll we've I'm you'd don''t -- !!!",
    "x<|endoft y",
    "\u200bzero width",
    "İstanbul ß",
    "a" * 300,
    "",
)


def load(folder: Path) -> PromptTokenizer:
    source = FolderSource(folder)
    tokenizer = load_tokenizer(find_encoders(source).encoders[0], source)
    assert tokenizer is not None
    return tokenizer


def test_clip_equals_transformers(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    ours, theirs = load(tmp_path), CLIPTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert list(ours.encode(text)) == expected, text
        assert ours.decode(expected) == theirs.decode(expected), text
    assert ours.vocab_size == 600
    assert (ours.bos_token_id, ours.eos_token_id, ours.pad_token_id) == (598, 599, 599)
    assert ours.decode(ours.encode("a photo of a cat")) == "a photo of a cat"
    assert ours.piece(ours.encode("cat")[-1]).endswith("</w>")


def test_the_two_file_form_equals_the_one_file_form(tmp_path: Path) -> None:
    one, two = load(tiny_clip(tmp_path / "one")), load(tiny_pipeline(tmp_path / "two"))
    for text in TEXTS:
        assert one.encode(text) == two.encode(text)
    assert (two.bos_token_id, two.eos_token_id) == (598, 599)  # the config says 0 and 2, which is CLIP's legacy


def test_siglip2_equals_transformers(tmp_path: Path) -> None:
    tiny_siglip(tmp_path, version=2, vocab_size=700)
    ours, theirs = load(tmp_path), Siglip2Tokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert list(ours.encode(text)) == theirs(text, add_special_tokens=False)["input_ids"], text
    assert ours.decode(ours.encode("a photo of a dog")) == "a photo of a dog"
    assert ours.bos_token_id is None


def test_the_pieces_of_texts_are_those_of_their_ids(tmp_path: Path) -> None:
    tokenizer = load(tiny_clip(tmp_path))
    texts = [text for text in TEXTS if "<|" not in text]
    expected = [tuple(tokenizer.piece(i) for i in tokenizer.encode(text)) for text in texts]
    assert tokenizer.pieces_of(texts) == expected
    assert sum(map(len, expected)) > 100


@pytest.mark.parametrize(
    "make", [tiny_clip, lambda folder: tiny_siglip(folder, version=2, vocab_size=700)], ids=["clip", "siglip2"]
)
def test_a_text_holds_the_bytes_of_its_tokens(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    tokenizer, seen = load(make(tmp_path)), 0
    for text in TEXTS:
        held = unicodedata.normalize("NFC", text).lower().encode() + text.lower().encode()
        parts = [part for i in tokenizer.encode(text) if (part := tokenizer.bytes_of(i)) is not None]
        assert [part for part in parts if part not in held] == [], text
        seen += sum(len(part) == 1 and part >= b"\x80" for part in parts)
    assert seen > 20, "pieces of characters"


def test_bytes_of_entries(tmp_path: Path) -> None:
    clip, siglip = load(tiny_clip(tmp_path / "clip")), load(tiny_siglip(tmp_path / "siglip"))
    by_piece = {clip.piece(i): clip.bytes_of(i) for i in range(clip.vocab_size)}
    assert (by_piece["a"], by_piece["a</w>"], by_piece["\u0120"], by_piece["\u00c3"]) == (b"a", b"a", b" ", b"\xc3")
    assert {len(part) for part in by_piece.values() if part is not None} >= {1, 2, 3}
    assert clip.bytes_of(599_999) is None, "no entry"
    assert siglip.bytes_of(siglip.encode("cat")[0]) is None, "its entries are text"


def test_siglip_cleans_text_as_it_was_trained(tmp_path: Path) -> None:
    tokenizer = load(tiny_siglip(tmp_path, version=1))
    assert tokenizer.encode("A  photo, of a CAT!") == tokenizer.encode("a photo of a cat")
    assert tokenizer.decode(tokenizer.encode("a photo of a cat")) == "a photo of a cat"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (None, 1, 1)


@pytest.mark.parametrize("make", [tiny_clip, tiny_siglip])
def test_special_tokens_in_text_are_ordinary_characters(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    tokenizer = load(make(tmp_path))
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    for text in ("cat <|endoftext|> dog", "<|startoftext|>", "</s> <unk> <pad> <eos>"):
        assert not special & set(tokenizer.encode(text))


def test_ids_outside_the_vocabulary_are_shown_as_numbers(tmp_path: Path) -> None:
    tokenizer = load(tiny_clip(tmp_path))
    assert tokenizer.piece(123456) == "[123456]"
    assert "[123456]" in tokenizer.decode([5, 123456])


def test_what_a_file_says_about_processing_is_ignored(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    before = [load(tmp_path).encode(text) for text in TEXTS]

    def tamper(data: dict[str, Any]) -> None:
        data["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}
        data["pre_tokenizer"] = {"type": "Whitespace"}
        data["decoder"] = {"type": "Evil"}
        data["added_tokens"] = [{"id": 3, "content": "cat", "special": True}]
        data["post_processor"] = {"type": "Evil"}
        data["model"].update(dropout=0.9, unk_token="x", end_of_word_suffix="q", ignore_merges=True)

    edit_json(tmp_path / "tokenizer.json", tamper)
    assert [load(tmp_path).encode(text) for text in TEXTS] == before


def test_no_tokenizer_is_none(tmp_path: Path) -> None:
    source = FolderSource(tiny_clip(tmp_path, tokenizer=False))
    assert load_tokenizer(find_encoders(source).encoders[0], source) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(type="WordPiece"), "'WordPiece' does not belong"),
        (lambda m: m.update(type="Unigram"), "'Unigram' does not belong"),
        (lambda m: m.update(vocab=[]), "no vocabulary"),
        (lambda m: m.update(vocab={}), "no vocabulary"),
        (lambda m: m["vocab"].update({"x": 600}), "no id between 0 and 599"),
        (lambda m: m["vocab"].update({"x": -1}), "no id between"),
        (lambda m: m["vocab"].update({"x": 1.5}), "no id between"),
        (lambda m: m["vocab"].update({"x": True}), "no id between"),
        (lambda m: m["vocab"].update({"": 5}), "no id between"),
        (lambda m: m["vocab"].update({"y" * 2000: 5}), "no id between"),
        (lambda m: m["vocab"].update({"x": 5}), "share an id"),
        (lambda m: m.update(merges=None), "no list of merges"),
        (lambda m: m["merges"].append("one"), "not a pair"),
        (lambda m: m["merges"].append(["a", "b", "c"]), "not a pair"),
        (lambda m: m["merges"].append(["a", 3]), "not a pair"),
        (lambda m: m["merges"].append(["zzzz", "qqqq"]), "do not fit"),
        (lambda m: m.update(vocab={"a": 0, "b": 1}, merges=[]), "end-of-word"),
    ],
)
def test_broken_vocabularies_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    tiny_clip(tmp_path)
    edit_json(tmp_path / "tokenizer.json", lambda data: change(data["model"]))
    with pytest.raises(BadRepository, match=reason) as caught:
        load(tmp_path)
    assert caught.value.path == "tokenizer.json"


def test_a_tokenizer_file_without_a_model_is_refused(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(BadRepository, match="does not belong"):
        load(tmp_path)


def test_merges_must_be_text(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path)
    (tmp_path / "tokenizer" / "merges.txt").write_bytes(b"#version: 0.2\n\xff\xfe\n")
    with pytest.raises(BadRepository, match="not UTF-8") as caught:
        load(tmp_path)
    assert caught.value.path == "tokenizer/merges.txt"


SIGLIP = TowerConfig("siglip", 32, 64, 1, 1, 64, 10, "gelu", 1e-6, 1, 1, 1, 32)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"vocab": {"a": 1}, "unk_id": 0}, "not a list of at most 10"),
        ({"vocab": [["a", 0.0]] * 11, "unk_id": 0}, "not a list of at most 10"),
        ({"vocab": [["a", "b"]], "unk_id": 0}, "pieces and scores"),
        ({"vocab": [["a", float("inf")]], "unk_id": 0}, "pieces and scores"),
        ({"vocab": [["a", 10**400]], "unk_id": 0}, "pieces and scores"),
        ({"vocab": [[1, 0.0]], "unk_id": 0}, "pieces and scores"),
        ({"vocab": [["a", 0.0]], "unk_id": 1}, "unk_id"),
        ({"vocab": [["a", 0.0]], "unk_id": None}, "unk_id"),
    ],
)
def test_broken_unigram_models_are_refused(model: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRepository, match=reason):
        build_tokenizer({"type": "Unigram", **model}, SIGLIP, "tokenizer.json")


def test_special_ids_without_a_vocabulary() -> None:
    legacy = TowerConfig("clip", 768, 3072, 12, 12, 77, 49408, "quick_gelu", 1e-5, 0, 2, 1)
    assert special_ids(legacy) == (49406, 49407, 49407)
    assert special_ids(dataclasses.replace(legacy, bos_token_id=49406, eos_token_id=49407)) == (49406, 49407, 49407)
    assert special_ids(SIGLIP) == (None, 1, 1)
    assert special_ids(dataclasses.replace(SIGLIP, vocab_size=256000)) == (None, 1, 0)


def test_the_end_token_is_the_one_the_tower_pools_at(tmp_path: Path) -> None:
    """A vocabulary that calls another id the end of text cannot move the pooled position of a modern config."""
    tiny_clip(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    vocab = data["model"]["vocab"]
    vocab["<|endoftext|>"], vocab["<|startoftext|>"] = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert load(tmp_path).eos_token_id == 599
