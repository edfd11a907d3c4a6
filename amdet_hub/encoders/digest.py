"""Digests and exact comparison of two towers' weights, on canonical tensors.

Knows torch; refuses to know files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from amdet_hub.encoders.canonical_names import PROJECTION

# Order of precision. float16 and bfloat16 do not contain each other, so neither is below the other.
_PRECISION = {torch.float64: 3, torch.float32: 2, torch.float16: 1, torch.bfloat16: 1}


def tower_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 (64 hex digits) of a tower's weights: all but CLIP's projection.

    Depends on names, dtypes, shapes and bits; not on order, file layout, shards or prefix. The projection is left out
    because the same tower is published with and without it; see `projection_digest`.
    """
    return _digest(tensors, (name for name in tensors if name != PROJECTION))


def projection_digest(tensors: Mapping[str, Tensor]) -> str | None:
    """sha256 (64 hex digits) of CLIP's text projection, None where there is none."""
    return _digest(tensors, (PROJECTION,)) if PROJECTION in tensors else None


def same_tower(suspect: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> bool:
    """Whether the suspect's weights follow from the reference's alone, so that no training has changed them.

    True when all bits are equal, or when the suspect is stored in lower precision and equals the reference cast to it,
    tensor by tensor. Never the reverse: casting the suspect would forget what was added to it. A projection must agree
    where the suspect has one.
    """
    core = suspect.keys() - {PROJECTION}
    if core != reference.keys() - {PROJECTION} or (PROJECTION in suspect and PROJECTION not in reference):
        return False
    return all(_same_tensor(suspect[name], reference[name]) for name in sorted(suspect))


def same_projection(suspect: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> bool:
    """Whether the suspect's projection, CLIP's matrix or SigLIP's head, follows from the reference's alone."""
    names = [name for name in suspect if name.startswith((PROJECTION, "head."))]
    return all(name in reference and _same_tensor(suspect[name], reference[name]) for name in names)


def _same_tensor(suspect: Tensor, reference: Tensor) -> bool:
    lower = _PRECISION.get(suspect.dtype, 9) < _PRECISION.get(reference.dtype, 0)
    if suspect.shape != reference.shape or not (lower or suspect.dtype == reference.dtype):
        return False
    return torch.equal(_bits(suspect), _bits(reference.to(suspect.dtype)))  # bits, not values: 0.0 and -0.0 differ


def _digest(tensors: Mapping[str, Tensor], names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        tensor = tensors[name]
        head = json.dumps([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)], separators=(",", ":"))
        digest.update(head.encode() + b"\n")
        digest.update(_bits(tensor).numpy().data)
    return digest.hexdigest()


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
