"""Every kind of repository and what is to be found in it: small repositories in exactly the real layouts, made here.

One table drives three things: the tests of resolving (`tests/cli/test_layouts.py`), the README's table of kinds, and
nothing may be in one of them alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from amdet_hub.testing.models import tiny_clip, tiny_pipeline, tiny_siglip
from amdet_hub.testing.models.layouts import (
    CheckpointKind,
    openclip_tensors,
    tiny_checkpoint,
    tiny_openclip,
    tiny_openclip_siglip,
)
from amdet_hub.testing.models.lora import LoraStyle, extract_lora, lora_tensors
from tests.encoders.folder_source import edit_json, edit_tensors, write_safetensors

BASE_REPO = "org/base"
"""What the LoRAs of these cases name as their base: a plain CLIP text encoder of the default size."""


@dataclass(frozen=True)
class Tower:
    """One tower that must be found: component, `"layers x width"`, family, key layout."""

    component: str
    size: str = "2 x 32"
    family: str = "clip"
    key_layout: str = "transformers"


@dataclass(frozen=True)
class LayoutCase:
    """A kind of repository.

    `kind` and `files` are the README's words; `make` writes one; `towers` are found in it; `skipped` are the reasons
    of what is not scanned, with a phrase of each; `proof` is the test that holds the tower against another
    implementation ("" where nothing is scanned).
    """

    kind: str
    files: str
    make: Callable[[Path], object]
    towers: tuple[Tower, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    proof: str = ""


def pipeline(cls: str, components: dict[str, str]) -> Callable[[Path], None]:
    """A diffusers pipeline of these component classes; CLIP towers get a layer more each."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        index: dict[str, Any] = {"_class_name": cls}
        for number, (name, class_name) in enumerate(components.items()):
            index[name] = ["transformers", class_name]
            if class_name.startswith("CLIP"):
                tiny_clip(folder / name, kind=class_name, layers=2 + number, legacy_eos=True, seed=number)  # type: ignore[arg-type]
        (folder / "model_index.json").write_text(json.dumps(index))

    return make


def checkpoint(kind: CheckpointKind) -> Callable[[Path], object]:
    return lambda folder: tiny_checkpoint(folder / "model.safetensors", kind=kind)


def bare_towers(folder: Path) -> None:
    """ComfyUI's text encoders: transformers' names, no config."""
    for name, options in (("clip_l", {}), ("clip_g", {"layers": 3, "kind": "CLIPTextModelWithProjection", "seed": 1})):
        scratch = folder / "scratch"
        tiny_clip(scratch, **{"kind": "CLIPTextModel", "hidden_size": 64, "heads": 1, "dtype": "float16", **options})  # type: ignore[arg-type]
        shutil.move(scratch / "model.safetensors", folder / f"{name}.safetensors")
        shutil.rmtree(scratch)


def sentence_transformers(folder: Path) -> None:
    tiny_clip(folder / "0_CLIPModel", kind="CLIPModel", legacy_eos=True)
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (folder / "modules.json").write_text(json.dumps(modules))


def relative(model_type: str, architecture: str, prefix: str = "") -> Callable[[Path], None]:
    """A CLIP model under another name, as CLIPSeg's and its likes' files are."""

    def make(folder: Path) -> None:
        tiny_clip(folder, kind="CLIPModel", legacy_eos=True)
        edit_json(folder / "config.json", lambda c: c.update(model_type=model_type, architectures=[architecture]))

        def rename(tensors: dict[str, torch.Tensor]) -> None:
            for name in list(tensors):
                tensors[prefix + name] = tensors.pop(name)

        edit_tensors(folder / "model.safetensors", rename)

    return make


def named_otherwise(model_type: str, architecture: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [architecture]}))
        write_safetensors(
            folder / "model.safetensors", {"text_model.embeddings.word_embeddings.weight": torch.zeros(8, 4)}
        )

    return make


