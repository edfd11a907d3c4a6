"""A reference's features of the sweep's first pass: the same for every suspect, so they are stored between scans."""

import hashlib

import torch
from torch import Tensor

from amdet_hub.detect.context import DetectionContext
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import Place, SplicedPrompts

# Raise it when the features of the same inputs change: stored ones are then not read any more.
_FEATURES_FORM = "2"


def features_key(
    prompts: PromptSet, token_ids: Tensor, n_copies: int, dtype: torch.dtype, form: tuple[Place, bool] = ("end", False)
) -> str:
    """The sha256, in hex, of everything that the features depend on beside the reference itself.

    Args:
        prompts: the prompts, whose ids count, not their text.
        token_ids: `(V',)` ids swept, in order.
        n_copies: how often each stands at its place.
        dtype: of the matrix products.
        form: the place, and whether the features of the layer before the last lie behind those of the last.
    """
    shape = tuple(prompts.tokens.shape)
    state = hashlib.sha256(f"{_FEATURES_FORM} {n_copies} {dtype} {form} {shape}".encode())
    for ids in (prompts.framed(), token_ids):
        state.update(ids.to(torch.int64).contiguous().numpy().tobytes())
    return state.hexdigest()


class RoundedReference:
    """A reference's features of the first pass, which are the same for every suspect: stored, or computed and stored.

    They are rounded to float16 whether they come from a store or not, so that a scan with a store and one without
    compute the same numbers. The rounding (relative 5e-4) is below that of the sweep's own bfloat16 products.

    Args:
        reference: the clean encoder.
        prompts: the prompts of the pass.
        n_copies: how often each token stands at its place.
        context: the ids swept, their place, the read-outs, the store, if there is one, and the workers that share the
            pass.
    """

    def __init__(self, reference: TextEncoder, prompts: PromptSet, n_copies: int, context: DetectionContext) -> None:
        ids, store = context.token_ids, context.feature_store
        self._store, self._device, self._fresh = store, reference.device, None
        penultimate = "penultimate" in context.read_outs
        form = (context.inserts_at, penultimate)
        self._key = features_key(prompts, ids, n_copies, reference.dtype, form) if store is not None else ""
        self._row = {token: row for row, token in enumerate(ids.tolist())}
        self._stored = store.load(self._key) if store is not None else None
        if self._stored is None:
            self._spliced = SplicedPrompts(reference, prompts, context.inserts_at)
            # One process alone fills the store: gathering features from several would cost more than it saves.
            if store is not None and context.workers.size == 1:
                shape = (1 + penultimate, len(prompts), len(ids), reference.config.hidden_size)
                self._fresh = torch.empty(shape, dtype=torch.float16)

    def states(self, candidates: Tensor, *, penultimate: bool) -> Tensor:
        """`candidates (C, N)`, each one token repeated -> `(S, B, C, D)`, see `SplicedPrompts.states`."""
        rows = [self._row[token] for token in candidates[:, 0].tolist()]
        if self._stored is not None:
            return self._stored[:, :, rows].to(self._device).float()
        rounded = self._spliced.states(candidates, penultimate=penultimate).half()
        if self._fresh is not None:
            self._fresh[:, :, rows] = rounded.cpu()
        return rounded.float()

    def save(self) -> None:
        """Store the features once all of them are computed."""
        if self._store is not None and self._fresh is not None:
            self._store.save(self._key, self._fresh)
