"""The paper's first three gates: what counts as success, apart from how it is searched for.

Each gate is a share of held-out prompts against a threshold from `PaperGates`. They are counted together, chunk by
chunk, and counting stops as soon as one gate can no longer open: the decision is the same, most of the published
code's minutes are not spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.config import PaperGates
from amdet_hub.detect.inversion.objectives import assimilation, positionwise_similarity


@dataclass(frozen=True)
class GateValues:
    """The three shares, in [0, 1], over the `n` held-out prompts that were counted, and whether each gate opens.

    `reference_rate` is None when there is no reference to hold against. `complete` is False when counting stopped
    early; the gates that could still have opened are then reported as they stood, and `open` is False.
    """

    assimilation_rate: float
    consistency_rate: float
    reference_rate: float | None
    n: int
    complete: bool
    open: bool


@dataclass(frozen=True)
class PromptMeasures:
    """Per held-out prompt: `assimilation (B,)`, `consistency (B,)` to the first prompt, `reference (B,)` similarity (None without one)."""

    assimilation: Tensor
    consistency: Tensor
    reference: Tensor | None


def measure_prompts(triggered: Tensor, first: Tensor, reference_triggered: Tensor | None) -> PromptMeasures:
    """The three similarities of triggered features.

    Args:
        triggered: `(B, T, D)` of the suspect.
        first: `(T, D)` triggered features of held-out prompt 0.
        reference_triggered: `(B, T, D)` of the reference, or None.
    """
    return PromptMeasures(
        assimilation=assimilation(triggered).cpu(),
        consistency=positionwise_similarity(first.expand_as(triggered), triggered).cpu(),
        reference=(
            None if reference_triggered is None else positionwise_similarity(reference_triggered, triggered).cpu()
        ),
    )


def count_gates(
    chunks: Iterable[Callable[[], PromptMeasures]], total: int, gates: PaperGates, *, early: bool
) -> GateValues:
    """Count the gates over chunks of held-out prompts.

    Args:
        chunks: each makes the measures of its prompts when called.
        total: prompts in all chunks.
        gates: thresholds.
        early: stop when some gate can no longer open.
    """
    # float64: a share and its threshold must compare as they do in plain Python, where the report compares them again
    passed, failed = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    needed = torch.tensor([gates.assimilation_rate, gates.consistency_rate, gates.reference_rate], dtype=torch.float64)
    has_reference = True
    for chunk in chunks:
        hits = _hits(chunk(), gates)
        has_reference = hits[2] is not None
        for gate, hit in enumerate(hits):
            if hit is not None:
                passed[gate] += hit.sum()
                failed[gate] += (~hit).sum()
        at_best = (total - failed) / total  # if all the rest pass
        if early and not bool((at_best > needed)[: 3 if has_reference else 2].all()):
            break
    n = int(passed[0] + failed[0])
    rates = passed / max(n, 1)
    return GateValues(
        assimilation_rate=float(rates[0]),
        consistency_rate=float(rates[1]),
        reference_rate=float(rates[2]) if has_reference else None,
        n=n,
        complete=n == total,
        open=n == total and bool((rates > needed)[: 3 if has_reference else 2].all()),
    )


def _hits(measures: PromptMeasures, gates: PaperGates) -> tuple[Tensor, Tensor, Tensor | None]:
    return (
        measures.assimilation > gates.assimilation,
        measures.consistency > gates.consistency,
        None if measures.reference is None else measures.reference < gates.reference_similarity,
    )
