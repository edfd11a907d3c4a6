"""Tokenizers against their reference's: what reads otherwise is named, what reads alike is no difference."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer, Siglip2Tokenizer

from amdet_hub.detect.prompts import caption_texts
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.tokenizer import special_ids
from amdet_hub.encoders.tokenizer_comparison import TokenizerDifference
from amdet_hub.encoders.tokenizer_difference import TokenizerSide, compare_tokenizers
from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip
from amdet_hub.testing.models.tokenizers import clip_tokenizer, write_tokenizer_json, write_vocab_and_merges
from tests.encoders.folder_source import FolderSource, edit_json

CAT, DOG = "cat</w>", "dog</w>"
SIZE = 698  # all that the sentences yield, words like "dog" among them
NOTHING = TokenizerDifference()


def side(folder: Path) -> TokenizerSide:
    source = FolderSource(folder)
    return TokenizerSide(find_encoders(source).encoders[0], source)


def stayed(here: Sequence[int], there: Sequence[int]) -> list[bool]:
    """Untouched weights: no row followed its token."""
    return [False] * len(here)


def went_along(here: Sequence[int], there: Sequence[int]) -> list[bool]:
    return [True] * len(here)


def compare(
    suspect: Path, reference: Path | None, rows: Callable[[Sequence[int], Sequence[int]], list[bool]] = stayed
) -> TokenizerDifference:
    one = side(suspect)
    other = side(reference) if reference is not None else None
    return compare_tokenizers(one, other, special_ids(one.encoder.config), rows, caption_texts(50, seed=0))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path / "base", vocab_size=SIZE)


@pytest.fixture
def copy(tmp_path: Path, base: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def swap(vocab: dict[str, int], one: str, other: str) -> None:
    vocab[one], vocab[other] = vocab[other], vocab[one]


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    edit_json(folder / "tokenizer.json", edit)


def test_the_same_files_are_not_even_parsed(base: Path, copy: Path) -> None:
    (base / "tokenizer.json").write_text("not JSON")
    shutil.copy(base / "tokenizer.json", copy)
    assert compare(copy, base) == NOTHING


def test_the_same_tokenizer_in_other_bytes_is_no_difference(base: Path, copy: Path) -> None:
    change(copy, lambda data: data.update(version="1.1"))
    found = compare(copy, base)
    assert (found.exchanged, found.settings, found.added, found.n_compared) == ({}, (), (), SIZE)


def test_exchanged_words_are_named(base: Path, copy: Path) -> None:
    change(copy, lambda data: swap(data["model"]["vocab"], CAT, DOG))
    assert compare(copy, base).exchanged == {"dog": "cat", "cat": "dog"}


def test_a_permutation_that_the_rows_followed_is_no_difference(base: Path, copy: Path) -> None:
    change(copy, lambda data: swap(data["model"]["vocab"], CAT, DOG))
    assert not compare(copy, base, went_along).differs


def test_rows_are_asked_for_by_the_ids_of_both(base: Path, copy: Path) -> None:
    vocab = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    change(copy, lambda data: swap(data["model"]["vocab"], CAT, DOG))
    asked: dict[int, int] = {}
    compare(copy, base, lambda here, there: [bool(asked.update(zip(here, there, strict=True)))] * len(here))
    assert asked == {vocab[CAT]: vocab[DOG], vocab[DOG]: vocab[CAT]}


def test_a_renamed_entry_reads_as_the_one_it_replaced(base: Path, copy: Path) -> None:
    def rename(data: dict[str, Any]) -> None:
        data["model"]["vocab"]["zebra</w>"] = data["model"]["vocab"].pop(DOG)
        data["model"]["merges"] = [pair for pair in data["model"]["merges"] if "".join(pair) != DOG]

    change(copy, rename)
    found = compare(copy, base)
    assert found.exchanged["zebra"] == "dog"
    assert {"vocabulary", "merges"} <= set(found.settings)


def test_changed_merges_name_the_texts_that_are_cut_otherwise(base: Path, copy: Path) -> None:
    change(copy, lambda data: data["model"]["merges"].pop())
    found = compare(copy, base)
    assert found.settings == ("merges",)
    removed = "".join(json.loads((base / "tokenizer.json").read_text())["model"]["merges"][-1]).removesuffix("</w>")
    assert any(removed in text for text in found.exchanged)
    assert all(read.replace(" ", "") == text.lower() for text, read in found.exchanged.items() if " " not in text)


def test_a_changed_normaliser_is_named_with_its_words(base: Path, copy: Path) -> None:
    step = {"type": "Replace", "pattern": {"String": "dog"}, "content": "cat"}
    change(copy, lambda data: data["normalizer"]["normalizers"].append(step))
    found = compare(copy, base)
    assert (found.settings, found.exchanged["dog"]) == (("normalizer",), "cat")


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("normalizer", lambda d: d.update(normalizer=None)),
        ("pre_tokenizer", lambda d: d.update(pre_tokenizer={"type": "Whitespace"})),
        ("pre_tokenizer", lambda d: d.pop("pre_tokenizer")),
        ("post_processor", lambda d: d.update(post_processor=None)),
        ("post_processor", lambda d: d["post_processor"].update(cls=["<|startoftext|>", 300])),
        ("truncation", lambda d: d.update(truncation={"max_length": 3, "direction": "Right"})),
        ("truncation", lambda d: d.update(truncation={"max_length": 77, "direction": "Left"})),
        ("padding", lambda d: d.update(padding={"pad_id": 300})),
        ("something_new", lambda d: d.update(something_new=1)),
        ("model.dropout", lambda d: d["model"].update(dropout=0.5)),
        ("model.unk_token", lambda d: d["model"].update(unk_token=CAT)),
        ("model.ignore_merges", lambda d: d["model"].update(ignore_merges=True)),
        ("model.end_of_word_suffix", lambda d: d["model"].update(end_of_word_suffix="")),
        ("model.something_new", lambda d: d["model"].update(something_new=1)),
    ],
)
def test_a_changed_setting_is_named(base: Path, copy: Path, name: str, edit: Callable[[Any], object]) -> None:
    change(copy, edit)
    assert compare(copy, base).settings == (name,)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(truncation={"max_length": 77, "direction": "Right", "strategy": "LongestFirst"}),
        lambda d: d.update(padding={"pad_id": SIZE - 1}),
        lambda d: d.update(padding={"pad_id": 0}),
        lambda d: d.update(decoder=None),
        lambda d: d["model"].update(dropout=None, byte_fallback=False),
        lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(
            Regex=r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
        ),
        lambda d: d.update(
            post_processor={
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                ],
                "special_tokens": {"<|startoftext|>": {"ids": [SIZE - 2]}, "<|endoftext|>": {"ids": [SIZE - 1]}},
            }
        ),
    ],
)
def test_published_forms_of_the_same_tokenizer_are_no_difference(
    base: Path, copy: Path, edit: Callable[[Any], object]
) -> None:
    change(copy, edit)
    assert not compare(copy, base).differs


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("auto_map", {"auto_map": {"AutoTokenizer": ["x.py", None]}}),
        ("tokenizer_class", {"tokenizer_class": "BertTokenizer"}),
        ("model_max_length", {"model_max_length": 4}),
        ("do_lower_case", {"do_lower_case": False}),
        ("fast_tokenizer_files", {"fast_tokenizer_files": ["tokenizer.json", "../tokenizer.9.0.0.json"]}),
        ("vocab", {"vocab": {"a": 1}}),
        ("split_special_tokens", {"split_special_tokens": True}),
        ("truncation_side", {"truncation_side": "left"}),
    ],
)
def test_a_changed_option_is_named(base: Path, copy: Path, name: str, options: dict[str, Any]) -> None:
    (copy / "tokenizer_config.json").write_text(json.dumps(options))
    assert compare(copy, base).settings == (f"tokenizer_config.json: {name}",)


def test_other_roles_of_special_tokens_are_named(base: Path, copy: Path) -> None:
    (copy / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<|endoftext|>", "eos_token": "dog"}))
    found = compare(copy, base)
    assert found.settings == ("tokenizer_config.json: bos_token", "tokenizer_config.json: eos_token")
    assert found.exchanged == {"dog": "[new]"}


def test_what_transformers_saves_is_no_difference(base: Path, copy: Path, tmp_path: Path) -> None:
    CLIPTokenizer.from_pretrained(base).save_pretrained(copy)
    assert (copy / "tokenizer_config.json").exists()
    found = compare(copy, base)
    assert (found.exchanged, found.settings, found.added) == ({}, (), ())
    siglip = tiny_siglip(tmp_path / "siglip", version=2, vocab_size=700)
    saved = Path(shutil.copytree(siglip, tmp_path / "saved"))
    Siglip2Tokenizer.from_pretrained(siglip).save_pretrained(saved)
    found = compare(saved, siglip)
    assert (found.exchanged, found.settings, found.added) == ({}, (), ())


def test_sdxl_pads_with_an_exclamation_mark(base: Path, copy: Path) -> None:
    edit_json(base / "tokenizer.json", lambda d: swap(d["model"]["vocab"], "!", _first(d)))
    shutil.copy(base / "tokenizer.json", copy)
    (copy / "tokenizer_config.json").write_text(
        json.dumps({"pad_token": "!", "added_tokens_decoder": {"0": {"content": "!", "special": True}}})
    )
    assert not compare(copy, base).differs


def _first(data: dict[str, Any]) -> str:
    vocab: dict[str, int] = data["model"]["vocab"]
    return next(piece for piece, i in vocab.items() if i == 0)


def test_an_added_word_is_listed_and_is_no_difference(base: Path, copy: Path) -> None:
    token = {"id": 700, "content": "<my-cat>", "special": False}
    change(copy, lambda data: data["added_tokens"].append(token))
    found = compare(copy, base)
    assert (found.differs, found.added) == (False, ("<my-cat>",))


@pytest.mark.parametrize("file", ["added_tokens.json", "tokenizer_config.json"])
def test_added_words_of_the_small_files(base: Path, copy: Path, file: str) -> None:
    vocab = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    added = {"<new>": 700, "<evil>": vocab[DOG], "cat": 701, "a cat": 702, "q": 703}
    table = {str(i): {"content": text} for text, i in added.items()}
    (copy / file).write_text(json.dumps(added if file.startswith("added") else {"added_tokens_decoder": table}))
    found = compare(copy, base)
    assert found.added == ("<new>",)
    assert found.exchanged == {"<evil>": "dog", "cat": "[701]", "a cat": "[702]", "q": "[703]"}


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("config.json: tokenizer_class", {"tokenizer_class": "BertTokenizer"}),
        ("config.json: auto_map", {"auto_map": {"AutoTokenizer": ["x.Evil", None]}}),
    ],
)
def test_another_class_by_the_configuration_is_named(base: Path, copy: Path, name: str, edit: dict[str, Any]) -> None:
    edit_json(copy / "config.json", lambda config: config.update(tokenizer_class="CLIPTokenizer"))
    assert compare(copy, base) == NOTHING
    edit_json(copy / "config.json", lambda config: config.update(edit))
    assert compare(copy, base).settings == (name,)


@pytest.mark.parametrize("entry", [["transformers", "BertTokenizer"], ["my_tokenizer", "CLIPTokenizer"]])
def test_another_class_in_a_pipeline_is_named(tmp_path: Path, entry: list[str]) -> None:
    base, copy = tiny_pipeline(tmp_path / "base"), tiny_pipeline(tmp_path / "copy")
    assert compare(copy, base) == NOTHING
    edit_json(copy / "model_index.json", lambda index: index.update(tokenizer=entry))
    assert compare(copy, base).settings == ("model_index.json: tokenizer",)


def test_every_form_in_the_folder_is_compared(base: Path, copy: Path) -> None:
    write_vocab_and_merges(clip_tokenizer(SIZE), copy)
    assert not compare(copy, base).differs
    edit_json(copy / "vocab.json", lambda vocab: swap(vocab, CAT, DOG))
    assert compare(copy, base).exchanged == {"dog": "cat", "cat": "dog"}


def test_a_form_that_some_version_picks_is_compared(base: Path, copy: Path) -> None:
    shutil.copy(base / "tokenizer.json", copy / "tokenizer.4.99.0.json")
    names = ["tokenizer.json", "tokenizer.4.99.0.json"]
    (copy / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": names}))
    assert not compare(copy, base).differs
    edit_json(copy / "tokenizer.4.99.0.json", lambda data: swap(data["model"]["vocab"], CAT, DOG))
    assert compare(copy, base).exchanged == {"dog": "cat", "cat": "dog"}


def test_the_one_file_form_against_the_two_file_form(tmp_path: Path) -> None:
    two, one = tiny_pipeline(tmp_path / "two"), tiny_pipeline(tmp_path / "one")
    shutil.rmtree(one / "tokenizer")
    write_tokenizer_json(clip_tokenizer(600), one / "tokenizer")
    assert not compare(one, two).differs
    assert not compare(two, one).differs
    edit_json(one / "tokenizer" / "tokenizer.json", lambda data: data.update(normalizer=None))
    assert compare(one, two).settings == ("normalizer",)


def test_the_folder_of_the_weights_and_that_of_the_pipeline_are_both_compared(tmp_path: Path) -> None:
    base, copy = tiny_pipeline(tmp_path / "base"), tiny_pipeline(tmp_path / "copy")
    write_tokenizer_json(clip_tokenizer(600), copy / "text_encoder")
    assert not compare(copy, base).differs
    edit_json(copy / "tokenizer" / "vocab.json", lambda vocab: swap(vocab, CAT, DOG))
    assert compare(copy, base).exchanged == {"dog": "cat", "cat": "dog"}


def test_the_tokens_that_frame_a_prompt_do_not_move(base: Path, copy: Path) -> None:
    change(copy, lambda data: swap(data["model"]["vocab"], DOG, "<|startoftext|>"))
    assert "<|startoftext|>" in compare(copy, base, went_along).settings
    assert compare(copy, None).settings == ("<|startoftext|>",)


def test_the_id_that_is_pooled_at_does_not_move(base: Path, copy: Path) -> None:
    edit_json(copy / "config.json", lambda config: config.update(eos_token_id=300))
    assert compare(copy, base).settings == compare(copy, None).settings == ("config.json: eos_token_id",)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(model=[]),
        lambda d: d["model"].update(type="WordLevel"),
        lambda d: d["model"]["vocab"].update(x=10**6),
        lambda d: d["model"]["vocab"].update(x=5),
        lambda d: d.update(added_tokens={}),
        lambda d: d.update(added_tokens=[{"id": "x", "content": "y"}]),
        lambda d: d.update(added_tokens=[{"id": 3, "content": "y"}, {"id": 4, "content": "y"}]),
        lambda d: d.update(added_tokens=[{"id": 3, "content": 7}]),
    ],
)
def test_a_broken_tokenizer_is_a_difference(base: Path, copy: Path, edit: Callable[[Any], object]) -> None:
    change(copy, edit)
    assert compare(copy, base).differs


def test_a_reference_without_a_tokenizer(tmp_path: Path, copy: Path) -> None:
    bare = tiny_clip(tmp_path / "bare", vocab_size=SIZE, tokenizer=False)
    assert compare(copy, bare).differs
    assert compare(bare, copy) == compare(bare, bare) == compare(copy, None) == NOTHING


@pytest.mark.parametrize("version", [1, 2])
def test_siglip(tmp_path: Path, version: Any) -> None:
    size = 400 if version == 1 else 700
    base = tiny_siglip(tmp_path / "base", version=version, vocab_size=size)
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    change(copy, lambda data: data.update(version="1.1"))
    assert not compare(copy, base).differs
    vocab = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]

    def exchange(data: dict[str, Any]) -> None:
        if version == 2:
            return swap(data["model"]["vocab"], *words)
        entries = data["model"]["vocab"]
        one, other = ([piece for piece, _ in entries].index(word) for word in words)
        entries[one], entries[other] = entries[other], entries[one]
        return None

    words = ("▁dog", "▁cat") if version == 1 else _two_words(vocab)
    change(copy, exchange)
    found = compare(copy, base)
    one, other = (word.replace("▁", " ").strip() for word in words)
    assert (found.exchanged[one], found.exchanged[other]) == (other, one)


def _two_words(vocab: dict[str, int]) -> tuple[str, str]:
    one, other = [piece for piece in vocab if piece.startswith("▁") and len(piece) > 4][:2]
    return one, other


def test_a_compiled_sentencepiece_model_is_the_reference_s_own(tmp_path: Path) -> None:
    base = tiny_siglip(tmp_path / "base")
    (base / "spiece.model").write_bytes(b"one")
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    assert compare(copy, base) == NOTHING
    (copy / "spiece.model").write_bytes(b"another")
    assert compare(copy, base).settings == ("spiece.model",)
    (copy / "tokenizer.json").unlink()
    assert compare(copy, base).settings == ("spiece.model",)
