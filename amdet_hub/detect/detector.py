"""The standard detector: a vocabulary sweep, a search for triggers, and where these do not conclude, an inversion.

Knows the order of the stages and the results that each hands to the next; the meaning of the numbers for the verdict
is `amdet_hub.verdict`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import DetectionContext, TowerPair, Towers
from amdet_hub.detect.inversion.invert import Inversion, PairedInversion
from amdet_hub.detect.inversion.landscape import Landscape, loss_landscape
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.search.candidate_search import N_LEADING, CandidateSearch, ChangedPieces, NamedTrigger, words_of
from amdet_hub.detect.search.held_out import Confirmation
from amdet_hub.detect.search.meaning import MeaningShift, changed_meanings
from amdet_hub.detect.search.sweep import Sweep, sweep_vocabulary
from amdet_hub.detect.splice import VIEWS
from amdet_hub.detect.weights import leading_rows, outstanding_rows
from amdet_hub.records import ReadOut

# A strongest candidate whose margin is below this ends a scan. But for two of three target attributes (0.13, 0.16),
# every working attack of the calibration that was compared with a reference reaches more (BENCHMARKS.md).
CLEARLY_NOTHING = 0.25


@dataclass(frozen=True)
class Detection:
    """The results of the stages.

    The paired inversion and the landscape need a reference and restarts, and are None without.

    Attributes:
        sweep: the vocabulary sweep.
        confirmations: candidates measured on held-out prompts, best first. The first one is judged.
        with_reference: whether suspect and reference were compared, or the suspect looked at alone.
        outstanding: tokens whose embedding rows changed more than all others (`detect.weights.outstanding_rows`); none
            without a reference.
        names: texts and characters for the candidates that pass; for the trigger's name alone.
        meanings: tokens and characters whose meaning changed most; none without a reference.
        inversion: suspect searched, reference held against it.
        swapped: the same with the roles swapped: the inversion's null.
        landscape: loss surface around the best inverted vector.
        left_out: stages that were asked for and not run, because the stages before had concluded.
        read_out: where the encoders were read.
        others: the same in the other read-outs, up to the first in which a candidate passes; none where one passes
            here. They have no inversion.
    """

    sweep: Sweep
    confirmations: tuple[Confirmation, ...]
    with_reference: bool
    outstanding: tuple[int, ...] = ()
    names: NamedTrigger = field(default_factory=NamedTrigger)
    meanings: tuple[MeaningShift, ...] = ()
    inversion: Inversion | None = None
    swapped: Inversion | None = None
    landscape: Landscape | None = None
    left_out: tuple[str, ...] = ()
    read_out: ReadOut = "pooled"
    others: tuple["Detection", ...] = ()

    def deciding(self, context: DetectionContext) -> "Detection":
        """The part in which a candidate passes all thresholds of its read-out; this one where none does."""
        found = (one for one in (self, *self.others) if one.passes(context.thresholds_in(one.read_out)))
        return next(found, self)

    def passes(self, thresholds: Thresholds) -> bool:
        """Whether a candidate reaches all three."""
        return any(one.margin(thresholds) >= 1 for one in self.confirmations)


class StandardDetector:
    """Our detector: `sweep -> propose -> confirm -> rank -> name -> (invert, landscape) -> Detection`.

    The sweep at the end is one for all read-outs; the stages behind it look at one read-out after the other. The start
    of the prompts has a sweep of its own, where nothing was found before.
    """

    def detect(self, towers: Towers, prompts: PromptSet, context: DetectionContext) -> Detection:
        """Run all stages.

        Args:
            towers: suspect and reference; without a reference the inversion and the landscape are left out.
            prompts: at least `sweep.n_prompts + sweep.n_heldout_prompts`.
            context: everything else.
        """
        config, exact = context.config, towers.exact
        (prompts,) = prompts.split(config.sweep.n_prompts + config.sweep.n_heldout_prompts)
        search, heldout = prompts.split(config.sweep.n_prompts, config.sweep.n_heldout_prompts)
        sweeps = sweep_vocabulary(towers.fast, search, context)
        pieces = _changed_pieces(exact, sweeps["pooled"].moved, context)
        screening = search.split(config.sweep.screen_prompts)[0]
        meanings = changed_meanings(towers.fast, screening, sweeps["pooled"].moved, pieces.words, context)
        detection = _search(towers, prompts, sweeps["pooled"], pieces, context)
        others: list[Detection] = []
        for read_out in context.read_outs:
            if any(one.passes(context.thresholds_in(one.read_out)) for one in (detection, *others)):
                break
            own = context.reading(read_out)
            if read_out in ("middle", "end", "residual"):
                if here := _reaching((detection, *others), own):
                    ranked = CandidateSearch(towers, prompts, own).rank(here)
                    others.append(replace(detection, confirmations=ranked, read_out=read_out))
                continue
            if read_out == "start":
                sweeps["start"] = sweep_vocabulary(towers.fast, search, own)["pooled"]
            found = _search(towers.reading(read_out), prompts, sweeps[read_out], pieces, own)
            others.append(replace(found, read_out=read_out))
        detection = replace(detection, meanings=meanings, others=tuple(others))
        decided = detection.deciding(context)
        if exact.reference is None or config.inversion.restarts == 0:
            return detection
        if config.stop_when_decided and (
            decided is not detection or is_conclusive(detection.confirmations, context.thresholds)
        ):
            return replace(detection, left_out=("inversion", "landscape"))
        return _with_inversion(detection, towers.fast, search, heldout, context)


def _search(
    towers: Towers, prompts: PromptSet, sweep: Sweep, pieces: ChangedPieces, context: DetectionContext
) -> Detection:
    candidates = CandidateSearch(towers, prompts, context)
    ranked = candidates.rank(candidates.confirm(candidates.propose(sweep, pieces)))
    names = candidates.name(ranked)
    return Detection(sweep, ranked, towers.exact.reference is not None, pieces.outstanding, names)


def _changed_pieces(towers: TowerPair, moved: Tensor, context: DetectionContext) -> ChangedPieces:
    """By embedding rows; where none changed, those of the sweep that diverge most."""
    if towers.reference is None:
        return ChangedPieces()
    tables = towers.suspect.token_embedding, towers.reference.token_embedding
    leading = leading_rows(*tables, context.token_ids, N_LEADING) or tuple(moved[:N_LEADING].tolist())
    return ChangedPieces(outstanding_rows(*tables, context.token_ids), leading, words_of(leading, context))


def _reaching(found: Sequence[Detection], context: DetectionContext) -> list[Confirmation]:
    """Candidates of other searches that come near both thresholds of the context's view, the nearest first."""
    here = [
        replace(one, view=context.view, standing=None)
        for part in found
        if part.read_out == "pooled" or part.read_out in VIEWS
        for one in part.confirmations
    ]
    near = [one for one in here if one.promise(context.thresholds) >= context.thresholds.near_miss]
    return sorted(near, key=lambda one: one.promise(context.thresholds), reverse=True)


def is_conclusive(confirmations: Sequence[Confirmation], thresholds: Thresholds) -> bool:
    """Whether the strongest candidate passes, or is nowhere near it, so that the inversion need not or cannot help.

    The inversion detects nothing by itself: it can only make a clear verdict inconclusive.
    """
    margin = max((one.margin(thresholds) for one in confirmations if one.standing is not None), default=0.0)
    return margin >= 1 or margin < CLEARLY_NOTHING


def _with_inversion(
    detection: Detection, towers: TowerPair, search: PromptSet, heldout: PromptSet, context: DetectionContext
) -> Detection:
    suspect, reference, config = towers.suspect, towers.reference, context.config.inversion
    assert reference is not None
    inversion = PairedInversion(suspect, reference, heldout, search, config).run(context, "inversion")
    swapped = PairedInversion(reference, suspect, heldout, search, config).run(context, "inversion, roles swapped")
    surface = PairedInversion(suspect, reference, heldout, search.split(1)[0], config)
    vector = inversion.vectors[inversion.best].to(suspect.device)
    return replace(
        detection,
        inversion=inversion,
        swapped=swapped,
        landscape=loss_landscape(surface.heldout_loss, vector, context),
    )
