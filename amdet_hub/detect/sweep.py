"""The vocabulary sweep: every token id, spliced into a few prompts, suspect against reference.

A trigger makes different prompts alike: it *collapses* the features that a clean encoder keeps apart, and it moves them away from where the
reference has them: it *diverges*. A fine-tune that drifted, or a word learned anew, moves features without collapsing them. Each statistic
is turned into a robust z over the vocabulary, so the encoder's own other tokens are the null distribution, whatever the drift.

Ids are swept, not text: inside a word "zzzz" is another id than alone, and an injection trains the former.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.config import SweepConfig
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import SplicedPrompts
from amdet_hub.detect.workers import Alone, Workers
from amdet_hub.errors import BadWeights

_MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation in units of its median absolute deviation
_FLOOR = 1e-12  # keeps the logarithm of a variance finite when features coincide exactly


@dataclass(frozen=True)
class Sweep:
    """What the sweep measured of the tokens that reached its second pass, finalists first.

    Attributes:
        token_ids: `(M,)` int64: the finalists of the first pass, then a random sample of the vocabulary, the null.
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

    @property
    def null_score(self) -> Tensor:
        """`(M - n_finalists,)` scores of the random sample."""
        return self.score[self.n_finalists :]


def robust_z(values: Tensor, null: Tensor, floor: float = 0.0) -> Tensor:
    """(x - median) / max(1.4826 * MAD, floor) of `values` under the vector `null`; zeros where that scale is zero.

    The floor is an absolute effect. Where suspect and reference hardly differ, the null has no spread to speak of, and without a floor the
    least of differences would stand out of it.
    """
    median = null.median()
    scale = max(float((null - median).abs().median()) * _MAD_TO_SIGMA, floor)
    return (values - median) / scale if scale > 0 else torch.zeros_like(values)


def cross_prompt_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: mean over prompts of the squared distance to the mean prompt, in squared feature units."""
    return (features - features.mean(0)).square().sum(-1).mean(0)


def sweep_vocabulary(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    prompts: PromptSet,
    token_ids: Tensor,
    config: SweepConfig,
    *,
    seed: int,
    workers: Workers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Sweep `token_ids (V',)` at the end of the prompts: all of them in a few prompts, the best and a random sample in all prompts.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None (collapse alone, against the suspect's own vocabulary).
        prompts: at least two.
        token_ids: ids to try, specials excluded.
        config: passes, copies and batch size.
        seed: of the random sample.
        workers: who shares the work; None = this process alone.
        progress: called with (work done, all work), in pairs of a token and a prompt.

    Source: the two statistics and their null are this project's (BENCHMARKS.md).
    """
    passes = _Passes(suspect, reference, config, workers or Alone(), progress, n_tokens=len(token_ids), n_prompts=len(prompts))
    with_reference = reference is not None
    (screening,) = prompts.split(config.screen_prompts)
    first = passes.run(screening, token_ids, config.copies[0], stage="screen")  # (2, V')
    score = _score(
        robust_z(first[0], first[0], config.collapse_floor),
        robust_z(first[1], first[1], config.divergence_floor),
        with_reference=with_reference,
    )
    finalists = torch.topk(score, min(config.n_finalists, len(token_ids))).indices
    generator = torch.Generator().manual_seed(seed)
    null = torch.randperm(len(token_ids), generator=generator)[: config.n_null]
    ids = token_ids[torch.cat([finalists, null])]  # (M,)
    collapse, divergence = [], []
    for n_copies in config.copies:
        raw = passes.run(prompts, ids, n_copies, stage=f"rank x{n_copies}")  # (2, M)
        collapse.append(robust_z(raw[0], raw[0, len(finalists) :], config.collapse_floor))
        divergence.append(robust_z(raw[1], raw[1, len(finalists) :], config.divergence_floor))
    return _best_form(ids, len(finalists), len(token_ids), config.copies, torch.stack(collapse), torch.stack(divergence), with_reference)


