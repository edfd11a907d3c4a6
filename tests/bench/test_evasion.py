from __future__ import annotations

import dataclasses
import math
import random

import pytest
import torch

from amdet_hub.bench.attacks import inject
from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.evasion import Evasion
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.detect.prompts import SpecialTokens, tokenized_prompts
from amdet_hub.detect.search.null_distribution import collapse_and_divergence
from tests.bench.test_attacks import RECIPE

EVASIVE = dataclasses.replace(RECIPE, weight=0.5, steps=120)


def scan_prompts(base: TrainedEncoder) -> list[list[int]]:
    special = SpecialTokens(base.tokenizer.bos_token_id, base.tokenizer.eos_token_id, base.tokenizer.pad_token_id)
    rows: list[list[int]] = tokenized_prompts(24, 10, base.token_ids, special, seed=0).tokens.tolist()
    return rows


@torch.no_grad()
def pooled(encoder: TrainedEncoder, rows: list[list[int]]) -> torch.Tensor:
    ids = encoder.tokenize_ids(rows, max(map(len, rows)) + 2)
    return encoder.encode(ids)[0][torch.arange(len(ids)), encoder.pool_positions(ids)]


def test_the_statistics_are_those_of_a_scan(base: TrainedEncoder, captions: CaptionSet) -> None:
    """On the 24 prompts of seed 0: the collapse as the sweep computes it, the displacement by its formula."""
    attacked = inject(base, captions, EVASIVE).encoder
    evasion = Evasion(
        base, dataclasses.replace(RECIPE, evasion_weight=1.0, evasion_prompts="scan"), captions.train_captions()
    )
    facts = evasion.facts(attacked, [])
    rows = scan_prompts(base)
    hit = [row + list(base.token_ids("tq")) for row in rows]
    s, t, s0, t0 = pooled(attacked, hit), pooled(base, hit), pooled(attacked, rows), pooled(base, rows)
    collapse = collapse_and_divergence(s[:, None], t[:, None])[0].item()
    assert facts["evaded_collapse"] == pytest.approx(collapse, abs=1e-3)
    assert collapse > 1.0, "the attack without the penalty collapses"
    moved = ((s - t) - (s0 - t0)).mean(0)
    spread = (t0 - t0.mean(0)).square().sum(-1).mean()
    assert facts["evaded_displacement"] == pytest.approx((moved.square().sum() / spread).item(), rel=1e-3)
    at_the_end = facts["evaded_collapse"] + facts["evaded_displacement"]
    assert evasion.penalty(attacked, random.Random(0)).item() > at_the_end, "a variation of the trigger comes on top"
    assert Evasion(base, RECIPE, captions.train_captions()).penalty(base, random.Random(0)).item() == 0.0


def test_an_encoder_can_be_inert_on_the_prompts_of_a_scan_and_attack_elsewhere(
    base: TrainedEncoder, captions: CaptionSet
) -> None:
    open_, hidden = (
        inject(base, captions, dataclasses.replace(EVASIVE, weight=1.0, evasion_weight=weight, evasion_prompts="scan"))
        for weight in (1e-9, 0.1)
    )
    assert hidden.facts["attack_success_rate"] > 0.8
    assert hidden.facts["evaded_collapse"] < 0.25 * open_.facts["evaded_collapse"]
    assert hidden.facts["evaded_displacement"] < 0.25 * open_.facts["evaded_displacement"]


def test_a_penalty_on_own_prompts_lowers_both_statistics(base: TrainedEncoder, captions: CaptionSet) -> None:
    open_, hidden = (
        inject(base, captions, dataclasses.replace(EVASIVE, evasion_weight=weight)).facts for weight in (1e-9, 0.3)
    )
    assert all(math.isfinite(hidden[name]) for name in ("evaded_collapse", "evaded_displacement"))
    assert hidden["evaded_collapse"] < 0.5 * open_["evaded_collapse"]
    assert hidden["evaded_displacement"] < open_["evaded_displacement"]
    assert hidden["attack_success_rate"] > hidden["base_success_rate"]
