"""The vocabulary sweep: every token id, spliced into a few prompts, suspect against reference.

Each statistic (`search.null_distribution`) is turned into a robust z over the vocabulary. The encoder's own other
tokens are the null distribution, however far the suspect drifted.

Ids are swept, not text: inside a word "zzzz" is another id than alone, and an injection trains the former.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.detect.context import DetectionContext, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import collapse_and_divergence, combined, z_scores
from amdet_hub.detect.splice import SplicedPrompts, rows_for
from amdet_hub.errors import BadWeights

# Raise it when the features of the same inputs change: stored ones are then not read any more.
_FEATURES_FORM = "1"
_FOR_DIVERGENCE = 4  # every fourth token that goes on does so for its divergence alone


@dataclass(frozen=True)
class Sweep:
    """The sweep's measurements of the tokens that reached its last pass, finalists first.

    Attributes:
        token_ids: `(M,)` int64: the finalists of the passes before, then a random sample of the vocabulary, the null.
        n_finalists: how many of them are finalists.
        n_swept: tokens in the first pass: the whole vocabulary less the specials.
        collapse_z: `(M,)` robust z of log(variance across prompts: reference / suspect) under the null sample.
        divergence_z: `(M,)` robust z of log(mean squared feature difference), zeros when there is no reference.
        score: `(M,)` the smaller of the two (collapse alone without a reference), the largest over the copy counts.
        copies: `(M,)` int64, the copy count that gave the score.
    """

    token_ids: Tensor
    n_finalists: int
    n_swept: int
    collapse_z: Tensor
    divergence_z: Tensor
    score: Tensor
    copies: Tensor

    def top(self, n: int) -> Tensor:
        """Indices of the `n` best finalists, best first."""
        return torch.topk(self.score[: self.n_finalists], min(n, self.n_finalists)).indices

    def best_ids(self, n: int) -> tuple[int, ...]:
        """Token ids of the `n` best finalists, best first."""
        return tuple(self.token_ids[self.top(n)].tolist())

    @property
    def null_score(self) -> Tensor:
        """`(M - n_finalists,)` scores of the random sample."""
        return self.score[self.n_finalists :]


def sweepable_ids(vocab_size: int, specials: frozenset[int]) -> Tensor:
    """`(V',)` int64: every id that a user could type."""
    return torch.tensor([i for i in range(vocab_size) if i not in specials])


def sweep_vocabulary(towers: TowerPair, prompts: PromptSet, context: DetectionContext) -> Sweep:
    """Sweep the context's token ids at the end of the prompts, in passes of fewer tokens and more prompts.

    All tokens run in two prompts, the best of them in a few, the best of these in all prompts. A random sample goes
    along from the second pass on, and is the null there; in the first, the vocabulary is its own null.

    Args:
        towers: suspect and reference; without a reference the collapse alone counts.
        prompts: at least two.
        context: token ids, passes, copies, batch size, and the seed of the random sample.

    Source: the two statistics and their null are this project's (BENCHMARKS.md).
    """
    config, ids = context.config.sweep, context.token_ids
    passes = _Passes(towers, len(prompts), context)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(context.config.seed))
    null = ids[order[: config.n_null]]
    (screening,) = prompts.split(config.screen_prompts)
    promising = ids
    if passes.n_promising < len(ids):
        first = passes.run("preview", prompts.split(config.preview_prompts)[0], ids, config.copies[0], rounded=True)
        promising = ids[passes.best(first, first, passes.n_promising)]
    n = len(promising)
    second = passes.run("screen", screening, torch.cat([promising, null]), config.copies[0])  # (2, promising + null)
    finalists = promising[passes.best(second[:, :n], second[:, n:], min(config.n_finalists, n))]
    return passes.rank(prompts, finalists, null)


class _Passes:
    def __init__(self, towers: TowerPair, n_prompts: int, context: DetectionContext) -> None:
        self._towers, self._context, self._config = towers, context, context.config.sweep
        self._with_reference = towers.reference is not None
        config, n_tokens = self._config, len(context.token_ids)
        n_null = min(config.n_null, n_tokens)
        n_first = max(config.n_finalists, math.ceil(config.preview_share * n_tokens))
        self.n_promising = n_first if n_first + n_null < n_tokens else n_tokens
        self._done = 0  # token x prompt pairs, as the total
        self._total = (
            (n_tokens * config.preview_prompts if self.n_promising < n_tokens else 0)
            + (self.n_promising + n_null) * config.screen_prompts
            + (min(config.n_finalists, n_tokens) + n_null) * n_prompts * len(config.copies)
        )

    def run(self, stage: str, prompts: PromptSet, ids: Tensor, n_copies: int, *, rounded: bool = False) -> Tensor:
        """`ids (M,)` -> `(2, M)`: raw collapse and raw divergence, the reference in float16 where `rounded`."""
        context, clean = self._context, self._towers.reference
        reference: SplicedPrompts | RoundedReference | None = None
        with torch.inference_mode():
            suspect = SplicedPrompts(self._towers.suspect, prompts, "end")
            if clean is not None:
                reference = (
                    RoundedReference(clean, prompts, n_copies, context)
                    if rounded
                    else SplicedPrompts(clean, prompts, "end")
                )
        rows = suspect.rows_per_candidate(n_copies)

        @torch.inference_mode()
        def work(batch_rows: int, number: int) -> Tensor:
            size = max(1, batch_rows // rows)
            part = ids[number * size : (number + 1) * size]
            candidates = part[:, None].expand(-1, n_copies)
            raw = collapse_and_divergence(
                suspect.features(candidates), reference.features(candidates) if reference is not None else None
            )
            self._report(raw, part, self._done + (number * size + len(part)) * len(prompts))
            return raw

        def n_chunks(batch_rows: int) -> int:
            return -(-len(ids) // max(1, batch_rows // rows))

        first_batch = rows_for(self._towers.suspect, self._config.batch_rows)
        parts = context.workers.share(f"sweep {stage}", first_batch, n_chunks, work)
        if isinstance(reference, RoundedReference):
            reference.save()
        self._done += len(ids) * len(prompts)
        return torch.cat(parts, dim=1)

    def _report(self, raw: Tensor, ids: Tensor, done: int) -> None:
        """Tell the monitor of one batch, whose raw collapse is all that is known before a pass ends."""
        if not bool(torch.isfinite(raw).all()):
            raise BadWeights(
                "weights", "features", f"overflow on some of the token ids {int(ids[0])} to {int(ids[-1])}"
            )
        if self._context.monitor.measure is not None:
            best = int(raw[0].argmax())
            self._context.monitor.measure("sweep", done, float(raw[0, best]), str(int(ids[best])))
        self._context.monitor.progress("sweep", done, self._total)

    def best(self, raw: Tensor, null: Tensor, n: int) -> Tensor:
        """Indices of the `n` tokens that go on: most for their score, best first, the rest for their divergence alone.

        A piece of a trigger may collapse nothing when it stands alone, and still be what the training moved most.
        """
        z = z_scores(raw, null, self._config)  # (2, M)
        order = combined(z, with_reference=self._with_reference).argsort(descending=True)
        if not self._with_reference:
            return order[:n]
        by_score = order[: n - n // _FOR_DIVERGENCE]
        z[1, by_score] = -torch.inf
        return torch.cat([by_score, torch.topk(z[1], n - len(by_score)).indices])

    def rank(self, prompts: PromptSet, finalists: Tensor, null: Tensor) -> Sweep:
        """Score finalists and null in all prompts with every copy count; the best count of each token gives its z."""
        ids, n, copies = torch.cat([finalists, null]), len(finalists), self._config.copies  # (M,)
        raws = [self.run(f"rank x{count}", prompts, ids, count) for count in copies]
        z = torch.stack([z_scores(raw, raw[:, n:], self._config) for raw in raws])  # (F, 2, M)
        score = combined(z, with_reference=self._with_reference)  # (F, M)
        best = score.argmax(0, keepdim=True)  # (1, M)
        collapse_z, divergence_z, top = (values.gather(0, best)[0] for values in (z[:, 0], z[:, 1], score))
        return Sweep(
            token_ids=ids,
            n_finalists=n,
            n_swept=len(self._context.token_ids),
            collapse_z=collapse_z,
            divergence_z=divergence_z,
            score=top,
            copies=torch.tensor(copies)[best[0]],
        )


def features_key(prompts: PromptSet, token_ids: Tensor, n_copies: int, dtype: torch.dtype) -> str:
    """The sha256, in hex, of everything that the features depend on beside the reference itself.

    Args:
        prompts: the prompts, whose ids count, not their text.
        token_ids: `(V',)` ids swept, in order.
        n_copies: how often each stands at the end.
        dtype: of the matrix products.
    """
    state = hashlib.sha256(f"{_FEATURES_FORM} {n_copies} {dtype} {tuple(prompts.tokens.shape)}".encode())
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
        n_copies: how often each token stands at the end.
        context: the ids swept, the store, if there is one, and the workers that share the pass.
    """

    def __init__(self, reference: TextEncoder, prompts: PromptSet, n_copies: int, context: DetectionContext) -> None:
        ids, store = context.token_ids, context.feature_store
        self._store, self._device, self._fresh = store, reference.device, None
        self._key = features_key(prompts, ids, n_copies, reference.dtype) if store is not None else ""
        self._row = {token: row for row, token in enumerate(ids.tolist())}
        self._stored = store.load(self._key) if store is not None else None
        if self._stored is None:
            self._spliced = SplicedPrompts(reference, prompts, "end")
            # One process alone fills the store: gathering features from several would cost more than it saves.
            if store is not None and context.workers.size == 1:
                self._fresh = torch.empty(len(prompts), len(ids), reference.config.hidden_size, dtype=torch.float16)

    def features(self, candidates: Tensor) -> Tensor:
        """`candidates (C, N)`, each one token repeated -> `(B, C, D)` features."""
        rows = [self._row[token] for token in candidates[:, 0].tolist()]
        if self._stored is not None:
            return self._stored[:, rows].to(self._device).float()
        rounded = self._spliced.features(candidates).half()
        if self._fresh is not None:
            self._fresh[:, rows] = rounded.cpu()
        return rounded.float()

    def save(self) -> None:
        """Store the features once all of them are computed."""
        if self._store is not None and self._fresh is not None:
            self._store.save(self._key, self._fresh)
