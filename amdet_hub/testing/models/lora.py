"""LoRAs in the names that kohya, diffusers and PEFT give them, extracted from two towers.

For tests; knows nothing of the scanner.

    from amdet_hub.testing.models.lora import extract_lora, lora_tensors
    save_file(lora_tensors(extract_lora(base, tuned, rank=8), "kohya"), "lora.safetensors")

Source: the tensor names of sd-scripts' LoRA files, diffusers' `pytorch_lora_weights.safetensors` of three generations,
PEFT's `adapter_model.safetensors`.
"""

from __future__ import annotations

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
        if style.startswith("kohya"):
            key = {"kohya": "lora_te_", "kohya sdxl 1": "lora_te1_", "kohya sdxl 2": "lora_te2_"}[
                style
            ] + module.replace(".", "_")
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            tensors |= {} if alpha is None else {f"{key}.alpha": torch.tensor(alpha)}
        elif style == "diffusers":
            tensors |= {f"text_encoder.{module}.lora_A.weight": down, f"text_encoder.{module}.lora_B.weight": up}
        elif style == "diffusers linear layer":
            key = f"text_encoder.{module}.lora_linear_layer"
            tensors |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
        elif style == "diffusers 2022":
            if ".self_attn." in module:  # that generation changed nothing else
                where, _, which = module.rpartition(".")
                key = f"text_encoder.{where}.{_ATTENTION[which]}"
                tensors |= {f"{key}.down.weight": down, f"{key}.up.weight": up}
        else:
            key = f"base_model.model.{module.removeprefix('text_model.') if style == 'peft flat' else module}"
            tensors |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    return tensors
