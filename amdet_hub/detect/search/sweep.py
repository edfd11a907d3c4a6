"""The vocabulary sweep: every token id, spliced into a few prompts, suspect against reference.

Each statistic (`search.null_distribution`) is turned into a robust z over the vocabulary. The encoder's own other
tokens are the null distribution, however far the suspect drifted.

Ids are swept, not text: inside a word "zzzz" is another id than alone, and an injection trains the former.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amdet_hub.detect.context import DetectionContext, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import ReadableTextEncoder
from amdet_hub.detect.search.null_distribution import collapse_and_divergence, combined, z_scores
from amdet_hub.detect.search.rounded_reference import RoundedReference
from amdet_hub.detect.splice import VIEWS, Place, SplicedPrompts, rows_for
from amdet_hub.errors import BadWeights
from amdet_hub.records import ReadOut

_FOR_DIVERGENCE = 4  # every fourth token that goes on does so for its divergence alone
_AT: Mapping[Place, str] = {"start": " at the start", "middle": " in the middle", "end": ""}  # of a stage's name
_FOR_OTHERS = 8  # the share of tokens that go on for another read-out than the pooled feature: an eighth as many


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
        moved: the tokens that diverge most in the first pass, `SweepConfig.n_moved` of the pooled feature.
    """

    token_ids: Tensor
    n_finalists: int
    n_swept: int
    collapse_z: Tensor
    divergence_z: Tensor
    score: Tensor
    copies: Tensor
    moved: Tensor

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


def random_tokens(context: DetectionContext, n: int | None = None) -> Tensor:
    """`(S,)` random ids of those swept, the same for one seed: the null sample, or the first `n`."""
    order = torch.randperm(len(context.token_ids), generator=torch.Generator().manual_seed(context.config.seed))
    return context.token_ids[order[: n or context.config.sweep.n_null]]


def sweep_vocabulary(towers: TowerPair, prompts: PromptSet, context: DetectionContext) -> dict[ReadOut, Sweep]:
    """Sweep the context's token ids at its place in the prompts, in passes of fewer tokens and more prompts.

    All tokens run in two prompts, the best of them in a few, the best of these in all prompts. A random sample goes
    along from the second pass on, and is the null there; in the first, the vocabulary is its own null. Every run gives
    the features of all read-outs. Each has its own null and its own best tokens; those of the other read-outs join
    those of the pooled feature, and change nothing of its numbers.

    At the start, all behind the token must run anew. So all tokens run alone, and those that diverge most in a few
    prompts of a few words.

    Args:
        towers: suspect and reference; without a reference the collapse alone counts.
        prompts: at least two.
        context: token ids, passes, copies, batch size, the seed of the random sample, and the other read-outs.

    Returns:
        The sweep of each read-out, "pooled" first; the places are none of them.

    Source: the two statistics and their null are this project's (BENCHMARKS.md).
    """
    config, ids, prompts = context.config.sweep, context.token_ids, context.searched(prompts)
    passes = _Passes(towers, len(prompts), context)
    null = random_tokens(context)
    (screening,) = prompts.split(config.screen_prompts)
    if context.view == "start":
        return passes.rank(screening, [passes.alone(prompts)], null)
    promising, n = [ids] * len(passes.read_outs), len(null)
    first = None
    if passes.n_promising < len(ids):
        first = passes.run("preview", prompts.split(config.preview_prompts)[0], ids, config.copies[0], rounded=True)
        promising = passes.best([ids] * len(first), list(first), list(first), passes.n_promising)
    second = passes.run_each("screen", screening, promising, null, config.copies[0])
    divergence = first[0, 1] if first is not None else second[0][1, :-n]
    moved = ids[divergence.topk(min(config.n_moved, len(ids))).indices]
    finalists = passes.best(
        promising, [one[:, :-n] for one in second], [one[:, -n:] for one in second], config.n_finalists
    )
    found = passes.rank(prompts, finalists, null)
    return found | {"pooled": replace(found["pooled"], moved=moved)}


