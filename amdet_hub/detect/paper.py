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

from amdet_hub.config import ScanConfig
from amdet_hub.detect.context import DetectionContext, TowerPair, Towers
from amdet_hub.detect.inversion.gates import GateValues, count_gates, prompt_similarities
from amdet_hub.detect.inversion.invert import Descent, triggered_features
from amdet_hub.detect.inversion.landscape import Landscape, loss_landscape
from amdet_hub.detect.inversion.objectives import paper_terms
from amdet_hub.detect.inversion.pseudo_tokens import FreeVectors
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import hidden_states

_GATE_CHUNK = 20  # held-out prompts per forward pass: small, so that a hopeless gate is noticed early


@dataclass(frozen=True)
class PaperDetection:
    """The result of the published procedure.

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


class PaperDetector:
    """The published procedure: `search -> gates -> landscape -> PaperDetection`."""

    def detect(self, towers: Towers, prompts: PromptSet, context: DetectionContext) -> PaperDetection:
        """Run the procedure to its end.

        Args:
            towers: suspect and reference, of which the fast ones are used. Without a reference (the paper's anchor),
                its loss term and gate 3 are left out.
            prompts: split into training and held-out prompts here.
            context: `ScanConfig.for_preset("paper")` or a variation of it.
        """
        config = context.config
        n_heldout = max(2, round(config.inversion.heldout_share * len(prompts)))
        train, heldout = prompts.split(len(prompts) - n_heldout, n_heldout)
        criteria = _Criteria(towers.fast, train, heldout, config)

        def work(criteria: _Criteria) -> tuple[_Search, GateValues]:
            search = _search(criteria, context)
            opened = search.gates if search.succeeded else None
            return replace(search, vector=search.vector.cpu()), opened or criteria.gates(search.vector, early=False)

        # One chunk: the search is sequential, and one process must decide for all when to stop.
        ((search, gates),) = context.share("paper search", [criteria], work)
        landscape = loss_landscape(criteria.heldout_loss, search.vector.to(criteria.device), context)
        return PaperDetection(
            gates=gates,
            landscape=landscape,
            mean_loss=search.mean_loss,
            steps=search.steps,
            gate_checks=search.checks,
            opened=search.succeeded,
            backdoored=search.succeeded and landscape.positive_rate > config.gates.landscape_rate,
            vector=search.vector,
        )


@dataclass
class _Search:
    vector: Tensor
    steps: int = 0
    checks: int = 0
    mean_loss: float = 0.0
    gates: GateValues | None = None

    @property
    def succeeded(self) -> bool:
        return self.gates is not None and self.gates.open


def _search(criteria: _Criteria, context: DetectionContext) -> _Search:
    """Descend epoch by epoch; try the gates while the running mean loss is low enough; stop at the first success."""
    inversion, gates = context.config.inversion, context.config.gates
    generator = torch.Generator().manual_seed(context.config.seed)
    start = torch.randn((1, inversion.pseudo_tokens, criteria.hidden_size), generator=generator)
    pseudo = FreeVectors(start.to(criteria.device))
    descent, search = Descent(pseudo, inversion), _Search(pseudo.vectors().detach()[0])
    for _ in range(inversion.epochs):
        losses: list[float] = []
        for loss_of in criteria.batch_losses(generator, inversion.steps - search.steps):
            losses.append(descent.step(loss_of))
            search.steps, search.mean_loss = search.steps + 1, sum(losses) / len(losses)
            search.vector = pseudo.vectors().detach()[0]
            context.monitor.progress("inversion", search.steps, inversion.steps)
            if len(losses) % gates.check_every == 0 and search.mean_loss < gates.open_loss:
                search.checks, search.gates = search.checks + 1, criteria.gates(search.vector, early=True)
            if search.succeeded or search.mean_loss < gates.stop_loss:
                break
        if search.succeeded:
            break
    return search


class _Criteria:
    """Losses and gates of the published procedure, at the encoder's full length."""

    def __init__(self, towers: TowerPair, train: PromptSet, heldout: PromptSet, config: ScanConfig) -> None:
        self._towers, self._train, self._heldout, self._config = towers, train, heldout, config
        self._length = towers.suspect.config.max_position_embeddings
        self.hidden_size, self.device = towers.suspect.config.hidden_size, towers.suspect.device

    def batch_losses(self, generator: torch.Generator, at_most: int) -> Iterator[Callable[[Tensor], Tensor]]:
        """One pass over the shuffled training prompts, `batch_size` a step, `at_most` steps."""
        order = torch.randperm(len(self._train), generator=generator)
        for rows in torch.split(order, self._config.inversion.batch_size)[: max(at_most, 0)]:
            yield partial(self._losses, self._train.take(rows))

    def heldout_loss(self, vectors: Tensor) -> Tensor:
        """`vectors (N, K, D)` -> `(N,)` loss on the first held-out prompt: the surface of gate 4."""
        return self._losses(self._heldout.split(1)[0], vectors)

    @torch.no_grad()
    def gates(self, vector: Tensor, *, early: bool) -> GateValues:
        """Gates 1 to 3 at `vector (K, D)`."""
        first = self._triggered(self._heldout.split(1)[0], vector[None])[0][0, 0]  # (T, D)

        def chunk(rows: Tensor) -> list[Tensor]:
            triggered, clean = self._triggered(self._heldout.take(rows), vector[None])
            return prompt_similarities(triggered[0], first, None if clean is None else clean[0])

        chunks = [partial(chunk, rows) for rows in torch.split(torch.arange(len(self._heldout)), _GATE_CHUNK)]
        return count_gates(chunks, len(self._heldout), self._config.gates, early=early)

    def _losses(self, prompts: PromptSet, vectors: Tensor) -> Tensor:
        """`vectors (N, K, D)` -> `(N,)` mean loss over the prompts."""
        with torch.no_grad():
            hidden = hidden_states(self._towers.suspect, prompts, self._length)
            clean = self._towers.suspect.encode(hidden)  # (B, T, D)
        triggered, reference_triggered = self._triggered(prompts, vectors)
        terms = paper_terms(triggered, clean[None], reference_triggered)
        return terms.loss(self._config.inversion.weight_clean, self._config.inversion.weight_reference).mean(-1)

    def _triggered(self, prompts: PromptSet, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features `(N, B, T, D)` of the suspect and, where there is one, of the reference."""

        def features(encoder: TextEncoder) -> Tensor:
            return triggered_features(encoder, hidden_states(encoder, prompts, self._length), vectors)

        reference = self._towers.reference
        return features(self._towers.suspect), (features(reference) if reference is not None else None)