def longclip(folder: Path) -> None:
    """LongCLIP's own checkpoint: OpenAI's names, and a second table of positions."""
    tiny_clip(folder / "scratch", hidden_size=64, heads=1, positions=248, tokenizer=False)
    tensors = openclip_tensors(load_file(folder / "scratch" / "model.safetensors"))
    tensors["positional_embedding_res"] = tensors["positional_embedding"]
    torch.save(tensors | {"visual.conv1.weight": torch.zeros(4, 4)}, folder / "longclip-L.pt")
    shutil.rmtree(folder / "scratch")


def lora(style: LoraStyle) -> Callable[[Path], None]:
    """A LoRA alone, whose config or card names its base."""

    def make(folder: Path) -> None:
        towers = [load_file(tiny_clip(folder / "scratch", seed=seed) / "model.safetensors") for seed in (0, 5)]
        shutil.rmtree(folder / "scratch")
        tensors = lora_tensors(extract_lora(*towers, rank=4), style, alpha=4.0)
        if style.startswith("peft"):
            config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "base_model_name_or_path": BASE_REPO}
            (folder / "adapter_config.json").write_text(json.dumps(config))
        name = {"k": "style", "d": "pytorch_lora_weights", "p": "adapter_model"}[style[0]]
        write_safetensors(folder / f"{name}.safetensors", tensors)
        (folder / "README.md").write_text(f"---\nbase_model: {BASE_REPO}\n---\n")

    return make


def other_adapter(folder: Path) -> None:
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    write_safetensors(folder / "style.safetensors", {f"{key}.hada_w1_a": torch.zeros(4, 4)})


def textual_inversion(folder: Path) -> None:
    write_safetensors(folder / "learned_embeds.safetensors", {"<cat-toy>": torch.zeros(32)})


def sd15_with_everything(folder: Path) -> None:
    """Default, half precision, a pickle and the single-file checkpoint beside each other, as in the original
    repository.
    """
    tiny_pipeline(folder, kind="sd15", variants={"fp16": "float16"})
    torch.save(load_file(folder / "text_encoder" / "model.safetensors"), folder / "text_encoder" / "pytorch_model.bin")
    tiny_checkpoint(folder / "v1-5-pruned-emaonly.safetensors", kind="sd1")


LONG = "encoders/test_longclip.py"
SPLIT, OPENCLIP = "encoders/test_split.py", "encoders/test_openclip.py"
SINGLE, RELATIVES, LORA = "encoders/test_single_files.py", "encoders/test_relatives.py", "encoders/test_lora.py"
NO_T5 = (("not-clip-family", "T5EncoderModel is not CLIP-family"),)

