"""What changed in the weights against the reference. For ranking and explanation; it never convicts and never acquits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

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
        ours, theirs = suspect[name].float(), reference[name].float()
        difference, norm = (ours - theirs).square(), float(theirs.double().square().sum())
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
