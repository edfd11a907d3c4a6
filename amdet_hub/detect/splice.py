"""Features of prompts with something inserted: ids anywhere (sweep, confirmation), vectors near the front (inversion).

Knows positions and masks; refuses to know what is being looked for.
"""

from typing import Literal

import torch
from torch import Tensor

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import IncrementalTextEncoder, PrefixCache, TextEncoder

Place = Literal["start", "middle", "end"]
PLACES: tuple[Place, ...] = ("start", "middle", "end")
# How a trigger may work if not wholly everywhere: at one place alone, or everywhere in a part of the prompt.
View = Place | Literal["residual"]
VIEWS: tuple[View, ...] = (*PLACES, "residual")

# Positions per forward pass beyond which a CPU gains nothing and only takes more memory (BENCHMARKS.md).
ROWS_ON_CPU = 1024


def rows_for(encoder: TextEncoder, wanted: int) -> int:
    """Positions per forward pass on the encoder's device, at most `wanted`."""
    return min(wanted, ROWS_ON_CPU) if encoder.device.type == "cpu" else wanted


def place_index(prompts: PromptSet, place: Place) -> int:
    """The word position (0 = before the first word) that a place means for these prompts."""
    words = int(prompts.tokens.shape[1])
    return {"start": 0, "middle": words // 2, "end": words}[place]


class SplicedPrompts:
    """Pooled features of every prompt with every candidate in it, for one encoder, one prompt set and one place.

    Causal encoders run only the positions from the insertion on: the prefix's keys and values are computed once.
    Others run all positions.
    """

    def __init__(self, encoder: TextEncoder, prompts: PromptSet, place: Place) -> None:
        self._encoder, self._prompts = encoder, prompts
        self._at = place_index(prompts, place)
        self._cache: PrefixCache | None = None
        if isinstance(encoder, IncrementalTextEncoder) and encoder.config.causal:
            frame = prompts.framed().to(encoder.device)
            self._n_prefix = self._at + (prompts.special.bos is not None)
            self._tail = frame[:, self._n_prefix :]  # (B, words after + EOS)
            self._cache = encoder.prefix_cache(hidden_of(encoder, frame[:, : self._n_prefix]))

    def rows_per_candidate(self, n_ids: int) -> int:
        """Positions the encoder runs for one candidate of `n_ids` ids, over all prompts: the unit of batch sizes."""
        if self._cache is None:
            return len(self._prompts) * self._encoder.config.max_position_embeddings
        return len(self._prompts) * (self._tail.shape[1] + n_ids)

    def features(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` int64 ids -> `(B, C, D)` float32 features at the pooled position."""
        if self._cache is None:
            return self._full(candidates)
        encoder = self._encoder
        assert isinstance(encoder, IncrementalTextEncoder)
        # EOS is the last position
        return encoder.extend(self._cache, self._continuations(candidates), last_only=True)[:, :, 0].float()

    def states(self, candidates: Tensor, *, penultimate: bool) -> Tensor:
        """`candidates (C, N)` -> `(S, B, C, D)`: `features`, and with `penultimate` those before the last layer.

        One run gives both.
        """
        if not penultimate:
            return self.features(candidates)[None]
        encoder = self._encoder
        assert self._cache is not None
        assert isinstance(encoder, IncrementalTextEncoder)
        return encoder.last_states(self._cache, self._continuations(candidates)).float()

    def _continuations(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)` -> `(B or 1, C, N + tail, D)`: what follows the prefix, as layer 0 sees it."""
        encoder, tail, c = self._encoder, self._tail.shape[1], candidates.shape[0]
        rows = self._tail[:1] if tail == 1 else self._tail  # behind the last word all prompts go on alike
        parts = [candidates.to(rows.device).expand(len(rows), c, -1), rows[:, None, :].expand(-1, c, tail)]
        ids = torch.cat(parts, dim=2)  # (B or 1, C, N + tail)
        positions = slice(self._n_prefix, self._n_prefix + ids.shape[2])
        return encoder.token_embedding[ids] + encoder.position_embedding[positions]

    def _full(self, candidates: Tensor) -> Tensor:
        encoder, length = self._encoder, self._encoder.config.max_position_embeddings
        framed = [self._prompts.framed(k, self._at, length=length) for k in candidates.cpu()]
        ids = torch.stack(framed, dim=1).flatten(0, 1).to(encoder.device)  # (B * C, T)
        pooled = pooled_features(encoder, encoder.encode(hidden_of(encoder, ids)), ids)
        return pooled.view(len(self._prompts), len(candidates), -1)


def pooled_features(encoder: TextEncoder, features: Tensor, ids: Tensor) -> Tensor:
    """`features (B, T, D)` of `ids (B, T)` -> `(B, D)` float32, those at the pooled position."""
    return features[torch.arange(len(ids), device=ids.device), encoder.pool_positions(ids)].float()


def clean_features(encoder: TextEncoder, prompts: PromptSet) -> Tensor:
    """`(B, D)` float32 features at the pooled position of the prompts as they are."""
    length = None if encoder.config.causal else encoder.config.max_position_embeddings
    ids = prompts.framed(length=length).to(encoder.device)
    return pooled_features(encoder, encoder.encode(hidden_of(encoder, ids)), ids)


def insert_vectors(hidden: Tensor, vectors: Tensor) -> Tensor:
    """Pseudo-tokens spliced in after position K - 1.

    Later rows move right by K with their old position embedding, and are cut back to T.

    Args:
        hidden: `(B, T, D)` token + position embeddings.
        vectors: `(R, K, D)` for R restarts.

    Returns:
        `(R, B, T, D)`.

    Source: AMDET released code, CLIP-L path (K = 1: right after BOS).
    """
    (r, k, d), (b, t, _) = vectors.shape, hidden.shape
    wide = hidden.expand(r, b, t, d)
    return torch.cat([wide[:, :, :k], vectors[:, None].expand(r, b, k, d), wide[:, :, k : t - k]], dim=2)


def hidden_states(encoder: TextEncoder, prompts: PromptSet, length: int) -> Tensor:
    """`(B, length, D)`: what layer 0 sees of the prompts, padded to `length` positions."""
    return hidden_of(encoder, prompts.framed(length=length).to(encoder.device))


def hidden_of(encoder: TextEncoder, ids: Tensor) -> Tensor:
    """`ids (B, T)` -> `(B, T, D)`: token + position embeddings, what layer 0 sees."""
    return encoder.token_embedding[ids] + encoder.position_embedding[: ids.shape[1]]  # (B, T, D)
