"""The standard detector: vocabulary sweep, confirmation on held-out prompts; where these do not decide, paired inversion and landscape.

Knows the order of the stages and what each hands to the next; what the numbers mean for the verdict is
`amdet_hub.verdict`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amdet_hub.config import ScanConfig, Thresholds
from amdet_hub.detect.inversion.invert import Inversion, invert_in_hull, loss_of_vectors
from amdet_hub.detect.inversion.landscape import Landscape, loss_landscape
from amdet_hub.detect.naming.lexicon import Lexicon
from amdet_hub.detect.naming.reconstruct import Names, reconstruct_trigger
from amdet_hub.detect.prompts import PromptSet, joined
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.beam_search import accrete, assemble, orderings
from amdet_hub.detect.search.held_out import Confirmation, Confirmer, peer_baseline
from amdet_hub.detect.search.null_distribution import SequenceNull, best_sequences, pattern_of
from amdet_hub.detect.search.reference_features import HalfStore
from amdet_hub.detect.search.sweep import Sweep, sweep_vocabulary
from amdet_hub.detect.weights import outstanding_rows
from amdet_hub.detect.workers import Alone, StageMeasure, StageProgress, Workers

_BEST_OF_GROUP = 8  # further candidates of one length that are confirmed
_PAIRED_ROWS = 4  # most changed tokens whose ordered pairs are tried
_CHUNK = 8  # candidates of one length that are confirmed in one batch
_LEAST_STANDING, _MOST_STANDING = 6, 48  # candidates held against random sequences
_NEAR, _LEAST_EXACT, _MOST_EXACT = (
    0.6,
    12,
    64,
)  # promise from which a candidate is measured again in float32, and how many are
CLEARLY_NOTHING = 0.25
"""A strongest candidate whose margin is below this ends a scan: but for two of three target attributes (0.13, 0.16), every working attack of the
calibration that was compared with a reference reaches more (BENCHMARKS.md)."""
DECIDED = ("inversion", "landscape")
"""What is left out of a scan whose trigger search has decided it."""


@dataclass(frozen=True)
class StandardOutcome:
    """What the stages found.

    The paired inversion and the landscape need a reference and restarts, and are None without.

    Attributes:
        sweep: the vocabulary sweep.
        confirmations: candidates measured on held-out prompts, best first. The first one is judged.
        trained: once the first confirmation convicts, tokens whose embedding rows moved towards its target
            (`detect.weights.trained_rows`).
        spelled: texts made of these, measured in the same way; for the trigger's name alone.
        characters: characters that have a piece in common with what convicts, likewise.
        with_reference: whether suspect and reference were compared, or the suspect looked at alone.
        outstanding: tokens whose embedding rows changed more than all others (`detect.weights.outstanding_rows`); none
            without a reference.
        inversion: suspect searched, reference held against it.
        swapped: the same with the roles swapped: the inversion's null.
        landscape: loss surface around the best inverted vector.
        left_out: stages that were asked for and not run, because the stages before had decided.
    """

    sweep: Sweep
    confirmations: tuple[Confirmation, ...]
    with_reference: bool
    outstanding: tuple[int, ...] = ()
    trained: tuple[int, ...] = ()
    spelled: tuple[Confirmation, ...] = ()
    characters: tuple[Confirmation, ...] = ()
    inversion: Inversion | None = None
    swapped: Inversion | None = None
    landscape: Landscape | None = None
    left_out: tuple[str, ...] = ()


def run_standard(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    fast: tuple[TextEncoder, TextEncoder | None],
    prompts: PromptSet,
    token_ids: Tensor,
    config: ScanConfig,
    thresholds: Thresholds,
    *,
    more: Sequence[Tensor] = (),
    lexicon: Lexicon | None = None,
    halves: HalfStore | None = None,
    workers: Workers | None = None,
    progress: StageProgress = lambda stage, done, total: None,
    measure: StageMeasure | None = None,
) -> StandardOutcome:
    """Run all stages.

    Args:
        suspect: the encoder under test, float32.
        reference: its clean counterpart, float32, or None.
        fast: the same two in the dtype of the sweep and the inversion (bf16 where the machine multiplies it faster).
        prompts: at least `sweep.n_prompts + sweep.n_heldout_prompts`.
        token_ids: `(V',)` ids to sweep, specials excluded.
        config: every number of the scan.
        thresholds: what a candidate must reach; they decide which candidates are looked at closely.
        more: groups of further candidates, `(S, N)` ids each, one group a length; the best of each are confirmed.
        lexicon: which ids some text gives, as words and as characters: what is put together, and what a trigger that
            was found is named.
        halves: where the reference's half of the sweep is kept between scans, if anywhere.
        workers: who shares the work.
        progress: called with (stage, done, total).
        measure: called with (stage, step, value, label): of the sweep, the raw collapse of each batch's best token and
            its id; of the confirmation, each candidate's success and its ids; of both inversions, the loss of each
            step.
    """
    workers = workers or Alone()
    tell: StageMeasure = measure or (lambda stage, step, value, label: None)
    search, heldout = prompts.split(config.sweep.n_prompts, config.sweep.n_heldout_prompts)
    sweep = sweep_vocabulary(
        *fast,
        search,
        token_ids,
        config.sweep,
        seed=config.seed,
        halves=halves,
        workers=workers,
        progress=lambda d, t: progress("sweep", d, t),
        measure=(lambda done, collapse, token: tell("sweep", done, collapse, str(token))) if measure else None,
    )
    triggers = _Search(
        (suspect, reference),
        fast,
        (search, heldout),
        token_ids,
        lexicon or Lexicon(),
        config,
        thresholds,
        workers,
        lambda d, t: progress("confirm", d, t),
        tell,
    )
    rows = (
        outstanding_rows(suspect.token_embedding, reference.token_embedding, token_ids)
        if reference is not None
        else ()
    )
    further = triggers.best_of(more, lambda d, t: progress("characters", d, t))
    confirmations = triggers.run(sweep, rows, further)
    named = triggers.named(confirmations, lambda d, t: progress("name", d, t))
    outcome = StandardOutcome(sweep, confirmations, reference is not None, rows, *named)
    if reference is None or config.inversion.restarts == 0:
        return outcome
    if config.stop_when_decided and decided(confirmations, thresholds):
        return replace(outcome, left_out=DECIDED)
    searched, other = fast
    assert other is not None

    def inverted(stage: str, one: TextEncoder, held_against: TextEncoder) -> Inversion:
        told = {
            "progress": lambda d, t: progress(stage, d, t),
            "measure": lambda step, loss: tell(stage, step, loss, ""),
        }
        return invert_in_hull(
            one, held_against, heldout, search, config.inversion, seed=config.seed, workers=workers, **told
        )

    found = inverted("inversion", searched, other)
    swapped = inverted("inversion, roles swapped", other, searched)
    landscape = loss_landscape(
        loss_of_vectors(searched, other, heldout, search, config.inversion),
        found.vectors[found.best].to(suspect.device),
        config.landscape,
        seed=config.seed,
        workers=workers,
        progress=lambda d, t: progress("landscape", d, t),
    )
    return replace(outcome, inversion=found, swapped=swapped, landscape=landscape)


def decided(confirmations: Sequence[Confirmation], thresholds: Thresholds) -> bool:
    """Whether the paired inversion cannot or need not be asked: the strongest candidate convicts, or is nowhere near it.

    The inversion convicts nobody: it can only make an acquittal inconclusive.
    """
    margin = max((one.margin(thresholds) for one in confirmations if one.standing is not None), default=0.0)
    return margin >= 1 or margin < CLEARLY_NOTHING


def candidate_triggers(sweep: Sweep, n: int, copies: tuple[int, ...], n_pairs: int) -> list[tuple[int, ...]]:
    """Candidate triggers of a sweep: the best `n` tokens alone and repeated, and ordered pairs of the best `n_pairs`, once and twice.

    Pairs name what a byte-level vocabulary cuts in two, such as a single non-Latin character.
    """
    ids = sweep.token_ids[sweep.top(n)].tolist()
    single = [(token,) * count for token in ids for count in copies]
    pairs = [(a, b) * count for a in ids[:n_pairs] for b in ids[:n_pairs] if a != b for count in (1, 2)]
    return single + pairs


class _Search:
    """From the sweep's best tokens to confirmed triggers: grown, measured on held-out prompts, held against random sequences."""

    def __init__(
        self,
        exact: tuple[TextEncoder, TextEncoder | None],
        fast: tuple[TextEncoder, TextEncoder | None],
        prompts: tuple[PromptSet, PromptSet],
        token_ids: Tensor,
        lexicon: Lexicon,
        config: ScanConfig,
        thresholds: Thresholds,
        workers: Workers,
        progress: Callable[[int, int], None],
        tell: StageMeasure,
    ) -> None:
        # Growing compares many candidates. A bidirectional tower runs all positions for each, so it does with fewer
        # prompts.
        n_few = config.sweep.n_prompts if fast[0].config.causal else config.sweep.screen_prompts
        (self._few,) = prompts[0].split(n_few)
        self._suspect, self._token_ids, self._lexicon = fast[0], token_ids, lexicon
        self._config, self._thresholds, self._workers, self._progress = config, thresholds, workers, progress
        self._tell, self._n_told = tell, 0
        self._encoders, self._prompts = exact, prompts
        self._with_reference = exact[1] is not None
        self._null = SequenceNull(*fast, prompts[0], token_ids, config.sweep, seed=config.seed)
        same = len(self._few) == len(prompts[0])
        self._growth = (
            self._null if same else SequenceNull(*fast, self._few, token_ids, config.sweep, seed=config.seed)
        )
        self._exact = Confirmer(*exact, *prompts)
        self._rough = self._exact if fast[0].dtype == exact[0].dtype else Confirmer(*fast, *prompts)

    def best_of(self, groups: Sequence[Tensor], progress: Callable[[int, int], None]) -> list[tuple[int, ...]]:
        """The best few of every group."""
        total = sum(len(group) for group in groups)
        before = [sum(len(group) for group in groups[:i]) for i in range(len(groups))]

        def work(size: int, number: int) -> list[tuple[int, ...]]:
            return best_sequences(
                self._growth,
                groups[number],
                _BEST_OF_GROUP,
                progress=lambda done: progress(before[number] + done, total),
            )

        parts = self._workers.share("characters", 1, lambda size: len(groups), work)
        return [one for part in parts for one in part]

    def run(self, sweep: Sweep, rows: tuple[int, ...], further: Sequence[tuple[int, ...]]) -> tuple[Confirmation, ...]:
        """Confirmations, strongest first: by the smallest of their three numbers as a share of its threshold.

        Args:
            sweep: whose best tokens are tried.
            rows: tokens whose embeddings changed most; tried too, and put together.
            further: more candidates.
        """
        settings = self._config.sweep
        candidates = candidate_triggers(sweep, settings.n_candidates, settings.copies, settings.n_paired)
        candidates += further
        candidates += [(a, b) for a in rows[:_PAIRED_ROWS] for b in rows[:_PAIRED_ROWS] if a != b]
        grown = self._grow(tuple(sweep.token_ids[sweep.top(settings.n_pieces)].tolist()), rows)
        candidates = list(
            dict.fromkeys([*candidates, *grown, *(one * 2 for one in grown if 2 * len(one) <= settings.max_pieces)])
        )
        found = self._confirm(candidates)
        return self._stand(sorted(found, key=lambda one: (one.promise(self._thresholds), one.collapse), reverse=True))

    def named(
        self, confirmations: Sequence[Confirmation], progress: Callable[[int, int], None]
    ) -> tuple[tuple[int, ...], tuple[Confirmation, ...], tuple[Confirmation, ...]]:
        """The trained tokens; texts made of them, and characters that share a piece with what convicts, measured in float32 and with their standing."""
        convicting = [one for one in confirmations if one.margin(self._thresholds) >= 1]
        if not convicting:
            return (), (), ()

        def work(size: int, number: int) -> Names:
            return reconstruct_trigger(
                max(convicting, key=lambda one: one.collapse).token_ids,
                list(dict.fromkeys(token for one in convicting for token in one.token_ids)),
                self._encoders,
                joined(*self._prompts),
                self._token_ids,
                self._lexicon,
                self._growth.collapse,
                progress,
            )

        (names,) = self._workers.share("name", 1, lambda size: 1, work)
        return names.trained, self._named(names.texts), self._named(names.characters)

    def _named(self, texts: Sequence[tuple[int, ...]]) -> tuple[Confirmation, ...]:
        found = [one for text in texts for one in self._exact.measure([text])]
        return tuple(replace(one, standing=self._null.standing(one.token_ids)) for one in found)

    def _grow(self, pieces: tuple[int, ...], rows: tuple[int, ...]) -> list[tuple[int, ...]]:
        """What accretion makes of the best tokens, and of the most changed ones."""
        settings = self._config.sweep
        starts = pieces[: settings.n_accretions]
        n_jobs = len(starts) + bool(rows)

        def grow(size: int, number: int) -> list[tuple[int, ...]]:
            self._progress(number + 1, n_jobs + 1)
            if number == len(starts):
                return assemble(self._growth, rows) + orderings(self._growth, rows, self._lexicon.typeable)
            start = (starts[number],)
            longest, n_pointed = settings.max_pieces, settings.n_pointed
            return accrete(
                self._suspect,
                self._few,
                self._growth,
                start,
                pieces,
                self._token_ids,
                max_pieces=longest,
                n_pointed=n_pointed,
            )

        parts = self._workers.share("accretion", 1, lambda size: n_jobs, grow)
        self._progress(n_jobs + 1, n_jobs + 1)
        return [one for part in parts for one in part]

    def _confirm(self, candidates: list[tuple[int, ...]]) -> list[Confirmation]:
        """All candidates in the sweep's dtype; those that come near the thresholds again in float32, which counts."""
        found = self._measured(self._rough, candidates)
        if self._rough is not self._exact:
            rough = found if self._with_reference else peer_baseline(found)
            order = sorted(range(len(found)), key=lambda i: rough[i].promise(self._thresholds), reverse=True)
            near = sum(one.promise(self._thresholds) >= _NEAR for one in rough)
            chosen = order[: min(max(near, _LEAST_EXACT), _MOST_EXACT)]
            exact = {one.token_ids: one for one in self._measured(self._exact, [found[i].token_ids for i in chosen])}
            found = [exact.get(one.token_ids, one) for one in found]
        return found if self._with_reference else peer_baseline(found)

    def _measured(self, confirmer: Confirmer, candidates: list[tuple[int, ...]]) -> list[Confirmation]:
        """In chunks of one length."""
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for one in candidates:
            by_length.setdefault(len(one), []).append(one)
        chunks = [part[i : i + _CHUNK] for part in by_length.values() for i in range(0, len(part), _CHUNK)]

        def work(size: int, number: int) -> list[Confirmation]:
            measured = confirmer.measure(chunks[number])
            for one in measured:
                self._n_told += 1
                self._tell("confirm", self._n_told, one.success, " ".join(map(str, one.token_ids)))
            return measured

        parts = self._workers.share("confirmation", 1, lambda size: len(chunks), work)
        return [one for part in parts for one in part]

    def _stand(self, found: list[Confirmation]) -> tuple[Confirmation, ...]:
        """Measure the standing of everything that reaches both thresholds, and of the nearest few that do not."""
        reaching = sum(one.promise(self._thresholds) >= 1 for one in found)
        n = min(len(found), max(reaching, _LEAST_STANDING), _MOST_STANDING)
        # One chunk per pattern, so that its null is made once.
        patterns: dict[tuple[int, ...], list[int]] = {}
        for index, one in enumerate(found[:n]):
            patterns.setdefault(pattern_of(one.token_ids), []).append(index)
        groups = list(patterns.values())

        def measure(size: int, number: int) -> list[float]:
            return [self._null.standing(found[index].token_ids) for index in groups[number]]

        values = self._workers.share("standing", 1, lambda size: len(groups), measure)
        standing = {
            index: value
            for group, part in zip(groups, values, strict=True)
            for index, value in zip(group, part, strict=True)
        }
        stood = [replace(one, standing=standing[index]) for index, one in enumerate(found[:n])]
        # Success ends at 1; of those that reach it, the one whose other two numbers are the larger.
        rest = replace(self._thresholds, trigger_success=1e-9)
        stood.sort(key=lambda one: (one.margin(self._thresholds), one.margin(rest)), reverse=True)
        return (*stood, *found[n:])


def sweepable_ids(vocab_size: int, specials: frozenset[int]) -> Tensor:
    """`(V',)` int64: every id a user could type."""
    return torch.tensor([i for i in range(vocab_size) if i not in specials])
