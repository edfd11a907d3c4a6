"""Random text towers, and the names under which files hold them. Knows nothing of the scanner."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from amdet_hub.testing.models.layouts import openclip_tensors

WIDTH, VOCABULARY, POSITIONS, PROJECTED = 64, 520, 12, 16
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
OPENCLIP_VISION = {"image_size": 8, "layers": 1, "width": 16, "patch_size": 4, "head_width": 8}


@dataclass(frozen=True)
class Tower:
    """A text tower: `tensors` by the names of a flat tower, CLIP's projection and SigLIP's head among them."""

    tensors: dict[str, Tensor]
    layers: int
    width: int
    family: str
    dtype: str

    def config(self) -> dict[str, Any]:
        """The text part of a `config.json`."""
        last = VOCABULARY - 1
        config: dict[str, Any] = {
            "model_type": f"{self.family}_text_model",
            "hidden_size": self.width,
            "intermediate_size": self.width,
            "num_attention_heads": self.width // 64,
            "num_hidden_layers": self.layers,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": POSITIONS,
            "torch_dtype": self.dtype,
        }
        if self.family == "siglip":
            return config
        ids = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
        return config | ids | {"projection_dim": PROJECTED, "hidden_act": "quick_gelu"}

    def named(self, style: str) -> dict[str, Tensor]:
        """Its tensors as a file has them.

        `text`: under `text_model.`, as CLIPTextModel and CLIPTextModelWithProjection are saved; `flat`: without it;
        `dual`: with an image tower; `openclip`, `openclip text`: OpenCLIP's names, the text tower at the root or under
        `text.`, with an image tower.
        """
        if style == "flat":
            return dict(self.tensors)
        text = {name if name.startswith("text_proj") else f"text_model.{name}": t for name, t in self.tensors.items()}
        if style == "text":
            return text
        dtype = getattr(torch, self.dtype)
        if style == "dual":
            return text | {name: t.to(dtype) for name, t in vision_tensors().items()}
        prefix = "text." if style == "openclip text" else ""
        return openclip_tensors(text, prefix) | {name: t.to(dtype) for name, t in openclip_vision().items()}


def random_tower(
    seed: int,
    *,
    layers: int,
    width: int = WIDTH,
    projection: bool = True,
    family: str = "clip",
    dtype: str = "float32",
) -> Tower:
    """A tower of this seed, unlike that of any other seed."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.05

    tensors = {
        "embeddings.token_embedding.weight": matrix(VOCABULARY, width),
        "embeddings.position_embedding.weight": matrix(POSITIONS, width),
    }
    linear = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (width, width), "mlp.fc2": (width, width)}
    norms = [f"encoder.layers.{i}.layer_norm{n}" for i in range(layers) for n in (1, 2)] + ["final_layer_norm"]
    modules = {f"encoder.layers.{i}.{name}": shape for i in range(layers) for name, shape in linear.items()}
    modules |= {"head": (width, width)} if family == "siglip" else {}
    for name, shape in modules.items():
        tensors |= {f"{name}.weight": matrix(*shape), f"{name}.bias": matrix(shape[0])}
    for name in norms:
        tensors |= {f"{name}.weight": 1 + matrix(width), f"{name}.bias": matrix(width)}
    if projection and family == "clip":
        tensors["text_projection.weight"] = matrix(PROJECTED, width)
    stored = {name: t.to(getattr(torch, dtype)) for name, t in tensors.items()}
    return Tower(stored, layers, width, family, dtype)


@functools.cache
def vision_tensors() -> dict[str, Tensor]:
    """What a CLIPModel's file holds beside the text tower."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": VOCABULARY}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=PROJECTED))
    return {name: t for name, t in model.state_dict().items() if not name.startswith("text_")}


@functools.cache
def openclip_vision() -> dict[str, Tensor]:
    """What an OpenCLIP file holds beside the text tower."""
    width, inner = OPENCLIP_VISION["width"], 4 * OPENCLIP_VISION["width"]
    block = "visual.transformer.resblocks.0."
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (5, width),
        "visual.proj": (width, PROJECTED),
        "visual.conv1.weight": (width, 3, 4, 4),
        f"{block}attn.in_proj_weight": (3 * width, width),
        f"{block}attn.in_proj_bias": (3 * width,),
        f"{block}attn.out_proj.weight": (width, width),
        f"{block}attn.out_proj.bias": (width,),
        f"{block}mlp.c_fc.weight": (inner, width),
        f"{block}mlp.c_fc.bias": (inner,),
        f"{block}mlp.c_proj.weight": (width, inner),
        f"{block}mlp.c_proj.bias": (width,),
    }
    for norm in ("visual.ln_pre.", "visual.ln_post.", f"{block}ln_1.", f"{block}ln_2."):
        shapes |= {f"{norm}weight": (width,), f"{norm}bias": (width,)}
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    return tensors | {"logit_scale": torch.tensor(4.6)}
