"""Tiny, randomly initialised repositories in exactly the real layouts: for our tests and for other people's.

Knows how CLIP, SigLIP and diffusers repositories look on disk, and writes them without going through the code under
test. Refuses to know the scanner. Example:

    from amdet_hub.testing.models import tiny_clip
    tiny_clip(tmp_path, kind="CLIPModel", layers=2, hidden_size=32)

Source: the file lists and tensor names of openai/clip-vit-large-patch14, google/siglip-base-patch16-224 and the Stable
Diffusion pipelines.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from amdet_hub.testing.models.tokenizers import (
    clip_tokenizer,
    siglip2_tokenizer,
    siglip_tokenizer,
    write_tokenizer_json,
    write_vocab_and_merges,
)

ClipKind = Literal["CLIPTextModelWithProjection", "CLIPTextModel", "CLIPModel"]
SiglipKind = Literal["SiglipModel", "SiglipTextModel"]
PipelineKind = Literal["sd15", "sdxl", "sd3", "flux"]

# Pipeline class, text encoder components and stored dtype. Source: the `model_index.json` files of the four real
# pipelines.
_PIPELINES: dict[PipelineKind, tuple[str, dict[str, ClipKind | Literal["T5EncoderModel"]], str]] = {
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


# The image tower of the two-tower kinds, as small as it goes.
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


class TinyConfig(TypedDict, total=False):
    """Size and form of a tiny encoder. Every key may be left out.

    `hidden_size` is D (`intermediate_size` is 4 D), `layers` the number of encoder layers, `heads` that of attention
    heads, which divides D. `positions` is the longest sequence, `vocab_size` the rows of the token embedding: at least
    514 where CLIP's tokenizer is written, whose last two are start and end of text. `seed` is that of the random
    weights; the caller's random state is untouched. `dtype` is the stored one ("float32", "float16", "bfloat16").
    `sharded` writes two shards and an index instead of one file, `tokenizer` says whether `tokenizer.json` is written.
    """

    hidden_size: int
    layers: int
    heads: int
    positions: int
    vocab_size: int
    seed: int
    dtype: str
    sharded: bool
    tokenizer: bool


def tiny_clip(
    folder: Path,
    *,
    kind: ClipKind = "CLIPTextModelWithProjection",
    projection_dim: int = 24,
    hidden_act: str = "quick_gelu",
    legacy_eos: bool = False,
    variants: Mapping[str, str] | None = None,
    **config: Unpack[TinyConfig],
) -> Path:
    """Write a CLIP repository and return `folder`.

    Args:
        folder: where; made if missing.
        kind: which transformers class saved it.
        projection_dim: size of the pooled output where `kind` has a projection.
        hidden_act: activation name.
        legacy_eos: write CLIP's historical ids (bos 0, pad 1, eos 2) into the config, as OpenAI's files do.
        variants: further weight files by variant name and dtype, e.g. `{"fp16": "float16"}`.
        config: size and form; 77 positions and 600 tokens unless it says otherwise.
    """
    size = _filled(config, positions=77, vocab_size=600)
    last = size["vocab_size"] - 1
    ids = (0, 1, 2) if legacy_eos else (last - 1, last, last)
    text = _text_config("clip_text_model", size) | {
        "max_position_embeddings": size["positions"],
        "projection_dim": projection_dim,
        "hidden_act": hidden_act,
        "layer_norm_eps": 1e-05,
        **dict(zip(("bos_token_id", "pad_token_id", "eos_token_id"), ids, strict=True)),
    }
    written: dict[str, Any] = {"architectures": [kind], **text}
    if kind == "CLIPModel":
        written = {
            "architectures": [kind],
            "model_type": "clip",
            "projection_dim": projection_dim,
            "text_config": text,
            "vision_config": _VISION,
        }
    tensors = _new_tensors(kind, written, size["seed"])
    _write_repository(folder, written, tensors, size)
    for variant, dtype in (variants or {}).items():
        _write_weights(folder / f"model.{variant}.safetensors", tensors, dtype)
    if size["tokenizer"]:
        write_tokenizer_json(clip_tokenizer(size["vocab_size"]), folder)
    return folder


def tiny_siglip(
    folder: Path,
    *,
    kind: SiglipKind = "SiglipModel",
    version: Literal[1, 2] = 1,
    projection_size: int | None = None,
    **config: Unpack[TinyConfig],
) -> Path:
    """Write a SigLIP (`version` 1) or fixed-resolution SigLIP 2 (`version` 2) repository and return `folder`.

    As on the Hub, version 2 says `model_type: siglip` and has no `architectures`, and keys equal to the class defaults
    are left out. `projection_size` None means `hidden_size`; 64 positions and 400 tokens unless `config` says
    otherwise.
    """
    size = _filled(config, positions=64, vocab_size=400)
    text = {
        **_text_config("siglip_text_model", size),
        **({} if size["positions"] == 64 else {"max_position_embeddings": size["positions"]}),
        **({} if projection_size is None else {"projection_size": projection_size}),
    }
    written: dict[str, Any] = {"architectures": [kind], **text}
    if kind == "SiglipModel":
        written = {
            "model_type": "siglip",
            "text_config": text,
            "vision_config": {"model_type": "siglip_vision_model", **_VISION},
            **({"architectures": [kind]} if version == 1 else {}),
        }
    _write_repository(folder, written, _new_tensors(kind, written, size["seed"]), size)
    if size["tokenizer"]:
        make = siglip_tokenizer if version == 1 else siglip2_tokenizer
        write_tokenizer_json(make(size["vocab_size"]), folder)
    return folder


def tiny_pipeline(
    folder: Path,
    *,
    kind: PipelineKind = "sd15",
    variants: Mapping[str, str] | None = None,
    **config: Unpack[TinyConfig],
) -> Path:
    """Write a diffusers pipeline and return `folder`. `text_encoder_2` has another seed and one more layer.

    T5 components are written as configuration and a small weight file. U-Net and VAE are configurations only. The
    stored dtype is that of the real pipeline. `config` and `variants` apply to every CLIP component.
    """
    size = _filled(config, vocab_size=600)
    pipeline, components, dtype = _PIPELINES[kind]
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.30.0", "safety_checker": [None, None]}
    for number, (name, architecture) in enumerate(components.items()):
        tokenizer = name.replace("text_encoder", "tokenizer")
        index[name] = ["transformers", architecture]
        if architecture == "T5EncoderModel":
            index[tokenizer] = ["transformers", "T5TokenizerFast"]
            _write_json(folder / name / "config.json", {"architectures": [architecture], "model_type": "t5"})
            _write_weights(folder / name / "model.safetensors", {"shared.weight": torch.zeros(4, 4)}, "float32")
            continue
        index[tokenizer] = ["transformers", "CLIPTokenizer"]
        layers, seed = size["layers"] + number, size["seed"] + number
        own: TinyConfig = {**config, "layers": layers, "seed": seed, "dtype": dtype, "tokenizer": False}
        tiny_clip(folder / name, kind=architecture, legacy_eos=True, variants=variants, **own)
        (folder / name / "README.md").unlink()
        write_vocab_and_merges(clip_tokenizer(size["vocab_size"]), folder / tokenizer)
    backbone = "transformer" if kind in ("sd3", "flux") else "unet"
    for name, class_name in ((backbone, "UNet2DConditionModel"), ("vae", "AutoencoderKL")):
        index[name] = ["diffusers", class_name]
        _write_json(folder / name / "config.json", {"_class_name": class_name})
    _write_json(folder / "model_index.json", index)
    _write_readme(folder)
    return folder


def _filled(config: TinyConfig, **defaults: Unpack[TinyConfig]) -> TinyConfig:
    """`config` with a value for every key that it leaves out."""
    if unknown := config.keys() - TinyConfig.__annotations__.keys():
        raise TypeError(f"a tiny encoder has no '{min(unknown)}'")
    return {
        "hidden_size": 32,
        "layers": 2,
        "heads": 2,
        "seed": 0,
        "dtype": "float32",
        "sharded": False,
        "tokenizer": True,
        **defaults,
        **config,
    }


def _text_config(model_type: str, size: TinyConfig) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": size["hidden_size"],
        "intermediate_size": 4 * size["hidden_size"],
        "num_attention_heads": size["heads"],
        "num_hidden_layers": size["layers"],
        "vocab_size": size["vocab_size"],
    }


def _new_tensors(kind: ClipKind | SiglipKind, config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """The random weights that transformers gives a new model of this class, by their names in its files."""
    model_class = getattr(transformers, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = model_class(model_class.config_class(**config)).state_dict()
    # in memory a bare text tower has no `text_model.`; its files do
    prefix = "text_model." if kind in ("CLIPTextModel", "SiglipTextModel") else ""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _write_repository(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], size: TinyConfig
) -> None:
    _write_json(folder / "config.json", {**config, "torch_dtype": size["dtype"]})
    if size["sharded"]:
        _write_shards(folder, tensors, size["dtype"])
    else:
        _write_weights(folder / "model.safetensors", tensors, size["dtype"])
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


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _write_readme(folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\n---\n# Tiny model\n\nRandom weights, for tests.\n", encoding="utf-8"
    )
