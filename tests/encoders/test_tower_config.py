"""Configs: defaults and nesting as transformers has them; types and ranges checked; redirections refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import CLIPConfig, CLIPTextConfig, SiglipConfig, SiglipTextConfig

from amdet_hub.encoders.architectures import classify_config
from amdet_hub.encoders.canonical_names import tower_shapes
from amdet_hub.encoders.key_layouts import TowerLayout, find_towers, wanted_names
from amdet_hub.encoders.tower_config import inferred_config, tower_config
from amdet_hub.errors import BadRepository
from amdet_hub.records import Family, KeyLayout, ResolvedEncoder, TensorInfo, TowerConfig

COMPARED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
)


@pytest.mark.parametrize(
    "data",
    [
        {"model_type": "clip_text_model"},
        {
            "model_type": "clip_text_model",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "eos_token_id": 2,
        },
        {"model_type": "clip", "text_config": {"hidden_act": "gelu", "max_position_embeddings": 248}},
        {"model_type": "clip"},
        {
            "model_type": "clip",
            "text_config": {"hidden_size": 768, "num_attention_heads": 12, "vocab_size": 49408, "eos_token_id": 49407},
            "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12},
        },
        {"model_type": "clip", "text_config": {"eos_token_id": 2}, "text_config_dict": None},
    ],
)
def test_clip_values_are_those_transformers_ends_up_with(data: dict[str, Any]) -> None:
    found = tower_config(data, "config.json", "clip", projection_dim=None)
    expected: Any = (
        CLIPTextConfig(**data)
        if data["model_type"] == "clip_text_model"
        else CLIPConfig(**json.loads(json.dumps(data))).text_config
    )
    for name in (*COMPARED, "eos_token_id", "bos_token_id", "pad_token_id"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    "data",
    [
        {"model_type": "siglip_text_model"},
        {"model_type": "siglip", "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000}},
        {
            "model_type": "siglip",
            "text_config": {"hidden_size": 1152, "num_attention_heads": 16, "projection_size": 1536},
        },
        {"model_type": "siglip", "text_config": {"max_position_embeddings": 16}},
    ],
)
def test_siglip_values_are_those_transformers_ends_up_with(data: dict[str, Any]) -> None:
    found = tower_config(data, "config.json", "siglip", projection_dim=None)
    expected: Any = (
        SiglipTextConfig(**data)
        if data["model_type"] == "siglip_text_model"
        else SiglipConfig(**json.loads(json.dumps(data))).text_config
    )
    for name in COMPARED:
        assert getattr(found, name) == getattr(expected, name), name
    assert found.projection_dim == expected.projection_size
    assert found.eos_token_id == 1  # the class default 49407 lies outside the vocabulary
    assert found.pad_token_id == (0 if found.vocab_size == 256000 else 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "768"),
        ("hidden_size", 768.0),
        ("hidden_size", True),
        ("hidden_size", None),
        ("hidden_size", 10**12),
        ("hidden_size", 510),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**6),
        ("num_attention_heads", -8),
        ("vocab_size", 10**9),
        ("max_position_embeddings", 10**9),
        ("intermediate_size", 0),
        ("hidden_act", "org/kernel"),
        ("hidden_act", ["gelu"]),
        ("layer_norm_eps", 0),
        ("layer_norm_eps", 1.0),
        ("layer_norm_eps", 10**400),
        ("layer_norm_eps", True),
        ("layer_norm_eps", "1e-5"),
        ("eos_token_id", 49408),
        ("eos_token_id", [49407]),
        ("eos_token_id", None),
        ("transformers_weights", "evil.safetensors"),
    ],
)
def test_bad_values_are_named(key: str, value: Any) -> None:
    with pytest.raises(BadRepository, match=key.partition("_weights")[0]) as caught:
        tower_config({"model_type": "clip_text_model", key: value}, "te/config.json", "clip", projection_dim=None)
    assert caught.value.path == "te/config.json"


@pytest.mark.parametrize(
    "data",
    [
        {"model_type": "clip", "text_config": {"hidden_act": "gelu"}, "text_config_dict": {}},
        {"model_type": "clip", "text_config": {}, "text_config_dict": {"num_hidden_layers": 1}},
        {"model_type": "clip", "text_config": {"eos_token_id": 5}, "text_config_dict": {"eos_token_id": 2}},
        {"model_type": "clip", "num_attention_heads": 4},
        {"model_type": "clip_text_model", "text_config_dict": {"num_hidden_layers": 1}},
        {"model_type": "clip_text_model", "num_attention_heads": 4, "text_config": {}},
        {
            "model_type": "clip",
            "text_config": {"model_type": "x", "y": {"model_type": "clip_text_model"}, "num_attention_heads": 4},
        },
    ],
)
def test_two_configurations_that_two_classes_read_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(BadRepository, match="two classes of transformers"):
        tower_config(data, "config.json", "clip", projection_dim=None)


@pytest.mark.parametrize(
    "steering",
    [
        {"attribute_map": {"num_attention_heads": "n_heads"}, "n_heads": 4},
        {"is_causal": False},
        {"is_causal": None},
        {"per_layer_config": {"0": {"layer_norm_eps": 0.5}}},
        {"fusion_config": {"patch_embeddings": True}},
        {"attn_implementation": "org/kernel"},
        {"_attn_implementation": {"text_config": "org/kernel"}},
    ],
)
def test_keys_that_change_how_transformers_computes_are_refused(steering: dict[str, Any]) -> None:
    """`PreTrainedConfig` takes any key as an attribute of itself, and its models read more of them than they name."""
    for data in ({"model_type": "clip", "text_config": steering}, {"model_type": "clip_text_model", **steering}):
        with pytest.raises(BadRepository, match="something else"):
            tower_config(data, "config.json", "clip", projection_dim=None)


def test_a_causal_mask_and_an_older_configuration_that_is_not_read_change_nothing() -> None:
    data = {"model_type": "siglip_text_model", "is_causal": True, "text_config_dict": {"num_hidden_layers": 1}}
    assert tower_config(data, "config.json", "siglip", projection_dim=None).num_hidden_layers == 12


def test_an_older_configuration_may_leave_ids_out() -> None:
    """As OpenAI's files do: the end token is the last of CLIP's vocabulary either way."""
    data = {"model_type": "clip", "text_config": {"bos_token_id": 0, "eos_token_id": 2}, "text_config_dict": {}}
    assert tower_config(data, "config.json", "clip", projection_dim=None).eos_token_id == 2


@pytest.mark.parametrize("part", ["text_config", "text_config_dict"])
def test_nested_configs_must_be_objects(part: str) -> None:
    with pytest.raises(BadRepository, match=part):
        tower_config({"model_type": "clip", part: [1]}, "config.json", "clip", projection_dim=None)


def test_ids_that_frame_prompts_fall_back_on_the_end_token() -> None:
    config = tower_config(
        {"bos_token_id": None, "pad_token_id": -1, "eos_token_id": 7}, "c", "clip", projection_dim=None
    )
    assert (config.bos_token_id, config.pad_token_id, config.eos_token_id) == (7, 7, 7)


@pytest.mark.parametrize(
    ("data", "declared", "reason"),
    [
        ({"architectures": ["CLIPModel"], "model_type": "clip"}, None, None),
        (
            {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"},
            "CLIPTextModelWithProjection",
            None,
        ),
        ({"model_type": "siglip"}, None, None),
        ({"architectures": ["CLIPTextModel"]}, None, None),
        ({"model_type": "siglip2"}, None, None),
        ({"architectures": ["ChineseCLIPModel"], "model_type": "chinese_clip"}, None, "unsupported-architecture"),
        ({"model_type": "altclip"}, None, "unsupported-architecture"),
        ({"architectures": ["CLIPSegForImageSegmentation"], "model_type": "clipseg"}, None, None),
        ({"model_type": "xclip"}, None, None),
        ({"model_type": "owlv2_text_model"}, None, None),
        ({"model_type": "metaclip_2"}, None, "unsupported-architecture"),
        (
            {"architectures": ["CLIPModel"], "model_type": "clip", "quantization_config": {"load_in_8bit": True}},
            None,
            "unsupported-architecture",
        ),
        ({"model_type": "clip", "text_config": {"quantization_config": {}}}, None, "unsupported-architecture"),
        (
            {"architectures": ["MyCLIP"], "model_type": "clip", "auto_map": {"AutoModel": "evil.MyCLIP"}},
            None,
            "unsupported-architecture",
        ),
        ({"architectures": ["CLIPModel"], "model_type": "bert"}, None, "unsupported-architecture"),
        (
            {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"},
            None,
            "not-clip-family",
        ),
        ({"architectures": ["BertModel"], "model_type": "bert"}, None, "not-clip-family"),
        ({"architectures": 5, "model_type": ["clip"]}, None, "not-clip-family"),
        ({}, None, "not-clip-family"),
    ],
)
def test_architectures_are_classified(data: dict[str, Any], declared: str | None, reason: str | None) -> None:
    _, found, why = classify_config(data, declared)
    assert found == reason
    assert bool(why) is (reason is not None)


FLAT = TowerLayout("transformers", "")


def described(config: TowerConfig, tower: TowerLayout) -> dict[str, TensorInfo]:
    return {piece.stored: TensorInfo("F16", piece.shape, 0, 0) for piece in tower.slices(config).values()}


@pytest.mark.parametrize("key_layout", ["transformers", "openclip"])
@pytest.mark.parametrize("prefix", ["text_model.", "", "text.", "conditioner.embedders.1.model."])
@pytest.mark.parametrize(
    ("family", "width", "layers", "heads", "act", "projection"),
    [
        ("clip", 768, 12, 12, "quick_gelu", None),
        ("clip", 768, 12, 12, "quick_gelu", 768),
        ("clip", 512, 12, 8, "quick_gelu", None),
        ("clip", 1280, 32, 20, "gelu", 1280),
        ("clip", 1024, 23, 16, "gelu", None),
        ("siglip", 1152, 27, 16, "gelu_pytorch_tanh", 1152),
        ("siglip", 768, 12, 12, "gelu_pytorch_tanh", 768),
    ],
)
def test_sizes_are_read_from_the_tensors(
    key_layout: KeyLayout,
    prefix: str,
    family: Family,
    width: int,
    layers: int,
    heads: int,
    act: str,
    projection: int | None,
) -> None:
    eps = 1e-6 if family == "siglip" else 1e-5
    config = TowerConfig(family, width, 4 * width, layers, heads, 64, 49408, act, eps, 1, 1, 1, projection)
    tower = TowerLayout(key_layout, prefix)
    tensors = described(config, tower)
    assert find_towers(tensors) == (tower,)
    found = inferred_config(tensors, tower, "x.safetensors")
    assert found == config or (family == "clip" and tower_shapes(found) == tower_shapes(config))
    assert (found.family, found.num_attention_heads, found.hidden_act, found.layer_norm_eps) == (
        family,
        heads,
        act,
        eps,
    )
    assert found.eos_token_id == (49407 if family == "clip" else 1)


def test_sizes_that_cannot_be_known_are_refused() -> None:
    odd = TowerConfig("clip", 100, 400, 1, 4, 64, 600, "gelu", 1e-5, 1, 1, 1)
    with pytest.raises(BadRepository, match="attention heads"):
        inferred_config(described(odd, FLAT), FLAT, "x")
    tensors = described(odd, FLAT)
    tensors["embeddings.token_embedding.weight"] = TensorInfo("F16", (7,), 0, 0)
    with pytest.raises(BadRepository, match="wrong rank"):
        inferred_config(tensors, FLAT, "x")
    del tensors["embeddings.token_embedding.weight"]
    with pytest.raises(BadRepository, match="is missing"):
        inferred_config(tensors, FLAT, "x")


OUTSIDE = (
    "vision_model.encoder.layers.0.mlp.fc1.bias",
    "logit_scale",
    "visual_projection.weight",
    "visual.ln_post.bias",
    "unet.x",
)


@pytest.mark.parametrize(
    ("tower", "inside"),
    [
        (
            TowerLayout("transformers", "text_model."),
            ("text_model.x", "text_projection.bias", "encoder.layers.0.mlp.fc1.bias"),
        ),
        (FLAT, ("final_layer_norm.bias", "text_projection.weight")),
        (TowerLayout("transformers", "clip.text_model."), ("clip.text_model.x", "clip.text_projection.weight")),
        (
            TowerLayout("openclip", ""),
            ("transformer.x", "ln_final.bias", "text_projection", "positional_embedding"),
        ),
        (TowerLayout("longclip", ""), ("transformer.x", "positional_embedding", "positional_embedding_res")),
        (TowerLayout("openclip", "text."), ("text.cls_emb", "text.x")),
        (
            TowerLayout("openclip", "conditioner.embedders.1.model."),
            ("conditioner.embedders.1.model.text_projection.bias",),
        ),
    ],
)
def test_what_a_tower_claims_and_what_it_leaves(tower: TowerLayout, inside: tuple[str, ...]) -> None:
    assert all(tower.claims(name) for name in inside)
    assert not any(
        tower.claims(name)
        for name in (*OUTSIDE, tower.prefix + "logit_scale")[: 5 + (tower.key_layout != "transformers")]
    )


def test_only_the_tower_is_wanted() -> None:
    config = TowerConfig("clip", 64, 128, 2, 1, 77, 600, "gelu", 1e-5, 0, 2, 1, 32)
    for key_layout in ("transformers", "openclip"):
        resolved = ResolvedEncoder("r", None, "", "x", config, (), prefix="a.", key_layout=key_layout)
        parts = {piece.stored for piece in TowerLayout(key_layout, "a.").slices(config).values()}
        assert len(parts) == (2 + 2 * 16 + 2 + 1 if key_layout == "transformers" else 2 + 2 * 12 + 2 + 1)
        assert wanted_names(resolved, [*parts, *OUTSIDE, "a.other"]) == parts
        assert wanted_names(resolved, ["a.embeddings.position_ids"]) == (
            {"a.embeddings.position_ids"} if key_layout == "transformers" else set()
        )


def test_parts_of_a_tower_are_no_tower() -> None:
    assert find_towers(["token_embedding.weight", "positional_embedding"]) == ()
    assert find_towers(["decoder.token_embedding.weight", "decoder.positional_embedding", "decoder.ln.weight"]) == ()
    assert find_towers(["my_embeddings.token_embedding.weight"]) == ()


def test_defaults_follow_the_installed_transformers() -> None:
    """A transformers release that changes a default makes this test fail, and the table in tower_config.py wrong."""
    clip = tower_config({}, "c", "clip", projection_dim=None)
    siglip = tower_config({}, "c", "siglip", projection_dim=None)
    for name in COMPARED:
        assert getattr(clip, name) == getattr(CLIPTextConfig(), name)
        assert getattr(siglip, name) == getattr(SiglipTextConfig(), name)
