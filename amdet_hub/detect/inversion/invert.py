"""Gradient inversion of a pseudo-trigger, and its paired null.

The loop knows nothing of the loss (`objectives.py`) or of the form of a vector (`pseudo_tokens.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.config_stages import InversionConfig
from amdet_hub.detect.context import DetectionContext
from amdet_hub.detect.inversion.objectives import assimilation, centred_terms
from amdet_hub.detect.inversion.pseudo_tokens import FreeVectors, HullVectors
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import hidden_states, insert_vectors
from amdet_hub.errors import BadWeights

# restarts optimised as one batch; fixed, so that the number of processes does not change the numbers
_RESTARTS_A_CHUNK = 4


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
        pseudo: the vectors it moves.
        config: learning rate and weight decay.
    """

    def __init__(self, pseudo: FreeVectors, config: InversionConfig) -> None:
        self._pseudo, rate, decay = pseudo, config.learning_rate, config.weight_decay
        self._optimiser = torch.optim.Adam([pseudo.parameters], lr=rate, weight_decay=decay)

    def step(self, loss_of: Callable[[Tensor], Tensor]) -> float:
        """One step down `loss_of`, `vectors (R, K, D)` -> `(R,)`. Returns the sum of the losses before the step."""
        self._optimiser.zero_grad()
        loss = loss_of(self._pseudo.vectors()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())


class PairedInversion:
    """A search for token mixtures that assimilate the features of one encoder but not of the other.

    With the suspect searched against the reference this is the detector; with the roles swapped, the same numbers are
    its null: how much two encoders that merely differ can be made to show. Everything that does not depend on the
    vectors is computed once.

    Args:
        searched: the encoder inverted on.
        other: the one held against it.
        train: prompts of the loss; a batch of them is drawn each step.
        heldout: prompts of the reported numbers.
        config: steps, restarts, weights.
    """

    def __init__(
        self, searched: TextEncoder, other: TextEncoder, train: PromptSet, heldout: PromptSet, config: InversionConfig
    ) -> None:
        self._searched, self._other, self._config = searched, other, config
        k, limit, causal = config.pseudo_tokens, searched.config.max_position_embeddings, searched.config.causal
        # A causal tower never looks past EOS, so positions after it need not be run; others see all of them.
        self._length = min(train.tokens.shape[1] + 2 + k, limit) if causal else limit
        self._first = k if causal else 0  # positions before the vectors cannot change in a causal tower
        with torch.no_grad():
            self._train, self._heldout = self._prepare(train), self._prepare(heldout)
            self._centre = other.encode(self._train[1]).float().mean((0, 1))  # (D,)

    def run(self, context: DetectionContext, stage: str) -> Inversion:
        """Optimise all restarts; `stage` is the name that the monitor is told."""
        config, monitor = self._config, context.monitor

        def n_chunks(size: int) -> int:
            return -(-config.restarts // size)

        def work(size: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
            count = min(size, config.restarts - number * size)
            generator = torch.Generator().manual_seed(context.config.seed * 1_000_003 + number)
            slots = self._searched.position_embedding[config.pseudo_tokens : 2 * config.pseudo_tokens]
            pseudo = HullVectors(count, self._searched.token_embedding, slots, generator=generator)
            descent = Descent(pseudo, config)
            for step, loss_of in enumerate(self._batch_losses(generator)):
                done, train_loss = number * config.steps + step + 1, descent.step(loss_of) / count
                if monitor.measure is not None:
                    monitor.measure(stage, done, train_loss, "")
                monitor.progress(stage, done, n_chunks(size) * config.steps)
            vectors = pseudo.vectors().detach()
            with torch.no_grad():
                loss, gain = self._loss_and_gain(vectors, self._heldout)
            if not bool(torch.isfinite(loss + gain).all()):
                raise BadWeights("weights", "features", "overflow on mixtures of token embeddings")
            return vectors.cpu(), loss.cpu(), gain.cpu()

        parts = context.workers.share("inversion", _RESTARTS_A_CHUNK, n_chunks, work)
        return Inversion(*map(torch.cat, zip(*parts, strict=True)))

    def heldout_loss(self, vectors: Tensor) -> Tensor:
        """`vectors (N, K, D)` -> `(N,)` mean held-out loss."""
        return self._loss_and_gain(vectors, self._heldout)[0]

    def _prepare(self, prompts: PromptSet) -> tuple[Tensor, Tensor, Tensor]:
        """(hidden of searched, hidden of other, clean features of searched), `(B, T, D)` each."""
        hidden = hidden_states(self._searched, prompts, self._length)
        return hidden, hidden_states(self._other, prompts, self._length), self._searched.encode(hidden)

    def _batch_losses(self, generator: torch.Generator) -> Iterator[Callable[[Tensor], Tensor]]:
        """One loss function per step, each on its own random batch of training prompts."""
        for _ in range(self._config.steps):
            rows = torch.randperm(len(self._train[0]), generator=generator)[: self._config.batch_size]
            batch = tuple(part[rows.to(part.device)] for part in self._train)
            yield lambda vectors, batch=batch: self._loss_and_gain(vectors, batch)[0]  # type: ignore[misc]

    def _loss_and_gain(self, vectors: Tensor, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """`vectors (R, K, D)` -> loss and gain `(R,)` each, mean over the prompts of a batch."""
        hidden, other_hidden, clean = batch
        searched = triggered_features(self._searched, hidden, vectors)[:, :, self._first :]
        other = triggered_features(self._other, other_hidden, vectors)[:, :, self._first :]
        terms = centred_terms(searched, clean[None, :, self._first :], other, self._centre)
        loss = terms.loss(self._config.weight_clean, self._config.weight_reference)
        return loss.mean(-1), (terms.assimilation - assimilation(other - self._centre)).mean(-1)


def triggered_features(encoder: TextEncoder, hidden: Tensor, vectors: Tensor) -> Tensor:
    """`hidden (B, T, D)` with `vectors (R, K, D)` spliced in -> features `(R, B, T, D)`."""
    wide = insert_vectors(hidden, vectors.to(hidden.dtype))
    return encoder.encode(wide.flatten(0, 1)).view(wide.shape)
