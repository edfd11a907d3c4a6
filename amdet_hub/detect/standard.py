"""The standard detector: vocabulary sweep, confirmation on held-out prompts, paired inversion, landscape.

Knows the order of the stages and what each hands to the next; what the numbers mean for the verdict is `amdet_hub.verdict`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from amdet_hub.config import ScanConfig
from amdet_hub.detect.confirm import Confirmation, Confirmer, accrete, against_each_other
from amdet_hub.detect.invert import Inversion, invert_in_hull, loss_of_vectors
from amdet_hub.detect.landscape import Landscape, loss_landscape
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.sweep import Sweep, sweep_vocabulary
from amdet_hub.detect.workers import Alone, StageProgress, Workers


@dataclass(frozen=True)
class StandardOutcome:
    """What the stages found. The paired inversion and the landscape need a reference and are None without one.

    Attributes:
        sweep: the vocabulary sweep.
        confirmations: candidates measured on held-out prompts, best first.
        inversion: suspect searched, reference held against it.
        swapped: the same with the roles swapped: the inversion's null.
        landscape: loss surface around the best inverted vector.
    """

    sweep: Sweep
    confirmations: tuple[Confirmation, ...]
    inversion: Inversion | None
    swapped: Inversion | None
    landscape: Landscape | None


def run_standard(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    fast: tuple[TextEncoder, TextEncoder | None],
    prompts: PromptSet,
    token_ids: Tensor,
    config: ScanConfig,
    *,
    workers: Workers | None = None,
    progress: StageProgress = lambda stage, done, total: None,
) -> StandardOutcome:
    """Run all stages.

    Args:
        suspect: the encoder under test, float32.
        reference: its clean counterpart, float32, or None.
        fast: the same two in the dtype of the sweep and the inversion (bf16 where the machine multiplies it faster).
        prompts: at least `sweep.n_prompts + sweep.n_heldout_prompts`.
        token_ids: `(V',)` ids to sweep, specials excluded.
        config: every number of the scan.
        workers: who shares the work.
        progress: called with (stage, done, total).
    """
    workers = workers or Alone()
    search, heldout = prompts.split(config.sweep.n_prompts, config.sweep.n_heldout_prompts)
    sweep = sweep_vocabulary(
        *fast, search, token_ids, config.sweep, seed=config.seed, workers=workers, progress=lambda d, t: progress("sweep", d, t)
    )
    confirmations = _confirm_best(suspect, reference, search, heldout, sweep, config, workers, lambda d, t: progress("confirm", d, t))
    if reference is None:
        return StandardOutcome(sweep, confirmations, None, None, None)
    search_hull = partial(invert_in_hull, train=heldout, heldout=search, config=config.inversion, seed=config.seed, workers=workers)
    searched, other = fast
    assert other is not None
    found = search_hull(searched, other, progress=lambda d, t: progress("inversion", d, t))
    swapped = search_hull(other, searched, progress=lambda d, t: progress("inversion, roles swapped", d, t))
    landscape = loss_landscape(
        loss_of_vectors(searched, other, heldout, search, config.inversion),
        found.vectors[found.best].to(suspect.device),
        config.landscape,
        seed=config.seed,
        workers=workers,
        progress=lambda d, t: progress("landscape", d, t),
    )
    return StandardOutcome(sweep, confirmations, found, swapped, landscape)


def candidate_triggers(sweep: Sweep, n: int, copies: tuple[int, ...], n_pairs: int) -> list[tuple[int, ...]]:
    """Candidate triggers of a sweep: the best `n` tokens alone and repeated, and ordered pairs of the best `n_pairs`, once and twice.

    Pairs name what a byte-level vocabulary cuts in two, such as a single non-Latin character.
    """
    ids = sweep.token_ids[sweep.top(n)].tolist()
    single = [(token,) * count for token in ids for count in copies]
    pairs = [(a, b) * count for a in ids[:n_pairs] for b in ids[:n_pairs] if a != b for count in (1, 2)]
    return single + pairs


def _confirm_best(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    search: PromptSet,
    heldout: PromptSet,
    sweep: Sweep,
    config: ScanConfig,
    workers: Workers,
    progress: Callable[[int, int], None],
) -> tuple[Confirmation, ...]:
    """Confirm single tokens, their repetitions and what accretion makes of the best ones; best first."""
    settings = config.sweep
    candidates = candidate_triggers(sweep, settings.n_candidates, settings.copies, settings.n_paired)
    pieces = tuple(sweep.token_ids[sweep.top(settings.n_pieces)].tolist())
    starts = pieces[: settings.n_accretions]
    total = len(starts) + len(candidates)

    def grow(size: int, number: int) -> tuple[int, ...]:
        progress(number + 1, total)
        return accrete(suspect, reference, search, (starts[number],), pieces, max_pieces=settings.max_pieces)

    grown = workers.share("accretion", 1, lambda size: len(starts), grow)
    candidates = list(dict.fromkeys(candidates + grown))

    confirmer = Confirmer(suspect, reference, search, heldout)

    def measure(size: int, number: int) -> Confirmation:
        progress(min(len(starts) + number + 1, total), total)
        return confirmer.measure(candidates[number])

    found = workers.share("confirmation", 1, lambda size: len(candidates), measure)
    if reference is None:
        found = against_each_other(found)
    # A stable sort on (success, collapse): of two that capture as much, the one that leaves less of the prompt.
    return tuple(sorted(found, key=lambda c: (c.success, c.collapse), reverse=True))


def sweepable_ids(vocab_size: int, specials: frozenset[int]) -> Tensor:
    """`(V',)` int64: every id a user could type."""
    return torch.tensor([i for i in range(vocab_size) if i not in specials])
