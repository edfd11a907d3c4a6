"""The vocabulary sweep: every token id, spliced into a few prompts, suspect against reference.

A trigger makes different prompts alike: it *collapses* the features that a clean encoder keeps apart, and it moves
them away from where the reference has them: it *diverges*. A fine-tune that drifted, or a word learned anew, moves
features without collapsing them. Each statistic is turned into a robust z over the vocabulary, so the encoder's own
other tokens are the null distribution, whatever the drift.

Ids are swept, not text: inside a word "zzzz" is another id than alone, and an injection trains the former.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amdet_hub.config import SweepConfig
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.reference_features import HalfStore, question_of, rounded
from amdet_hub.detect.splice import SplicedPrompts, rows_for
from amdet_hub.detect.workers import Alone, Workers
from amdet_hub.errors import BadWeights

_MAD_TO_SIGMA = 1.4826  # a normal distribution's standard deviation in units of its median absolute deviation
_FOR_DIVERGENCE = 4  # every fourth token that goes on does so for its divergence alone
_FLOOR = 1e-12  # keeps the logarithm of a variance finite when features coincide exactly

BestOfBatch = Callable[[int, float, int], None]
"""Called as `measure(work done, raw collapse, token id)` with the token of each batch that collapses most.

Raw: no null is known before a pass ends.
"""


@dataclass(frozen=True)
class Sweep:
    """What the sweep measured of the tokens that reached its last pass, finalists first.

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

    @property
    def null_score(self) -> Tensor:
        """`(M - n_finalists,)` scores of the random sample."""
        return self.score[self.n_finalists :]


def robust_z(values: Tensor, null: Tensor, floor: float = 0.0) -> Tensor:
    """(x - median) / max(1.4826 * MAD, floor) of `values` under the vector `null`; zeros where that scale is zero.

    The floor is an absolute effect. Where suspect and reference hardly differ, the null has no spread to speak of, and
    without a floor the least of differences would stand out of it.
    """
    median = null.median()
    scale = max(float((null - median).abs().median()) * _MAD_TO_SIGMA, floor)
    return (values - median) / scale if scale > 0 else torch.zeros_like(values)


