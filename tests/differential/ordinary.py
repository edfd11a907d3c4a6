"""Ordinary repositories, as people publish them: one tower in one place, or the same tower in several formats."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.differential.draft import CLASSES, STYLES, Draft, inside
from tests.differential.towers import Tower

# The base that adapters name; it is written once beside all repositories.
BASE_REPO = "org/base"


def model_files(draft: Draft, folder: str, tower: Tower, architecture: str) -> None:
    """The weights of one transformers model, in the formats that are published together."""
    tensors = tower.named(STYLES.get(architecture, "text"))
    if architecture == "CLIPTextModel":
        tensors.pop("text_projection.weight", None)
    form = draft.draw.choices(["single", "sharded", "with variant", "with pickle", "pickle"], [12, 3, 3, 3, 1])[0]
    if form == "sharded":
        draft.shards(folder, tensors)
    elif form != "pickle":
        draft.weights(inside(folder, "model.safetensors"), tensors)
    if form == "with variant":
        halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        draft.weights(inside(folder, "model.fp16.safetensors"), halves)
    if "pickle" in form:
        draft.weights(inside(folder, "pytorch_model.bin"), tensors)


def model(draft: Draft, folder: str = "", architecture: str = "") -> Tower:
    """A transformers model: configuration, weights, tokenizer."""
    architecture = architecture or draft.draw.choice([*CLASSES, "SiglipTextModel"])
    family = "siglip" if architecture.startswith("Siglip") else "clip"
    tower = draft.tower(projection=architecture != "CLIPTextModel", family=family)
    draft.config(folder, tower, architecture)
    model_files(draft, folder, tower, architecture)
    return tower


def clip(draft: Draft) -> None:
    """A model in the root."""
    model(draft)
    draft.processor("")


def pipeline(draft: Draft) -> None:
    """A diffusers pipeline: Stable Diffusion 1 or XL."""
    large = draft.draw.random() < 0.5
    index = {"_class_name": "StableDiffusionXLPipeline" if large else "StableDiffusionPipeline"}
    components = {"text_encoder": "CLIPTextModel"} | ({"text_encoder_2": CLASSES[1]} if large else {})
    entries: dict[str, object] = {**index, "_diffusers_version": "0.42.0"}
    for name, architecture in components.items():
        entries[name] = ["transformers", architecture]
        entries[name.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
        model(draft, name, architecture)
        draft.processor(name.replace("text_encoder", "tokenizer"))
    for name, class_name in (("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL")):
        entries[name] = ["diffusers", class_name]
        draft.json(f"{name}/config.json", {"_class_name": class_name})
        draft.weights(f"{name}/diffusion_pytorch_model.safetensors", {"conv_in.weight": torch.ones(4, 4, 3, 3)})
    entries["scheduler"] = ["diffusers", "PNDMScheduler"]
    draft.json("scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"})
    draft.json("model_index.json", entries)


def openclip(draft: Draft) -> None:
    """An OpenCLIP model of one of the two key generations."""
    tower, custom_text = draft.tower(), draft.draw.random() < 0.5
    draft.openclip_config(tower, custom_text=custom_text)
    tensors = tower.named("openclip text" if custom_text else "openclip")
    draft.weights("open_clip_model.safetensors", tensors)
    if draft.draw.random() < 0.3:
        draft.weights("open_clip_pytorch_model.bin", tensors)


def sentence_transformer(draft: Draft) -> None:
    """A sentence-transformers CLIP model: `modules.json` and one module folder."""
    folder = "0_CLIPModel"
    model(draft, folder, "CLIPModel")
    draft.processor(folder)
    modules = [{"idx": 0, "name": "0", "path": folder, "type": "sentence_transformers.models.CLIPModel"}]
    draft.json("modules.json", modules)
    draft.json("config_sentence_transformers.json", {"__version__": {"sentence_transformers": "5.0.0"}})


def single_file(draft: Draft) -> None:
    """A checkpoint of Stable Diffusion 1, XL or 3."""
    draft.weights(draft.draw.choice(["v1.safetensors", "model.safetensors"]), checkpoint(draft))


def checkpoint(draft: Draft, kind: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a single-file checkpoint: a piece of a U-Net, and its text encoders."""
    kind = kind or draft.draw.choice(["sd1", "sdxl", "sd3"])
    first, second = draft.tower(projection=False).named("text"), draft.tower(layers=2, width=128)
    bare = {name: t for name, t in second.named("openclip").items() if not name.startswith(("visual.", "logit"))}
    towers = {
        "sd1": {"cond_stage_model.transformer.": first},
        "sdxl": {"conditioner.embedders.0.transformer.": first, "conditioner.embedders.1.model.": bare},
        "sd3": {
            "text_encoders.clip_l.transformer.": first,
            "text_encoders.clip_g.transformer.": second.named("text"),
        },
    }[kind]
    tensors = {"model.diffusion_model.out.2.weight": torch.ones(4, 4)}
    return tensors | {prefix + name: t for prefix, tower in towers.items() for name, t in tower.items()}


def lora_files(draft: Draft, folder: str, base: str) -> None:
    """A LoRA in PEFT's files that names its base."""
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": base}
    config |= {"target_modules": ["q_proj", "v_proj"], "task_type": "FEATURE_EXTRACTION"}
    draft.json(inside(folder, "adapter_config.json"), config)
    generator = torch.Generator().manual_seed(draft.draw.randrange(1 << 30))
    tensors = {}
    for name in ("q_proj", "v_proj"):
        module = f"base_model.model.text_model.encoder.layers.0.self_attn.{name}"
        tensors[f"{module}.lora_A.weight"] = torch.randn(2, 64, generator=generator) * 0.1
        tensors[f"{module}.lora_B.weight"] = torch.randn(64, 2, generator=generator) * 0.1
    draft.weights(inside(folder, "adapter_model.safetensors"), tensors)


def lora(draft: Draft) -> None:
    """An adapter alone."""
    lora_files(draft, "", BASE_REPO)


LAYOUTS: dict[Callable[[Draft], None], int] = {
    clip: 6,
    pipeline: 4,
    openclip: 3,
    sentence_transformer: 2,
    single_file: 3,
    lora: 1,
}
