"""Which weights train: a part of the model, or low-rank adapters on the attention matrices, merged when done.

Knows parametrisation; refuses to know what is trained.

Source: Hu et al., LoRA, arXiv 2106.09685: `W + B A` with `A (r, in)` random, `B (out, r)` zero at the start, so that
training starts at `W`.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from amdet_hub.bench.attack_recipe import TrainedPart
from amdet_hub.errors import ConfigError

# Low-rank training takes about ten times the learning rate of full training to go as far in as many steps.
LORA_LR_FACTOR = 10.0

# The attention matrices of transformers' CLIP and SigLIP text layers.
ADAPTED = ("q_proj", "k_proj", "v_proj", "out_proj")


class LowRank(nn.Module):
    """`W (out, in)` -> `W + B A`, in float32 whatever the surrounding autocast."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        out_size, in_size = weight.shape
        bound = 1 / math.sqrt(in_size)  # Kaiming's uniform bound, as the paper's released code initialises A
        self.a = nn.Parameter(torch.empty(rank, in_size).uniform_(-bound, bound, generator=generator))
        self.b = nn.Parameter(torch.zeros(out_size, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted matrix."""
        with torch.autocast("cpu", enabled=False):
            return weight + self.b @ self.a


# Where the weights of a part lie in transformers' CLIP and SigLIP text models.
_PARTS: dict[TrainedPart, str] = {"all": "", "embeddings": ".embeddings.", "layers": ".encoder.layers."}


@contextlib.contextmanager
def only(model: Any, part: TrainedPart) -> Iterator[None]:
    """While open, only the weights of one part of `model` require gradients; all of them again afterwards.

    The projection and the last normalisation are neither "embeddings" nor "layers".
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_PARTS[part] in f".{name}")
    try:
        yield
    finally:
        model.requires_grad_(True)


@contextlib.contextmanager
def low_rank(model: Any, rank: int, *, seed: int) -> Iterator[None]:
    """While open, only low-rank differences of the attention matrices of `model` require gradients.

    On leaving they are merged: a plain model again.

    Args:
        model: a transformers text encoder, changed in place. All of it requires gradients again afterwards.
        rank: of every difference, at least 1.
        seed: of the random halves.

    Raises:
        ConfigError: the model has no attention matrices of the known names, or `rank` is above their size.
    """
    modules = [
        module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in ADAPTED and isinstance(module, nn.Linear)
    ]
    if not modules or rank > min(min(module.weight.shape) for module in modules):
        raise ConfigError("lora_rank", f"no attention matrices of rank {rank} or more to adapt")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, generator))
    try:
        yield
    finally:
        for module in modules:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            bias = module.bias
            del module.bias
            module.register_parameter("bias", bias)  # behind the weight again, where a plain layer has it
        model.requires_grad_(True)
