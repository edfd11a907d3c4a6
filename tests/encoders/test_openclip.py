"""OpenCLIP repositories: the converted tower is OpenCLIP's, and transformers' of the same weights; what works
otherwise is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from amdet_hub.encoders.digest import projection_digest
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.encoders.load import LoadedTower, load_tower
from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import ResolvedEncoder
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from amdet_hub.testing.models.layouts import tiny_openclip, tiny_openclip_siglip
from tests.encoders.folder_source import FolderSource, edit_json, edit_tensors, what_blocks
from tests.encoders.openclip_oracle import Oracle

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


def load(folder: Path) -> tuple[ResolvedEncoder, LoadedTower]:
    source = FolderSource(folder)
    (encoder,) = find_encoders(source).encoders
    return encoder, load_tower(encoder, source)


def prompts(vocab: int, length: int = 64) -> Tensor:
    ids = torch.randint(0, vocab - 2, (3, length), generator=torch.Generator().manual_seed(3))
    ids[:, 20:] = vocab - 1
    return ids


def run(tower: LoadedTower, ids: Tensor) -> tuple[Tensor, Tensor]:
    encoder = tower.encoder
    features = encoder.encode(encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]])
    return features, encoder.pool(features, ids)


CASES: dict[str, tuple[Callable[..., Path], dict[str, Any], Callable[..., Path], dict[str, Any]]] = {
    "CLIP": (tiny_openclip, {}, tiny_clip, {"hidden_act": "gelu", "legacy_eos": True}),
    "CLIP with QuickGELU": (tiny_openclip, {"quick_gelu": True}, tiny_clip, {"legacy_eos": True}),
    "custom text": (tiny_openclip, {"custom_text": True}, tiny_clip, {"hidden_act": "gelu", "legacy_eos": True}),
    "float16": (
        tiny_openclip,
        {"dtype": "float16"},
        tiny_clip,
        {"hidden_act": "gelu", "legacy_eos": True, "dtype": "float16"},
    ),
    "SigLIP": (tiny_openclip_siglip, {}, tiny_siglip, {"kind": "SiglipTextModel"}),
    "SigLIP with its own projection size": (
        tiny_openclip_siglip,
        {"projection_size": 48},
        tiny_siglip,
        {"kind": "SiglipTextModel", "projection_size": 48},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_tower_is_openclips_and_transformers(tmp_path: Path, case: str) -> None:
    make, options, make_twin, twin_options = CASES[case]
    resolved, tower = load(make(tmp_path / "oc", **options))
    twin_resolved, twin = load(make_twin(tmp_path / "hf", **twin_options))
    assert (resolved.key_layout, twin_resolved.key_layout) == ("openclip", "transformers")
    assert resolved.config == twin_resolved.config
    assert (resolved.tower_bytes, resolved.dtypes) == (twin_resolved.tower_bytes, twin_resolved.dtypes)
    assert (tower.digest, projection_digest(tower.tensors)) == (twin.digest, projection_digest(twin.tensors))
    ids = prompts(resolved.config.vocab_size)
    features, pooled = run(tower, ids)
    assert torch.equal(features, run(twin, ids)[0])
    assert torch.equal(pooled, run(twin, ids)[1])
    stored = load_file(tmp_path / "oc" / WEIGHTS)
    expected, expected_pooled = Oracle(json.loads((tmp_path / "oc" / CONFIG).read_text()), stored, resolved.prefix)(
        ids
    )
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)  # another order of the same sums
    torch.testing.assert_close(pooled, expected_pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["CLIP", "CLIP with QuickGELU", "custom text", "SigLIP"])
def test_the_oracle_is_open_clip(tmp_path: Path, case: str) -> None:
    broken: Any = (ImportError, RuntimeError)
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed", exc_type=broken)
    make, options, _, _ = CASES[case]
    make(tmp_path, **options)
    config, stored = json.loads((tmp_path / CONFIG).read_text()), load_file(tmp_path / WEIGHTS)
    prefix, model = "text." if config["model_cfg"].get("custom_text") else "", config["model_cfg"]
    tower = open_clip.model._build_text_tower(
        model["embed_dim"], dict(model["text_cfg"]), quick_gelu=model.get("quick_gelu", False)
    ).eval()
    mine = {
        n.removeprefix(prefix): t
        for n, t in stored.items()
        if n.startswith(prefix) and not n.startswith(("visual.", "logit_"))
    }
    tower.load_state_dict(mine, strict=True)
    ids = prompts(model["text_cfg"]["vocab_size"], model["text_cfg"]["context_length"])
    with torch.no_grad():
        torch.testing.assert_close(Oracle(config, stored, prefix)(ids)[1], tower(ids), rtol=1e-4, atol=1e-5)


def test_a_repository_with_both_layouts_shows_both(tmp_path: Path) -> None:
    tiny_openclip(tmp_path / "oc")
    tiny_clip(tmp_path, hidden_act="gelu", legacy_eos=True)
    for name in (WEIGHTS, CONFIG):
        (tmp_path / "oc" / name).rename(tmp_path / name)
    encoders = find_encoders(FolderSource(tmp_path), subfolder="").encoders
    assert [(e.component, e.key_layout) for e in encoders if not e.component.startswith("oc/")] == [
        ("", "transformers"),
        (WEIGHTS, "openclip"),
    ]


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "a Hugging Face tower": ({"hf_model_name": "xlm-roberta-base"}, "xlm-roberta-base"),
    "CoCa": ({"embed_cls": True}, "embed_cls"),
    "query norm": ({"qk_norm": True}, "qk_norm"),
    "an unknown key": ({"spin": 3}, "spin"),
    "no causal mask": ({"no_causal_mask": True}, "causal mask"),
    "MetaCLIP 2's pooling": ({"pool_type": "eos"}, "'eos'"),
    "a projection of another kind": ({"proj_type": "none"}, "'none'"),
    "norm arguments": ({"norm_kwargs": {"bias": False}}, "{'bias': False}"),
    "activation arguments": ({"act_kwargs": {"approximate": "no"}}, "{'approximate': 'no'}"),
}
"""What a text_cfg sets, and what the refusal names of it."""


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_works_otherwise_is_refused(tmp_path: Path, case: str) -> None:
    changes, named = UNSUPPORTED[case]
    tiny_openclip(tmp_path)
    edit_json(tmp_path / CONFIG, lambda c: c["model_cfg"]["text_cfg"].update(changes))
    skipped = what_blocks(tmp_path)
    assert skipped.reason == "unsupported-architecture"
    assert named in skipped.detail


def test_an_end_of_text_id_of_its_own(tmp_path: Path) -> None:
    tiny_openclip(tmp_path)
    edit_json(tmp_path / CONFIG, lambda c: c["model_cfg"]["text_cfg"].update(pool_type="eos", eos_id=7))
    resolved, tower = load(tmp_path)
    assert resolved.config.eos_token_id == 7
    assert tower.encoder.pool_positions(torch.tensor([[1, 7, 599, 7]])).tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"width": "32"}, "hidden_size 32"),
        ({"heads": 0}, "num_attention_heads 0"),
        ({"layers": 10**9}, "num_hidden_layers"),
        ({"layers": 3}, "transformer.resblocks.2"),
        ({"layers": 1}, "transformer.resblocks.1"),
        ({"norm_kwargs": {"eps": "x"}}, "layer_norm_eps"),
        ({"pool_type": "eos", "eos_id": 10**6}, "eos_token_id"),
    ],
)
def test_hostile_values_are_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    tiny_openclip(tmp_path)
    edit_json(tmp_path / CONFIG, lambda c: c["model_cfg"]["text_cfg"].update(changes))
    skipped = what_blocks(tmp_path)
    assert skipped.reason == "unreadable"
    assert named in skipped.detail
    with pytest.raises(BadRepository, match=named):
        find_encoders(FolderSource(tmp_path), filename=WEIGHTS)


def test_a_pooling_rule_of_another_type_is_refused(tmp_path: Path) -> None:
    tiny_openclip(tmp_path)
    edit_json(tmp_path / CONFIG, lambda c: c["model_cfg"]["text_cfg"].update(pool_type=["argmax"]))
    assert what_blocks(tmp_path).reason == "unsupported-architecture"


@pytest.mark.parametrize("text", [{"model_cfg": []}, {"model_cfg": {"text_cfg": 3}}])
def test_a_config_that_is_no_object(tmp_path: Path, text: dict[str, Any]) -> None:
    tiny_openclip(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(text))
    assert what_blocks(tmp_path).reason == "unreadable"


def test_values_are_checked_under_their_stored_names(tmp_path: Path) -> None:
    tiny_openclip(tmp_path)
    edit_tensors(
        tmp_path / WEIGHTS,
        lambda t: t["transformer.resblocks.0.attn.in_proj_weight"].__setitem__((0, 0), float("nan")),
    )
    with pytest.raises(BadWeights, match="not finite") as caught:
        load(tmp_path)
    assert caught.value.tensor == "transformer.resblocks.0.attn.in_proj_weight"


def test_pickles_alone_are_read(tmp_path: Path) -> None:
    tiny_openclip(tmp_path)
    torch.save(load_file(tmp_path / WEIGHTS), tmp_path / "open_clip_pytorch_model.bin")
    safe, pickled = find_encoders(FolderSource(tmp_path)).encoders
    assert safe.config == pickled.config
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / "open_clip_pytorch_model.bin").unlink()
    assert what_blocks(tmp_path).reason == "no-weights"