CASES: dict[str, LayoutCase] = {
    "clip": LayoutCase(
        "transformers CLIP",
        "`CLIPModel`, nested config, legacy end id",
        lambda f: tiny_clip(f, kind="CLIPModel", legacy_eos=True),
        (Tower(""),),
        proof=SPLIT,
    ),
    "clip-text": LayoutCase(
        "transformers CLIP text tower",
        "`CLIPTextModel`, no projection",
        lambda f: tiny_clip(f, kind="CLIPTextModel"),
        (Tower(""),),
        proof=SPLIT,
    ),
    "clip-text-projection": LayoutCase(
        "transformers CLIP text tower",
        "`CLIPTextModelWithProjection`, sharded",
        lambda f: tiny_clip(f, sharded=True),
        (Tower(""),),
        proof=SPLIT,
    ),
    "longclip": LayoutCase(
        "LongCLIP",
        "transformers layout, 248 positions",
        lambda f: tiny_clip(f, kind="CLIPModel", positions=248),
        (Tower(""),),
        proof=SPLIT,
    ),
    "longclip-pt": LayoutCase(
        "LongCLIP, original",
        "`longclip-L.pt`",
        longclip,
        (
            Tower("longclip-L.pt:positional_embedding_res", size="2 x 64", key_layout="longclip"),
            Tower("longclip-L.pt", size="2 x 64", key_layout="openclip"),
        ),
        proof=LONG,
    ),
    "siglip": LayoutCase("SigLIP", "`SiglipModel`", tiny_siglip, (Tower("", family="siglip"),), proof=SPLIT),
    "siglip2": LayoutCase(
        "SigLIP 2",
        "says `siglip`, no `architectures`",
        lambda f: tiny_siglip(f, version=2),
        (Tower("", family="siglip"),),
        proof=SPLIT,
    ),
    "clipseg": LayoutCase(
        "CLIPSeg",
        "all under `clip.`",
        relative("clipseg", "CLIPSegForImageSegmentation", "clip."),
        (Tower(""),),
        proof=RELATIVES,
    ),
    "xclip": LayoutCase("X-CLIP", "`XCLIPModel`", relative("xclip", "XCLIPModel"), (Tower(""),), proof=RELATIVES),
    "owlvit": LayoutCase(
        "OWL-ViT, OWLv2",
        "all under `owlvit.`",
        relative("owlvit", "OwlViTForObjectDetection", "owlvit."),
        (Tower(""),),
        proof=RELATIVES,
    ),
    "openclip": LayoutCase(
        "OpenCLIP",
        "`open_clip_config.json`, `open_clip_model.safetensors`",
        tiny_openclip,
        (Tower("open_clip_model.safetensors", key_layout="openclip"),),
        proof=OPENCLIP,
    ),
    "timm": LayoutCase(
        "OpenCLIP by timm",
        "SigLIP under `text.`, no `config.json`",
        tiny_openclip_siglip,
        (Tower("open_clip_model.safetensors", family="siglip", key_layout="openclip"),),
        proof=OPENCLIP,
    ),
    "sentence-transformers": LayoutCase(
        "sentence-transformers CLIP",
        "`modules.json`, `0_CLIPModel/`",
        sentence_transformers,
        (Tower("0_CLIPModel"),),
        proof=SPLIT,
    ),
    "sd15": LayoutCase(
        "Stable Diffusion 1, 2",
        "pipeline with a float16 variant, a pickle and the single file",
        sd15_with_everything,
        (
            Tower("text_encoder"),
            Tower("text_encoder (fp16)"),
            Tower("text_encoder (bin)"),
            Tower("v1-5-pruned-emaonly.safetensors:cond_stage_model.transformer", size="2 x 64"),
        ),
        proof=SINGLE,
    ),
    "sdxl": LayoutCase(
        "SDXL",
        "pipeline",
        lambda f: tiny_pipeline(f, kind="sdxl"),
        (Tower("text_encoder"), Tower("text_encoder_2", size="3 x 32")),
        proof=SPLIT,
    ),
    "sd3": LayoutCase(
        "Stable Diffusion 3",
        "pipeline",
        lambda f: tiny_pipeline(f, kind="sd3"),
        (Tower("text_encoder"), Tower("text_encoder_2", size="3 x 32")),
        NO_T5,
        SPLIT,
    ),
    "flux": LayoutCase(
        "FLUX.1", "pipeline", lambda f: tiny_pipeline(f, kind="flux"), (Tower("text_encoder"),), NO_T5, SPLIT
    ),
    "cascade": LayoutCase(
        "Stable Cascade",
        "prior and decoder in one pipeline",
        pipeline(
            "StableCascadeCombinedPipeline",
            {"text_encoder": "CLIPTextModelWithProjection", "prior_text_encoder": "CLIPTextModelWithProjection"},
        ),
        (Tower("text_encoder"), Tower("prior_text_encoder", size="3 x 32")),
        proof=SPLIT,
    ),
    "kandinsky": LayoutCase(
        "Kandinsky 2.2",
        "prior pipeline",
        pipeline("KandinskyV22PriorPipeline", {"text_encoder": "CLIPTextModelWithProjection"}),
        (Tower("text_encoder"),),
        proof=SPLIT,
    ),
    "hunyuan": LayoutCase(
        "HunyuanVideo",
        "pipeline, a Llama beside it",
        pipeline("HunyuanVideoPipeline", {"text_encoder": "LlamaModel", "text_encoder_2": "CLIPTextModel"}),
        (Tower("text_encoder_2", size="3 x 32"),),
        (("not-clip-family", "LlamaModel is not CLIP-family"),),
        SPLIT,
    ),
    "hidream": LayoutCase(
        "HiDream",
        "pipeline, a T5 and a Llama beside them",
        pipeline(
            "HiDreamImagePipeline",
            {
                "text_encoder": "CLIPTextModelWithProjection",
                "text_encoder_2": "CLIPTextModelWithProjection",
                "text_encoder_3": "T5EncoderModel",
                "text_encoder_4": "LlamaForCausalLM",
            },
        ),
        (Tower("text_encoder"), Tower("text_encoder_2", size="3 x 32")),
        (*NO_T5, ("not-clip-family", "LlamaForCausalLM is not CLIP-family")),
        SPLIT,
    ),
    "single-sd1": LayoutCase(
        "Stable Diffusion 1 checkpoint",
        "`cond_stage_model.transformer.`",
        checkpoint("sd1"),
        (Tower("model.safetensors:cond_stage_model.transformer", size="2 x 64"),),
        proof=SINGLE,
    ),
    "single-sd2": LayoutCase(
        "Stable Diffusion 2 checkpoint",
        "`cond_stage_model.model.`, without the last layer, which is not read",
        checkpoint("sd2"),
        (Tower("model.safetensors:cond_stage_model.model", size="2 x 64", key_layout="openclip"),),
        proof=SINGLE,
    ),
    "single-sdxl": LayoutCase(
        "SDXL checkpoint",
        "`conditioner.embedders.`",
        checkpoint("sdxl"),
        (
            Tower("model.safetensors:conditioner.embedders.0.transformer", size="2 x 64"),
            Tower("model.safetensors:conditioner.embedders.1.model", size="3 x 64", key_layout="openclip"),
        ),
        proof=SINGLE,
    ),
    "single-sd3": LayoutCase(
        "SD3, FLUX checkpoint",
        "`text_encoders.clip_l.`, `text_encoders.clip_g.`",
        checkpoint("sd3"),
        (
            Tower("model.safetensors:text_encoders.clip_g.transformer", size="3 x 64"),
            Tower("model.safetensors:text_encoders.clip_l.transformer", size="2 x 64"),
        ),
        proof=SINGLE,
    ),
    "comfy": LayoutCase(
        "ComfyUI text encoders",
        "`clip_l.safetensors`, `clip_g.safetensors`",
        bare_towers,
        (Tower("clip_g.safetensors", size="3 x 64"), Tower("clip_l.safetensors", size="2 x 64")),
        proof=SINGLE,
    ),
    "lora-kohya": LayoutCase(
        "LoRA, kohya", "`lora_te_`, `lora_te1_`, `lora_te2_`", lora("kohya"), (Tower("style.safetensors"),), proof=LORA
    ),
    "lora-diffusers": LayoutCase(
        "LoRA, diffusers",
        "`text_encoder.`, three generations",
        lora("diffusers"),
        (Tower("pytorch_lora_weights.safetensors"),),
        proof=LORA,
    ),
    "lora-peft": LayoutCase(
        "LoRA, PEFT", "`adapter_config.json`, rsLoRA", lora("peft"), (Tower("adapter_model.safetensors"),), proof=LORA
    ),
    "lycoris": LayoutCase(
        "DoRA, LoHa, LoKr, OFT",
        "refused by name",
        other_adapter,
        skipped=(("unsupported-adapter", "LyCORIS LoHa on a text encoder"),),
    ),
    "textual-inversion": LayoutCase(
        "Textual inversion",
        "`learned_embeds.safetensors`",
        textual_inversion,
        skipped=(("textual-inversion", "a textual inversion embedding, '<cat-toy>' (1 vector of width 32)"),),
    ),
    "chinese-clip": LayoutCase(
        "Chinese-CLIP",
        "a BERT",
        named_otherwise("chinese_clip", "ChineseCLIPModel"),
        skipped=(("unsupported-architecture", "whose text tower is a BERT"),),
    ),
    "altclip": LayoutCase(
        "AltCLIP",
        "an XLM-RoBERTa",
        named_otherwise("altclip", "AltCLIPModel"),
        skipped=(("unsupported-architecture", "whose text tower is an XLM-RoBERTa"),),
    ),
    "metaclip2": LayoutCase(
        "MetaCLIP 2",
        "another vocabulary and end id",
        named_otherwise("metaclip_2", "MetaClip2Model"),
        skipped=(("unsupported-architecture", "MetaCLIP 2, which pools at"),),
    ),
}
