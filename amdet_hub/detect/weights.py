"""Changes of the weights against the reference.

They rank candidates and explain a report; they never decide a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# Outstanding embedding rows at most: a trigger of eight words, some of them in pieces.
LONGEST_ASSEMBLY = 12

_ROW_GAP = 1.3  # the least ratio of one row's change to the next that separates outstanding rows from the others
_ALONG = 60  # rows that moved furthest towards a target, of which the trained ones are taken
_TRAINED_GAP = 1.3  # the same ratio among these
_ABOVE_OTHERS = 1.8  # how far above other rows' changes a trained one's lies
_OTHERS = slice(16, 48)  # ranks that no trigger reaches, by whose median the others are measured
_LISTED = 5  # tensors named in a report


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
    change = (suspect[token_ids].float() - reference[token_ids].float()).norm(dim=-1).cpu()  # (V',)
    norms, order = change.topk(min(LONGEST_ASSEMBLY + 1, len(change)))
    ratios = norms[:-1] / norms[1:].clamp_min(torch.finfo(torch.float32).tiny)
    if len(ratios) == 0 or float(norms[0]) == 0 or float(ratios.max()) < _ROW_GAP:
        return ()
    found: list[int] = token_ids[order[: int(ratios.argmax()) + 1]].tolist()
    return tuple(found)


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
    found: list[int] = token_ids[along[order[: cuts[-1] + 1].to(along.device)].cpu()].tolist() if cuts else []
    return tuple(found)
