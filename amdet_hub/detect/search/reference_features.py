"""The reference's features of every token of the sweep's first pass, which are the same for every suspect.

Knows what they depend on; refuses to know where they are stored. They are rounded to float16 whether they come from a
store or not, so that a scan with a store and one without compute the same numbers. The rounding (relative 5e-4) is
below that of the sweep's own bfloat16 products.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import Tensor

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import SplicedPrompts

_FORM = "1"
"""Raise it when the features of the same inputs change: stored ones are then not read any more."""


class FeatureStore(Protocol):
    """Stores features of one reference between scans. Implemented by `amdet_hub.scanner`."""

    def load(self, key: str) -> Tensor | None:
        """The features stored under `key`, `(B, V', D)` float16 on the CPU, or None."""
        ...

    def save(self, key: str, features: Tensor) -> None:
        """Store features; a store that cannot, does nothing and raises nothing."""
        ...


def features_key(prompts: PromptSet, token_ids: Tensor, n_copies: int, dtype: torch.dtype) -> str:
    """The sha256, in hex, of everything that the features depend on beside the reference itself.

    Args:
        prompts: the prompts, whose ids count, not their text.
        token_ids: `(V',)` ids swept, in order.
        n_copies: how often each stands at the end.
        dtype: of the matrix products.
    """
    state = hashlib.sha256(f"{_FORM} {n_copies} {dtype} {tuple(prompts.tokens.shape)}".encode())
    for ids in (prompts.framed(), token_ids):
        state.update(ids.to(torch.int64).contiguous().numpy().tobytes())
    return state.hexdigest()


class RoundedReference:
    """A reference's features of one pass in float16 precision, read from a store or computed and then stored.

    Args:
        reference: the clean encoder.
        prompts: the prompts of the pass.
        token_ids: `(V',)` ids swept.
        n_copies: how often each stands at the end.
        store: None neither reads nor stores.
        fills: whether this process computes all features, so that it can store them.
    """

    def __init__(
        self,
        reference: TextEncoder,
        prompts: PromptSet,
        token_ids: Tensor,
        n_copies: int,
        store: FeatureStore | None,
        *,
        fills: bool,
    ) -> None:
        self._key = features_key(prompts, token_ids, n_copies, reference.dtype) if store is not None else ""
        self._store, self._stored = store, store.load(self._key) if store is not None else None
        self._device, self._computed = reference.device, None
        if self._stored is None:
            self._spliced = SplicedPrompts(reference, prompts, "end")
            if store is not None and fills:
                shape = (len(prompts), len(token_ids), reference.config.hidden_size)
                self._computed = torch.empty(shape, dtype=torch.float16)

    def features(self, candidates: Tensor, part: slice) -> Tensor:
        """The features `(B, C, D)` of `candidates (C, N)`, which are made of the ids in `part`."""
        if self._stored is not None:
            return self._stored[:, part].to(self._device).float()
        rounded = self._spliced.features(candidates).half()
        if self._computed is not None:
            self._computed[:, part] = rounded
        return rounded.float()

    def save(self) -> None:
        """Store the features once all of them are computed."""
        if self._store is not None and self._computed is not None:
            self._store.save(self._key, self._computed)
