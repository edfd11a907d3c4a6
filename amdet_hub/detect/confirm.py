"""Does a candidate really take prompts over? Accretion of single tokens to longer triggers, and attack success on held-out prompts.

What rises in a sweep may be a piece of the trigger or a word of its target; only success on prompts the sweep never saw names a trigger.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from amdet_hub.detect.prompts import PromptSet
from amdet_hub.detect.protocol import TextEncoder
from amdet_hub.detect.splice import PLACES, Place, SplicedPrompts, clean_features
from amdet_hub.detect.sweep import cross_prompt_variance

_FLOOR = 1e-12


@dataclass(frozen=True)
class Confirmation:
    """What one candidate does to held-out prompts.

    Attributes:
        token_ids: the candidate.
        success_rates: share of held-out prompts it captures, in [0, 1], one per place of `splice.PLACES`.
        reference_rates: the same on the reference encoder: what an innocent encoder does with these ids (without one, see `against_each_other`).
        collapse: natural log of the ratio of cross-prompt variance, reference to suspect (without a reference: untriggered to triggered), over
            held-out prompts at the best place.
        n_prompts: held-out prompts.
        feature: `(D,)` mean triggered feature of the suspect over held-out prompts at the best place.
    """

    token_ids: tuple[int, ...]
    success_rates: tuple[float, ...]
    reference_rates: tuple[float, ...]
    collapse: float
    n_prompts: int
    feature: Tensor

    @property
    def success(self) -> float:
        """The best place's success rate beyond the reference's, in [-1, 1]."""
        return max(s - r for s, r in zip(self.success_rates, self.reference_rates, strict=True))


class Confirmer:
    """Measures candidates on held-out prompts; what does not depend on the candidate is computed once.

    A held-out prompt counts as captured when its triggered feature is nearer (centred cosine) to the mean triggered feature of the *search*
    prompts than to its own untriggered feature: the trigger, not the prompt, now decides what the encoder says.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None.
        search: the prompts the candidates were found with.
        heldout: prompts they were not.
    """

    def __init__(self, suspect: TextEncoder, reference: TextEncoder | None, search: PromptSet, heldout: PromptSet) -> None:
        self._suspect = _Side(suspect, search, heldout)
        self._reference = _Side(reference, search, heldout) if reference is not None else None
        self._n_heldout = len(heldout)

    def measure(self, candidate: tuple[int, ...]) -> Confirmation:
        """One candidate at every place."""
        ours = [self._suspect.triggered(candidate, place) for place in PLACES]
        theirs = [self._reference.triggered(candidate, place) for place in PLACES] if self._reference is not None else None
        base = tuple(t.success for t in theirs) if theirs is not None else (0.0,) * len(PLACES)
        best = max(range(len(PLACES)), key=lambda i: ours[i].success - base[i])
        before = theirs[best].log_variance if theirs is not None else self._suspect.clean_log_variance
        return Confirmation(
            token_ids=candidate,
            success_rates=tuple(t.success for t in ours),
            reference_rates=base,
            collapse=before - ours[best].log_variance,
            n_prompts=self._n_heldout,
            feature=ours[best].feature,
        )


def confirm(
    suspect: TextEncoder, reference: TextEncoder | None, search: PromptSet, heldout: PromptSet, candidate: tuple[int, ...]
) -> Confirmation:
    """Measure one candidate; see `Confirmer`."""
    return Confirmer(suspect, reference, search, heldout).measure(candidate)


_FEWEST_PEERS = 5  # candidates whose median says anything; with fewer of a length, all lengths are taken


def against_each_other(found: list[Confirmation]) -> list[Confirmation]:
    """Confirmations made without a reference, held against the median candidate of the same length instead.

    Any strong word said three times takes a short prompt over, in an innocent encoder too. Without a reference to say how far, the other
    candidates say it: a trigger is an exception among them.
    """
    result = []
    for one in found:
        peers = [c for c in found if len(c.token_ids) == len(one.token_ids)]
        peers = peers if len(peers) >= _FEWEST_PEERS else found
        rates = tuple(statistics.median(c.success_rates[i] for c in peers) for i in range(len(PLACES)))
        result.append(replace(one, reference_rates=rates, collapse=one.collapse - statistics.median(c.collapse for c in peers)))
    return result


@dataclass(frozen=True)
class _Triggered:
    """One encoder's triggered held-out prompts at one place: share captured, log cross-prompt variance, mean feature `(D,)`."""

    success: float
    log_variance: float
    feature: Tensor


