"""Attack success and collapse of candidates on held-out prompts, at their start, middle and end.

A token that stands out of a sweep may be a piece of the trigger or a word of its target. Only success on prompts that
the sweep never saw names a trigger.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import Candidate, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import log_variance
from amdet_hub.detect.splice import PLACES, Place, SplicedPrompts, clean_features

# share of the prompts that the reference must leave alone for the suspect's success to count in full
_LEAST_LEFT = 0.1
_STRONG_WORDS = 16  # words of a sample that are repeated to learn what words may do
_FEWEST_PEERS = 5  # candidates whose median says anything; with fewer of a length, all lengths are taken


@dataclass(frozen=True)
class Confirmation:
    """The effect of one candidate on held-out prompts.

    Attributes:
        token_ids: the candidate.
        success_rates: share of held-out prompts it captures, in [0, 1], one per place of `splice.PLACES`.
        reference_rates: the same on the reference: how far a clean encoder gives way to these ids (without a
            reference, see `peer_baseline`).
        collapse: natural log of the ratio of cross-prompt variance, reference to suspect (without a reference:
            untriggered to triggered), over held-out prompts at the best place.
        excesses: natural log of the variance that it removes from the suspect's held-out prompts at each place, beyond
            what it, or a strong word as often as it has tokens, removes there in a clean encoder (`StrongWords`);
            empty where that was not measured.
        n_prompts: held-out prompts.
        standing: robust z of the candidate in the null distribution of its pattern (`null_distribution`), None where
            it was not measured.
        place: where alone success and collapse count, if not everywhere.
    """

    token_ids: Candidate
    success_rates: tuple[float, ...]
    reference_rates: tuple[float, ...]
    collapse: float
    n_prompts: int
    standing: float | None = None
    place: Place | None = None
    excesses: tuple[float, ...] = ()

    @property
    def success(self) -> float:
        """Attack success rate in [0, 1]: the share of what the reference leaves alone that the suspect does not.

        Without a place of its own, the rates' means over the places are compared. A sentence of six words takes half
        of the short prompts over in a clean encoder, too: the success beyond that is held against what was left to
        do. A strong word takes over where it stands last, a trigger everywhere.
        Source: Abbott 1925, J. Econ. Entomol. 18, 265 (his correction for what would have happened anyway), with the
        denominator kept at a tenth or more: where nearly nothing is left, little can be seen.
        """
        suspect, reference = (
            rates[PLACES.index(self.place)] if self.place else statistics.mean(rates)
            for rates in (self.success_rates, self.reference_rates)
        )
        return max(suspect - reference, 0.0) / max(1 - reference, _LEAST_LEFT)

    @property
    def relative_collapse(self) -> float:
        """The collapse over the root of the number of tokens; of a candidate with a place, the excess there.

        An honestly learned word removes more the more often it is said, roughly by that root. At one place it removes
        no more than other strong words do.
        """
        if self.place:
            return self.excesses[PLACES.index(self.place)]
        return self.collapse / math.sqrt(len(self.token_ids))

    def margin(self, thresholds: Thresholds) -> float:
        """The smallest of success, relative collapse and standing as a share of its threshold: 1 passes all three."""
        return min(self.promise(thresholds), (self.standing or 0.0) / thresholds.sweep_score)

    def promise(self, thresholds: Thresholds) -> float:
        """The same without the standing, which is not measured of every candidate."""
        return min(self.success / thresholds.trigger_success, self.relative_collapse / thresholds.trigger_collapse)


class StrongWords:
    """The variance that the strongest of some random tokens remove from held-out prompts, which is what words may do.

    Args:
        towers: suspect and reference; the larger of both counts.
        heldout: the prompts.
        tokens: `(W,)` random ids; those that remove most at the end of the prompts in the reference are the words.
    """

    @torch.inference_mode()
    def __init__(self, towers: TowerPair, heldout: PromptSet, tokens: Tensor) -> None:
        assert towers.reference is not None
        self._sides = [
            (log_variance(clean_features(one, heldout)[:, None]), [SplicedPrompts(one, heldout, p) for p in PLACES])
            for one in (towers.suspect, towers.reference)
        ]
        spread = log_variance(self._sides[1][1][PLACES.index("end")].features(tokens[:, None])).cpu()
        self._words = tokens[spread.topk(min(_STRONG_WORDS, len(tokens)), largest=False).indices]
        self._found: dict[int, Tensor] = {}

    @torch.inference_mode()
    def collapse(self, n: int) -> Tensor:
        """`(P,)` natural log of the variance that the strongest word removes, said `n` times at each place."""
        if n not in self._found:
            said = self._words[:, None].expand(-1, n)
            self._found[n] = torch.stack(
                [
                    torch.stack([(clean - log_variance(place.features(said))).max().cpu() for place in places])
                    for clean, places in self._sides
                ]
            ).amax(0)
        return self._found[n]


class Confirmer:
    """Measures candidates on held-out prompts; everything that does not depend on the candidate is computed once.

    A held-out prompt counts as captured when its triggered feature is nearer (centred cosine) to the mean triggered
    feature of the *search* prompts than to its own untriggered feature: the trigger, not the prompt, now decides what
    the encoder says.

    Args:
        towers: suspect and reference.
        search: the prompts the candidates were found with.
        heldout: prompts they were not.
        place: where alone success counts, if not everywhere.
        words: of `StrongWords` in the same prompts; without it no excess is measured.
    """

    def __init__(
        self,
        towers: TowerPair,
        search: PromptSet,
        heldout: PromptSet,
        place: Place | None = None,
        words: StrongWords | None = None,
    ) -> None:
        self._suspect = _EncoderPrompts(towers.suspect, search, heldout)
        self._reference = _EncoderPrompts(towers.reference, search, heldout) if towers.reference is not None else None
        self._n_heldout, self._place, self._words = len(heldout), place, words

    def measure(self, candidates: Sequence[Candidate]) -> list[Confirmation]:
        """Candidates of one length, each at every place."""
        success, log_variances = self._suspect.triggered(candidates)  # (P, C) each
        base, before = (
            self._reference.triggered(candidates)
            if self._reference is not None
            else (torch.zeros_like(success), self._suspect.clean_log_variance.expand_as(success))
        )
        best = (success - base).argmax(0)
        excesses = torch.zeros(0, len(candidates))
        if self._words is not None and self._reference is not None:
            own = torch.stack(
                [self._suspect.clean_log_variance - log_variances, self._reference.clean_log_variance - before]
            )
            usual = self._words.collapse(len(candidates[0]))[:, None]  # (P, 1)
            excesses = own[0] - torch.maximum(own[1], usual)  # (P, C)
        return [
            Confirmation(
                token_ids=candidate,
                success_rates=tuple(success[:, i].tolist()),
                reference_rates=tuple(base[:, i].tolist()),
                collapse=float(before[best[i], i]) - float(log_variances[best[i], i]),
                n_prompts=self._n_heldout,
                place=self._place,
                excesses=tuple(excesses[:, i].tolist()),
            )
            for i, candidate in enumerate(candidates)
        ]


def peer_baseline(found: list[Confirmation]) -> list[Confirmation]:
    """Confirmations made without a reference, held against the median candidate of the same length instead.

    Any strong word said three times takes a short prompt over, in a clean encoder too. Without a reference to say how
    far, the other candidates say it: a trigger is an exception among them.
    """
    result = []
    for one in found:
        peers = [c for c in found if len(c.token_ids) == len(one.token_ids)]
        peers = peers if len(peers) >= _FEWEST_PEERS else found
        result.append(
            replace(
                one,
                reference_rates=tuple(
                    statistics.median(c.success_rates[i] for c in peers) for i in range(len(PLACES))
                ),
                collapse=one.collapse - statistics.median(c.collapse for c in peers),
            )
        )
    return result


class _EncoderPrompts:
    @torch.inference_mode()
    def __init__(self, encoder: TextEncoder, search: PromptSet, heldout: PromptSet) -> None:
        clean = clean_features(encoder, heldout)  # (B, D)
        self._centre = clean_features(encoder, search).mean(0)  # (D,)
        self._own = clean - self._centre
        self.clean_log_variance = log_variance(clean[:, None]).cpu()  # (1,)
        self._places = [
            (SplicedPrompts(encoder, search, place), SplicedPrompts(encoder, heldout, place)) for place in PLACES
        ]

    @torch.inference_mode()
    def triggered(self, candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor]:
        """Share of held-out prompts captured and their log cross-prompt variance, `(P, C)` at the P places."""
        ids = torch.tensor(candidates)  # (C, N)
        success, variances = [], []
        for search, heldout in self._places:
            goal = search.features(ids).mean(0) - self._centre  # (C, D)
            triggered = heldout.features(ids)  # (B, C, D)
            moved = triggered - self._centre
            to_own = F.cosine_similarity(moved, self._own[:, None], dim=-1)  # (B, C)
            captured = F.cosine_similarity(moved, goal, dim=-1) > to_own
            success.append(captured.double().mean(0).cpu())
            variances.append(log_variance(triggered).cpu())
        return torch.stack(success), torch.stack(variances)
