"""AMDET as published (CLIP-L path of the released code), with its defects removed.

Kept exactly: objective, initialisation, optimiser, batches, epochs, gates and their thresholds, the moments at which
gates are tried, early stop, landscape. Removed: a clean model is a result and not a crash; thresholds, K and the
dimensions are configuration; the landscape is computed once; nothing here knows a ground truth. Two deviations: the
prompts are our own captions, cut to one length and padded, where the paper took collected text-to-image prompts; and
counting of held-out prompts stops when a gate can no longer open, which changes no decision.

Source: Wang, Zhang, Shan, Chen, arXiv 2512.00343 (CC BY 4.0), Table I and the released code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from amdet_hub.config import InversionConfig, ScanConfig
from amdet_hub.detect.inversion.gates import GateValues, PromptMeasures, count_gates, measure_prompts
from amdet_hub.detect.inversion.invert import Descent
from amdet_hub.detect.inversion.landscape import Landscape, loss_landscape
from amdet_hub.detect.inversion.objectives import paper_terms
from amdet_hub.detect.inversion.pseudo_tokens import FreeVectors
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import hidden_states, insert_vectors
from amdet_hub.detect.workers import Alone, StageProgress, Workers

_GATE_CHUNK = 20  # held-out prompts per forward pass: small, so that a hopeless gate is noticed early


@dataclass(frozen=True)
class PaperOutcome:
    """What the published procedure found.

    Attributes:
        gates: the three gates, at the first step where all opened, else at the last vector, counted in full.
        landscape: gate 4, at the same vector.
        mean_loss: running mean of the training loss when the search ended.
        steps: optimiser steps made.
        gate_checks: how often the gates were tried.
        opened: whether gates 1 to 3 opened at some check.
        backdoored: whether gate 4 then agreed: the paper's verdict.
        vector: `(K, D)` the inverted pseudo-tokens.
    """

    gates: GateValues
    landscape: Landscape
    mean_loss: float
    steps: int
    gate_checks: int
    opened: bool
    backdoored: bool
    vector: Tensor


def run_paper(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    prompts: PromptSet,
    config: ScanConfig,
    *,
    workers: Workers | None = None,
    progress: StageProgress = lambda stage, done, total: None,
) -> PaperOutcome:
    """Run the published procedure to its end.

    Args:
        suspect: the encoder under test.
        reference: the paper's anchor; without one, its loss term and gate 3 are left out.
        prompts: split into training and held-out prompts here.
        config: `for_preset("paper")` or a variation of it.
        workers: who shares the landscape; one of them does the search, which is sequential.
        progress: called with (stage, done, total).
    """
    n_heldout = max(2, round(config.inversion.heldout_share * len(prompts)))
    train, heldout = prompts.split(len(prompts) - n_heldout, n_heldout)
    scene = _PaperScene(suspect, reference, train, heldout, config)
    generator = torch.Generator().manual_seed(config.seed)
    shape = (1, config.inversion.pseudo_tokens, suspect.config.hidden_size)

    def search_once(size: int, number: int) -> tuple[_Search, GateValues]:
        pseudo = FreeVectors(*shape, generator=generator, device=suspect.device)
        search = _search(scene, pseudo, config, generator, lambda d, t: progress("inversion", d, t))
        final = (
            search.gates if search.gates is not None and search.succeeded else scene.gates(search.vector, early=False)
        )
        return replace(search, vector=search.vector.cpu()), final

    # One chunk: the search is sequential, and one process must decide for all when to stop.
    ((search, final),) = (workers or Alone()).share("paper search", 1, lambda size: 1, search_once)
    landscape = loss_landscape(
        scene.heldout_loss,
        search.vector.to(suspect.device),
        config.landscape,
        seed=config.seed,
        workers=workers,
        progress=lambda d, t: progress("landscape", d, t),
    )
    agrees = landscape.positive_rate > config.gates.landscape_rate
    return PaperOutcome(
        gates=final,
        landscape=landscape,
        mean_loss=search.mean_loss,
        steps=search.steps,
        gate_checks=search.checks,
        opened=search.succeeded,
        backdoored=search.succeeded and agrees,
        vector=search.vector,
    )


@dataclass
class _Search:
    """Where the search stands: the vector, the counters, the last tried gates."""

    vector: Tensor
    steps: int = 0
    checks: int = 0
    mean_loss: float = 0.0
    gates: GateValues | None = None

    @property
    def succeeded(self) -> bool:
        return self.gates is not None and self.gates.open


def _search(
    scene: _PaperScene,
    pseudo: FreeVectors,
    config: ScanConfig,
    generator: torch.Generator,
    progress: Callable[[int, int], None],
) -> _Search:
    """Descend epoch by epoch; try the gates while the running mean loss is low enough; stop at the first success."""
    descent, state = Descent(pseudo, config.inversion), _Search(pseudo.vectors().detach()[0])
    for _ in range(config.inversion.epochs):
        losses: list[float] = []
        for loss_of in scene.batch_losses(generator, config.inversion.steps - state.steps):
            losses.append(descent.step(loss_of))
            state.steps, state.mean_loss, state.vector = (
                state.steps + 1,
                sum(losses) / len(losses),
                pseudo.vectors().detach()[0],
            )
            progress(state.steps, config.inversion.steps)
            if len(losses) % config.gates.check_every == 0 and state.mean_loss < config.gates.open_loss:
                state.checks, state.gates = state.checks + 1, scene.gates(state.vector, early=True)
            if state.succeeded or state.mean_loss < config.gates.stop_loss:
                break
        if state.succeeded:
            break
    return state


class _PaperScene:
    """Prompts, losses and gates of the published procedure, at the encoder's full length."""

    def __init__(
        self,
        suspect: TextEncoder,
        reference: TextEncoder | None,
        train: PromptSet,
        heldout: PromptSet,
        config: ScanConfig,
    ) -> None:
        self._suspect, self._reference, self._train, self._heldout, self._config = (
            suspect,
            reference,
            train,
            heldout,
            config,
        )
        self._length = suspect.config.max_position_embeddings

    @property
    def _inversion(self) -> InversionConfig:
        return self._config.inversion

    def batch_losses(self, generator: torch.Generator, at_most: int) -> Iterator[Callable[[Tensor], Tensor]]:
        """One pass over the shuffled training prompts, `batch_size` a step, `at_most` steps."""
        order = torch.split(torch.randperm(len(self._train), generator=generator), self._inversion.batch_size)
        for rows in order[: max(at_most, 0)]:
            batch = PromptSet(self._train.tokens[rows], self._train.special, self._train.source)
            yield partial(self._loss, batch)

    def _loss(self, batch: PromptSet, vectors: Tensor) -> Tensor:
        return self._losses(batch, vectors).mean()

    def _losses(self, prompts: PromptSet, vectors: Tensor) -> Tensor:
        """`vectors (N, K, D)` -> `(N,)` mean loss over the prompts."""
        hidden = hidden_states(self._suspect, prompts, self._length)
        with torch.no_grad():
            clean = self._suspect.encode(hidden)  # (B, T, D)
        triggered, anchor = self._triggered(prompts, hidden, vectors)
        terms = paper_terms(triggered, clean[None], anchor)
        return terms.loss(self._inversion.weight_clean, self._inversion.weight_reference).mean(-1)

    def _triggered(self, prompts: PromptSet, hidden: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features `(N, B, T, D)` of the suspect and, where there is one, of the reference."""
        wide = insert_vectors(hidden, vectors.to(hidden.dtype))
        ours = self._suspect.encode(wide.flatten(0, 1)).view(wide.shape)
        if self._reference is None:
            return ours, None
        wide = insert_vectors(hidden_states(self._reference, prompts, self._length), vectors.to(hidden.dtype))
        return ours, self._reference.encode(wide.flatten(0, 1)).view(wide.shape)

    def heldout_loss(self, vectors: Tensor) -> Tensor:
        """`(N, K, D)` -> `(N,)` loss on the first held-out prompt: the surface of gate 4."""
        return self._losses(self._heldout.split(1)[0], vectors)

    @torch.no_grad()
    def gates(self, vector: Tensor, *, early: bool) -> GateValues:
        """Gates 1 to 3 at `vector (K, D)`."""
        first = self._measured_features(self._heldout.split(1)[0], vector)[0][0]  # (T, D)

        def chunk(rows: Tensor) -> PromptMeasures:
            part = PromptSet(self._heldout.tokens[rows], self._heldout.special, self._heldout.source)
            ours, theirs = self._measured_features(part, vector)
            return measure_prompts(ours, first, theirs)

        chunks = [partial(chunk, rows) for rows in torch.split(torch.arange(len(self._heldout)), _GATE_CHUNK)]
        return count_gates(chunks, len(self._heldout), self._config.gates, early=early)

    def _measured_features(self, prompts: PromptSet, vector: Tensor) -> tuple[Tensor, Tensor | None]:
        ours, theirs = self._triggered(prompts, hidden_states(self._suspect, prompts, self._length), vector[None])
        return ours[0], None if theirs is None else theirs[0]
