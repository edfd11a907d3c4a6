"""Whatever tensor names, shapes and configs say: a tower, a LoRA, a word, or a refusal in words.

Never another exception, never without an end.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amdet_hub.encoders.key_layouts import TowerLayout, find_towers
from amdet_hub.encoders.lora import Lora, find_loras
from amdet_hub.encoders.lora_files import peft_scale
from amdet_hub.encoders.openclip import UnsupportedTower, openclip_tower
from amdet_hub.encoders.tower_config import inferred_config
from amdet_hub.encoders.unsupported_files import describe_inversion, describe_text_parts
from amdet_hub.errors import BadRepository
from amdet_hub.records import TensorInfo, TowerConfig

PARTS = (
    "text_model text_encoder text_encoder_2 text_encoders clip_l base_model model encoder layers resblocks transformer"
    " cond_stage_model conditioner embedders embeddings token_embedding position_embedding positional_embedding"
    " final_layer_norm ln_final ln_1 layer_norm1 self_attn q_proj attn in_proj_weight mlp fc1 c_fc weight bias"
    " text_projection head lora_te lora_te1_text_model_encoder_layers_0_mlp_fc1 lora_down lora_up lora_A lora_B alpha"
    " dora_scale hada_w1_a text 0 1 -1 999999 <cat> emb_params \u043e"
).split()
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map(".".join) | st.text(min_size=1, max_size=40)
SHAPES = st.lists(st.integers(0, 5000), max_size=4).map(tuple)
INFOS = st.builds(
    lambda shape, dtype: TensorInfo(dtype, shape, 0, 0), SHAPES, st.sampled_from(["F32", "F16", "I8", "F8_E4M3"])
)
TENSORS = st.dictionaries(NAMES, INFOS, max_size=30)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.integers(0, 64)
    | st.floats(allow_nan=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
MORE = settings(max_examples=300, deadline=None, derandomize=True)


def check_words(error: Exception) -> None:
    """A refusal is a sentence of bounded length, whatever it quotes."""
    assert 10 < len(str(error)) < 600


@given(TENSORS)
@MORE
def test_tensor_names(tensors: dict[str, TensorInfo]) -> None:
    for tower in find_towers(tensors):
        assert all(isinstance(tower.claims(name), bool) for name in tensors)
        try:
            assert isinstance(inferred_config(tensors, tower, "x"), TowerConfig)
        except BadRepository as error:
            check_words(error)
    try:
        assert all(isinstance(lora, Lora) and lora.matrices for lora in find_loras(tensors, "x"))
    except (BadRepository, UnsupportedTower) as error:
        check_words(error)
    assert isinstance(describe_text_parts(tensors), str)
    assert describe_inversion(tensors) is None or len(str(describe_inversion(tensors))) < 2000


KEYS = (
    "context_length vocab_size width heads layers pool_type eos_id no_causal_mask proj_bias proj_type act_kwargs"
    " norm_kwargs hf_model_name embed_cls spin"
).split()
TOWER = {
    "transformer.resblocks.0.mlp.c_fc.weight": TensorInfo("F32", (64, 32), 0, 0),
    "text_projection.weight": TensorInfo("F32", (24, 32), 0, 0),
}


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    st.dictionaries(st.sampled_from(["quick_gelu", "text_cfg"]), VALUES, max_size=1),
)
@MORE
def test_openclip_configs(text: dict[str, Any], model: dict[str, Any]) -> None:
    try:
        config = openclip_tower({"model_cfg": {"text_cfg": text, **model}}, "c", TOWER, TowerLayout("openclip", ""))
    except (BadRepository, UnsupportedTower) as error:
        check_words(error)
    else:
        assert config.hidden_size % config.num_attention_heads == 0


@given(
    st.dictionaries(
        st.sampled_from("peft_type use_dora bias r lora_alpha use_rslora rank_pattern modules_to_save".split()),
        VALUES,
        max_size=5,
    )
)
@MORE
def test_adapter_configs(data: dict[str, Any]) -> None:
    try:
        assert abs(peft_scale(data, "c")) <= 1e6
    except (BadRepository, UnsupportedTower) as error:
        check_words(error)


@pytest.mark.parametrize(
    "name",
    [
        "text_encoder." + "a." * 250,
        "lora_te_" + "a" * 500 + ".x",
        "base_model.model." + "lora_." * 80,
        "text_model." * 45,
    ],
)
def test_long_names_are_read_at_once(name: str) -> None:
    info = TensorInfo("F32", (4, 4), 0, 0)
    with pytest.raises((BadRepository, UnsupportedTower, StopIteration)):
        next(iter(find_loras({name: info, "lora_te_x.y": info}, "x")))
