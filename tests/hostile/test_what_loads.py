"""A second tower that some loader takes, beside clean weights: it is scanned, or it blocks.

Each case is one way of having a scanner look at one tower while a user's library loads another.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.digest import tower_digest
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import load_tower
from amdet_hub.errors import BadRepository, OfflineMiss, RepoNotFound
from amdet_hub.hub import HubSettings
from amdet_hub.records import RepoRef
from amdet_hub.scanner.lora_bases import with_merged_towers
from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip
from amdet_hub.testing.models.layouts import openclip_tensors
from tests.encoders.folder_source import FolderSource, edit_json, edit_tensors, saved

Tensors = dict[str, Tensor]
Plant = Callable[[Path, Tensors], object]
"""Adds the other tower, given as transformers stores it, to a folder with a clean repository."""


def other_tower(folder: Path) -> Tensors:
    tensors: Tensors = load_file(tiny_clip(folder, seed=9, tokenizer=False) / "model.safetensors")
    return tensors


def under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def flat(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


def put(path: Path, content: bytes | str | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def in_same_file(rename: Callable[[Tensors], Tensors]) -> Plant:
    return lambda folder, other: edit_tensors(folder / "model.safetensors", lambda t: t.update(rename(other)))


def named(name: str, write: Callable[[Tensors], bytes] = save) -> Plant:
    return lambda folder, other: put(folder / name, write(other))


def renamed(clean: str, other_name: str) -> Plant:
    """The clean weights under a name that no loader takes, the other tower where they were looked for."""

    def plant(folder: Path, other: Tensors) -> None:
        (folder / "model.safetensors").rename(folder / clean)
        put(folder / other_name, saved(other) if other_name.endswith("bin") else save(other))

    return plant


def redirected(folder: Path, other: Tensors, **more: object) -> None:
    put(folder / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "someone/else", **more})


def redirected_with_weights(folder: Path, other: Tensors) -> None:
    redirected(folder, other, r=2, lora_alpha=2, target_modules=["q_proj"])
    at = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj"
    put(
        folder / "adapter_model.safetensors",
        save({f"{at}.lora_A.weight": torch.ones(2, 32), f"{at}.lora_B.weight": torch.ones(32, 2)}),
    )


def adapter_with_a_tower(folder: Path, other: Tensors) -> None:
    redirected_with_weights(folder, other)
    edit_tensors(folder / "adapter_model.safetensors", lambda t: t.update(under("base_model.model.", other)))


def in_config(**fields: object) -> Plant:
    return lambda folder, other: edit_json(folder / "config.json", lambda config: config.update(fields))


def modular(folder: Path, other: Tensors) -> None:
    spec = {"pretrained_model_name_or_path": "someone/else", "type_hint": ["transformers", "CLIPTextModel"]}
    put(folder / "modular_model_index.json", {"text_encoder": ["transformers", "CLIPTextModel", spec]})


def shard_of_another_kind(index: str) -> Plant:
    """A shard whose ending says that it is a text, in a folder whose configuration says that it is a T5."""

    def plant(folder: Path, other: Tensors) -> None:
        config = json.loads((folder / "config.json").read_text())
        put(folder / "t5" / "config.json", config | {"model_type": "t5", "architectures": ["T5EncoderModel"]})
        put(folder / "t5" / "part.txt", saved(other))
        weight_map = json.dumps(dict.fromkeys(other, "part.txt"))
        put(folder / "t5" / "pytorch_model.bin.index.json", index.replace("MAP", weight_map))

    return plant


CASES: dict[str, Plant] = {
    "a shard that is no weight file by its name": shard_of_another_kind('{"metadata": {}, "weight_map": MAP}'),
    "an index that is read otherwise": shard_of_another_kind('{"weight_map": {}, "weight_map": MAP, "metadata": NaN}'),
    "adapter config that redirects": redirected,
    "adapter that redirects": redirected_with_weights,
    "adapter with a tower in it": adapter_with_a_tower,
    "clip. in the same file": in_same_file(lambda t: under("clip.", flat(t))),
    "module. in the same file": in_same_file(lambda t: under("module.", t)),
    "flat names in the same file": in_same_file(lambda t: under("", flat(t))),
    "module. and OpenCLIP in the same file": in_same_file(lambda t: under("module.", openclip_tensors(t))),
    "OpenCLIP's old names in the same file": in_same_file(openclip_tensors),
    "OpenCLIP's new names in the same file": in_same_file(lambda t: openclip_tensors(t, "text.")),
    "SDXL's place in the same file": in_same_file(lambda t: under("conditioner.embedders.0.transformer.", t)),
    "SD 1's place in the same file": in_same_file(lambda t: under("cond_stage_model.transformer.", t)),
    "a part of a tower in the same file": in_same_file(
        lambda t: {"clip.encoder.layers.0.mlp.fc1.weight": t["text_model.encoder.layers.0.mlp.fc1.weight"]}
    ),
    "Apple's MobileCLIP names in the same file": in_same_file(
        lambda t: {"text_encoder.embedding_layer.weight": t["text_model.embeddings.token_embedding.weight"]}
    ),
    "pytorch_model.bin beside model.fp32.safetensors": renamed("model.fp32.safetensors", "pytorch_model.bin"),
    "pytorch_model.bin beside notes.safetensors": renamed("notes.safetensors", "pytorch_model.bin"),
    "pytorch_model.bin beside model.safetensors": named("pytorch_model.bin", saved),
    "pytorch_model.fp16.bin for a variant": named("pytorch_model.fp16.bin", saved),
    "text_encoder/pytorch_model.bin": named("text_encoder/pytorch_model.bin", saved),
    "0_CLIPModel/pytorch_model.bin": named("0_CLIPModel/pytorch_model.bin", saved),
    "open_clip_pytorch_model.bin": named("open_clip_pytorch_model.bin", lambda t: saved(openclip_tensors(t))),
    "a nested .ckpt": named("models/clip/a.ckpt", lambda t: saved({"state_dict": t})),
    "a nested .CKPT": named("models/clip/a.CKPT", saved),
    "a nested .pt": named("x/y.pt", saved),
    "a nested .pkl": named("x/y.pkl", saved),
    ".sft": named("clip_l.sft"),
    ".SAFETENSORS": named("clip_l.SAFETENSORS"),
    "a nested .sft": named("clip/clip_l.sft"),
    ".gguf": named("clip_l.gguf"),
    ".onnx": named("onnx/text_model.onnx"),
    ".onnx_data": named("text_encoder/model.onnx_data"),
    ".msgpack": named("flax_model.msgpack"),
    ".h5": named("tf_model.h5"),
    ".npz": named("model.npz"),
    "no ending": named("model"),
    "an unknown ending": named("clip_l.weights"),
    "modular index that redirects": modular,
    "transformers_weights": in_config(transformers_weights="other.safetensors"),
    "configuration_files": in_config(configuration_files=["config.5.0.0.json"]),
    "other names of the fields": in_config(attribute_map={"num_attention_heads": "n_heads"}, n_heads=4),
    "no causal mask": in_config(is_causal=False),
    "values of single layers": in_config(per_layer_config={"0": {"layer_norm_eps": 0.5}}),
    "a kernel from elsewhere": in_config(attn_implementation="someone/else"),
    "another class's flat fields": in_config(model_type="clip", num_attention_heads=4),
    "a quantisation": in_config(quantization_config={"quant_method": "bitsandbytes"}),
}


CLIP_L, CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
SD1, SDXL = "cond_stage_model.transformer.", "conditioner.embedders.0.transformer."


def in_file(name: str, rename: Callable[[Tensors, Tensors], Tensors]) -> Plant:
    """A file with the clean tower and the other one, named from `(clean, other)`."""
    return lambda folder, other: put(folder / name, save(rename(load_file(folder / "model.safetensors"), other)))


def layers(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if ".layers." in name}


MIXED: dict[str, Plant] = {
    "diffusers' two places of CLIP-L": in_file("a.safetensors", lambda t, o: under(SD1, t) | under(SDXL, o)),
    "diffusers' places of SD 1 and SD 3": in_file(
        "a.safetensors", lambda t, o: under(CLIP_L, t) | under(SD1, flat(o))
    ),
    "diffusers' prefix inside a name": in_file(
        "a.safetensors",
        lambda t, o: (
            under(SD1, t) | {f"{SD1}t{SD1}ext_model.enc{SD1}oder.layers.0.mlp.fc1.weight": torch.ones(256, 64)}
        ),
    ),
    "clip. in the same file": in_same_file(lambda t: under("clip.", flat(t))),
    "layers under clip_": in_same_file(lambda t: under("clip_", flat(layers(t)))),
    "a projection under text_model_": in_same_file(
        lambda t: {"text_model_text_projection.weight": torch.ones(24, 64)}
    ),
    "a projection under clip_": in_same_file(lambda t: {"clip_text_projection.weight": torch.ones(24, 64)}),
    "OpenCLIP's two generations": in_file(
        "a.safetensors", lambda t, o: openclip_tensors(t, "text.") | openclip_tensors(o)
    ),
    "seven other characters than module.": in_file(
        "a.safetensors",
        lambda t, o: under("module.", openclip_tensors(t)) | under("visual.", openclip_tensors(layers(o))),
    ),
}


def clean(folder: Path) -> Path:
    return tiny_clip(folder, seed=0)


def scanned_or_blocked(folder: Path) -> tuple[set[str], list[str]]:
    """Digests of what would be scanned, and the reasons that keep the folder from being cleared."""
    source = FolderSource(folder)
    try:
        found = find_encoders(source)
        digests = {load_tower(encoder, source).digest for encoder in found.encoders}
    except BadRepository as error:
        return set(), [str(error)]
    return digests, [s.reason for s in found.skipped if s.blocks_clearance] + ["lora" for _ in found.loras]


def digest_of(tensors: Mapping[str, Tensor], folder: Path) -> str:
    (encoder,) = find_encoders(FolderSource(folder)).encoders
    return tower_digest({name: t for name, t in flat(tensors).items() if name in tower_shapes(encoder.config)})


@pytest.mark.parametrize("case", CASES)
def test_another_tower_is_scanned_or_blocks(tmp_path: Path, case: str) -> None:
    other = other_tower(tmp_path / "other")
    expected = digest_of(other, tmp_path / "other")
    CASES[case](clean(tmp_path / "suspect"), other)
    digests, blocking = scanned_or_blocked(tmp_path / "suspect")
    assert blocking or expected in digests


@pytest.mark.parametrize("case", MIXED)
def test_towers_that_a_loader_mixes_block(tmp_path: Path, case: str) -> None:
    """What is loaded is neither of the two towers, so that no scan of either says anything about it.

    diffusers strips two prefixes from one file; transformers strips a model's prefix and one more character, whatever
    it is; open_clip cuts seven characters from every name where the first begins with `module`.
    """
    other = load_file(tiny_clip(tmp_path / "other", seed=9, hidden_size=64) / "model.safetensors")
    MIXED[case](tiny_clip(tmp_path / "suspect", seed=0, hidden_size=64), other)
    assert "unclaimed-tensors" in scanned_or_blocked(tmp_path / "suspect")[1]


@pytest.mark.parametrize("containers", [(CLIP_L, CLIP_G), (SDXL, "conditioner.embedders.1.transformer.")])
def test_two_towers_in_places_of_their_own_are_scanned(tmp_path: Path, containers: tuple[str, str]) -> None:
    first, second = containers
    towers = [
        load_file(tiny_clip(tmp_path / str(seed), seed=seed, hidden_size=64) / "model.safetensors") for seed in (1, 2)
    ]
    put(tmp_path / "suspect" / "a.safetensors", save(under(first, towers[0]) | under(second, towers[1])))
    digests, blocking = scanned_or_blocked(tmp_path / "suspect")
    assert (len(digests), blocking) == (2, [])


COMPONENTS: dict[str, tuple[str, ...]] = {
    "a VAE": ("vae", "diffusers", "AutoencoderKL"),
    "a T5": ("text_encoder_2", "transformers", "T5EncoderModel"),
    "a safety checker": ("safety_checker", "stable_diffusion", "StableDiffusionSafetyChecker"),
    "code of its own": ("image_encoder", "my_code", "Encoder"),
    "an unknown class": ("prior", "transformers", "SomeModel"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("case", COMPONENTS)
def test_a_component_of_another_kind_hides_no_tower(tmp_path: Path, case: str, name: str) -> None:
    other = other_tower(tmp_path / "other")
    expected = digest_of(other, tmp_path / "other")
    suspect = tiny_pipeline(tmp_path / "suspect", kind="sd15")
    folder, *entry = COMPONENTS[case]
    edit_json(suspect / "model_index.json", lambda index: index.update({folder: entry}))
    put(suspect / folder / name, saved(other) if name.endswith("bin") else save(other))
    put(suspect / folder / "config.json", {"model_type": "t5"})
    digests, blocking = scanned_or_blocked(suspect)
    assert blocking or expected in digests


@pytest.mark.parametrize("name", ["clip_l.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "clip.ckpt"])
def test_a_configuration_of_another_kind_hides_no_tower(tmp_path: Path, name: str) -> None:
    other = other_tower(tmp_path / "other")
    expected = digest_of(other, tmp_path / "other")
    suspect = tmp_path / "suspect"
    put(suspect / "config.json", {"model_type": "llama"})
    put(suspect / "model.safetensors", save({"model.embed_tokens.weight": torch.zeros(4, 4)}))
    put(suspect / name, save(other) if name.endswith("safetensors") else saved(other))
    digests, blocking = scanned_or_blocked(suspect)
    assert blocking or expected in digests


def test_a_siglip_tower_in_the_place_of_a_clip_tower_blocks(tmp_path: Path) -> None:
    """diffusers reads the place of Stable Diffusion's text encoder as CLIP's, whatever lies there."""
    siglip = load_file(tiny_siglip(tmp_path / "siglip", kind="SiglipTextModel", hidden_size=64) / "model.safetensors")
    put(tmp_path / "suspect" / "sd.safetensors", save(under("cond_stage_model.transformer.", siglip)))
    assert scanned_or_blocked(tmp_path / "suspect")[1] == ["unreadable"]


def test_a_lora_is_merged_onto_every_base_that_a_loader_takes(tmp_path: Path) -> None:
    """transformers takes the named base by id, and the folder's own weights where it is loaded as a folder."""
    clean(tmp_path / "suspect")
    redirected_with_weights(tmp_path / "suspect", {})
    source, base = FolderSource(tmp_path / "suspect"), FolderSource(clean(tmp_path / "base"), "someone/else")
    with mock.patch("amdet_hub.scanner.lora_bases.open_source", return_value=base):
        found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
    assert [lora.source for lora in found.bases.values()] == [base, source]
    assert [e.component for e in found.encoders if e.adapter is not None] == [
        "adapter_model.safetensors on someone/else text encoder",
        "adapter_model.safetensors on org/model text encoder",
    ]
    with mock.patch(
        "amdet_hub.scanner.lora_bases.open_source", side_effect=OfflineMiss("someone/else", "config.json")
    ):
        found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
    assert [s.reason for s in found.skipped if s.blocks_clearance] == ["lora-without-base"]


