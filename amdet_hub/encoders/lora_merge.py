"""A LoRA merged onto its base: the tower that is scanned.

Knows torch and safetensors; the names come from `amdet_hub.encoders.lora`.

`W + scale * up @ down`, all in float32, as PEFT and diffusers merge: scale is the adapter config's, else alpha / rank,
else 1.
"""

import torch
from torch import Tensor

from amdet_hub.encoders.load import LoadedTower, check_values, finished_tower, load_tower, read_tensors
from amdet_hub.encoders.lora import MAX_ALPHA, LoraMatrix
from amdet_hub.encoders.lora_files import LoraBase
from amdet_hub.encoders.strict_json import require
from amdet_hub.encoders.transfer import fetch_file
from amdet_hub.records import ProgressCallback, RepoSource, ResolvedEncoder


def load_merged(
    resolved: ResolvedEncoder,
    base: LoraBase,
    source: RepoSource,
    progress: ProgressCallback | None = None,
    *,
    whole_base: bool = False,
) -> LoadedTower:
    """Fetch base and LoRA and load the merged tower.

    Tensors that the LoRA leaves alone keep their stored dtype, the others are float32.

    `whole_base` fetches the base's whole files, whose sha256 is checked (`load_tower`).

    Raises:
        BadWeights: a factor is not finite, too large or of another shape than when it was resolved.
        BadRepository: the merged tower overflows or has one output for every text; as `load_tower` for the base.
        HubError: a file could not be fetched.
    """
    (file,) = resolved.weight_files
    local, header = fetch_file(resolved, source, file, progress, whole_files=False)
    names = {name for m in base.lora.matrices for name in (m.down, m.up, m.alpha) if name is not None}
    factors = read_tensors(local, file.path, header, names)
    for name, tensor in factors.items():
        check_values(tensor, name, file.path)
    scale = resolved.adapter.scale if resolved.adapter is not None else None
    tensors = dict(load_tower(base.encoder, base.source, progress, whole_files=whole_base).tensors)
    for matrix in base.lora.matrices:
        weight = tensors[matrix.target].float()
        tensors[matrix.target] = weight + _product(matrix, factors, scale, weight.shape, file.path)
        check_values(tensors[matrix.target], matrix.target, file.path)
    return finished_tower(resolved.config, tensors, file.path)


def _product(
    matrix: LoraMatrix, factors: dict[str, Tensor], scale: float | None, shape: torch.Size, path: str
) -> Tensor:
    """`scale * up @ down`, float32, of the shape of the matrix it is added to."""
    down, up = factors[matrix.down].float(), factors[matrix.up].float()  # (R, in), (out, R)
    require(
        down.ndim == up.ndim == 2 and (*up.shape, *down.shape) == (shape[0], len(down), len(down), shape[1]),
        path,
        f"the LoRA of '{matrix.target}' does not fit a matrix of shape {tuple(shape)}",
    )
    if scale is None:
        scale = float(factors[matrix.alpha].float()) / len(down) if matrix.alpha is not None else 1.0
    require(
        abs(scale) <= MAX_ALPHA,  # NaN is not
        path,
        f"scales by {scale}, which is beyond {MAX_ALPHA:,.0f}",
        tensor=matrix.alpha or matrix.down,
    )
    return scale * (up @ down)
