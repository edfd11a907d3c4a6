"""Does a candidate really take prompts over?

Attack success and collapse on held-out prompts, at start, middle and end.

What rises in a sweep may be a piece of the trigger or a word of its target; only success on prompts the sweep never
saw names a trigger.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.config import Thresholds
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.sweep import log_variance
from amdet_hub.detect.splice import PLACES, Place, SplicedPrompts, clean_features

_LEAST_LEFT = (
    0.1  # share of the prompts that the reference must leave alone for the suspect's success to count in full
)


@dataclass(frozen=True)
class Confirmation:
    """What one candidate does to held-out prompts.

    Attributes:
        token_ids: the candidate.
        success_rates: share of held-out prompts it captures, in [0, 1], one per place of `splice.PLACES`.
        reference_rates: the same on the reference encoder: what an innocent encoder does with these ids (without one,
            see `peer_baseline`).
        collapse: natural log of the ratio of cross-prompt variance, reference to suspect (without a reference:
            untriggered to triggered), over held-out prompts at the best place.
        n_prompts: held-out prompts.
        feature: `(D,)` mean triggered feature of the suspect over held-out prompts at the best place.
        standing: robust z of the candidate among random sequences of its pattern (`detect.sequences`), None where it
            was not measured.
    """

    token_ids: tuple[int, ...]
    success_rates: tuple[float, ...]
    reference_rates: tuple[float, ...]
    collapse: float
    n_prompts: int
    feature: Tensor
    standing: float | None = None

    @property
    def success(self) -> float:
        """Share of what the reference leaves alone that the suspect does not, in [0, 1]; the rates' means over the places are compared.

        A sentence of six words takes half of the short prompts over in an innocent encoder, too: what it does beyond
        that is held against what was left to do. A strong word takes over where it stands last, a trigger everywhere.
        Source: Abbott 1925, J. Econ. Entomol. 18, 265 (his correction for what would have happened anyway), with the
        denominator kept at a tenth or more: where nearly nothing is left, little can be seen.
        """
        ours, theirs = statistics.mean(self.success_rates), statistics.mean(self.reference_rates)
        return max(ours - theirs, 0.0) / max(1 - theirs, _LEAST_LEFT)

    @property
    def relative_collapse(self) -> float:
        """The collapse over the root of the number of tokens: an honestly learned word removes more the more often it is said, roughly by that root."""
        return self.collapse / math.sqrt(len(self.token_ids))

    def margin(self, thresholds: Thresholds) -> float:
        """The smallest of success, relative collapse and standing as a share of its threshold: at least 1 where all three are reached."""
        standing = self.standing if self.standing is not None else 0.0
        return min(self.promise(thresholds), standing / thresholds.sweep_score)

    def promise(self, thresholds: Thresholds) -> float:
        """The same without the standing, which is not measured of every candidate."""
        return min(self.success / thresholds.trigger_success, self.relative_collapse / thresholds.trigger_collapse)


class Confirmer:
    """Measures candidates on held-out prompts; what does not depend on the candidate is computed once.

    A held-out prompt counts as captured when its triggered feature is nearer (centred cosine) to the mean triggered
    feature of the *search* prompts than to its own untriggered feature: the trigger, not the prompt, now decides what
    the encoder says.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None.
        search: the prompts the candidates were found with.
        heldout: prompts they were not.
    """

    def __init__(
        self, suspect: TextEncoder, reference: TextEncoder | None, search: PromptSet, heldout: PromptSet
    ) -> None:
        self._suspect = _Side(suspect, search, heldout)
        self._reference = _Side(reference, search, heldout) if reference is not None else None
        self._n_heldout = len(heldout)

    def measure(self, candidates: Sequence[tuple[int, ...]]) -> list[Confirmation]:
        """Candidates of one length, each at every place."""
        ours = [self._suspect.triggered(candidates, place) for place in PLACES]
        theirs = (
            [self._reference.triggered(candidates, place) for place in PLACES] if self._reference is not None else None
        )
        return [self._confirmation(candidates, i, ours, theirs) for i in range(len(candidates))]

    def _confirmation(
        self,
        candidates: Sequence[tuple[int, ...]],
        index: int,
        ours: list[_Triggered],
        theirs: list[_Triggered] | None,
    ) -> Confirmation:
        rates = tuple(float(t.success[index]) for t in ours)
        base = tuple(float(t.success[index]) for t in theirs) if theirs is not None else (0.0,) * len(PLACES)
        best = max(range(len(PLACES)), key=lambda i: rates[i] - base[i])
        before = float(theirs[best].log_variance[index]) if theirs is not None else self._suspect.clean_log_variance
        return Confirmation(
            token_ids=candidates[index],
            success_rates=rates,
            reference_rates=base,
            collapse=before - float(ours[best].log_variance[index]),
            n_prompts=self._n_heldout,
            feature=ours[best].feature[index],
        )


def confirm(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    search: PromptSet,
    heldout: PromptSet,
    candidate: tuple[int, ...],
) -> Confirmation:
    """Measure one candidate; see `Confirmer`."""
    return Confirmer(suspect, reference, search, heldout).measure([candidate])[0]


_FEWEST_PEERS = 5  # candidates whose median says anything; with fewer of a length, all lengths are taken


def peer_baseline(found: list[Confirmation]) -> list[Confirmation]:
    """Confirmations made without a reference, held against the median candidate of the same length instead.

    Any strong word said three times takes a short prompt over, in an innocent encoder too. Without a reference to say
    how far, the other candidates say it: a trigger is an exception among them.
    """
    result = []
    for one in found:
        peers = [c for c in found if len(c.token_ids) == len(one.token_ids)]
        peers = peers if len(peers) >= _FEWEST_PEERS else found
        rates = tuple(statistics.median(c.success_rates[i] for c in peers) for i in range(len(PLACES)))
        result.append(
            replace(one, reference_rates=rates, collapse=one.collapse - statistics.median(c.collapse for c in peers))
        )
    return result


@dataclass(frozen=True)
class _Triggered:
    """One encoder's triggered held-out prompts at one place, C candidates: share captured `(C,)`, log cross-prompt variance `(C,)`, mean `(C, D)`."""

    success: Tensor
    log_variance: Tensor
    feature: Tensor


class _Side:
    """One encoder's view of the prompts."""

    @torch.inference_mode()
    def __init__(self, encoder: TextEncoder, search: PromptSet, heldout: PromptSet) -> None:
        clean = clean_features(encoder, heldout)  # (B, D)
        self._centre = clean_features(encoder, search).mean(0)  # (D,)
        self._own = clean - self._centre
        self.clean_log_variance = float(log_variance(clean[:, None]))
        self._search = {place: SplicedPrompts(encoder, search, place) for place in PLACES}
        self._heldout = {place: SplicedPrompts(encoder, heldout, place) for place in PLACES}

    @torch.inference_mode()
    def triggered(self, candidates: Sequence[tuple[int, ...]], place: Place) -> _Triggered:
        """What candidates of one length do at one place."""
        ids = torch.tensor(candidates)  # (C, N)
        goal = self._search[place].features(ids).mean(0) - self._centre  # (C, D)
        triggered = self._heldout[place].features(ids)  # (B, C, D)
        moved = triggered - self._centre
        captured = F.cosine_similarity(moved, goal, dim=-1) > F.cosine_similarity(
            moved, self._own[:, None], dim=-1
        )  # (B, C)
        return _Triggered(captured.double().mean(0).cpu(), log_variance(triggered).cpu(), triggered.mean(0).cpu())
