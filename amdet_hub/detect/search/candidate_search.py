"""The search after the sweep: candidates are proposed, confirmed on held-out prompts, ranked, and put into words."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from amdet_hub.detect.context import Candidate, DetectionContext, Towers
from amdet_hub.detect.naming.reconstruct import reconstruct_trigger
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.beam_search import BeamSearch
from amdet_hub.detect.search.held_out import Confirmation, Confirmer, peer_baseline
from amdet_hub.detect.search.null_distribution import SequenceNull, pattern_of
from amdet_hub.detect.search.sweep import Sweep, random_tokens
from amdet_hub.detect.splice import VIEWS

_BEST_OF_GROUP = 8  # further candidates of one length that are confirmed
_PAIRED_ROWS = 4  # outstanding tokens whose ordered pairs are tried
N_LEADING = 6  # most changed tokens whose orders are tried, whether they stand out or not
_LONGEST_LED = 3  # of them in one order
_CHUNK = 8  # candidates of one length that are confirmed in one batch
_LEAST_STANDING, _MOST_STANDING = 6, 48  # candidates held against random sequences
_RANDOM, _RANDOM_LENGTH = 64, 3  # sequences that straightness is held against, and their tokens
_NEAR = 0.6  # promise from which a candidate is measured again in float32
_LEAST_EXACT, _MOST_EXACT = 12, 64  # candidates measured again in float32


@dataclass(frozen=True)
class ChangedPieces:
    """Tokens that the training changed most: possible pieces of a trigger.

    Attributes:
        outstanding: those far above all others, at most twelve; mostly none.
        leading: the first `N_LEADING`, whether they stand out or not.
        words: those that can be made of some of the leading ones.
    """

    outstanding: Candidate = ()
    leading: Candidate = ()
    words: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class NamedTrigger:
    """Names for a trigger that was found, measured like any candidate.

    Attributes:
        trained: tokens whose embedding rows moved towards its target (`detect.weights.trained_rows`).
        spelled: texts made of these.
        characters: characters that have a piece in common with a candidate that passes.
    """

    trained: tuple[int, ...] = ()
    spelled: tuple[Confirmation, ...] = ()
    characters: tuple[Confirmation, ...] = ()


def candidate_triggers(sweep: Sweep, n: int, copies: tuple[int, ...], n_pairs: int) -> list[Candidate]:
    """The best `n` tokens of a sweep alone and repeated, and ordered pairs of the best `n_pairs`, once and twice.

    Pairs name what a byte-level vocabulary cuts in two, such as a single non-Latin character.
    """
    ids = sweep.best_ids(n)
    return [
        *((token,) * count for token in ids for count in copies),
        *(pair * count for pair in itertools.permutations(ids[:n_pairs], 2) for count in (1, 2)),
    ]


def words_of(pieces: Candidate, context: DetectionContext) -> tuple[Candidate, ...]:
    """The words that can be made of some of these tokens; they need not remove anything at the end of a prompt."""
    orders = (itertools.permutations(pieces, length) for length in range(1, _LONGEST_LED + 1))
    words = map(context.lexicon.as_word, itertools.chain(*orders))
    return tuple(word for word in words if word is not None)


class CandidateSearch:
    """From the sweep's best tokens to ranked triggers. Call `propose`, `confirm`, `rank` and `name` in this order.

    Args:
        towers: suspect and reference; the fast ones rank, the exact ones give the numbers that are judged.
        prompts: those of the sweep, then those it never saw.
        context: settings, thresholds, workers and monitor.
    """

    def __init__(self, towers: Towers, prompts: PromptSet, context: DetectionContext) -> None:
        self._towers, self._prompts, self._context = towers, prompts, context
        self._sweep, self._thresholds = context.config.sweep, context.thresholds
        search, heldout = prompts.split(self._sweep.n_prompts, self._sweep.n_heldout_prompts)
        # Growing compares many candidates. A bidirectional tower runs all positions for each, so it does with fewer
        # prompts.
        tried = context.searched(search)
        few = tried if towers.fast.suspect.config.causal else tried.split(self._sweep.screen_prompts)[0]
        self._null = SequenceNull(towers.fast, tried, context)
        self._growth = self._null if len(few) == len(tried) else SequenceNull(towers.fast, few, context)
        self._beam = BeamSearch(towers.fast.suspect, few, self._growth, context)
        random = random_tokens(context, _RANDOM * _RANDOM_LENGTH) if "residual" in context.read_outs else None
        random = random.view(-1, _RANDOM_LENGTH) if random is not None else None
        self._exact = Confirmer(towers.exact, search, heldout, context.view, random)
        alike = towers.fast.suspect.dtype == towers.exact.suspect.dtype
        self._rough = self._exact if alike else Confirmer(towers.fast, search, heldout, context.view, random)
        self._n_measured = 0

    def propose(self, sweep: Sweep, pieces: ChangedPieces) -> list[Candidate]:
        """Different candidates: of the sweep's best tokens, of the context's groups, of changed tokens, and grown.

        Args:
            sweep: whose best tokens are tried.
            pieces: tried too, and put together.
        """
        settings = self._sweep
        further = self._best_of_groups()
        grown = self._grow(sweep.best_ids(settings.n_pieces), pieces)
        candidates = itertools.chain(
            candidate_triggers(sweep, settings.n_candidates, settings.copies, settings.n_paired),
            further,
            pieces.words,
            itertools.permutations(pieces.outstanding[:_PAIRED_ROWS], 2),
            grown,
            (one * 2 for one in grown if 2 * len(one) <= settings.max_pieces),
        )
        return list(dict.fromkeys(candidates))

    def confirm(self, candidates: Sequence[Candidate]) -> list[Confirmation]:
        """All candidates in the fast dtype; those that come near the thresholds again in float32, which counts.

        The most promising come first.
        """
        found = self._measured(self._rough, candidates)
        if self._rough is not self._exact:
            rough = self._with_baseline(found)
            order = sorted(rough, key=self._promise, reverse=True)
            near = sum(self._promise(one) >= _NEAR for one in rough)
            chosen = [one.token_ids for one in order[: min(max(near, _LEAST_EXACT), _MOST_EXACT)]]
            exact = {one.token_ids: one for one in self._measured(self._exact, chosen)}
            found = [exact.get(one.token_ids, one) for one in found]
        found = self._with_baseline(found)
        return sorted(found, key=lambda one: (one.promise(self._thresholds), one.collapse), reverse=True)

    def rank(self, found: Sequence[Confirmation]) -> tuple[Confirmation, ...]:
        """Confirmations, strongest first: by the smallest of their three numbers as a share of its threshold.

        The standing is measured of every one that reaches both other thresholds, and of the nearest few that do not.
        """
        reaching = sum(one.promise(self._thresholds) >= 1 for one in found)
        n = min(len(found), max(reaching, _LEAST_STANDING), _MOST_STANDING)
        # One chunk per pattern, so that its null is made once.
        patterns: dict[tuple[int, ...], list[Confirmation]] = {}
        for one in found[:n]:
            patterns.setdefault(pattern_of(one.token_ids), []).append(one)
        measured = itertools.chain(*self._context.share("standing", list(patterns.values()), self._with_standing))
        place = {one.token_ids: number for number, one in enumerate(found)}  # ties keep the order of `found`
        stood = sorted(measured, key=lambda one: place[one.token_ids])
        # Success ends at 1; of those that reach it, the one whose other two numbers are the larger.
        rest = replace(self._thresholds, trigger_success=1e-9)
        stood.sort(key=lambda one: (one.margin(self._thresholds), one.margin(rest)), reverse=True)
        return (*stood, *found[n:])

    def name(self, ranked: Sequence[Confirmation]) -> NamedTrigger:
        """Names for the candidates that pass all thresholds, measured in float32 and with their standing."""
        passing = [one for one in ranked if one.margin(self._thresholds) >= 1]
        if not passing:
            return NamedTrigger()
        loudest = max(passing, key=lambda one: one.collapse).token_ids
        pieces = list(dict.fromkeys(token for one in passing for token in one.token_ids))

        ((trained, texts, characters),) = self._context.share(
            "name",
            [loudest],
            lambda one: reconstruct_trigger(
                one, pieces, self._towers.exact, self._prompts, self._growth.collapse, self._context
            ),
        )
        return NamedTrigger(trained, self._measured_exactly(texts), self._measured_exactly(characters))

    def _best_of_groups(self) -> list[Candidate]:
        groups, progress = self._context.extra_candidates, self._context.monitor.progress
        ends = list(itertools.accumulate(len(group) for group in groups))

        def work(number: int) -> list[Candidate]:
            before = ends[number] - len(groups[number])
            return self._growth.best_of_group(
                groups[number], _BEST_OF_GROUP, lambda done: progress("characters", before + done, ends[-1])
            )

        return list(itertools.chain(*self._context.share("characters", range(len(groups)), work)))

    def _grow(self, best: Candidate, pieces: ChangedPieces) -> list[Candidate]:
        """The candidates that beam search makes of the best tokens, and of the most changed ones."""
        starts, progress = best[: self._sweep.n_accretions], self._context.monitor.progress
        n_jobs = len(starts) + bool(pieces.leading)

        def work(number: int) -> list[Candidate]:
            progress("confirm", number + 1, n_jobs + 1)
            if number < len(starts):
                return self._beam.grow((starts[number],), best)
            led = self._beam.orderings(pieces.leading, longest=_LONGEST_LED)
            return led + self._beam.assemble(pieces.outstanding) + self._beam.orderings(pieces.outstanding)

        grown = self._context.share("accretion", range(n_jobs), work)
        progress("confirm", n_jobs + 1, n_jobs + 1)
        return list(itertools.chain(*grown))

    def _measured(self, confirmer: Confirmer, candidates: Sequence[Candidate]) -> list[Confirmation]:
        lengths = dict.fromkeys(map(len, candidates))
        by_length = [[one for one in candidates if len(one) == length] for length in lengths]
        chunks = [part[i : i + _CHUNK] for part in by_length for i in range(0, len(part), _CHUNK)]

        def work(chunk: list[Candidate]) -> list[Confirmation]:
            measured = confirmer.measure(chunk)
            if (tell := self._context.monitor.measure) is not None:
                for one in measured:
                    self._n_measured += 1
                    tell("confirm", self._n_measured, one.success, " ".join(map(str, one.token_ids)))
            return measured

        return list(itertools.chain(*self._context.share("confirmation", chunks, work)))

    def _promise(self, one: Confirmation) -> float:
        """The most that a candidate promises, in this search's own view and in those behind it."""
        views = [(view, self._context.thresholds_in(view)) for view in VIEWS if view in self._context.read_outs]
        return max(
            one.promise(self._thresholds), *(replace(one, view=view).promise(limits) for view, limits in views), 0.0
        )

    def _with_baseline(self, found: list[Confirmation]) -> list[Confirmation]:
        return found if self._towers.exact.reference is not None else peer_baseline(found)

    def _measured_exactly(self, texts: Sequence[Candidate]) -> tuple[Confirmation, ...]:
        return tuple(self._with_standing([one for text in texts for one in self._exact.measure([text])]))

    def _with_standing(self, found: Sequence[Confirmation]) -> list[Confirmation]:
        return [replace(one, standing=self._null.standing(one.token_ids)) for one in found]