@pytest.mark.parametrize("settings", [{"layers": 1}, {"hidden_act": "gelu"}])
def test_weights_that_are_read_with_the_configuration_of_an_adapters_base_block(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """sentence-transformers takes the folder's weights, and the configuration of the base that the adapter names."""
    clean(tmp_path / "suspect")
    redirected_with_weights(tmp_path / "suspect", {})
    base_folder = tiny_clip(tmp_path / "base", seed=0, **settings)
    source, base = FolderSource(tmp_path / "suspect"), FolderSource(base_folder, "someone/else")
    with mock.patch("amdet_hub.scanner.lora_bases.open_source", return_value=base):
        found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
    assert [s.reason for s in found.skipped if s.blocks_clearance] == ["loads-from-elsewhere"]


def test_a_lora_is_merged_onto_every_tower_of_the_own_repository_that_a_loader_takes(tmp_path: Path) -> None:
    """Its config names the repository itself: which of the files there is taken depends on how it is loaded."""
    other = {name: tensor.half() for name, tensor in other_tower(tmp_path / "other").items()}
    put(clean(tmp_path / "suspect") / "pytorch_model.bin", saved(other))
    redirected_with_weights(tmp_path / "suspect", {})
    edit_json(
        tmp_path / "suspect" / "adapter_config.json", lambda data: data.update(base_model_name_or_path="org/model")
    )
    source = FolderSource(tmp_path / "suspect", "org/model")
    found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
    assert sorted(lora.encoder.weight_files[0].path for lora in found.bases.values()) == [
        "model.safetensors",
        "pytorch_model.bin",
    ]


def test_no_base_that_the_card_claims_stands_in_for_the_one_that_a_loader_takes(tmp_path: Path) -> None:
    clean(tmp_path / "suspect")
    redirected_with_weights(tmp_path / "suspect", {})
    card, base = FolderSource(tmp_path / "suspect"), FolderSource(clean(tmp_path / "base"), "some/base")
    snapshot = dataclasses.replace(card.snapshot, base_models=("some/base",))

    def open_source(ref: RepoRef, settings: HubSettings) -> FolderSource:
        if ref.repo_id != "some/base":
            raise RepoNotFound(ref.repo_id, token_sent=False)
        return base

    with (
        mock.patch("amdet_hub.scanner.lora_bases.open_source", open_source),
        mock.patch.object(card, "snapshot", snapshot),
    ):
        found = with_merged_towers(card, find_encoders(card), named=None, settings=HubSettings())
    assert [s.reason for s in found.skipped if s.blocks_clearance] == ["lora-without-base"]


@pytest.mark.parametrize("own", [True, False])
def test_an_adapter_whose_base_is_an_adapter_again_blocks(tmp_path: Path, own: bool) -> None:
    """transformers and PEFT follow both: what is loaded is a third tower."""
    redirected_with_weights(clean(tmp_path / "suspect"), {})
    redirected_with_weights(clean(tmp_path / "suspect" / "sub"), {})
    claim = "org/model" if own else "someone/else"
    edit_json(tmp_path / "suspect/sub/adapter_config.json", lambda c: c.update(base_model_name_or_path=claim))
    source, base = FolderSource(tmp_path / "suspect"), FolderSource(tmp_path / "suspect", "someone/else")
    with mock.patch("amdet_hub.scanner.lora_bases.open_source", return_value=base):
        found = with_merged_towers(source, find_encoders(source), named=None, settings=HubSettings())
    assert "lora-without-base" in [
        s.reason for s in found.skipped if s.component == "sub/adapter_model.safetensors" and s.blocks_clearance
    ]


@pytest.mark.parametrize("text_cfg", [{"context_length": 73}, {"layers": 1}])
def test_a_file_that_open_clip_reads_is_checked_against_its_configuration(
    tmp_path: Path, text_cfg: dict[str, int]
) -> None:
    """transformers' configuration lies beside it too: open_clip shortens the table of positions to its own."""
    folder = tiny_clip(tmp_path / "suspect", seed=0, hidden_size=64, heads=1)
    put(folder / "model.safetensors", save(openclip_tensors(load_file(folder / "model.safetensors"))))
    sizes = {"context_length": 77, "vocab_size": 600, "width": 64, "heads": 1, "layers": 2}
    model = {"embed_dim": 24, "vision_cfg": {"image_size": 8, "layers": 1, "width": 16, "patch_size": 4}}
    put(folder / "open_clip_config.json", {"model_cfg": {**model, "text_cfg": sizes}})
    assert scanned_or_blocked(folder)[1] == []
    edit_json(folder / "open_clip_config.json", lambda c: c["model_cfg"]["text_cfg"].update(text_cfg))
    assert scanned_or_blocked(folder)[1]