class _Passes:
    def __init__(self, towers: TowerPair, n_prompts: int, context: DetectionContext) -> None:
        self._towers, self._context, self._config = towers, context, context.config.sweep
        self.read_outs: tuple[ReadOut, ...] = ("pooled", *(one for one in context.read_outs if one not in VIEWS))
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
        if context.view == "start":
            self._total = n_tokens + (self.n_promising + n_null) * config.screen_prompts

    def run_each(
        self, stage: str, prompts: PromptSet, wanted: Sequence[Tensor], null: Tensor, n_copies: int
    ) -> list[Tensor]:
        """The raw statistics of the ids that each read-out wants, `(M_r,)`, and of the null: `(2, M_r + S)` each.

        The pooled feature's run alone first. What the others want beyond it runs once, behind.
        """
        ids = torch.cat([wanted[0], null])
        raw, column = self.run(stage, prompts, ids, n_copies), {token: i for i, token in enumerate(ids.tolist())}
        if more := [token for token in sorted(set(torch.cat([*wanted]).tolist())) if token not in column]:
            column |= {token: len(ids) + i for i, token in enumerate(more)}
            raw = torch.cat([raw, self.run(stage, prompts, torch.tensor(more), n_copies, counted=False)], dim=2)
        found = [raw[0][:, : len(ids)]]
        for one, some in zip(raw[1:], wanted[1:], strict=True):
            found.append(one[:, [column[token] for token in torch.cat([some, null]).tolist()]])
        return found

    def run(
        self,
        stage: str,
        prompts: PromptSet,
        ids: Tensor,
        n_copies: int,
        *,
        rounded: bool = False,
        counted: bool = True,
    ) -> Tensor:
        """`ids (M,)` -> `(R, 2, M)`: raw collapse and raw divergence, the reference in float16 where `rounded`.

        Only what is `counted` is a part of the total that progress counts up to.
        """
        context, clean = self._context, self._towers.reference
        reference: SplicedPrompts | RoundedReference | None = None
        with torch.inference_mode():
            suspect = SplicedPrompts(self._towers.suspect, prompts, context.inserts_at)
            if clean is not None:
                reference = (
                    RoundedReference(clean, prompts, n_copies, context)
                    if rounded
                    else SplicedPrompts(clean, prompts, context.inserts_at)
                )
        rows = suspect.rows_per_candidate(n_copies)
        penultimate = "penultimate" in self.read_outs

        @torch.inference_mode()
        def work(batch_rows: int, number: int) -> Tensor:
            size = max(1, batch_rows // rows)
            part = ids[number * size : (number + 1) * size]
            candidates = part[:, None].expand(-1, n_copies)
            found = suspect.states(candidates, penultimate=penultimate)
            against = reference.states(candidates, penultimate=penultimate) if reference is not None else None
            raw = torch.stack([collapse_and_divergence(*self._read(one, found, against)) for one in self.read_outs])
            self._report(raw, part, self._done + counted * (number * size + len(part)) * len(prompts))
            return raw

        def n_chunks(batch_rows: int) -> int:
            return -(-len(ids) // max(1, batch_rows // rows))

        first_batch = rows_for(self._towers.suspect, self._config.batch_rows)
        parts = context.workers.share(f"sweep {stage}{_AT[context.inserts_at]}", first_batch, n_chunks, work)
        if isinstance(reference, RoundedReference):
            reference.save()
        self._done += counted * len(ids) * len(prompts)
        return torch.cat(parts, dim=2)

    def _read(self, read_out: ReadOut, found: Tensor, against: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The features of a read-out, from `SplicedPrompts.states` of both towers; see `TowerPair.reading`."""
        if read_out == "projected":
            one, other = self._towers.suspect, self._towers.reference
            assert isinstance(one, ReadableTextEncoder)
            return one.project(found[0]), other.project(found[0]) if isinstance(other, ReadableTextEncoder) else None
        at = int(read_out == "penultimate")
        return found[at], against[at] if against is not None else None

    def _report(self, raw: Tensor, ids: Tensor, done: int) -> None:
        """Tell the monitor of one batch, whose raw collapse is all that is known before a pass ends."""
        if not bool(torch.isfinite(raw).all()):
            raise BadWeights(
                "weights", "features", f"overflow on some of the token ids {int(ids[0])} to {int(ids[-1])}"
            )
        if self._context.monitor.measure is not None:
            collapse = raw[0, 0]
            best = int(collapse.argmax())
            self._context.monitor.measure("sweep", done, float(collapse[best]), str(int(ids[best])))
        self._context.monitor.progress("sweep", done, self._total)

    def best(self, ids: Sequence[Tensor], raw: Sequence[Tensor], null: Sequence[Tensor], n: int) -> list[Tensor]:
        """The `n` tokens of each read-out that go on, of the other read-outs an eighth as many.

        Most go on for their score, best first, the rest for their divergence alone: a piece of a trigger may collapse
        nothing when it stands alone, and still be what the training moved most.

        Args:
            ids: `(M_r,)` of each read-out.
            raw: `(2, M_r)` of these.
            null: `(2, S)` of each read-out.
            n: how many.
        """
        found = []
        for number, (some, measured, others) in enumerate(zip(ids, raw, null, strict=True)):
            most = min(n if number == 0 else -(-n // _FOR_OTHERS), len(some))
            z, compared = z_scores(measured, others, self._config), self._with_reference  # (2, M_r)
            order = combined(z, with_reference=compared).argsort(descending=True)[:most]
            if compared:
                order = order[: most - most // _FOR_DIVERGENCE]
                z[1, order] = -torch.inf
                order = torch.cat([order, torch.topk(z[1], most - len(order)).indices])
            found.append(some[order])
        return found

    def alone(self, prompts: PromptSet) -> Tensor:
        """`(M,)`: the tokens that diverge most where they are the whole prompt, which takes one run for each."""
        ids, (empty,) = self._context.token_ids, prompts.shortened(0, 0).split(1)
        divergence = self.run("preview", empty, ids, 1, rounded=True)[0, 1]
        return ids[divergence.topk(self.n_promising).indices]

    def rank(self, prompts: PromptSet, finalists: Sequence[Tensor], null: Tensor) -> dict[ReadOut, Sweep]:
        """Score finalists and null in all prompts with every copy count; the best count of each token gives its z."""
        copies = self._config.copies
        raws = [self.run_each(f"rank x{count}", prompts, finalists, null, count) for count in copies]  # (F, R)
        found: dict[ReadOut, Sweep] = {}
        for number, (read_out, some) in enumerate(zip(self.read_outs, finalists, strict=True)):
            n = len(some)
            z = torch.stack([z_scores(raw[number], raw[number][:, n:], self._config) for raw in raws])  # (F, 2, M)
            score = combined(z, with_reference=self._with_reference)  # (F, M)
            best = score.argmax(0, keepdim=True)  # (1, M)
            collapse_z, divergence_z, top = (values.gather(0, best)[0] for values in (z[:, 0], z[:, 1], score))
            found[read_out] = Sweep(
                token_ids=torch.cat([some, null]),
                n_finalists=n,
                n_swept=len(self._context.token_ids),
                collapse_z=collapse_z,
                divergence_z=divergence_z,
                score=top,
                copies=torch.tensor(copies)[best[0]],
                moved=some[:0],
            )
        return found