class _Passes:
    """Runs passes over candidates and keeps one progress count over all of them."""

    def __init__(
        self,
        suspect: TextEncoder,
        reference: TextEncoder | None,
        config: SweepConfig,
        workers: Workers,
        progress: Callable[[int, int], None],
        *,
        n_tokens: int,
        n_prompts: int,
    ) -> None:
        self._encoders, self._config, self._workers, self._progress = (suspect, reference), config, workers, progress
        second = min(config.n_finalists, n_tokens) + min(config.n_null, n_tokens)
        self._total = n_tokens * config.screen_prompts + second * n_prompts * len(config.copies)  # token x prompt pairs
        self._done = 0

    def run(self, prompts: PromptSet, ids: Tensor, n_copies: int, *, stage: str) -> Tensor:
        """`ids (M,)` -> `(2, M)`: raw collapse and raw divergence."""
        suspect, reference = self._encoders
        with torch.inference_mode():
            ours = SplicedPrompts(suspect, prompts, "end")
            theirs = SplicedPrompts(reference, prompts, "end") if reference is not None else None
        rows = ours.rows_per_candidate(n_copies)

        def work(batch_rows: int, number: int) -> Tensor:
            size = max(1, batch_rows // rows)
            part = ids[number * size : (number + 1) * size]
            measured = measure_candidates(ours, theirs, part[:, None].expand(-1, n_copies))
            if not bool(torch.isfinite(measured).all()):
                raise BadWeights("weights", "features", f"overflow on some of the token ids {int(part[0])} to {int(part[-1])}")
            self._progress(self._done + (number * size + len(part)) * len(prompts), self._total)
            return measured

        def n_chunks(batch_rows: int) -> int:
            return -(-len(ids) // max(1, batch_rows // rows))

        parts = self._workers.share(f"sweep {stage}", self._config.batch_rows, n_chunks, work)
        self._done += len(ids) * len(prompts)
        return torch.cat(parts, dim=1)


@torch.inference_mode()
def measure_candidates(ours: SplicedPrompts, theirs: SplicedPrompts | None, candidates: Tensor) -> Tensor:
    """Raw statistics of candidates, suspect against reference.

    Args:
        ours: the suspect's prompts.
        theirs: the reference's, or None.
        candidates: `(C, N)` token ids.

    Returns:
        `(2, C)` on the CPU: raw collapse, the natural log of the cross-prompt variance reference / suspect (without a reference minus the log of the
        suspect's), and raw divergence, the natural log of the mean squared feature difference (zeros without a reference).
    """
    f = ours.features(candidates)  # (B, C, D)
    spread = cross_prompt_variance(f).add(_FLOOR).log()  # (C,)
    if theirs is None:
        return torch.stack([-spread, torch.zeros_like(spread)]).cpu()
    g = theirs.features(candidates)  # (B, C, D)
    collapse = cross_prompt_variance(g).add(_FLOOR).log() - spread
    return torch.stack([collapse, (f - g).square().sum(-1).mean(0).add(_FLOOR).log()]).cpu()


def _score(collapse_z: Tensor, divergence_z: Tensor, *, with_reference: bool) -> Tensor:
    return torch.minimum(collapse_z, divergence_z) if with_reference else collapse_z


def _best_form(
    ids: Tensor, n_finalists: int, n_swept: int, copies: tuple[int, ...], collapse_z: Tensor, divergence_z: Tensor, with_reference: bool
) -> Sweep:
    """One score per token from the z of every copy count, `(forms, M)` each."""
    score = _score(collapse_z, divergence_z, with_reference=with_reference)
    best = score.argmax(0, keepdim=True)  # (1, M)
    return Sweep(
        token_ids=ids,
        n_finalists=n_finalists,
        n_swept=n_swept,
        collapse_z=collapse_z.gather(0, best)[0],
        divergence_z=divergence_z.gather(0, best)[0],
        score=score.gather(0, best)[0],
        copies=torch.tensor(copies)[best[0]],
    )
