"""Changes of the weights against the reference: how far they moved, how they came about, which tokens they single out.

Knows tensors by their canonical names. The changes rank candidates and explain a report; they never decide a verdict.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.records import GroupDistance, Lineage

# Outstanding embedding rows at most: a trigger of eight words, some of them in pieces.
LONGEST_ASSEMBLY = 12

_ROW_GAP = 1.3  # the least ratio of one row's change to the next that separates outstanding rows from the others
_ALONG = 60  # rows that moved furthest towards a target, of which the trained ones are taken
_TRAINED_GAP = 1.3  # the same ratio among these
_ABOVE_OTHERS = 1.8  # how far above other rows' changes a trained one's lies
_OTHERS = slice(16, 48)  # ranks that no trigger reaches, by whose median the others are measured
_LISTED = 5  # tensors named in a report
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


@dataclass(frozen=True)
class WeightDifference:
    """How far a tower's tensors lie from the reference's, in float32.

    Attributes:
        relative_change: Frobenius norm of all differences over that of all reference tensors, in [0, inf).
        n_changed: tensors with any difference.
        n_tensors: tensors compared.
        n_changed_rows: rows of the token embedding with any difference.
        largest: (tensor name, its own relative change), largest first.
    """

    relative_change: float
    n_changed: int
    n_tensors: int
    n_changed_rows: int
    largest: tuple[tuple[str, float], ...]


def weight_difference(suspect: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> WeightDifference:
    """Compare the tensors that both have, by canonical name; names and shapes of the shared ones agree."""
    changes: list[tuple[str, float]] = []
    total = base = 0.0
    rows = 0
    for name in sorted(suspect.keys() & reference.keys()):
        clean = reference[name].float()
        difference, norm = (suspect[name].float() - clean).square(), float(clean.double().square().sum())
        squared = float(difference.double().sum())
        total, base = total + squared, base + norm
        changes.append((name, (squared / norm) ** 0.5 if norm > 0 else float(squared > 0)))
        if name.endswith("token_embedding.weight"):
            rows = int((difference.sum(-1) > 0).sum())
    changes.sort(key=lambda pair: (-pair[1], pair[0]))
    return WeightDifference(
        relative_change=(total / base) ** 0.5 if base > 0 else 0.0,
        n_changed=sum(change > 0 for _, change in changes),
        n_tensors=len(changes),
        n_changed_rows=rows,
        largest=tuple((name, round(change, 6)) for name, change in changes[:_LISTED]),
    )


def outstanding_rows(suspect: Tensor, reference: Tensor, token_ids: Tensor) -> tuple[int, ...]:
    """Tokens whose embedding changed more than those of all others.

    An injection trains the pieces of its trigger at every step. The rows are ranked by the norm of their change and
    cut at the widest gap among the first. They are a hint where to look, no evidence: an attacker can leave the
    embeddings alone, and a word learned honestly stands out as well.

    Args:
        suspect: `(V, D)` token embeddings.
        reference: the same of its clean counterpart.
        token_ids: `(V',)` ids to look at.

    Returns:
        At most 12 ids, the most changed first; none where no gap is wide enough.
    """
    norms, most_changed = _most_changed(suspect, reference, token_ids, LONGEST_ASSEMBLY + 1)
    ratios = norms[:-1] / norms[1:].clamp_min(torch.finfo(torch.float32).tiny)
    if len(ratios) == 0 or float(norms[0]) == 0 or float(ratios.max()) < _ROW_GAP:
        return ()
    return tuple(most_changed[: int(ratios.argmax()) + 1].tolist())


def leading_rows(suspect: Tensor, reference: Tensor, token_ids: Tensor, n: int) -> tuple[int, ...]:
    """The `n` tokens whose embedding changed most, the most changed first; none where no row changed.

    Frequent words are among them after any fine-tune, and so are the pieces of a trigger.

    Args:
        suspect: `(V, D)` token embeddings.
        reference: the same of its clean counterpart.
        token_ids: `(V',)` ids to look at.
        n: how many.
    """
    norms, most_changed = _most_changed(suspect, reference, token_ids, n)
    return tuple(most_changed[norms > 0].tolist())


def _most_changed(suspect: Tensor, reference: Tensor, token_ids: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The norms of the `n` largest changes of a row, and whose they are."""
    change = (suspect[token_ids].float() - reference[token_ids].float()).norm(dim=-1).cpu()  # (V',)
    norms, order = change.topk(min(n, len(change)))
    return norms, token_ids[order]


def trained_rows(suspect: Tensor, reference: Tensor, token_ids: Tensor, direction: Tensor) -> tuple[int, ...]:
    """Tokens whose embedding was trained towards a target: the pieces of a trigger, for its name.

    Every fine-tune moves the rows of frequent words, in directions of their own; an injection moves those of its
    trigger to where its target is spoken of. Of the rows that went furthest that way, those that moved most at all are
    taken. The cut is the last gap among the first twelve that leaves everything before it far above the rows that no
    trigger reaches.

    Args:
        suspect: `(V, D)` token embeddings.
        reference: the same of its clean counterpart.
        token_ids: `(V',)` ids to look at.
        direction: `(D,)` of length 1, where the target lies (`GradientAlignment.target_direction`).

    Returns:
        At most 12 ids, the most changed first; none where no row stands out.
    """
    change = suspect[token_ids].float() - reference[token_ids].float()  # (V', D)
    along = (change @ direction.to(change)).topk(min(_ALONG, len(change))).indices
    values, order = change[along].norm(dim=-1).cpu().sort(descending=True)
    others = values[_OTHERS]
    if len(others) == 0:
        return ()
    first, following = values[:LONGEST_ASSEMBLY], values[1 : LONGEST_ASSEMBLY + 1]
    apart = (first >= _TRAINED_GAP * following) & (first > _ABOVE_OTHERS * others.median())
    cuts = apart.nonzero().flatten().tolist()
    return tuple(token_ids[along[order[: cuts[-1] + 1].to(along.device)].cpu()].tolist()) if cuts else ()


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
