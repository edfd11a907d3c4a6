"""The tiny repositories are real ones: transformers loads them whole, and they are the same on every run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, SiglipModel, SiglipTextModel

from amdet_hub.testing.models import ClipKind, SiglipKind, tiny_clip, tiny_pipeline, tiny_siglip
from amdet_hub.testing.models.tokenizers import clip_tokenizer

CLIP_CLASSES = {
    "CLIPModel": CLIPModel,
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
SIGLIP_CLASSES = {"SiglipModel": SiglipModel, "SiglipTextModel": SiglipTextModel}


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", ["CLIPModel", "CLIPTextModel", "CLIPTextModelWithProjection"])
def test_transformers_loads_every_clip_kind_whole(tmp_path: Path, kind: ClipKind, sharded: bool) -> None:
    tiny_clip(tmp_path, kind=kind, sharded=sharded, positions=20)
    model, report = CLIP_CLASSES[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert getattr(model, "text_model", model).config.max_position_embeddings == 20


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["SiglipModel", "SiglipTextModel"])
def test_transformers_loads_every_siglip_kind_whole(tmp_path: Path, kind: SiglipKind, version: int) -> None:
    tiny_siglip(tmp_path, kind=kind, version=1 if version == 1 else 2, sharded=version == 2)
    _, report = SIGLIP_CLASSES[kind].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    listed = json.loads((tmp_path / "config.json").read_text())
    assert ("architectures" in listed) is (version == 1 or kind == "SiglipTextModel")


def test_a_misspelled_option_is_refused(tmp_path: Path) -> None:
    for make in (tiny_clip, tiny_siglip, tiny_pipeline):
        with pytest.raises(TypeError, match="'layer'"):
            make(tmp_path, **{"layer": 3})  # type: ignore[arg-type]


def digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    for make in (tiny_clip, tiny_siglip, tiny_pipeline):
        a, b, c = (make(tmp_path / make.__name__ / str(i), seed=i // 2) for i in range(3))
        assert digest(a) == digest(b) != digest(c)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("kind", "folders"), [("sd15", 1), ("sdxl", 2), ("sd3", 3), ("flux", 2)])
def test_pipelines_have_the_real_components(tmp_path: Path, kind: str, folders: int) -> None:
    tiny_pipeline(tmp_path, kind=kind, variants={"fp16": "float16"})  # type: ignore[arg-type]
    index = json.loads((tmp_path / "model_index.json").read_text())
    declared = [name for name in index if name.startswith("text_encoder")]
    assert len(declared) == folders
    for name in declared:
        assert (tmp_path / name / "config.json").is_file()
        if index[name][1].startswith("CLIP"):
            assert (tmp_path / name / "model.fp16.safetensors").is_file()
            assert (tmp_path / name.replace("text_encoder", "tokenizer") / "vocab.json").is_file()
    assert index["safety_checker"] == [None, None]


def test_vocabularies_have_the_asked_size_and_clips_order() -> None:
    tokenizer = clip_tokenizer(560)
    assert tokenizer.get_vocab_size() == 560
    assert (tokenizer.token_to_id("<|startoftext|>"), tokenizer.token_to_id("<|endoftext|>")) == (558, 559)
    with pytest.raises(ValueError, match="at least 514"):
        clip_tokenizer(500)
    with pytest.raises(ValueError, match="merges"):
        clip_tokenizer(100_000)
