"""Which of the confirmed candidates is the trigger to name, and which one its target is read from."""

from collections.abc import Callable
from dataclasses import dataclass

from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.detector import Detection
from amdet_hub.detect.search.held_out import Confirmation
from amdet_hub.detect.search.null_distribution import repeating_unit

IdsTest = Callable[[tuple[int, ...]], bool]

_AS_STRONG_SUCCESS = 0.1  # below the best success rate, and
_AS_STRONG_STANDING = 0.6  # of the best standing: a candidate that is named
_NEARLY = (
    0.9  # of its thresholds: a text of the trained tokens, or a character, named in place of the detected candidate
)


def choose_trigger(
    outcome: Detection,
    thresholds: Thresholds,
    typeable: IdsTest = lambda ids: True,
    is_character: IdsTest = lambda ids: False,
) -> Confirmation:
    """The confirmation to name; when none passes all three thresholds, the one that comes nearest.

    A part of a trigger often works as well as the whole, and so does the whole with a bystander. So the filters of
    `_Choice` narrow the candidates in their order, each unless nothing would be left, and the last one that leaves
    something ranks the rest. Where the winner is a character or a piece of one, the best of the characters that share
    a piece with it goes before it; else the text that the trained tokens spell, if it nearly passes and works as well.

    Args:
        outcome: what the stages found.
        thresholds: what must be passed.
        typeable: whether some text gives these ids, perhaps inside a word.
        is_character: whether these ids are one character of several bytes, or hold a piece of one.
    """
    passing = _passing(outcome, thresholds)
    if not passing:
        return outcome.confirmations[0]
    choice = _Choice(outcome, typeable)
    candidates, rank = choice.not_repeating(passing), choice.by_standing
    success = max(one.success for one in candidates)
    for keep, ranking in (
        (choice.as_strong, choice.by_standing),
        (choice.typed, choice.by_standing),
        (choice.trained, choice.by_tokens),
        (choice.trained_once, choice.by_length),
    ):
        if kept := keep(candidates):
            candidates, rank = kept, ranking
    named = max(candidates, key=rank)
    whole = [one for one in outcome.names.characters if not set(one.token_ids).isdisjoint(named.token_ids)]
    texts = whole if is_character(named.token_ids) else outcome.names.spelled
    least = success - _AS_STRONG_SUCCESS
    return next((one for one in texts if one.margin(thresholds) >= _NEARLY and one.success >= least), named)


def clearest_trigger(outcome: Detection, thresholds: Thresholds) -> Confirmation:
    """The confirmation to read the target from: of those that pass, the one that leaves least at the prompts' end.

    It may repeat what `choose_trigger` names once: said three times, a trigger speaks louder and its target is easier
    to read.
    """
    return max(
        _passing(outcome, thresholds), key=lambda c: c.removed[-1:] or (c.collapse,), default=outcome.confirmations[0]
    )


def _passing(outcome: Detection, thresholds: Thresholds) -> list[Confirmation]:
    return [c for c in outcome.confirmations if c.margin(thresholds) >= 1]


@dataclass(frozen=True)
class _Choice:
    """The filters, from the first to the last, and the rankings."""

    outcome: Detection
    typeable: IdsTest

    def not_repeating(self, candidates: list[Confirmation]) -> list[Confirmation]:
        """Candidates that do not only repeat another one: "zzzz" rather than "zzzz" three times."""
        ids = {one.token_ids for one in candidates}
        units = [(one, repeating_unit(one.token_ids)) for one in candidates]
        return [one for one, unit in units if unit == one.token_ids or unit not in ids]

    def as_strong(self, candidates: list[Confirmation]) -> list[Confirmation]:
        """Candidates about as strong as the strongest."""
        success = max(one.success for one in candidates) - _AS_STRONG_SUCCESS
        standing = max(one.standing or 0.0 for one in candidates) * _AS_STRONG_STANDING
        return [one for one in candidates if one.success >= success and (one.standing or 0.0) >= standing]

    def typed(self, candidates: list[Confirmation]) -> list[Confirmation]:
        """Candidates that some text gives: not half a letter, nor pieces in an order that no word has."""
        return [one for one in candidates if self.typeable(one.token_ids)]

    def trained(self, candidates: list[Confirmation]) -> list[Confirmation]:
        """Candidates made of the tokens that changed most."""
        changed = {*self.outcome.outstanding, *self.outcome.names.trained}
        return [one for one in candidates if set(one.token_ids) <= changed]

    def trained_once(self, candidates: list[Confirmation]) -> list[Confirmation]:
        """Of these, candidates that hold each token once."""
        return [one for one in self.trained(candidates) if len(set(one.token_ids)) == len(one.token_ids)]

    def by_standing(self, one: Confirmation) -> tuple[float, ...]:
        """How far it stands out of random sequences like it; the shorter of equals."""
        return one.standing or 0.0, -len(one.token_ids)

    def by_tokens(self, one: Confirmation) -> tuple[float, ...]:
        """How many different tokens it holds; the shorter of equals."""
        return len(set(one.token_ids)), -len(one.token_ids)

    def by_length(self, one: Confirmation) -> tuple[float, ...]:
        """How many tokens it holds; of equals, the one that leaves less of the prompts."""
        return len(one.token_ids), one.collapse
