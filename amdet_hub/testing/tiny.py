"""Tiny, randomly initialised repositories in exactly the real layouts: for our tests and for other people's.

Knows how CLIP, SigLIP and diffusers repositories look on disk, and writes them without going through the code under
test. Refuses to know the scanner. Example:

    from amdet_hub.testing.tiny import tiny_clip
    tiny_clip(tmp_path, kind="CLIPModel", layers=2, hidden_size=32)   # config.json, model.safetensors, tokenizer.json,
    README.md

Source: the file lists and tensor names of openai/clip-vit-large-patch14, google/siglip-base-patch16-224 and the Stable
Diffusion pipelines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from amdet_hub.testing.tiny_tokenizers import (
    clip_tokenizer,
    siglip2_tokenizer,
    siglip_tokenizer,
    write_tokenizer_json,
    write_vocab_and_merges,
)

ClipKind = Literal["CLIPTextModelWithProjection", "CLIPTextModel", "CLIPModel"]
SiglipKind = Literal["SiglipModel", "SiglipTextModel"]
PipelineKind = Literal["sd15", "sdxl", "sd3", "flux"]

_PIPELINES: dict[str, tuple[str, dict[str, str], str]] = {
    "sd15": ("StableDiffusionPipeline", {"text_encoder": "CLIPTextModel"}, "float32"),
    "sdxl": (
        "StableDiffusionXLPipeline",
        {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
        "float32",
    ),
    "sd3": (
        "StableDiffusion3Pipeline",
        {
            "text_encoder": "CLIPTextModelWithProjection",
            "text_encoder_2": "CLIPTextModelWithProjection",
            "text_encoder_3": "T5EncoderModel",
        },
        "float16",
    ),
    "flux": ("FluxPipeline", {"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"}, "bfloat16"),
}
"""Pipeline class, text encoder components and stored dtype.

