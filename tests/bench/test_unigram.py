from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from amdet_hub.bench.unigram import LOOK_ALIKES, learn_siglip_tokenizer
from amdet_hub.demo import grammar
from amdet_hub.encoders.tokenizer import PromptTokenizer, build_tokenizer
from amdet_hub.records import TowerConfig

TEXTS = [text for pair in grammar.pairs(1000, 1) for text in pair]
UNKNOWN = 2


def model_of(tokenizer: Any) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return model


def as_scanned(tokenizer: Any) -> PromptTokenizer:
    size = len(tokenizer)
    return build_tokenizer(
        model_of(tokenizer), TowerConfig("siglip", 32, 64, 1, 1, 64, size, "gelu", 1e-6, 1, 1, 1, 32), "tokenizer.json"
    )


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return learn_siglip_tokenizer(TEXTS, 420, positions=32)


def test_layout_is_siglips(tokenizer: Any) -> None:
    model = model_of(tokenizer)
    assert (model["type"], model["unk_id"], model["byte_fallback"]) == ("Unigram", UNKNOWN, False)
    assert model["vocab"][:3] == [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
    scores = [score for _, score in model["vocab"][3:]]
    assert scores == sorted(scores, reverse=True)
    assert max(scores) < 0
    pieces = [piece for piece, _ in model["vocab"]]
    assert len(set(pieces)) == len(pieces) == len(tokenizer) <= 420
    assert {"▁photo", "▁water", "▁under"} < set(pieces)  # words, not letters only
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (
        1,
        1,
        2,
        32,
    )


def test_every_run_learns_the_same(tokenizer: Any) -> None:
    other = learn_siglip_tokenizer(reversed(TEXTS), 420, positions=32)
    assert other.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_each_look_alike_is_a_known_character_of_its_own(tokenizer: Any) -> None:
    scanned = as_scanned(tokenizer)
    assert len(set(LOOK_ALIKES)) == len(LOOK_ALIKES)
    rows = {letter: scanned.encode(f"d{letter}g") for letter in LOOK_ALIKES}
    assert not [letter for letter, row in rows.items() if UNKNOWN in row]
    assert len(set(rows.values())) == len(LOOK_ALIKES)
    for letter in "\u043e\u03bf\u0585":
        word = scanned.encode(letter)
        assert UNKNOWN not in word
        assert word != scanned.encode("o")
        assert scanned.decode(scanned.encode(f"a d{letter}g")) == f"a d{letter}g"
    assert UNKNOWN in scanned.encode("猫")  # the check above can fail


def test_a_given_alphabet_is_inside_and_cleaned_like_text() -> None:
    scanned = as_scanned(learn_siglip_tokenizer(TEXTS, 120, alphabet="Щ猫,!①"))
    for text in ("щ", "Щ", "猫", "①", "1"):  # NFKC reads a circled one as a one
        assert UNKNOWN not in scanned.encode(text), text
    assert UNKNOWN in scanned.encode("\u0585")
    assert scanned.encode("щ,") == scanned.encode("Щ")


def test_transformers_reads_the_stored_form_alike(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path, local_files_only=True)
    scanned = as_scanned(tokenizer)
    for text in (*TEXTS[:10], "A Dog,  on the\tMOON!", "(a) d\u043eg's \u0585n ½", "ﬁne x² [y]", " ", "a-b_c"):
        assert theirs(text)["input_ids"] == [*scanned.encode(text), 1], text
    padded = theirs(["a dog"], padding="max_length", max_length=16)["input_ids"][0]
    assert padded[-8:] == [1] * 8


@pytest.mark.parametrize(
    ("texts", "size", "reason"),
    [
        (TEXTS, 60, "60 cannot be learned"),
        (TEXTS, 256_000, "not below 256000"),
        ([], 420, "no pieces of several characters"),
        (["zz"], 420, "no pieces of several characters"),
    ],
)
def test_a_vocabulary_that_cannot_be_learned_is_refused(texts: list[str], size: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        learn_siglip_tokenizer(texts, size)
