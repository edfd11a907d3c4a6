"""LoRAs in the names that kohya, diffusers and PEFT give them, extracted from two towers.

For tests; knows nothing of the scanner.

    from amdet_hub.testing.models.lora import extract_lora, lora_tensors
    save_file(lora_tensors(extract_lora(base, tuned, rank=8), "kohya"), "lora.safetensors")

Source: the tensor names of sd-scripts' LoRA files, diffusers' `pytorch_lora_weights.safetensors` of three generations,
PEFT's `adapter_model.safetensors`.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

LoraStyle = Literal[
    "kohya",
    "kohya sdxl 1",
    "kohya sdxl 2",
    "diffusers",
    "diffusers linear layer",
    "diffusers 2022",
    "peft",
    "peft flat",
]

_ATTENTION = {"q_proj": "to_q_lora", "k_proj": "to_k_lora", "v_proj": "to_v_lora", "out_proj": "to_out_lora"}

# How a style names the two matrices of a module.
_KEYS: dict[LoraStyle, str] = {
    "kohya": "lora_te_{flat}.lora_{side}.weight",
    "kohya sdxl 1": "lora_te1_{flat}.lora_{side}.weight",
    "kohya sdxl 2": "lora_te2_{flat}.lora_{side}.weight",
    "diffusers": "text_encoder.{module}.lora_{letter}.weight",
    "diffusers linear layer": "text_encoder.{module}.lora_linear_layer.{side}.weight",
    "diffusers 2022": "text_encoder.{attention}.{side}.weight",
    "peft": "base_model.model.{module}.lora_{letter}.weight",
    "peft flat": "base_model.model.{inner}.lora_{letter}.weight",
}


def extract_lora(
    base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], *, rank: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """The best LoRA of a rank between two towers, for a scale of 1: `text_model....weight` -> down and up, float32.

    Down is `(R, in)`, up `(out, R)`. Only matrices of the layers are looked at. Source: truncated singular value
    decomposition, as sd-scripts' `extract_lora_from_models.py` does.
    """
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for name, weight in base.items():
        if (
            ".layers." in name
            and name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))
            and not name.startswith("vision")
        ):
            u, s, v = torch.linalg.svd(tuned[name].float() - weight.float(), full_matrices=False)
            root = s[:rank].sqrt()
            factors[name] = (root[:, None] * v[:rank]).contiguous(), (u[:, :rank] * root).contiguous()
    return factors


def lora_tensors(
    factors: Mapping[str, tuple[Tensor, Tensor]], style: LoraStyle, *, alpha: float | None = None
) -> dict[str, Tensor]:
    """The tensors as a trainer of this style stores them.

    `alpha` is stored where the style has one, and then scales by alpha / rank.
    """
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in factors.items():
        module = name.removesuffix(".weight")
        where, _, which = module.rpartition(".")
        if style == "diffusers 2022" and which not in _ATTENTION:  # that generation changed nothing else
            continue
        names = {
            "module": module,
            "flat": module.replace(".", "_"),
            "inner": module.removeprefix("text_model."),
            "attention": f"{where}.{_ATTENTION.get(which)}",
        }
        for side, letter, tensor in (("down", "A", down), ("up", "B", up)):
            tensors[_KEYS[style].format(side=side, letter=letter, **names)] = tensor
        if alpha is not None and style.startswith("kohya"):
            tensors[_KEYS[style].partition(".")[0].format(**names) + ".alpha"] = torch.tensor(alpha)
    return tensors
