"""LoRAs: every naming is read, merging is W + scale * up @ down, and what is not plain LoRA, or does not fit, is
refused with a sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.key_layouts import wanted_names
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.encoders.lora_files import LoraBase, LoraFile, best_base, claimed_base, merged_encoder, peft_scale
from amdet_hub.encoders.lora_merge import load_merged
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import ResolvedEncoder, from_dict, to_dict
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from amdet_hub.testing.models.layouts import tiny_openclip
from amdet_hub.testing.models.lora import LoraStyle, extract_lora, lora_tensors
from tests.encoders.folder_source import FolderSource, edit_tensors, what_blocks, write_safetensors

STYLES: tuple[LoraStyle, ...] = (
    "kohya",
    "kohya sdxl 1",
    "kohya sdxl 2",
    "diffusers",
    "diffusers linear layer",
    "diffusers 2022",
    "peft",
    "peft flat",
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_clip(tmp_path / "base")


def factors(base: Path, tmp_path: Path, rank: int = 4) -> dict[str, tuple[Tensor, Tensor]]:
    tuned = tiny_clip(tmp_path / "tuned", seed=9)
    return extract_lora(load_file(base / "model.safetensors"), load_file(tuned / "model.safetensors"), rank=rank)


def adapter_in(folder: Path, filename: str | None = None) -> LoraFile:
    (adapter,) = find_encoders(FolderSource(folder), filename=filename).loras
    return adapter


def merge(base: Path, folder: Path) -> tuple[ResolvedEncoder, LoadedTower]:
    source, base_source = FolderSource(folder), FolderSource(base)
    adapter = adapter_in(folder)
    tower = best_base(adapter, find_encoders(base_source).encoders)
    assert tower is not None
    resolved = merged_encoder(adapter, source, tower, base_source)
    return resolved, load_merged(resolved, LoraBase(tower, base_source, adapter.lora), source)


def write_lora(
    folder: Path, tensors: dict[str, Tensor], style: LoraStyle, config: dict[str, Any] | None = None
) -> Path:
    peft = style.startswith("peft")
    write_safetensors(folder / ("adapter_model.safetensors" if peft else "lora.safetensors"), tensors)
    if peft:
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4} | (config or {}))
        )
    return folder


@pytest.mark.parametrize("style", STYLES)
def test_the_merged_tower_is_what_transformers_runs_with_the_merged_matrices(
    tmp_path: Path, base: Path, style: LoraStyle
) -> None:
    parts = factors(base, tmp_path)
    if style == "diffusers 2022":
        parts = {name: pair for name, pair in parts.items() if ".self_attn." in name}
    folder = write_lora(tmp_path / "lora", lora_tensors(parts, style, alpha=2.0), style, {"lora_alpha": 2})
    scale = 1.0 if style.startswith("diffusers") else 0.5
    resolved, tower = merge(base, folder)
    assert resolved.adapter is not None
    assert (resolved.adapter.rank, resolved.adapter.n_matrices, resolved.repo_id) == (4, len(parts), "org/model")
    assert resolved.architecture.startswith("CLIPTextModelWithProjection + LoRA (")
    assert from_dict(ResolvedEncoder, to_dict(resolved)) == resolved
    model = CLIPTextModelWithProjection.from_pretrained(base).eval()
    state = model.state_dict()
    for name, (down, up) in parts.items():
        state[name] += scale * (up @ down)
    ids = torch.randint(0, 598, (2, 20))
    ids[:, -1] = 599
    with torch.no_grad():
        expected = model(input_ids=ids)
    features = tower.encoder.encode(tower.encoder.token_embedding[ids] + tower.encoder.position_embedding[:20])
    assert torch.equal(features, expected.last_hidden_state)
    assert torch.equal(tower.encoder.pool(features, ids), expected.text_embeds)
    stored = load_file(next(folder.glob("*.safetensors")))
    assert wanted_names(resolved, [*stored, "lora_unet_x.lora_down.weight"]) == stored.keys()


def test_a_base_in_another_key_layout_gives_the_same_tower(tmp_path: Path) -> None:
    plain = tiny_clip(tmp_path / "hf", hidden_act="gelu", legacy_eos=True)
    folder = write_lora(tmp_path / "lora", lora_tensors(factors(plain, tmp_path), "kohya"), "kohya")
    assert merge(plain, folder)[1].digest == merge(tiny_openclip(tmp_path / "oc"), folder)[1].digest


def test_half_precision_bases_are_merged_in_float32(tmp_path: Path) -> None:
    base = tiny_clip(tmp_path / "base", dtype="float16")
    _, tower = merge(base, write_lora(tmp_path / "lora", lora_tensors(factors(base, tmp_path), "kohya"), "kohya"))
    assert tower.tensors["encoder.layers.0.mlp.fc1.weight"].dtype == torch.float32
    assert tower.tensors["encoder.layers.0.mlp.fc1.bias"].dtype == torch.float16


def test_rank_stabilised_scaling_divides_by_the_root(tmp_path: Path, base: Path) -> None:
    tensors = lora_tensors(factors(base, tmp_path), "peft")
    write_lora(
        tmp_path / "lora",
        tensors,
        "peft",
        {"use_rslora": True, "lora_alpha": 8, "base_model_name_or_path": "org/base"},
    )
    adapter = adapter_in(tmp_path / "lora")
    assert (adapter.scale, adapter.claims) == (4.0, ("org/base",))


def test_the_scale_in_diffusers_metadata_is_used(tmp_path: Path, base: Path) -> None:
    tensors = lora_tensors(factors(base, tmp_path), "diffusers")
    (tmp_path / "lora").mkdir()
    told = json.dumps({"text_encoder.r": 4, "text_encoder.lora_alpha": 12, "unet.r": 99})
    save_file(
        tensors, tmp_path / "lora" / "pytorch_lora_weights.safetensors", metadata={"lora_adapter_metadata": told}
    )
    assert adapter_in(tmp_path / "lora").scale == 3.0


def test_each_tower_of_sdxl_gets_its_own(tmp_path: Path) -> None:
    repo = tiny_pipeline(tmp_path / "repo", kind="sdxl")
    other = tiny_pipeline(tmp_path / "other", kind="sdxl", seed=5)
    tensors: dict[str, Tensor] = {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4, 4)}
    for number, (component, style) in enumerate(
        (("text_encoder", "kohya sdxl 1"), ("text_encoder_2", "kohya sdxl 2"))
    ):
        before, after = (load_file(f / component / "model.safetensors") for f in (repo, other))
        tensors |= lora_tensors(extract_lora(before, after, rank=2 + number), style)  # type: ignore[arg-type]
    write_safetensors(repo / "loras" / "style.safetensors", tensors)
    resolution = find_encoders(FolderSource(repo))
    assert [a.component for a in resolution.loras] == [
        "loras/style.safetensors:lora_te1",
        "loras/style.safetensors:lora_te2",
    ]
    assert [a.lora.component for a in resolution.loras] == ["text_encoder", "text_encoder_2"]
    chosen = [best_base(a, resolution.encoders) for a in resolution.loras]
    assert [c.component for c in chosen if c is not None] == ["text_encoder", "text_encoder_2"]
    assert resolution.skipped == ()


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_down_blocks_0_attentions_0.lora_down.weight",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight",
        "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
        "base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "unet.down_blocks.0.lora_A.weight",
        "transformer.single_transformer_blocks.0.attn.lora_A.weight",
    ],
)
def test_other_models_parts_are_left_alone(tmp_path: Path, base: Path, name: str) -> None:
    tensors = lora_tensors(factors(base, tmp_path), "kohya sdxl 1") | {name: torch.zeros(4, 4)}
    assert adapter_in(write_lora(tmp_path / "lora", tensors, "kohya")).lora.prefix == "lora_te1_"


# ---------------------------------------------------------------- refused by name

KEY = "lora_te_text_model_encoder_layers_0_mlp_fc1"
DIFFUSERS = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
PEFT = "base_model.model.text_model.encoder.layers.0.mlp.fc1"
OTHER_METHODS = {
    f"{KEY}.dora_scale": "DoRA",
    f"{DIFFUSERS}.lora_magnitude_vector": "DoRA",
    f"{PEFT}.lora_magnitude_vector.weight": "DoRA",
    f"{KEY}.hada_w1_a": "LyCORIS LoHa",
    f"{KEY}.lokr_w1": "LyCORIS LoKr",
    f"{KEY}.lora_mid.weight": "LoCon with a middle matrix",
    f"{KEY}.oft_blocks": "OFT",
    f"{KEY}.diff_b": "whole-weight differences",
    "base_model.model.text_model.embeddings.token_embedding.lora_embedding_A": "a LoRA on the embedding",
}


@pytest.mark.parametrize("name", OTHER_METHODS)
def test_other_methods_are_refused_by_name(tmp_path: Path, base: Path, name: str) -> None:
    style: LoraStyle = (
        "peft" if name.startswith("base_model") else "diffusers" if name.startswith("text_encoder") else "kohya"
    )
    folder = write_lora(
        tmp_path / "lora", lora_tensors(factors(base, tmp_path), style) | {name: torch.ones(4, 4)}, style
    )
    skipped = what_blocks(folder)
    assert skipped.reason == "unsupported-adapter"
    assert OTHER_METHODS[name] in skipped.detail


def test_a_refused_lora_beside_a_clean_tower_blocks(tmp_path: Path, base: Path) -> None:
    write_safetensors(base / "style.safetensors", {f"{KEY}.hada_w1_a": torch.ones(4, 4)})
    (skipped,) = find_encoders(FolderSource(base)).skipped
    assert (skipped.component, skipped.reason, skipped.blocks_clearance) == (
        "style.safetensors",
        "unsupported-adapter",
        True,
    )


Change = Callable[[dict[str, Tensor]], object]
HOSTILE: dict[str, tuple[Change, str]] = {
    "unknown module": (
        lambda t: t.update({"lora_te_text_model_evil.lora_down.weight": torch.ones(4, 4)}),
        "names no matrix of a CLIP-family",
    ),
    "unknown factor": (
        lambda t: t.update({f"{KEY}.lora_sideways.weight": torch.ones(4, 4)}),
        "is no factor of a LoRA",
    ),
    "a factor is missing": (lambda t: t.pop(f"{KEY}.lora_up.weight"), "lacks one of its two factors"),
    "a factor twice": (
        lambda t: t.update({f"{KEY.replace('te_text_model', 'te')}.lora_up.weight": torch.ones(128, 4)}),
        "are the same factor",
    ),
    "a vector": (
        lambda t: t.update({f"{KEY}.lora_up.weight": torch.ones(128)}),
        r"has shape \(128,\), a LoRA's factors are matrices",
    ),
    "no rows": (lambda t: t.update({f"{KEY}.lora_up.weight": torch.ones(128, 0)}), "a LoRA's factors are matrices"),
    "ranks that differ": (
        lambda t: t.update({f"{KEY}.lora_up.weight": torch.ones(128, 3)}),
        r"the shapes \(4, 32\) and \(128, 3\)",
    ),
    "a rank beyond reason": (
        lambda t: t.update(
            {f"{KEY}.lora_up.weight": torch.ones(1, 5000), f"{KEY}.lora_down.weight": torch.ones(5000, 1)}
        ),
        "no LoRA of rank 4096 or less",
    ),
    "two widths": (lambda t: t.update({f"{KEY}.lora_down.weight": torch.ones(4, 31)}), "towers of different widths"),
    "eight bits": (
        lambda t: t.update({f"{KEY}.lora_up.weight": torch.ones(128, 4, dtype=torch.int8)}),
        "stored as I8",
    ),
    "alpha is a matrix": (lambda t: t.update({f"{KEY}.alpha": torch.ones(2, 2)}), "an alpha is one number"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_names_and_shapes_are_refused(tmp_path: Path, base: Path, case: str) -> None:
    change, words = HOSTILE[case]
    folder = write_lora(tmp_path / "lora", lora_tensors(factors(base, tmp_path), "kohya"), "kohya")
    edit_tensors(folder / "lora.safetensors", change)
    assert what_blocks(folder).reason == "unreadable"
    with pytest.raises(BadRepository, match=words):
        find_encoders(FolderSource(folder), filename="lora.safetensors")


VALUES: dict[str, tuple[Change, str]] = {
    "not finite": (lambda t: t[f"{KEY}.lora_up.weight"].__setitem__((0, 0), math.inf), "not finite"),
    "too large": (lambda t: t[f"{KEY}.lora_up.weight"].__setitem__((0, 0), 1e9), "which overflow"),
    "merged too large": (
        lambda t: t.update({f"{KEY}.alpha": torch.tensor(6e4), f"{KEY}.lora_up.weight": torch.full((128, 4), 1e4)}),
        "overflow",
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_hostile_values_are_refused(tmp_path: Path, base: Path, case: str) -> None:
    change, words = VALUES[case]
    folder = write_lora(tmp_path / "lora", lora_tensors(factors(base, tmp_path), "kohya"), "kohya")
    edit_tensors(folder / "lora.safetensors", change)
    with pytest.raises(BadWeights, match=words):
        merge(base, folder)


def test_a_lora_that_fits_no_tower_has_no_base(tmp_path: Path, base: Path) -> None:
    adapter = adapter_in(write_lora(tmp_path / "lora", lora_tensors(factors(base, tmp_path), "kohya"), "kohya"))
    for number, options in enumerate(({"layers": 1}, {"hidden_size": 48})):
        other = tiny_clip(tmp_path / f"other{number}", **options)  # type: ignore[arg-type]
        assert best_base(adapter, find_encoders(FolderSource(other)).encoders) is None


def test_an_adapter_for_something_else_does_not_block(tmp_path: Path, base: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    write_lora(base / "llm", {name: torch.zeros(4, 4)}, "peft")
    (skipped,) = find_encoders(FolderSource(base)).skipped
    assert (skipped.reason, skipped.blocks_clearance) == ("not-clip-family", False)


# ---------------------------------------------------------------- adapter_config.json


@pytest.mark.parametrize(
    ("data", "scale"),
    [
        ({}, 1.0),
        ({"r": 4, "lora_alpha": 16}, 4.0),
        ({"r": 4, "lora_alpha": 16, "use_rslora": True}, 8.0),
        (
            {"r": 4, "lora_alpha": 2, "use_dora": False, "bias": "none", "rank_pattern": {}, "modules_to_save": None},
            0.5,
        ),
    ],
)
def test_peft_scales(data: dict[str, Any], scale: float) -> None:
    assert peft_scale(data, "c") == scale


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"use_dora": True}, "unsupported-adapter", "use_dora"),
        ({"peft_type": "LOHA"}, "unsupported-adapter", "LOHA"),
        ({"bias": "all"}, "unsupported-adapter", "bias"),
        ({"rank_pattern": {"q_proj": 2}}, "unsupported-adapter", "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "unsupported-adapter", "alpha_pattern"),
        ({"modules_to_save": ["embeddings"]}, "unsupported-adapter", "modules_to_save"),
        ({"r": 0}, "unreadable", "r 0"),
        ({"r": "4"}, "unreadable", "r 4"),
        ({"lora_alpha": 1e9}, "unreadable", "lora_alpha 1000000000.0"),
        ({"lora_alpha": True}, "unreadable", "lora_alpha True"),
        ({"lora_alpha": 10**400}, "unreadable", "adapter_config.json"),
    ],
)
def test_other_adapter_configs_are_refused(
    tmp_path: Path, base: Path, changes: dict[str, Any], reason: str, named: str
) -> None:
    folder = write_lora(tmp_path / "lora", lora_tensors(factors(base, tmp_path), "peft"), "peft", changes)
    skipped = what_blocks(folder)
    assert skipped.reason == reason
    assert named in skipped.detail


@pytest.mark.parametrize("name", ["../x", "/home/me/model", "a/b/c", "https://x/y", "a b", "", 7, None, "..", "a/.."])
def test_only_repository_ids_are_claims(name: Any) -> None:
    assert claimed_base({"base_model_name_or_path": name}) is None


def test_the_tower_itself_needs_no_base(base: Path) -> None:
    source = FolderSource(base)
    (encoder,) = find_encoders(source).encoders
    assert encoder.adapter is None
    assert load_tower(encoder, source).digest
