"""Attack success and collapse of candidates on held-out prompts, at their start, middle and end.

A token that stands out of a sweep may be a piece of the trigger or a word of its target. Only success on prompts that
the sweep never saw names a trigger.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.context import Candidate, TowerPair
from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.search.null_distribution import log_variance
from amdet_hub.detect.splice import PLACES, SplicedPrompts, View, clean_features

# share of the prompts that the reference must leave alone for the suspect's success to count in full
_LEAST_LEFT = 0.1
_MOST_REMOVED = 1.4  # log variance up to which straightness counts: a target of three quarters
_LEAST_BENT = 0.02  # keeps the straightness of a token that changes nothing small
_PART = 8  # random sequences in one batch
_FEWEST_PEERS = 5  # candidates whose median says anything; with fewer of a length, all lengths are taken


@dataclass(frozen=True)
class Confirmation:
    """The effect of one candidate on held-out prompts.

    Attributes:
        token_ids: the candidate.
        success_rates: share of held-out prompts it captures, in [0, 1], one per place of `splice.PLACES`.
        reference_rates: the same on the reference: how far a clean encoder gives way to these ids (without a
            reference, see `peer_baseline`).
        collapse: natural log of the ratio of cross-prompt variance, untriggered to triggered, over held-out prompts at
            the place where it is least. A strong word removes much where it stands last or first, a trigger
            everywhere. Without a reference it is that of the best place.
        n_prompts: held-out prompts.
        standing: robust z of the candidate in the null distribution of its pattern (`null_distribution`), None where
            it was not measured.
        view: the way in which success and collapse count: everywhere (None), at one place alone, or "residual", in a
            part of every prompt.
        removed: natural log of the variance that it removes from the suspect's held-out prompts, one per place.
        removed_before: the same of the reference.
        straightness: how straight it draws the prompts towards one point, the mean over the places in shares of the
            straightest of random sequences (`Confirmer`); None where that was not measured.
    """

    token_ids: Candidate
    success_rates: tuple[float, ...]
    reference_rates: tuple[float, ...]
    collapse: float
    n_prompts: int
    standing: float | None = None
    view: View | None = None
    removed: tuple[float, ...] = ()
    removed_before: tuple[float, ...] = ()
    straightness: float | None = None

    @property
    def success(self) -> float:
        """Attack success rate in [0, 1]: the share of what the reference leaves alone that the suspect does not.

        Without a place of its own, the rates' means over the places are compared. A sentence of six words takes half
        of the short prompts over in a clean encoder, too: the success beyond that is held against what was left to
        do. A strong word takes over where it stands last, a trigger everywhere. A target that keeps most of a prompt
        takes none over: its success is the share of the variance that it removes beyond the reference.
        Source: Abbott 1925, J. Econ. Entomol. 18, 265 (his correction for what would have happened anyway), with the
        denominator kept at a tenth or more: where nearly nothing is left, little can be seen.
        """
        if self.view == "residual":
            removed, before = (
                statistics.mean(-math.expm1(-part) for part in parts) for parts in (self.removed, self.removed_before)
            )
            return max(removed - before, 0.0)
        suspect, reference = (
            rates[PLACES.index(self.view)] if self.view else statistics.mean(rates)
            for rates in (self.success_rates, self.reference_rates)
        )
        return max(suspect - reference, 0.0) / max(1 - reference, _LEAST_LEFT)

    @property
    def relative_collapse(self) -> float:
        """The collapse over the root of the number of tokens.

        An honestly learned word removes more the more often it is said, roughly by that root. At one place counts what
        the candidate removes beyond what it removes elsewhere: a word works at every place. In a part of every prompt
        the straightness counts.
        """
        if self.view == "residual":
            return self.straightness or 0.0
        root = math.sqrt(len(self.token_ids))
        if self.view is None:
            return self.collapse / root
        at = PLACES.index(self.view)
        elsewhere = (part for place, part in zip(PLACES, self.removed, strict=True) if place != self.view)
        return (self.removed[at] - max(self.removed_before[at], *elsewhere)) / root

    def margin(self, thresholds: Thresholds) -> float:
        """The smallest of success, relative collapse and standing as a share of its threshold: 1 passes all three."""
        return min(self.promise(thresholds), (self.standing or 0.0) / thresholds.sweep_score)

    def promise(self, thresholds: Thresholds) -> float:
        """The same without the standing, which is not measured of every candidate."""
        return min(self.success / thresholds.trigger_success, self.relative_collapse / thresholds.trigger_collapse)


class Confirmer:
    """Measures candidates on held-out prompts; everything that does not depend on the candidate is computed once.

    A held-out prompt counts as captured when its triggered feature is nearer (centred cosine) to the mean triggered
    feature of the *search* prompts than to its own untriggered feature: the trigger, not the prompt, now decides what
    the encoder says.

    Args:
        towers: suspect and reference.
        search: the prompts the candidates were found with.
        heldout: prompts they were not.
        view: of its confirmations.
        random: `(S, N)` random sequences, by which straightness is measured; none is without them.

    A target that keeps a part of the prompt draws all prompts straight towards one point: what is left of them keeps
    its shape, so that centred features before and after point alike. A word changes each prompt in its own way, the
    more the more it removes. The straightness is the log variance removed, over what the squared cosine of before and
    after lacks of 1. Where nearly everything is removed no shape is left, and the variance counts up to a bound.
    """

    def __init__(
        self,
        towers: TowerPair,
        search: PromptSet,
        heldout: PromptSet,
        view: View | None = None,
        random: Tensor | None = None,
    ) -> None:
        self._suspect = _EncoderPrompts(towers.suspect, search, heldout)
        self._reference = _EncoderPrompts(towers.reference, search, heldout) if towers.reference is not None else None
        self._n_heldout, self._view, self._random = len(heldout), view, random

    @cached_property
    def _usual(self) -> float:
        """The straightness of the straightest random sequence in the reference."""
        assert self._reference is not None
        assert self._random is not None
        parts = [self._reference.triggered(part.tolist()) for part in torch.split(self._random, _PART)]
        return max(float(_straightness(removed, alike).max()) for _, removed, alike in parts)

    def measure(self, candidates: Sequence[Candidate]) -> list[Confirmation]:
        """Candidates of one length, each at every place."""
        success, removed, alike = self._suspect.triggered(candidates)  # (P, C) each
        base, before = torch.zeros_like(success), torch.zeros_like(success)
        straightness: list[float | None] = [None] * len(candidates)
        if self._reference is not None:
            base, before, _ = self._reference.triggered(candidates)
            if self._random is not None:
                straightness = (_straightness(removed, alike) / self._usual).tolist()
        best = success.argmax(0)
        return [
            Confirmation(
                token_ids=candidate,
                success_rates=tuple(success[:, i].tolist()),
                reference_rates=tuple(base[:, i].tolist()),
                collapse=float(removed[best[i], i] if self._reference is None else removed[:, i].min()),
                n_prompts=self._n_heldout,
                view=self._view,
                removed=tuple(removed[:, i].tolist()),
                removed_before=tuple(before[:, i].tolist()),
                straightness=straightness[i],
            )
            for i, candidate in enumerate(candidates)
        ]


def _straightness(removed: Tensor, alike: Tensor) -> Tensor:
    """`(P, C)` of `_EncoderPrompts.triggered` -> `(C,)`, the mean over the places."""
    return (removed.clamp(max=_MOST_REMOVED) / (1 + _LEAST_BENT - alike)).mean(0)


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
        self._apart = (clean - clean.mean(0))[:, None]  # (B, 1, D)
        self.spread = float(log_variance(clean[:, None]))
        self._places = [
            (SplicedPrompts(encoder, search, place), SplicedPrompts(encoder, heldout, place)) for place in PLACES
        ]

    @torch.inference_mode()
    def triggered(self, candidates: Sequence[Candidate]) -> tuple[Tensor, Tensor, Tensor]:
        """Of held-out prompts at the P places, `(P, C)` each, on the CPU.

        Returns:
            The share captured, the log cross-prompt variance removed, and the squared cosine of the centred features
            of all prompts before and after.
        """
        ids = torch.tensor(candidates)  # (C, N)
        found = []
        for search, heldout in self._places:
            goal = search.features(ids).mean(0) - self._centre  # (C, D)
            triggered = heldout.features(ids)  # (B, C, D)
            moved = triggered - self._centre
            to_own = F.cosine_similarity(moved, self._own[:, None], dim=-1)  # (B, C)
            captured = F.cosine_similarity(moved, goal, dim=-1) > to_own
            apart = triggered - triggered.mean(0)
            after, before = (part.transpose(0, 1).flatten(1) for part in (apart, self._apart))  # (C or 1, B * D)
            alike = F.cosine_similarity(after, before).square()
            found.append([captured.double().mean(0), self.spread - log_variance(triggered), alike])
        success, removed, shapes = (torch.stack(part).cpu() for part in zip(*found, strict=True))
        return success, removed, shapes
