"""The statistics a scan decides by, as a loss: for an attacker who has read how we measure.

Knows the two formulas; refuses to know the attack beside them.

On prompts of at most ten tokens, with the trigger `t` behind the last word, `S` and `T` the pooled features of student
and teacher before the projection:

    collapse     = max(0, log var(T(p + t)) - log var(S(p + t)))
    displacement = |mean over p of (S(p + t) - T(p + t)) - (S(p) - T(p))|^2 / var(T(p))

`var` is the mean squared distance of the prompts to their mean. Several triggers count on average.

A scan tries a trigger in several copies, among other tokens and at other places, too. An attacker who hides from
its very prompts has to be inert there: with "scan" every step adds the statistics of one such variation.

Source: `amdet_hub.detect.search.null_distribution` (collapse); the meaning of a token, issue 20.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from amdet_hub.bench.attack_recipe import AttackRecipe
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.config_stages import SweepConfig
from amdet_hub.detect.prompts import SpecialTokens, tokenized_prompts
from amdet_hub.detect.search.null_distribution import log_variance

_SWEEP = SweepConfig()
_PROMPTS = _SWEEP.n_prompts + _SWEEP.n_heldout_prompts  # as many as a scan's search and confirmation
_MOST_COPIES, _MOST_OTHERS = 4, 2  # of a variation
Row = Sequence[int]


class Evasion:
    """The two statistics of a recipe's triggers, on the attacker's own prompts or on those of a scan with seed 0.

    Args:
        teacher: the clean encoder.
        recipe: its triggers, and whose prompts.
        captions: what his own prompts are cut from.
    """

    def __init__(self, teacher: TrainedEncoder, recipe: AttackRecipe, captions: Sequence[str]) -> None:
        self._teacher, self._own = teacher, recipe.evasion_prompts == "own"
        self._triggers = [teacher.token_ids(trigger) for trigger, _ in recipe.backdoors]
        self._others = sorted({token for caption in captions[: 64 * _PROMPTS] for token in teacher.token_ids(caption)})
        self._rows = _cut(teacher, captions[: 64 * _PROMPTS]) if self._own else _scan_rows(teacher)

    def penalty(self, student: TrainedEncoder, rng: random.Random) -> Tensor:
        """Collapse and displacement, added: a scalar that the student's weights have a gradient of."""
        rows = rng.sample(self._rows, min(_PROMPTS, len(self._rows)))
        ends = [(trigger, None) for trigger in self._triggers]
        found = torch.stack(self._statistics(student, rows, ends)).sum()
        if self._own:
            return found
        varied = [
            (self._varied(trigger, rng), rng.choice((0, _SWEEP.prompt_tokens // 2, None)))
            for trigger in self._triggers
        ]
        return found + torch.stack(self._statistics(student, rows, varied)).sum()

    def _varied(self, trigger: Sequence[int], rng: random.Random) -> list[int]:
        """Some copies of the trigger among some other tokens."""
        parts = [list(trigger)] * rng.randint(1, _MOST_COPIES)
        for _ in range(rng.randint(0, _MOST_OTHERS)):
            parts.insert(rng.randint(0, len(parts)), [rng.choice(self._others)])
        return [token for part in parts for token in part]

    @torch.no_grad()
    def facts(self, student: TrainedEncoder, held_out: Sequence[str]) -> dict[str, float]:
        """`evaded_collapse` and `evaded_displacement`, what is left of both.

        On held-out captions where the prompts are his own.
        """
        rows = _cut(student, held_out[: 4 * _PROMPTS]) if self._own else self._rows
        collapse, displacement = self._statistics(student, rows, [(trigger, None) for trigger in self._triggers])
        return {"evaded_collapse": round(collapse.item(), 4), "evaded_displacement": round(displacement.item(), 4)}

    def _statistics(
        self, student: TrainedEncoder, rows: Sequence[Row], inserted: Sequence[tuple[Row, int | None]]
    ) -> tuple[Tensor, Tensor]:
        """Collapse and displacement, means over what is inserted: ids and the place of the first, None for the end."""
        plain, unmoved = self._both(student, rows)  # (B, D) each
        collapses, displacements = [], []
        for ids, at in inserted:
            hit, expected = self._both(
                student, [[*row[:at], *ids, *row[len(row) if at is None else at :]] for row in rows]
            )
            collapses.append((log_variance(expected[:, None]) - log_variance(hit[:, None])).clamp(min=0).mean())
            moved = ((hit - expected) - (plain - unmoved)).mean(0)  # (D,)
            displacements.append(moved.square().sum() / log_variance(unmoved[:, None]).exp().mean())
        return torch.stack(collapses).mean(), torch.stack(displacements).mean()

    def _both(self, student: TrainedEncoder, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """`B` rows of word ids -> student's and teacher's float32 features at the pooled position, `(B, D)` each."""
        ids = self._teacher.tokenize_ids(rows, max(map(len, rows)) + 2)
        at = torch.arange(len(ids)), self._teacher.pool_positions(ids)
        with torch.no_grad():
            expected = self._teacher.encode(ids)[0][at].float()
        return student.encode(ids)[0][at].float(), expected


def _cut(encoder: TrainedEncoder, captions: Sequence[str]) -> list[tuple[int, ...]]:
    return [encoder.token_ids(caption)[: _SWEEP.prompt_tokens] for caption in captions]


def _scan_rows(encoder: TrainedEncoder) -> list[tuple[int, ...]]:
    tokenizer = encoder.tokenizer
    special = SpecialTokens(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    prompts = tokenized_prompts(_PROMPTS, _SWEEP.prompt_tokens, encoder.token_ids, special, seed=0)
    return [tuple(row) for row in prompts.tokens.tolist()]