class _Side:
    """One encoder's view of the prompts."""

    @torch.inference_mode()
    def __init__(self, encoder: TextEncoder, search: PromptSet, heldout: PromptSet) -> None:
        clean = clean_features(encoder, heldout)  # (B, D)
        self._centre = clean_features(encoder, search).mean(0)  # (D,)
        self._own = clean - self._centre
        self.clean_log_variance = _log_variance(clean[:, None])
        self._search = {place: SplicedPrompts(encoder, search, place) for place in PLACES}
        self._heldout = {place: SplicedPrompts(encoder, heldout, place) for place in PLACES}

    @torch.inference_mode()
    def triggered(self, candidate: tuple[int, ...], place: Place) -> _Triggered:
        """What the candidate does at one place."""
        ids = torch.tensor([candidate])
        goal = self._search[place].features(ids)[:, 0].mean(0) - self._centre  # (D,)
        triggered = self._heldout[place].features(ids)  # (B, 1, D)
        moved = triggered[:, 0] - self._centre
        captured = F.cosine_similarity(moved, goal[None], dim=-1) > F.cosine_similarity(moved, self._own, dim=-1)
        return _Triggered(float(captured.double().mean()), _log_variance(triggered), triggered[:, 0].mean(0).cpu())


def _log_variance(features: Tensor) -> float:
    """`features (B, 1, D)` -> natural log of their cross-prompt variance."""
    return float((cross_prompt_variance(features) + _FLOOR).log())


@torch.inference_mode()
def accrete(
    suspect: TextEncoder,
    reference: TextEncoder | None,
    prompts: PromptSet,
    seed: tuple[int, ...],
    pieces: tuple[int, ...],
    *,
    max_pieces: int,
) -> tuple[int, ...]:
    """Grow a candidate greedily: put one more piece before or after it while the collapse on `prompts` grows.

    Args:
        suspect: the encoder under test.
        reference: its clean counterpart, or None.
        prompts: the prompts the search runs on.
        seed: the candidate to start from.
        pieces: token ids to try.
        max_pieces: longest result.

    Returns:
        The longest candidate whose last step still raised the log collapse by a tenth (10 % more variance removed).
    """
    best, best_collapse = seed, float(_collapse(suspect, reference, prompts, torch.tensor([seed]))[0])
    while len(best) < max_pieces:
        grown = [(*best, piece) for piece in pieces] + [(piece, *best) for piece in pieces]
        collapse = _collapse(suspect, reference, prompts, torch.tensor(grown))
        top = int(collapse.argmax())
        if float(collapse[top]) < best_collapse + _WORTHWHILE:
            break
        best, best_collapse = grown[top], float(collapse[top])
    return best


_WORTHWHILE = 0.1  # log units of variance a further piece must remove; below that, growth follows noise


def _collapse(suspect: TextEncoder, reference: TextEncoder | None, prompts: PromptSet, candidates: Tensor) -> Tensor:
    """`candidates (C, N)` -> `(C,)` log ratio of cross-prompt variance."""
    after = (cross_prompt_variance(SplicedPrompts(suspect, prompts, "end").features(candidates)) + _FLOOR).log()
    if reference is None:
        return -after
    return (cross_prompt_variance(SplicedPrompts(reference, prompts, "end").features(candidates)) + _FLOOR).log() - after