def cross_prompt_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: mean over prompts of the squared distance to the mean prompt, in squared feature units."""
    return (features - features.mean(0)).square().sum(-1).mean(0)


def log_variance(features: Tensor) -> Tensor:
    """`features (B, C, D)` -> `(C,)`: natural log of `cross_prompt_variance`, finite even where features coincide exactly."""
    return (cross_prompt_variance(features) + _FLOOR).log()


def sweep_vocabulary(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    prompts: PromptSet,
    token_ids: Tensor,
    config: SweepConfig,
    *,
    seed: int,
    halves: HalfStore | None = None,
    workers: Workers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    measure: BestOfBatch | None = None,
) -> Sweep:
    """Sweep `token_ids (V',)` at the end of the prompts: all of them in two prompts, the best in a few, the best of these in all prompts.

    A random sample goes along from the second pass on, and is the null there; in the first, the vocabulary is its own.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None (collapse alone, against the suspect's own vocabulary).
        prompts: at least two.
        token_ids: ids to try, specials excluded.
        config: passes, copies and batch size.
        seed: of the random sample.
        halves: where the reference's half of the first pass is kept between scans, if anywhere.
        workers: who shares the work; None = this process alone.
        progress: called with (work done, all work), in pairs of a token and a prompt.
        measure: see `BestOfBatch`.

    Source: the two statistics and their null are this project's (BENCHMARKS.md).
    """
    passes = _Passes(
        suspect,
        reference,
        config,
        workers or Alone(),
        progress,
        measure,
        n_tokens=len(token_ids),
        n_prompts=len(prompts),
    )
    with_reference = reference is not None
    generator = torch.Generator().manual_seed(seed)
    null = token_ids[torch.randperm(len(token_ids), generator=generator)[: config.n_null]]
    (screening,) = prompts.split(config.screen_prompts)
    kept = token_ids
    if passes.n_kept < len(token_ids):
        (preview,) = prompts.split(config.preview_prompts)
        first = passes.run(preview, token_ids, config.copies[0], stage="preview", as_half=True, halves=halves)
        kept = token_ids[_best(*_under(first, first, config), passes.n_kept, with_reference=with_reference)]
    second = passes.run(screening, torch.cat([kept, null]), config.copies[0], stage="screen")  # (2, kept + null)
    z = _under(second[:, : len(kept)], second[:, len(kept) :], config)
    finalists = kept[_best(*z, min(config.n_finalists, len(kept)), with_reference=with_reference)]
    ids = torch.cat([finalists, null])  # (M,)
    collapse, divergence = [], []
    for n_copies in config.copies:
        raw = passes.run(prompts, ids, n_copies, stage=f"rank x{n_copies}")  # (2, M)
        z = _under(raw, raw[:, len(finalists) :], config)
        collapse.append(z[0])
        divergence.append(z[1])
    return _best_form(
        ids,
        len(finalists),
        len(token_ids),
        config.copies,
        torch.stack(collapse),
        torch.stack(divergence),
        with_reference,
    )


class _Passes:
    """Runs passes over candidates and keeps one progress count over all of them."""

    def __init__(
        self,
        suspect: TextEncoder,
        reference: TextEncoder | None,
        config: SweepConfig,
        workers: Workers,
        progress: Callable[[int, int], None],
        measure: BestOfBatch | None,
        *,
        n_tokens: int,
        n_prompts: int,
    ) -> None:
        self._encoders, self._config, self._workers = (suspect, reference), config, workers
        self._progress, self._measure = progress, measure
        n_null, n_first = (
            min(config.n_null, n_tokens),
            max(config.n_finalists, math.ceil(config.preview_share * n_tokens)),
        )
        self.n_kept = n_first if n_first + n_null < n_tokens else n_tokens
        previewed = n_tokens if self.n_kept < n_tokens else 0
        ranked = min(config.n_finalists, n_tokens) + n_null
        self._done, self._total = (
            0,
            previewed * config.preview_prompts + (self.n_kept + n_null) * config.screen_prompts,
        )
        self._total += ranked * n_prompts * len(config.copies)  # token x prompt pairs

    def run(
        self,
        prompts: PromptSet,
        ids: Tensor,
        n_copies: int,
        *,
        stage: str,
        as_half: bool = False,
        halves: HalfStore | None = None,
    ) -> Tensor:
        """`ids (M,)` -> `(2, M)`: raw collapse and raw divergence.

        `as_half`: the reference's features are rounded as a kept half is; with `halves` they are asked for there
        first, and kept there.
        """
        suspect, reference = self._encoders
        question = (
            question_of(prompts, ids, n_copies, suspect.dtype) if halves is not None and reference is not None else ""
        )
        half = halves.load(question) if halves is not None and question else None
        with torch.inference_mode():
            ours = SplicedPrompts(suspect, prompts, "end")
            theirs = SplicedPrompts(reference, prompts, "end") if reference is not None and half is None else None
        rows = ours.rows_per_candidate(n_copies)
        # One process alone fills the store: gathering features from several would cost more than it saves.
        fresh: dict[int, Tensor] | None = {} if question and half is None and self._workers.size == 1 else None

        def work(batch_rows: int, number: int) -> Tensor:
            size = max(1, batch_rows // rows)
            part = slice(number * size, (number + 1) * size)
            candidates = ids[part, None].expand(-1, n_copies)
            measured, said = _compared(
                ours, half[:, part] if half is not None else theirs, candidates, as_half=as_half
            )
            if fresh is not None and said is not None:
                fresh[part.start] = rounded(said).cpu()
            if not bool(torch.isfinite(measured).all()):
                raise BadWeights(
                    "weights",
                    "features",
                    f"overflow on some of the token ids {int(ids[part.start])} to {int(ids[part][-1])}",
                )
            done = self._done + (part.start + len(candidates)) * len(prompts)
            if self._measure is not None:
                best = int(measured[0].argmax())
                self._measure(done, float(measured[0, best]), int(candidates[best, 0]))
            self._progress(done, self._total)
            return measured

        def n_chunks(batch_rows: int) -> int:
            if fresh is not None:
                fresh.clear()  # another batch size: from the start
            return -(-len(ids) // max(1, batch_rows // rows))

        parts = self._workers.share(f"sweep {stage}", rows_for(suspect, self._config.batch_rows), n_chunks, work)
        if halves is not None and fresh:
            halves.save(question, torch.cat([fresh[start] for start in sorted(fresh)], dim=1))
        self._done += len(ids) * len(prompts)
        return torch.cat(parts, dim=1)


def measure_candidates(ours: SplicedPrompts, theirs: SplicedPrompts | None, candidates: Tensor) -> Tensor:
    """Raw statistics of candidates, suspect against reference.

    Args:
        ours: the suspect's prompts.
        theirs: the reference's, or None.
        candidates: `(C, N)` token ids.

    Returns:
        `(2, C)` on the CPU: raw collapse, the natural log of the cross-prompt variance reference / suspect (without a
        reference minus the log of the suspect's), and raw divergence, the natural log of the mean squared feature
        difference (zeros without a reference).
    """
    return _compared(ours, theirs, candidates)[0]


@torch.inference_mode()
def _compared(
    ours: SplicedPrompts, theirs: SplicedPrompts | Tensor | None, candidates: Tensor, *, as_half: bool = False
) -> tuple[Tensor, Tensor | None]:
    """`measure_candidates`, the reference given as prompts or as its features `(B, C, D)`; and these features, as they came."""
    f = ours.features(candidates)  # (B, C, D)
    spread = log_variance(f)  # (C,)
    if theirs is None:
        return torch.stack([-spread, torch.zeros_like(spread)]).cpu(), None
    said = theirs.to(f.device) if isinstance(theirs, Tensor) else theirs.features(candidates)  # (B, C, D)
    g = rounded(said).float() if as_half else said
    collapse = log_variance(g) - spread
    return torch.stack([collapse, ((f - g).square().sum(-1).mean(0) + _FLOOR).log()]).cpu(), said


def _under(raw: Tensor, null: Tensor, config: SweepConfig) -> tuple[Tensor, Tensor]:
    """Robust z of collapse and divergence: `raw (2, C)` under `null (2, S)` -> `(C,)` each."""
    return robust_z(raw[0], null[0], config.collapse_floor), robust_z(raw[1], null[1], config.divergence_floor)


def _score(collapse_z: Tensor, divergence_z: Tensor, *, with_reference: bool) -> Tensor:
    return torch.minimum(collapse_z, divergence_z) if with_reference else collapse_z


def _best(collapse_z: Tensor, divergence_z: Tensor, n: int, *, with_reference: bool) -> Tensor:
    """Indices of the `n` tokens that go on: most for their score, best first, the rest for their divergence alone.

    A piece of a trigger may collapse nothing when it stands alone, and still be what the training moved most.
    """
    score = _score(collapse_z, divergence_z, with_reference=with_reference)
    order = score.argsort(descending=True)
    if not with_reference:
        return order[:n]
    by_score = order[: n - n // _FOR_DIVERGENCE]
    rest = divergence_z.clone()
    rest[by_score] = -torch.inf
    return torch.cat([by_score, torch.topk(rest, n - len(by_score)).indices])


def _best_form(
    ids: Tensor,
    n_finalists: int,
    n_swept: int,
    copies: tuple[int, ...],
    collapse_z: Tensor,
    divergence_z: Tensor,
    with_reference: bool,
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
