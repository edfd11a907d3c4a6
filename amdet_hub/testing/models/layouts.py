"""Tiny repositories in layouts that transformers does not write: OpenCLIP and single-file checkpoints.

Renames the tensors of `amdet_hub.testing.models` without going through the code under test. Refuses to know the
scanner. Example:

    from amdet_hub.testing.models.layouts import tiny_openclip, tiny_checkpoint
    tiny_openclip(tmp_path / "oc")               # open_clip_config.json, open_clip_model.safetensors, tokenizer.json
    tiny_checkpoint(tmp_path / "sd.safetensors", kind="sdxl")

Source: the tensor names of laion/CLIP-ViT-B-32-laion2B-s34B-b79K, timm/ViT-B-16-SigLIP2 and the single-file
checkpoints of Stable Diffusion.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amdet_hub.testing.models import tiny_clip, tiny_siglip

CheckpointKind = Literal["sd1", "sd1-old", "sd2", "sdxl", "sdxl-refiner", "sd3"]

_RENAMED = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".self_attn.q_proj.": ".attn.in_proj_",
    ".self_attn.out_proj.": ".attn.out_proj.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    "encoder.layers.": "transformer.resblocks.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "head.": "text_projection.",
}


def openclip_tensors(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a transformers text tower (with or without `text_model.`) as OpenCLIP stores them.

    Image towers are left out.
    """
    ours = {
        name.removeprefix("text_model."): t
        for name, t in tensors.items()
        if name.startswith(("text_model.", "text_projection."))
    }
    renamed: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        if ".self_attn.q_proj." in name:
            parts = [ours[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            renamed[_renamed(name)] = torch.cat(parts)
        elif name == "text_projection.weight":
            renamed["text_projection"] = tensor.T.contiguous()
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name:
            renamed[_renamed(name)] = tensor
    return {prefix + name: t for name, t in renamed.items()}


def _renamed(name: str) -> str:
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def tiny_openclip(folder: Path, *, custom_text: bool = False, quick_gelu: bool = False, **options: Any) -> Path:
    """Write an OpenCLIP repository of a CLIP model and return `folder`.

    Args:
        folder: where; made if missing.
        custom_text: text tower under `text.`, as in `CustomTextCLIP`.
        quick_gelu: the activation.
        options: of `tiny_clip`.
    """
    tiny_clip(
        folder,
        kind="CLIPTextModelWithProjection",
        hidden_act="quick_gelu" if quick_gelu else "gelu",
        legacy_eos=True,
        **options,
    )
    config = json.loads((folder / "config.json").read_text())
    model = {
        "embed_dim": config["projection_dim"],
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 16, "patch_size": 4},
        "text_cfg": _text_cfg(config),
        **({"quick_gelu": True} if quick_gelu else {}),
        **({"custom_text": True} if custom_text else {}),
    }
    return _rewrite(folder, model, "text." if custom_text else "")


def tiny_openclip_siglip(folder: Path, **options: Any) -> Path:
    """Write an OpenCLIP repository of a SigLIP model, as timm's, and return `folder`.

    `options` are those of `tiny_siglip`.
    """
    tiny_siglip(folder, kind="SiglipTextModel", **options)
    config = json.loads((folder / "config.json").read_text())
    return _rewrite(
        folder,
        {
            "embed_dim": config.get("projection_size", config["hidden_size"]),
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "x"},
            "text_cfg": _text_cfg({"max_position_embeddings": 64, **config})
            | {
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6},
                "act_kwargs": {"approximate": "tanh"},
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
                "tokenizer_kwargs": {"clean": "canonicalize"},
            },
        },
        "text.",
    )


def tiny_checkpoint(
    path: Path, *, kind: CheckpointKind = "sd1", seed: int = 0, dtype: str = "float16", **options: Any
) -> Path:
    """Write a single-file checkpoint with its text towers and one tensor of a U-Net, and return `path`.

    `options` are those of `tiny_clip`.

    The towers have 64 times as many values as heads, since such a file says nothing of its heads; the second has one
    layer more.
    """
    options = {"hidden_size": 64, "heads": 1, **options}
    layers = options.pop("layers", 2)
    first = _tower("CLIPTextModel", layers, seed, dtype, options)
    second = _tower("CLIPTextModelWithProjection", layers + 1, seed + 1, dtype, {**options, "hidden_act": "gelu"})
    scale = {"logit_scale": torch.tensor(4.6, dtype=getattr(torch, dtype))}
    towers: dict[CheckpointKind, dict[str, Tensor]] = {
        "sd1": _under(
            "cond_stage_model.transformer.", first | {"text_model.embeddings.position_ids": torch.arange(77)[None]}
        ),
        "sd1-old": _under(
            "cond_stage_model.transformer.", {name.removeprefix("text_model."): t for name, t in first.items()}
        ),
        "sd2": _under("cond_stage_model.model.", openclip_tensors(second) | scale),
        "sdxl": (
            _under("conditioner.embedders.0.transformer.", first)
            | _under("conditioner.embedders.1.model.", openclip_tensors(second) | scale)
        ),
        "sdxl-refiner": _under("conditioner.embedders.0.model.", openclip_tensors(second) | scale),
        "sd3": (
            _under("text_encoders.clip_l.transformer.", first)
            | _under("text_encoders.clip_g.transformer.", second)
            | {"text_encoders.t5xxl.transformer.shared.weight": torch.zeros(4, 4)}
        ),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"model.diffusion_model.out.2.weight": torch.zeros(4, 4), **towers[kind]}, path)
    return path


def _tower(
    kind: Literal["CLIPTextModel", "CLIPTextModelWithProjection"], layers: int, seed: int, dtype: str, options: Any
) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        tiny_clip(Path(folder), kind=kind, layers=layers, seed=seed, dtype=dtype, tokenizer=False, **options)
        return dict(load_file(Path(folder) / "model.safetensors"))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _text_cfg(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "context_length": config["max_position_embeddings"],
        "vocab_size": config["vocab_size"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "layers": config["num_hidden_layers"],
    }


def _rewrite(folder: Path, model_cfg: Mapping[str, Any], prefix: str) -> Path:
    weights = folder / "model.safetensors"
    tensors = openclip_tensors(load_file(weights), prefix)
    dtype = next(iter(tensors.values())).dtype
    outside = {"logit_scale": torch.tensor(4.6, dtype=dtype), "visual.conv1.weight": torch.zeros(4, 4, dtype=dtype)}
    weights.unlink()
    (folder / "config.json").unlink()
    save_file(tensors | outside, folder / "open_clip_model.safetensors")  # without metadata, as open_clip writes it
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}})
    )
    return folder
