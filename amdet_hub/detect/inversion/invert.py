"""Gradient inversion of a pseudo-trigger, and its paired null.

The loop knows nothing of what success means (`criteria.py`) or of what a vector may be (`pseudo_tokens.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.config import InversionConfig
from amdet_hub.detect.inversion.objectives import Terms, assimilation, centred_terms
from amdet_hub.detect.inversion.pseudo_tokens import HullVectors, PseudoTokens
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import hidden_states, insert_vectors
from amdet_hub.detect.workers import Alone, Workers
from amdet_hub.errors import BadWeights

_RESTARTS_A_CHUNK = (
    4  # restarts optimised as one batch; fixed, so that the number of processes does not change the numbers
)


@dataclass(frozen=True)
class Inversion:
    """R inverted pseudo-triggers.

    Attributes:
        vectors: `(R, K, D)` float32 on the CPU.
        loss: `(R,)` held-out loss.
        gain: `(R,)` held-out centred assimilation of the searched encoder minus that of the other, in [-1, 1].
    """

    vectors: Tensor
    loss: Tensor
    gain: Tensor

    @property
    def best(self) -> int:
        """The restart with the lowest held-out loss."""
        return int(self.loss.argmin())


class Descent:
    """Adam on pseudo-tokens, one step per loss.

    Args:
        pseudo: what is moved.
        config: learning rate and weight decay.
    """

    def __init__(self, pseudo: PseudoTokens, config: InversionConfig) -> None:
        self._pseudo = pseudo
        self._optimiser = torch.optim.Adam(
            [pseudo.parameters], lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self, loss_of: Callable[[Tensor], Tensor]) -> float:
        """One step down `loss_of`, `vectors (R, K, D)` -> scalar. Returns the loss before the step."""
        self._optimiser.zero_grad()
        loss = loss_of(self._pseudo.vectors())
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())


def invert_in_hull(
    searched: TextEncoder,
    other: TextEncoder,
    train: PromptSet,
    heldout: PromptSet,
    config: InversionConfig,
    *,
    seed: int,
    workers: Workers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    measure: Callable[[int, float], None] = lambda step, loss: None,
) -> Inversion:
    """Search for token mixtures that assimilate the features of `searched` but not of `other`.

    With the suspect searched against the reference this is the detector; with the roles swapped, the same numbers are
    its null: what two encoders that merely differ can be made to show.

    Args:
        searched: the encoder inverted on.
        other: the one held against it.
        train: prompts of the loss; a batch of them is drawn each step.
        heldout: prompts of the reported numbers.
        config: steps, restarts, weights.
        seed: of the starts and of the batches.
        workers: who shares the restarts; None = this process alone.
        progress: called with (steps done by this process, its total).
        measure: called with (step, training loss before it, mean over the restarts of a chunk).
    """
    scene = _Scene(searched, other, train, heldout, config)

    def work(size: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
        count = min(size, config.restarts - number * size)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        slots = searched.position_embedding[config.pseudo_tokens : 2 * config.pseudo_tokens]
        pseudo = HullVectors(count, searched.token_embedding, slots, generator=generator)
        descent = Descent(pseudo, config)
        for step, loss_of in enumerate(scene.batch_losses(generator)):
            done = number * config.steps + step + 1
            measure(done, descent.step(loss_of) / count)
            progress(done, -(-config.restarts // size) * config.steps)
        return scene.measure(pseudo.vectors().detach())

    parts = (workers or Alone()).share("inversion", _RESTARTS_A_CHUNK, lambda size: -(-config.restarts // size), work)
    return Inversion(*(torch.cat([part[i] for part in parts]) for i in range(3)))


def loss_of_vectors(
    searched: TextEncoder, other: TextEncoder, train: PromptSet, heldout: PromptSet, config: InversionConfig
) -> Callable[[Tensor], Tensor]:
    """The inversion's loss on the first held-out prompt as a function `(N, K, D)` -> `(N,)`: the surface of the landscape."""
    return _Scene(searched, other, train, heldout.split(1)[0], config).heldout_loss


class _Scene:
    """Everything of an inversion that does not depend on the vectors, computed once."""

    def __init__(
        self, searched: TextEncoder, other: TextEncoder, train: PromptSet, heldout: PromptSet, config: InversionConfig
    ) -> None:
        self._searched, self._other, self._config = searched, other, config
        k, limit = config.pseudo_tokens, searched.config.max_position_embeddings
        # A causal tower never looks past EOS, so positions after it need not be run; others see all of them.
        self._length = min(train.tokens.shape[1] + 2 + k, limit) if searched.config.causal else limit
        self._first = (
            k if searched.config.causal else 0
        )  # positions before the vectors cannot change in a causal tower
        with torch.no_grad():
            self._train = self._prepare(train)
            self._heldout = self._prepare(heldout)
            self._centre = other.encode(self._train[1]).float().mean((0, 1))  # (D,)

    def _prepare(self, prompts: PromptSet) -> tuple[Tensor, Tensor, Tensor]:
        """(hidden of searched, hidden of other, clean features of searched), `(B, T, D)` each."""
        ours = hidden_states(self._searched, prompts, self._length)
        return ours, hidden_states(self._other, prompts, self._length), self._searched.encode(ours)

    def batch_losses(self, generator: torch.Generator) -> Iterator[Callable[[Tensor], Tensor]]:
        """One loss function per step, each on its own random batch of training prompts."""
        n = self._train[0].shape[0]
        for _ in range(self._config.steps):
            rows = torch.randperm(n, generator=generator)[: self._config.batch_size]
            batch = tuple(part[rows.to(part.device)] for part in self._train)
            yield lambda vectors, batch=batch: self._terms(vectors, batch)[0].loss(*self._weights).mean(-1).sum()  # type: ignore[misc]

    @property
    def _weights(self) -> tuple[float, float]:
        return self._config.weight_clean, self._config.weight_reference

    def _terms(self, vectors: Tensor, batch: tuple[Tensor, ...]) -> tuple[Terms, Tensor]:
        """`vectors (R, K, D)` -> terms `(R, B)` and the other encoder's centred assimilation `(R, B)`."""
        ours, theirs, clean = batch
        f = self._features(self._searched, ours, vectors)
        g = self._features(self._other, theirs, vectors)
        terms = centred_terms(f, clean[None, :, self._first :], g, self._centre)
        return terms, assimilation(g - self._centre)

    def _features(self, encoder: TextEncoder, hidden: Tensor, vectors: Tensor) -> Tensor:
        wide = insert_vectors(hidden, vectors.to(hidden.dtype))  # (R, B, T, D)
        return encoder.encode(wide.flatten(0, 1)).view(wide.shape)[:, :, self._first :]

    def heldout_loss(self, vectors: Tensor) -> Tensor:
        """`(N, K, D)` -> `(N,)` mean held-out loss."""
        return self._terms(vectors, self._heldout)[0].loss(*self._weights).mean(-1)

    @torch.no_grad()
    def measure(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(vectors, held-out loss (R,), held-out gain (R,))` on the CPU."""
        terms, other = self._terms(vectors, self._heldout)
        loss, gain = terms.loss(*self._weights).mean(-1).cpu(), (terms.assimilation - other).mean(-1).cpu()
        if not bool(torch.isfinite(loss + gain).all()):
            raise BadWeights("weights", "features", "overflow on mixtures of token embeddings")
        return vectors.cpu(), loss, gain
