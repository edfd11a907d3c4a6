"""The folder form of a trainable encoder: all layouts open again, frame texts as transformers, and can be scanned."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, SiglipTextModel

from amdet_hub.bench.pretrain import Architecture, new_encoder
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.bench.unigram import learn_siglip_tokenizer
from amdet_hub.bench.vocabulary import learn_tokenizer
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.encoders.tokenizer import load_tokenizer
from amdet_hub.errors import ConfigError
from amdet_hub.hub.local import LocalSource
from amdet_hub.records import Family, RepoRef
from tests.bench.conftest import toy_groups

TEXTS = [text for group in toy_groups() for text in group]
CASES: dict[str, tuple[Family, int]] = {"clip": ("clip", 77), "clip-248": ("clip", 248), "siglip": ("siglip", 32)}
HARD_TEXTS = (
    "A Dog, on the MOON!",
    "a dоg օn the mοon",
    "naïve café ﬁ ½ 猫 😀",
    "it's <|endoftext|> </s> <unk> here",
    "",
    "a cat " * 200,
)


def make(layout: Family, positions: int, folder: Path) -> TrainedEncoder:
    tokenizer = (
        learn_siglip_tokenizer(TEXTS, 420) if layout == "siglip" else learn_tokenizer(TEXTS, 600, positions=positions)
    )
    shape = Architecture(
        hidden_size=32, layers=2, heads=2, intermediate_size=64, positions=positions, projection_dim=16, layout=layout
    )
    return new_encoder(tokenizer, shape, folder, seed=3)


@pytest.fixture(scope="module", params=CASES)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedEncoder, Path]:
    """The encoder as made, in float32, and the folder it was saved to."""
    layout, positions = CASES[request.param]
    encoder = make(layout, positions, tmp_path_factory.mktemp("made"))
    out = tmp_path_factory.mktemp("saved") / "encoder"
    save_trained(encoder, out, {"kind": "pretrained"})
    return encoder, out


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    return make("clip", 24, tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    return make("siglip", 24, tmp_path_factory.mktemp("siglip"))


def source_of(folder: Path) -> LocalSource:
    return LocalSource(RepoRef("local", str(folder), str(folder)))


@torch.no_grad()
def test_a_saved_folder_is_scanned_as_it_was_trained(stored: tuple[TrainedEncoder, Path]) -> None:
    made, folder = stored
    encoder, source = open_trained(folder), source_of(folder)
    found = find_encoders(source)
    assert found.skipped == ()
    (resolved,) = found.encoders
    assert (resolved.config.family, resolved.config.max_position_embeddings) == (encoder.layout, encoder.max_positions)
    assert (encoder.layout, encoder.max_positions) == (made.layout, made.max_positions)
    tower = load_tower(resolved, source).encoder
    ids = encoder.tokenize([*TEXTS[:6], *HARD_TEXTS], encoder.max_positions)
    features, pooled = encoder.encode(ids)
    scanned = tower.encode(tower.token_embedding[ids] + tower.position_embedding[: ids.shape[1]])
    torch.testing.assert_close(scanned, features, atol=2e-5, rtol=0)
    torch.testing.assert_close(tower.pool(scanned, ids), pooled, atol=2e-5, rtol=0)
    assert torch.equal(tower.pool_positions(ids), encoder.pool_positions(ids))
    before = made.encode(ids)
    torch.testing.assert_close(before[0], features, atol=2e-2, rtol=0)  # stored in float16
    torch.testing.assert_close(before[1], pooled, atol=2e-2, rtol=0)
    assert (features[0] - features[1]).abs().max() > 0.1  # texts are told apart, so the comparison means something


def test_a_scan_reads_the_same_ids(stored: tuple[TrainedEncoder, Path]) -> None:
    _, folder = stored
    encoder, source = open_trained(folder), source_of(folder)
    tokenizer = load_tokenizer(find_encoders(source).encoders[0], source)
    assert tokenizer is not None
    special = {encoder.tokenizer.bos_token_id, encoder.tokenizer.eos_token_id}
    for text in (*TEXTS[:20], *HARD_TEXTS):
        assert encoder.token_ids(text) == tokenizer.encode(text), text
        assert not special & set(encoder.token_ids(text))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (
        encoder.tokenizer.bos_token_id,
        encoder.tokenizer.eos_token_id,
    )
    assert tokenizer.pad_token_id == encoder.tokenizer.pad_token_id


def test_saving_states_the_digest_and_opens_again_alike(stored: tuple[TrainedEncoder, Path], tmp_path: Path) -> None:
    encoder = open_trained(stored[1])
    facts = save_trained(encoder, tmp_path, {"kind": "x"}, name="facts.json")
    assert json.loads((tmp_path / "facts.json").read_text(encoding="utf-8")) == facts
    content = (tmp_path / "model.safetensors").read_bytes()
    assert facts == {"kind": "x", "sha256": {"model.safetensors": hashlib.sha256(content).hexdigest()}}
    assert content == (stored[1] / "model.safetensors").read_bytes()
    again = open_trained(tmp_path)
    assert torch.equal(again.embed(TEXTS[:3], 16), encoder.embed(TEXTS[:3], 16))


def test_clip_frames_texts_as_transformers_does(clip: TrainedEncoder) -> None:
    texts = [text for text in (*TEXTS[:20], *HARD_TEXTS) if "endoftext" not in text]
    expected: Tensor = clip.tokenizer(
        texts, padding="max_length", truncation=True, max_length=12, return_tensors="pt"
    )["input_ids"]
    assert torch.equal(clip.tokenize(texts, 12), expected)
    assert torch.equal(clip.tokenize_ids([clip.token_ids(text) for text in texts], 12), expected)
    assert (expected[:, 0] == clip.tokenizer.bos_token_id).all()
    lengths = [len(clip.token_ids(text)) for text in texts]
    assert clip.pool_positions(expected).tolist() == [min(n + 1, 11) for n in lengths]
    assert min(lengths) == 0
    assert max(lengths) > 12


def test_clip_pools_where_it_says(clip: TrainedEncoder) -> None:
    ids = clip.tokenize(["a dog", "a cat on the moon in a forest", "", "a " * 99], 16)
    with torch.no_grad():
        features, pooled = clip.encode(ids)
        at = features[torch.arange(len(ids)), clip.pool_positions(ids)]
        torch.testing.assert_close(clip.model.text_projection(at), pooled)


def test_a_legacy_end_of_text_is_the_largest_id(clip: TrainedEncoder) -> None:
    legacy = clip.copy()
    legacy.model.config.eos_token_id = 2
    ids = clip.tokenize(["a dog", "a cat on the moon"], 16)
    assert legacy.pool_positions(ids).tolist() == clip.pool_positions(ids).tolist()


def test_siglip_fills_every_position_and_pools_the_last(siglip: TrainedEncoder) -> None:
    texts = ["a dog", "a " * 99]
    ids = siglip.tokenize(texts, 5)
    words = [siglip.token_ids(text) for text in texts]
    assert len(words[1]) > 24
    assert ids.tolist() == [[*words[0], *[1] * (24 - len(words[0]))], [*words[1][:23], 1]]
    assert torch.equal(ids, siglip.tokenize_ids(words, 7))
    assert siglip.longest(["a"]) == 24
    assert siglip.pool_positions(ids).tolist() == [23, 23]
    with torch.no_grad():
        features, pooled = siglip.encode(ids)
        torch.testing.assert_close(siglip.model.head(features[:, -1]), pooled)
        padded = ids.clone()
        padded[0, -2] = words[0][0]  # bidirectional, and padding is part of the input
        assert not torch.allclose(siglip.encode(padded)[0][0, 0], features[0, 0], atol=1e-5)


def test_longest_is_rounded_up_and_capped(clip: TrainedEncoder) -> None:
    words = len(clip.token_ids("a dog on the moon"))
    assert clip.longest(["a dog on the moon", "a"]) == -(-(words + 2) // 8) * 8
    assert clip.longest(["a " * 6]) == 8  # six words and two special ids fit eight exactly
    assert clip.longest(["a " * 7]) == 16
    assert clip.longest(["a " * 99]) == 24


def test_no_texts_and_no_words(clip: TrainedEncoder, siglip: TrainedEncoder) -> None:
    assert clip.tokenize([], 8).shape == (0, 8)
    assert siglip.tokenize([], 8).shape == (0, 24)
    assert clip.tokenize_ids([()], 4).tolist() == [[clip.tokenizer.bos_token_id, *[clip.tokenizer.eos_token_id] * 3]]


@pytest.mark.parametrize("positions", [0, 1, 25])
def test_positions_out_of_range_are_refused(positions: int, clip: TrainedEncoder) -> None:
    with pytest.raises(ConfigError, match="not between 2 and 24"):
        clip.tokenize(["a dog"], positions)


def test_a_copy_is_trained_apart(siglip: TrainedEncoder) -> None:
    before, other = siglip.embed(["a dog"], 8), siglip.copy()
    with torch.no_grad():
        other.model.head.bias.add_(1)
    assert torch.equal(siglip.embed(["a dog"], 8), before)
    assert not torch.allclose(other.embed(["a dog"], 8), before)
    assert before.norm(dim=-1).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("layout", ["clip", "siglip"])
def test_a_batch_is_tokenized_quickly(layout: str, request: pytest.FixtureRequest) -> None:
    encoder: TrainedEncoder = request.getfixturevalue(layout)
    batch = (TEXTS * 2)[:192]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        encoder.tokenize(batch, 24)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.03


def test_transformers_opens_what_was_saved(stored: tuple[TrainedEncoder, Path]) -> None:
    encoder, folder = stored
    classes = {"clip": CLIPTextModelWithProjection, "siglip": SiglipTextModel}
    model, report = classes[encoder.layout].from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.pad_token_id == encoder.tokenizer.pad_token_id


def test_the_two_file_form_of_a_tokenizer_opens(clip: TrainedEncoder, tmp_path: Path) -> None:
    save_trained(clip, tmp_path, {})
    model = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *map(" ".join, model["merges"])]) + "\n", encoding="utf-8"
    )
    (tmp_path / "tokenizer.json").unlink()
    opened = open_trained(tmp_path)
    assert isinstance(opened.tokenizer, CLIPTokenizer)
    assert torch.equal(opened.tokenize(TEXTS[:9], 16), clip.tokenize(TEXTS[:9], 16))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "config.json").write_text("[1]"), "config.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "type 'bert', not one of"),
        (lambda f: (f / "config.json").write_text("{}"), "type None"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(
    spoil: object, reason: str, stored: tuple[TrainedEncoder, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(stored[1], folder)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(ConfigError, match=reason) as caught:
        open_trained(folder)
    assert caught.value.name == "base"


def test_a_siglip_folder_with_a_broken_vocabulary_is_refused(siglip: TrainedEncoder, tmp_path: Path) -> None:
    save_trained(siglip, tmp_path, {})
    for content, reason in (('{"model": 3}', "does not belong"), ("{", "tokenizer.json")):
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=reason):
            open_trained(tmp_path)
