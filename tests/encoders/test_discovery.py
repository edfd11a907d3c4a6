"""What is in a repository: every kind of layout, every variant, every skipped thing with its reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from amdet_hub.encoders.digest import projection_digest
from amdet_hub.encoders.discovery import Resolution, find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.encoders.undeclared_files import MAX_UNDECLARED_FILES
from amdet_hub.errors import BadRepository, BadWeights, FileNotInRepo
from amdet_hub.records import SkippedScan
from amdet_hub.testing.models import ClipKind, tiny_clip, tiny_pipeline, tiny_siglip
from tests.encoders.folder_source import (
    COMMIT,
    FolderSource,
    edit_json,
    edit_tensors,
    write_safetensors,
)


def resolve(folder: Path, subfolder: str = "", filename: str | None = None) -> Resolution:
    source = FolderSource(folder)
    resolution = find_encoders(source, subfolder=subfolder, filename=filename)
    assert not source.fetched  # resolving never downloads weights
    return resolution


def only_skip(resolution: Resolution) -> SkippedScan:
    (skipped,) = resolution.skipped
    return skipped


@pytest.mark.parametrize("kind", ["CLIPTextModelWithProjection", "CLIPTextModel", "CLIPModel"])
@pytest.mark.parametrize("sharded", [False, True])
def test_clip_models(tmp_path: Path, kind: ClipKind, sharded: bool) -> None:
    tiny_clip(tmp_path, kind=kind, sharded=sharded, positions=248)
    (encoder,) = resolve(tmp_path).encoders
    assert (encoder.architecture, encoder.component, encoder.variant, encoder.prefix) == (kind, "", "", "text_model.")
    assert (encoder.repo_id, encoder.commit_sha) == ("org/model", COMMIT)
    assert encoder.config.max_position_embeddings == 248
    assert encoder.config.projection_dim == (None if kind == "CLIPTextModel" else 24)
    assert encoder.tokenizer_files == ("tokenizer.json",)
    assert encoder.dtypes == ("F32",)
    tensors = {n: t for f in tmp_path.glob("*.safetensors") for n, t in load_file(f).items() if n.startswith("text_")}
    assert encoder.tower_bytes == sum(t.nbytes for t in tensors.values())
    assert len(encoder.weight_files) == (2 if sharded else 1)


@pytest.mark.parametrize("version", [1, 2])
def test_siglip_models(tmp_path: Path, version: int) -> None:
    tiny_siglip(tmp_path, version=1 if version == 1 else 2, projection_size=48)
    (encoder,) = resolve(tmp_path).encoders
    assert (encoder.architecture, encoder.config.family, encoder.config.projection_dim) == (
        "SiglipModel",
        "siglip",
        48,
    )
    assert encoder.config.layer_norm_eps == 1e-6


def test_stable_diffusion(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    resolution = resolve(tmp_path)
    (encoder,) = resolution.encoders
    assert (encoder.component, encoder.architecture, encoder.config.eos_token_id) == (
        "text_encoder",
        "CLIPTextModel",
        2,
    )
    assert encoder.tokenizer_files == ("tokenizer/vocab.json", "tokenizer/merges.txt")
    assert resolution.skipped == ()


def test_sdxl_has_two(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sdxl")
    first, second = resolve(tmp_path).encoders
    assert (first.component, second.component) == ("text_encoder", "text_encoder_2")
    assert (first.config.projection_dim, second.config.projection_dim) == (None, 24)
    assert second.tokenizer_files == ("tokenizer_2/vocab.json", "tokenizer_2/merges.txt")


@pytest.mark.parametrize(("kind", "clip", "t5"), [("sd3", 2, "text_encoder_3"), ("flux", 1, "text_encoder_2")])
def test_t5_is_named_and_does_not_block(tmp_path: Path, kind: str, clip: int, t5: str) -> None:
    tiny_pipeline(tmp_path, kind="sd3" if kind == "sd3" else "flux")
    resolution = resolve(tmp_path)
    assert len(resolution.encoders) == clip
    skipped = only_skip(resolution)
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == (t5, "not-clip-family", False)
    assert "T5EncoderModel" in skipped.detail


def test_one_component_by_subfolder(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sdxl")
    (encoder,) = resolve(tmp_path, subfolder="text_encoder_2").encoders
    assert (encoder.component, encoder.tokenizer_files[0]) == ("text_encoder_2", "tokenizer_2/vocab.json")


def test_every_variant_is_its_own_encoder_and_copies_are_said(tmp_path: Path) -> None:
    tiny_clip(tmp_path, variants={"fp16": "float16"})
    shutil.copy(tmp_path / "model.fp16.safetensors", tmp_path / "model.copy.safetensors")
    resolution = resolve(tmp_path)
    assert {(e.variant, e.dtypes) for e in resolution.encoders} == {("", ("F32",)), ("copy", ("F16",))}
    skipped = only_skip(resolution)
    assert (skipped.reason, skipped.blocks_clearance) == ("duplicate", False)
    assert "model.fp16.safetensors" in skipped.detail


def test_equal_bytes_under_another_config_are_another_encoder(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    shutil.copytree(tmp_path / "text_encoder", tmp_path / "text_encoder_2")
    edit_json(tmp_path / "text_encoder_2" / "config.json", lambda c: c.update(hidden_act="gelu"))
    edit_json(tmp_path / "model_index.json", lambda i: i.update(text_encoder_2=["transformers", "CLIPTextModel"]))
    assert len(resolve(tmp_path).encoders) == 2
    edit_json(tmp_path / "text_encoder_2" / "config.json", lambda c: c.update(hidden_act="quick_gelu"))
    assert len(resolve(tmp_path).encoders) == 1


def test_sharded_beside_unsharded(tmp_path: Path) -> None:
    tiny_clip(tmp_path, seed=1, sharded=True)
    tiny_clip(tmp_path / "other", seed=2)
    shutil.move(tmp_path / "other" / "model.safetensors", tmp_path / "model.safetensors")
    assert {e.variant for e in resolve(tmp_path).encoders} == {"", "sharded"}


def test_sharded_variants_of_diffusers(tmp_path: Path) -> None:
    tiny_clip(tmp_path, sharded=True)
    (tmp_path / "model.safetensors.index.json").rename(tmp_path / "model.safetensors.index.fp16.json")
    for i in (1, 2):
        (tmp_path / f"model-0000{i}-of-00002.safetensors").rename(
            tmp_path / f"model.fp16-0000{i}-of-00002.safetensors"
        )

    def rename(index: dict[str, dict[str, str]]) -> None:
        index["weight_map"] = {k: v.replace("model-", "model.fp16-") for k, v in index["weight_map"].items()}

    edit_json(tmp_path / "model.safetensors.index.fp16.json", rename)
    (encoder,) = resolve(tmp_path).encoders
    assert encoder.variant == "fp16"


# ---------------------------------------------------------------- pickles


def repickled(folder: Path, name: str = "pytorch_model.bin") -> None:
    """Rewrite `model.safetensors` as `torch.save` would."""
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / name)
    weights.unlink()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.fp16.bin", "clip_l.pt", "clip.CKPT"])
def test_pickles_alone_are_read_like_safetensors(tmp_path: Path, name: str) -> None:
    (safe,) = resolve(tiny_clip(tmp_path)).encoders
    expected = load_tower(safe, FolderSource(tmp_path)).digest
    repickled(tmp_path, name)
    resolution = resolve(tmp_path)
    (encoder,) = resolution.encoders
    assert resolution.skipped == ()
    assert encoder.config == safe.config
    assert load_tower(encoder, FolderSource(tmp_path)).digest == expected


def test_a_transposed_projection_is_read_as_it_is(tmp_path: Path) -> None:
    """As in the pickles of the most used CLIP models."""
    (safe,) = resolve(tiny_clip(tmp_path)).encoders
    expected = load_tower(safe, FolderSource(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["text_projection.weight"] = tensors["text_projection.weight"].T.contiguous().T
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    (encoder,) = resolve(tmp_path).encoders
    found = load_tower(encoder, FolderSource(tmp_path))
    assert found.digest == expected.digest
    assert projection_digest(found.tensors) == projection_digest(expected.tensors)


def test_pickled_shards_are_read_together(tmp_path: Path) -> None:
    tiny_clip(tmp_path, sharded=True)
    (safe,) = resolve(tmp_path).encoders
    expected = load_tower(safe, FolderSource(tmp_path)).digest
    for path in sorted(tmp_path.glob("*.safetensors")):
        torch.save(load_file(path), tmp_path / f"pytorch_{path.stem}.bin")
        path.unlink()
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    index["weight_map"] = {k: f"pytorch_{v.removesuffix('.safetensors')}.bin" for k, v in index["weight_map"].items()}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (tmp_path / "model.safetensors.index.json").unlink()
    (encoder,) = resolve(tmp_path).encoders
    assert encoder.variant == "bin"
    assert load_tower(encoder, FolderSource(tmp_path)).digest == expected


def test_each_pickle_of_a_pipeline_that_is_refused_blocks(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    names = ("text_encoder/openvino_model.bin", "text_encoder/pytorch_model.bin", "unet/model.bin", "v1-5.ckpt")
    for name in (*names, "optimizer.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x80\x04.")
    skipped = {s.component: (s.reason, s.blocks_clearance) for s in resolve(tmp_path).skipped}
    assert skipped == {name: ("refused-pickle", name != "optimizer.pt") for name in (*names, "optimizer.pt")}


def test_a_component_with_pickles_only_is_read(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sdxl")
    repickled(tmp_path / "text_encoder_2")
    assert [e.label for e in resolve(tmp_path).encoders] == ["text_encoder", "text_encoder_2 (bin)"]


def test_a_refused_pickle_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "te.pt").write_bytes(b"x")
    skipped = only_skip(resolve(tmp_path, filename="te.pt"))
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == ("te.pt", "refused-pickle", True)


# ---------------------------------------------------------------- single files and strays


def bare_tower(folder: Path, name: str, *, width: int = 64, layers: int = 1) -> Path:
    """A text encoder as one file without config, as ComfyUI's `clip_l.safetensors`."""
    scratch = folder.parent / "scratch"
    tiny_clip(
        scratch, kind="CLIPTextModel", hidden_size=width, heads=1, layers=layers, vocab_size=600, dtype="float16"
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    shutil.move(scratch / "model.safetensors", path)
    shutil.rmtree(scratch)
    return path


def test_one_file_without_config_says_what_was_assumed(tmp_path: Path) -> None:
    bare_tower(tmp_path / "repo", "clip_l.safetensors", width=128, layers=3)
    for filename in (None, "clip_l.safetensors"):
        (encoder,) = resolve(tmp_path / "repo", filename=filename).encoders
        assert encoder.component == "clip_l.safetensors"
        assert encoder.architecture == "CLIPTextModel (no config.json, 2 heads and gelu assumed)"
        assert (encoder.config.num_hidden_layers, encoder.config.hidden_size, encoder.config.eos_token_id) == (
            3,
            128,
            2,
        )


def test_one_file_with_a_config_beside_it_uses_it(tmp_path: Path) -> None:
    tiny_clip(tmp_path, hidden_act="gelu_new")
    (tmp_path / "model.safetensors").rename(tmp_path / "improved.safetensors")
    for filename in (None, "improved.safetensors"):
        (encoder,) = resolve(tmp_path, filename=filename).encoders
        assert (encoder.component, encoder.config.hidden_act, encoder.config.num_attention_heads) == (
            "improved.safetensors",
            "gelu_new",
            2,
        )


def test_a_second_encoder_beside_the_standard_one_is_found(tmp_path: Path) -> None:
    repo = tiny_pipeline(tmp_path / "repo", kind="sd15")
    bare_tower(repo / "text_encoders", "clip_l.safetensors")
    assert [e.component for e in resolve(repo).encoders] == ["text_encoder", "text_encoders/clip_l.safetensors"]


def test_flat_names_are_accepted(tmp_path: Path) -> None:
    tiny_clip(tmp_path, kind="CLIPTextModel")

    def flatten(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("text_model.")] = tensors.pop(name)

    edit_tensors(tmp_path / "model.safetensors", flatten)
    (encoder,) = resolve(tmp_path).encoders
    assert encoder.prefix == ""


@pytest.mark.parametrize(
    ("names", "detail", "blocks"),
    [
        (["lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"], "lacks one of its two factors", True),
        (
            ["text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"],
            "lacks one of its two factors",
            True,
        ),
        (
            ["text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_up.weight"],
            "LoRA weights",
            True,
        ),
        (["cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.bias"], "single-file checkpoint", True),
        (["conditioner.embedders.1.model.token_embedding.weight"], "single-file checkpoint", True),
        (["token_embedding.weight", "positional_embedding"], "OpenCLIP layout", True),
        (["text.token_embedding.weight", "text.text_projection.weight"], "OpenCLIP layout", True),
        (["clip.text_model.encoder.layers.0.mlp.fc1.weight"], "unknown prefix", True),
        (
            ["text_encoders.t5xxl.transformer.shared.weight", "text_encoders.llama.model.embed_tokens.weight"],
            "",
            False,
        ),
        (["unet.conv_in.weight", "lora_unet_down.weight"], "", False),
    ],
)
def test_stray_files_are_named_by_what_they_hold(tmp_path: Path, names: list[str], detail: str, blocks: bool) -> None:
    tiny_clip(tmp_path)
    write_safetensors(tmp_path / "other" / "x.safetensors", {name: torch.zeros(2, 2) for name in names})
    resolution = resolve(tmp_path)
    assert len(resolution.encoders) == 1
    assert [(detail in s.detail, s.blocks_clearance) for s in resolution.skipped] == (
        [(True, blocks)] if detail else []
    )


def test_a_broken_stray_file_blocks_but_does_not_stop(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    (tmp_path / "odd.safetensors").write_bytes(b"not safetensors at all")
    (tmp_path / "model-00001-of-00009.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-4])
    resolution = resolve(tmp_path)
    assert {(s.component, s.reason, s.blocks_clearance) for s in resolution.skipped} == {
        ("odd.safetensors", "unreadable", True),
        ("model-00001-of-00009.safetensors", "unreadable", True),
    }


def test_many_stray_files_are_not_all_read(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    for i in range(MAX_UNDECLARED_FILES + 3):
        write_safetensors(tmp_path / "loras" / f"{i}.safetensors", {"lora_unet_x": torch.zeros(1)})
    skipped = only_skip(resolve(tmp_path))
    assert (skipped.reason, skipped.blocks_clearance) == ("unreadable", True)
    assert skipped.detail.startswith("3 more")


def test_of_other_components_of_a_pipeline_only_headers_are_read(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    write_safetensors(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", {"conv_in.weight": torch.zeros(1)})
    source = FolderSource(tmp_path)
    find_encoders(source)
    assert source.ranges == ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"]


def test_missing_files_by_name(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    with pytest.raises(FileNotInRepo):
        resolve(tmp_path, filename="nope.safetensors")


# ---------------------------------------------------------------- what cannot be scanned


def test_an_adapter_beside_the_model_blocks(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    write_safetensors(
        tmp_path / "adapter_model.safetensors", {"base_model.model.text_model.x.lora_A.weight": torch.zeros(1)}
    )
    skipped = only_skip(resolve(tmp_path))
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == (
        "adapter_model.safetensors",
        "unreadable",
        True,
    )


def test_sentence_transformers(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "0_CLIPModel", kind="CLIPModel")
    (tmp_path / "modules.json").write_text(
        '[{"idx": 0, "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}, 3]'
    )
    (encoder,) = resolve(tmp_path).encoders
    assert (encoder.component, encoder.architecture) == ("0_CLIPModel", "CLIPModel")


def empty(folder: Path) -> None:
    (folder / "README.md").write_text("hello")


def bert(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')


def chinese_clip(folder: Path) -> None:
    (folder / "config.json").write_text('{"architectures": ["ChineseCLIPModel"], "model_type": "chinese_clip"}')


def open_clip(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("{}")


def open_clip_weights(folder: Path) -> None:
    write_safetensors(folder / "open_clip_model.safetensors", {"positional_embedding": torch.zeros(1)})


def no_weights(folder: Path) -> None:
    tiny_clip(folder)
    (folder / "model.safetensors").unlink()


def vision_only(folder: Path) -> None:
    tiny_clip(folder)
    edit_tensors(folder / "model.safetensors", lambda t: [t.pop(n) for n in list(t) if n.startswith("text_model")])


@pytest.mark.parametrize(
    ("make", "reason", "blocks", "named"),
    [
        (empty, "no-model-files", False, "README.md"),
        (bert, "not-clip-family", False, "BertModel"),
        (chinese_clip, "unsupported-architecture", True, "Chinese-CLIP"),
        (open_clip, "no-weights", True, "open_clip_config.json"),
        (open_clip_weights, "unsupported-architecture", True, "open_clip_model.safetensors"),
        (no_weights, "no-weights", True, "CLIPTextModelWithProjection"),
        (vision_only, "unsupported-architecture", True, "model.safetensors"),
    ],
)
def test_without_an_encoder_the_reason_says_what_was_found(
    tmp_path: Path, make: Callable[[Path], object], reason: str, blocks: bool, named: str
) -> None:
    make(tmp_path)
    resolution = resolve(tmp_path)
    skipped = only_skip(resolution)
    assert resolution.encoders == ()
    assert (skipped.component, skipped.blocks_clearance) in (("", blocks), (named, blocks))
    assert skipped.reason == reason
    assert named in skipped.detail


def other_kind(folder: Path) -> None:
    """A BERT, by config and by weights."""
    folder.mkdir(exist_ok=True)
    bert(folder)
    write_safetensors(folder / "model.safetensors", {"bert.embeddings.word_embeddings.weight": torch.zeros(8, 4)})


def test_a_model_of_another_kind_is_no_obstacle(tmp_path: Path) -> None:
    other_kind(tmp_path)
    skipped = only_skip(resolve(tmp_path))
    assert (skipped.reason, skipped.blocks_clearance) == ("not-clip-family", False)


def test_a_tower_beside_a_config_of_another_kind_is_found(tmp_path: Path) -> None:
    """`CLIPTextModel.from_pretrained` loads it all the same."""
    bare_tower(tmp_path / "repo", "model.safetensors")
    bert(tmp_path / "repo")
    resolution = resolve(tmp_path / "repo")
    assert [e.component for e in resolution.encoders] == ["model.safetensors"]
    assert [s.reason for s in resolution.skipped] == ["not-clip-family"]


def test_a_tower_in_the_shards_of_another_kind_is_found(tmp_path: Path) -> None:
    other_kind(tmp_path / "repo")
    for i in range(33):
        write_safetensors(tmp_path / "repo" / f"model-{i:05}-of-00034.safetensors", {f"h.{i}": torch.zeros(1)})
    assert not any(s.blocks_clearance for s in resolve(tmp_path / "repo").skipped)
    bare_tower(tmp_path / "repo", "model-00034-of-00034.safetensors")
    assert [e.component for e in resolve(tmp_path / "repo").encoders] == ["model-00034-of-00034.safetensors"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "text_encoder.pt"])
def test_a_pickle_of_another_kind_is_no_obstacle_once_it_is_read(tmp_path: Path, name: str) -> None:
    other_kind(tmp_path)
    (tmp_path / name).write_bytes(b"x")
    assert [s.blocks_clearance for s in resolve(tmp_path).skipped] == [False, True]
    torch.save({"bert.embeddings.word_embeddings.weight": torch.zeros(8, 4)}, tmp_path / name)
    assert [s.blocks_clearance for s in resolve(tmp_path).skipped] == [False]


def test_an_unknown_subfolder(tmp_path: Path) -> None:
    tiny_clip(tmp_path)
    skipped = only_skip(resolve(tmp_path, subfolder="nope"))
    assert (skipped.reason, skipped.blocks_clearance) == ("no-model-files", False)
    assert "nope" in skipped.detail


def test_custom_pipeline_classes_block(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sdxl")
    edit_json(tmp_path / "model_index.json", lambda i: i.update(text_encoder_2=["my_module", "CLIPTextModel"]))
    skipped = only_skip(resolve(tmp_path))
    assert (skipped.component, skipped.blocks_clearance) == ("text_encoder_2", True)
    assert "my_module.CLIPTextModel" in skipped.detail


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "a\\b", "x" * 70])
def test_component_names_must_be_plain(tmp_path: Path, name: str) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    edit_json(tmp_path / "model_index.json", lambda i: i.update({name: ["transformers", "CLIPTextModel"]}))
    with pytest.raises(BadRepository, match="component name"):
        resolve(tmp_path)


def test_a_declared_component_that_is_not_there_blocks(tmp_path: Path) -> None:
    tiny_pipeline(tmp_path, kind="sd15")
    edit_json(tmp_path / "model_index.json", lambda i: i.update(text_encoder_2=["transformers", "CLIPTextModel"]))
    skipped = only_skip(resolve(tmp_path))
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == ("text_encoder_2", "unreadable", True)


@pytest.mark.parametrize(
    ("change", "tensor", "reason"),
    [
        (lambda t: t.pop("text_model.final_layer_norm.bias"), "text_model.final_layer_norm.bias", "is missing"),
        (lambda t: t.update({"text_model.extra": torch.zeros(1)}), "text_model.extra", "is not part of the tower"),
        (
            lambda t: t.update({"text_projection.bias": torch.zeros(1)}),
            "text_projection.bias",
            "is not part of the tower",
        ),
        (
            lambda t: t.update({"final_layer_norm.bias": torch.zeros(32)}),
            "final_layer_norm.bias",
            "is not part of the tower",
        ),
        (
            lambda t: t.update({"text_model.final_layer_norm.bias": torch.zeros(31)}),
            "text_model.final_layer_norm.bias",
            r"has shape \(31,\)",
        ),
        (
            lambda t: t.update({"text_model.final_layer_norm.bias": torch.zeros(32, dtype=torch.int8)}),
            "text_model.final_layer_norm.bias",
            "is stored as I8",
        ),
        (
            lambda t: t.update({"text_model.encoder.layers.2.layer_norm1.bias": torch.zeros(32)}),
            "text_model.encoder.layers.2.layer_norm1.bias",
            "is not part of the tower",
        ),
    ],
)
def test_towers_that_differ_from_their_config_are_errors(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], tensor: str, reason: str
) -> None:
    tiny_clip(tmp_path)
    edit_tensors(tmp_path / "model.safetensors", change)
    with pytest.raises(BadWeights, match=reason) as caught:
        resolve(tmp_path)
    assert caught.value.tensor == tensor
    assert caught.value.path == "model.safetensors"


def test_resolving_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; import amdet_hub.encoders.discovery, amdet_hub.encoders.safetensors_header, amdet_hub.families;"
        " print([m for m in ('torch', 'transformers', 'safetensors', 'tokenizers', 'numpy', 'huggingface_hub') if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