Source: the `model_index.json` files of the four real pipelines.
"""


_VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
"""The image tower of the two-tower kinds, as small as it goes."""


def tiny_clip(
    folder: Path,
    *,
    kind: ClipKind = "CLIPTextModelWithProjection",
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 2,
    positions: int = 77,
    vocab_size: int = 600,
    projection_dim: int = 24,
    hidden_act: str = "quick_gelu",
    seed: int = 0,
    dtype: str = "float32",
    sharded: bool = False,
    legacy_eos: bool = False,
    tokenizer: bool = True,
    variants: Mapping[str, str] | None = None,
) -> Path:
    """Write a CLIP repository and return `folder`.

    Args:
        folder: where; made if missing.
        kind: which transformers class saved it.
        hidden_size: D; `intermediate_size` is 4 D.
        layers: number of encoder layers.
        heads: attention heads; divides `hidden_size`.
        positions: longest sequence.
        vocab_size: rows of the token embedding; at least 514 when a tokenizer is written, start and end of text are
            the last two.
        projection_dim: size of the pooled output where `kind` has a projection.
        hidden_act: activation name.
        seed: of the random weights; the caller's random state is untouched.
        dtype: stored dtype: "float32", "float16" or "bfloat16".
        sharded: two shards and an index instead of one file.
        legacy_eos: write CLIP's historical ids (bos 0, pad 1, eos 2) into the config, as OpenAI's files do.
        tokenizer: write `tokenizer.json`.
        variants: further weight files by variant name and dtype, e.g. `{"fp16": "float16"}`.
    """
    ids = (0, 1, 2) if legacy_eos else (vocab_size - 2, vocab_size - 1, vocab_size - 1)
    text = {
        "model_type": "clip_text_model",
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "max_position_embeddings": positions,
        "vocab_size": vocab_size,
        "projection_dim": projection_dim,
        "hidden_act": hidden_act,
        "layer_norm_eps": 1e-05,
        "bos_token_id": ids[0],
        "pad_token_id": ids[1],
        "eos_token_id": ids[2],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = _clip_tensors(kind, text)
    config = {
        "architectures": [kind],
        "model_type": "clip",
        "projection_dim": projection_dim,
        "text_config": text,
        "vision_config": _VISION,
    }
    if kind != "CLIPModel":
        config = {"architectures": [kind], **text}
    _write_repository(folder, config, tensors, dtype, sharded, variants or {})
    if tokenizer:
        write_tokenizer_json(clip_tokenizer(vocab_size), folder)
    return folder


def tiny_siglip(
    folder: Path,
    *,
    kind: SiglipKind = "SiglipModel",
    version: Literal[1, 2] = 1,
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 2,
    positions: int = 64,
    vocab_size: int = 400,
    projection_size: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    sharded: bool = False,
    tokenizer: bool = True,
) -> Path:
    """Write a SigLIP (`version` 1) or fixed-resolution SigLIP 2 (`version` 2) repository and return `folder`.

    As on the Hub, version 2 says `model_type: siglip` and has no `architectures`, and keys equal to the class defaults
    are left out. The other arguments are those of `tiny_clip`; `projection_size` None means `hidden_size`.
    """
    text: dict[str, Any] = {
        "model_type": "siglip_text_model",
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "vocab_size": vocab_size,
    }
    text |= {} if positions == 64 else {"max_position_embeddings": positions}
    text |= {} if projection_size is None else {"projection_size": projection_size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = _siglip_tensors(kind, text)
    config: dict[str, Any] = {"architectures": [kind], **text}
    if kind == "SiglipModel":
        config = {
            "model_type": "siglip",
            "text_config": text,
            "vision_config": {"model_type": "siglip_vision_model", **_VISION},
        }
        config |= {"architectures": [kind]} if version == 1 else {}
    _write_repository(folder, config, tensors, dtype, sharded, {})
    if tokenizer:
        write_tokenizer_json(siglip_tokenizer(vocab_size) if version == 1 else siglip2_tokenizer(vocab_size), folder)
    return folder


def tiny_pipeline(
    folder: Path,
    *,
    kind: PipelineKind = "sd15",
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 2,
    vocab_size: int = 600,
    seed: int = 0,
    variants: Mapping[str, str] | None = None,
) -> Path:
    """Write a diffusers pipeline with its text encoders (`text_encoder_2` has another seed and one more layer) and return `folder`.

    T5 components are written as configuration and a small weight file. U-Net and VAE are configurations only. The
    other arguments are those of `tiny_clip`; `variants` applies to every CLIP component.
    """
    pipeline, components, dtype = _PIPELINES[kind]
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.30.0", "safety_checker": [None, None]}
    for number, (name, architecture) in enumerate(components.items()):
        index[name] = ["transformers", architecture]
        suffix = name.removeprefix("text_encoder")
        index[f"tokenizer{suffix}"] = [
            "transformers",
            "CLIPTokenizer" if architecture.startswith("CLIP") else "T5TokenizerFast",
        ]
        if architecture == "T5EncoderModel":
            _write_t5(folder / name)
            continue
        tiny_clip(
            folder / name,
            kind=architecture,  # type: ignore[arg-type]
            hidden_size=hidden_size,
            layers=layers + number,
            heads=heads,
            vocab_size=vocab_size,
            seed=seed + number,
            dtype=dtype,
            legacy_eos=True,
            tokenizer=False,
            variants=variants,
        )
        (folder / name / "README.md").unlink()
        write_vocab_and_merges(clip_tokenizer(vocab_size), folder / f"tokenizer{suffix}")
    backbone = "transformer" if kind in ("sd3", "flux") else "unet"
    for name, class_name in ((backbone, "UNet2DConditionModel"), ("vae", "AutoencoderKL")):
        index[name] = ["diffusers", class_name]
        _write_json(folder / name / "config.json", {"_class_name": class_name})
    _write_json(folder / "model_index.json", index)
    _write_readme(folder)
    return folder


def _clip_tensors(kind: ClipKind, text: Mapping[str, Any]) -> dict[str, Tensor]:
    config = CLIPTextConfig(**text)
    if kind == "CLIPTextModel":  # in memory it has no `text_model.`; its files do
        return {f"text_model.{name}": t for name, t in CLIPTextModel(config).state_dict().items()}
    if kind == "CLIPTextModelWithProjection":
        return dict(CLIPTextModelWithProjection(config).state_dict())
    return dict(
        CLIPModel(
            CLIPConfig(text_config=dict(text), vision_config=dict(_VISION), projection_dim=text["projection_dim"])
        ).state_dict()
    )


def _siglip_tensors(kind: SiglipKind, text: Mapping[str, Any]) -> dict[str, Tensor]:
    if kind == "SiglipTextModel":
        return {f"text_model.{name}": t for name, t in SiglipTextModel(SiglipTextConfig(**text)).state_dict().items()}
    return dict(SiglipModel(SiglipConfig(text_config=dict(text), vision_config=dict(_VISION))).state_dict())


def _write_repository(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: str,
    sharded: bool,
    variants: Mapping[str, str],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", {**config, "torch_dtype": dtype})
    if sharded:
        _write_shards(folder, tensors, dtype)
    else:
        _write_weights(folder / "model.safetensors", tensors, dtype)
    for variant, variant_dtype in variants.items():
        _write_weights(folder / f"model.{variant}.safetensors", tensors, variant_dtype)
    _write_readme(folder)


def _write_weights(path: Path, tensors: Mapping[str, Tensor], dtype: str) -> None:
    save_file(
        {name: t.to(getattr(torch, dtype)).contiguous() for name, t in tensors.items()},
        path,
        metadata={"format": "pt"},
    )


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], dtype: str) -> None:
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        _write_weights(folder / file, {name: tensors[name] for name in part}, dtype)
        weight_map |= dict.fromkeys(part, file)
    size = sum(t.numel() for t in tensors.values()) * getattr(torch, dtype).itemsize
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def _write_t5(folder: Path) -> None:
    _write_json(folder / "config.json", {"architectures": ["T5EncoderModel"], "model_type": "t5"})
    save_file({"shared.weight": torch.zeros(4, 4)}, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write_readme(folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\n---\n# Tiny model\n\nRandom weights, for tests.\n", encoding="utf-8"
    )
