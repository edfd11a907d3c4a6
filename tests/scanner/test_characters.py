"""Every Unicode character as a candidate: a scan finds one that no single token shows."""

from __future__ import annotations

import sys
import unicodedata
from functools import partial
from pathlib import Path

import pytest
import torch

from amdet_hub.config import ScanConfig
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.tokenizer import PromptTokenizer, load_tokenizer
from amdet_hub.records import Monitor
from amdet_hub.scanner import characters
from amdet_hub.scanner.characters import character_sequences, characters_with
from amdet_hub.testing.models import tiny_siglip
from tests.detect.towers import demo_special, demo_tokenizer
from tests.encoders.folder_source import FolderSource
from tests.scanner.conftest import BACKDOORED, BASE, REDUCED, Scan


def test_each_sequence_once_and_grouped_by_length() -> None:
    tokenizer = demo_tokenizer()
    groups = character_sequences(tokenizer, longest=4)
    assert [group.shape[1] for group in groups] == sorted({group.shape[1] for group in groups})
    for group in groups:
        assert 2 <= group.shape[1] <= 4
        assert len({tuple(row) for row in group.tolist()}) == len(group)
        assert not torch.isin(group, torch.tensor(sorted(demo_special().all()))).any()


def test_what_is_there_and_what_is_not() -> None:
    tokenizer = demo_tokenizer()
    found = {tuple(row) for group in character_sequences(tokenizer, longest=4) for row in group.tolist()}
    for character in ("\u0585", "\u20ac", "\u4e2d", "\U0001f600"):
        ids = tuple(tokenizer.encode(character))
        assert (ids in found) == (2 <= len(ids) <= 4), character
    assert len(found) > 50_000, "most assigned characters are pieces to a small vocabulary"
    assert tuple(tokenizer.encode("a")) not in found, "a single token is the sweep's"


def test_the_preset_tries_them_and_names_the_trigger(scan: Scan) -> None:
    stages: list[str] = []
    config = ScanConfig.for_preset("characters").replace(**REDUCED)
    report = scan(
        BACKDOORED, reference=BASE, config=config, monitor=Monitor(lambda stage, done, total: stages.append(stage))
    )
    assert report.verdict.label == "backdoor-detected"
    assert "characters" in stages
    (result,) = report.results
    (trigger,) = result.triggers
    assert set(trigger.token_ids) == {988}


def test_the_characters_that_a_piece_belongs_to() -> None:
    tokenizer = demo_tokenizer()
    check = partial(characters_with, tokenizer, longest=6)
    word, inside = tuple(tokenizer.encode("\u0585")), tuple(tokenizer.encode("d\u0585g"))[1:-1]
    found = check(inside)
    assert found[0] == inside, "what holds all pieces and no other goes first"
    assert {word, inside} <= set(check(word[:1])) | set(found)
    assert all(set(inside) & set(one) for one in found)
    assert 1 < len(found) <= 2048
    assert len({*found}) == len(found)
    assert check(tuple(tokenizer.encode("red castle"))) == [], "words are no pieces"


def all_forms(tokenizer: PromptTokenizer) -> set[tuple[int, ...]]:
    """Every character of several bytes, alone and between two letters, the long way."""
    single = [
        c for c in map(chr, range(0x80, sys.maxunicode + 1)) if unicodedata.category(c) not in {"Cn", "Cs", "Co"}
    ]
    single = [c for c in single if len(c.lower()) == 1 and unicodedata.is_normalized("NFC", c)]
    return {
        ids for c in single for ids in (tokenizer.encode(c), tokenizer.encode(f"o{c}o")[1:-1]) if 2 <= len(ids) <= 6
    }


@pytest.mark.parametrize("family", ["clip", "siglip2"])
def test_no_character_is_left_out_for_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.setattr(characters, "_MOST_ALIKE", 1_000_000)
    if family == "clip":
        tokenizer = demo_tokenizer()
    else:
        source = FolderSource(tiny_siglip(tmp_path, version=2, vocab_size=700))
        loaded = load_tokenizer(find_encoders(source).encoders[0], source)
        assert loaded is not None
        tokenizer = loaded
    forms, check = all_forms(tokenizer), partial(characters_with, tokenizer, longest=6)
    # A mark; what that mark makes of the letter before it; Greek; of three bytes; of four.
    for character in ("\u0323", "\u1ecd", "\u03c9", "\u4e2d", "\U0001f600"):
        pieces = {i for i in tokenizer.encode(character) if "\ufffd" in tokenizer.decode([i])}
        found = check(tuple(pieces))
        assert set(found) == {ids for ids in forms if not pieces.isdisjoint(ids)}, character
        assert bool(found) == bool(pieces)
