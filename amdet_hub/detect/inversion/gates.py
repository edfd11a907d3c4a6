"""The paper's first three gates: the criteria of success, apart from the search for it.

Each gate is a share of held-out prompts against a threshold from `PaperGates`. They are counted together, chunk by
chunk, and counting stops as soon as one gate can no longer open: the decision is the same, most of the published
code's minutes are not spent.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from amdet_hub.config_stages import PaperGates
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


def prompt_similarities(triggered: Tensor, first: Tensor, reference_triggered: Tensor | None) -> list[Tensor]:
    """The similarities that the gates count, of each prompt, `(B,)` each.

    Args:
        triggered: `(B, T, D)` features of the suspect.
        first: `(T, D)` triggered features of held-out prompt 0.
        reference_triggered: `(B, T, D)` of the reference, or None.

    Returns:
        Assimilation, similarity to the first prompt, and, where there is a reference, similarity to it.
    """
    others = [first.expand_as(triggered)] + ([] if reference_triggered is None else [reference_triggered])
    return [assimilation(triggered).cpu(), *(positionwise_similarity(other, triggered).cpu() for other in others)]


def count_gates(
    chunks: Iterable[Callable[[], list[Tensor]]], total: int, gates: PaperGates, *, early: bool
) -> GateValues:
    """Count the gates over chunks of held-out prompts.

    Args:
        chunks: each makes the similarities of its prompts when called (`prompt_similarities`).
        total: prompts in all chunks.
        gates: thresholds.
        early: stop when some gate can no longer open.
    """
    needed = (gates.assimilation_rate, gates.consistency_rate, gates.reference_rate)
    passed, n = [0, 0, 0], 0
    for chunk in chunks:
        assimilated, consistent, *to_reference = chunk()
        hits = [
            assimilated > gates.assimilation,
            consistent > gates.consistency,
            *(similarity < gates.reference_similarity for similarity in to_reference),
        ]
        n += len(assimilated)
        passed = [count + int(hit.sum()) for count, hit in zip(passed, hits, strict=False)]
        if early and not _above(
            [(total - n + count) / total for count in passed], needed
        ):  # even if all the rest pass
            break
    rates = [count / max(n, 1) for count in passed]
    return GateValues(
        assimilation_rate=rates[0],
        consistency_rate=rates[1],
        reference_rate=rates[2] if len(rates) > 2 else None,
        n=n,
        complete=n == total,
        open=n == total and _above(rates, needed),
    )


def _above(rates: Sequence[float], needed: Sequence[float]) -> bool:
    return all(rate > least for rate, least in zip(rates, needed, strict=False))
