"""The way from a reference to its suspect, as far as the weights tell: the parts that moved, how far, by an adapter?

Knows tensors by their canonical names. For readers of a report; nothing here decides a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from amdet_hub.records import GroupDistance, Lineage

# Share of a difference's squares that its rank must account for. Merged weights stored in float16 leave noise in every
# direction.
ENERGY = 0.99
# Largest rank called low. Adapters are trained with 4 to 128.
MOST_RANK = 128
_LEAST_RATIO = 4  # a rank above a quarter of the smaller side is no low rank, whatever the side
# Source: Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53 (2011), section 1.3
_OVERSAMPLING = 8
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(self_attn|mlp|layer_norm)")
_PARTS = {"self_attn": "attention", "mlp": "mlp", "layer_norm": "norms"}
_GROUPS = (
    ("embeddings.token_embedding.", "token embeddings"),
    ("embeddings.position_embedding.", "position embeddings"),
    ("final_layer_norm.", "final norm"),
    ("text_projection.", "projection"),
    ("head.", "projection"),
)


def lineage(suspect: Mapping[str, Tensor], reference: Mapping[str, Tensor], *, same: bool) -> Lineage:
    """Compare two towers by canonical name.

    Args:
        suspect: the tower's tensors as stored.
        reference: those of its clean counterpart; shapes of what both have agree.
        same: whether the suspect's weights follow from the reference's alone (`amdet_hub.encoders.digest.same_tower`).
    """
    shared = sorted(suspect.keys() & reference.keys(), key=_order)
    dtype, reference_dtype = _dtypes(suspect.values()), _dtypes(reference[name] for name in shared)
    if same:
        return Lineage(
            "identical" if dtype == reference_dtype else "cast", dtype, reference_dtype, n_rows=_rows(suspect)
        )
    groups: dict[str, list[tuple[float, float]]] = {}  # name -> squared differences and squared norms of its tensors
    layers: set[int] = set()
    ranks: list[int | None] = []
    rows = 0
    for name in shared:
        difference = suspect[name].float() - reference[name].float()
        squared = float(difference.double().square().sum())
        groups.setdefault(_group(name), []).append((squared, float(reference[name].double().square().sum())))
        if squared == 0:
            continue
        if name.startswith("embeddings.token_embedding."):
            rows = int((difference != 0).any(-1).sum())
        if layer := _LAYER.match(name):
            layers.add(int(layer[1]))
            if difference.ndim == 2:
                ranks.append(difference_rank(difference))
    low = [rank for rank in ranks if rank is not None]
    return Lineage(
        "changed",
        dtype,
        reference_dtype,
        groups=tuple(_distance(name, squares) for name, squares in groups.items() if any(d > 0 for d, _ in squares)),
        n_rows_changed=rows,
        n_rows=_rows(suspect),
        layers_changed=tuple(sorted(layers)),
        n_matrices_changed=len(ranks),
        adapter_rank=max(low) if low and len(low) == len(ranks) else None,
    )


def difference_rank(difference: Tensor) -> int | None:
    """How many directions hold 99 % of a matrix's squares; None when that is more than an adapter would have.

    A random sketch of a few columns more than the rank in question finds the same directions as the whole
    decomposition, at the cost of three products with a thin matrix.

    Args:
        difference: `(M, N)`, not all zero.

    Source: Halko, Martinsson and Tropp, SIAM Review 53 (2011), algorithm 4.1.
    """
    most = min(MOST_RANK, min(difference.shape) // _LEAST_RATIO)
    if most < 1:
        return None
    scaled = difference / difference.abs().max()
    width = min(most + _OVERSAMPLING, *difference.shape)
    sketch = torch.randn(difference.shape[1], width, generator=torch.Generator().manual_seed(0))
    basis, _ = torch.linalg.qr(scaled @ sketch)  # (M, K)
    basis, _ = torch.linalg.qr(scaled @ (scaled.T @ basis))  # one power iteration: a slow decay would hide directions
    inner = (basis.T @ scaled).double()  # (K, N)
    values = torch.linalg.eigvalsh(inner @ inner.T).flip(0)  # (K,) squared singular values, descending
    reached = values.cumsum(0) >= ENERGY * float(scaled.double().square().sum())
    rank = int(reached.int().argmax()) + 1 if bool(reached.any()) else None
    return rank if rank is not None and rank <= most else None


def _distance(name: str, squares: list[tuple[float, float]]) -> GroupDistance:
    total, base = sum(d for d, _ in squares), sum(n for _, n in squares)
    change = (total / base) ** 0.5 if base > 0 else 1.0
    return GroupDistance(name, float(f"{change:.6g}"), sum(d > 0 for d, _ in squares), len(squares))


def _group(name: str) -> str:
    if layer := _LAYER.match(name):
        return f"layer {layer[1]} {_PARTS[layer[2]]}"
    return next((group for start, group in _GROUPS if name.startswith(start)), "other")


def _order(name: str) -> tuple[int, int, str]:
    layer = _LAYER.match(name)
    return (0 if name.startswith("embeddings.") else 1 if layer else 2, int(layer[1]) if layer else 0, name)


def _dtypes(tensors: Iterable[Tensor]) -> str:
    return "/".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors}))


def _rows(tensors: Mapping[str, Tensor]) -> int:
    return next((int(t.shape[0]) for name, t in tensors.items() if name.startswith("embeddings.token_embedding.")), 0)
