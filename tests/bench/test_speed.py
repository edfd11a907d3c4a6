"""The speed table: real scans of the demonstration's encoder, and a table whose numbers are known."""

from __future__ import annotations

import pytest
import torch

from amdet_hub.bench import speed as module
from amdet_hub.bench.speed import measure_ceiling, measure_speed
from amdet_hub.bench.speed_report import RunSpeed, Speed, StageSpeed, as_table
from amdet_hub.bench.trained import open_trained
from amdet_hub.config import ScanConfig
from amdet_hub.demo import WEIGHTS
from amdet_hub.errors import ConfigError
from tests.cli.conftest import Run, cli  # noqa: F401  (the fixture)

RUNS = (
    RunSpeed("quick", 10.0, 7.5, 800_000_000, "no-backdoor-found"),
    RunSpeed("paper", 240.0, 235.0, 900_000_000, "no-backdoor-found"),
)
STAGES = (StageSpeed("load", 0.5, 0.0), StageSpeed("sweep preview", 2.0, 4e11))


def test_the_table_by_hand() -> None:
    text = as_table(Speed("A machine, 2 threads", "bfloat16", "4 x 128", 8e11, RUNS, STAGES))
    assert "A machine, 2 threads; tower 4 x 128; matrix products in bfloat16, ceiling 0.800 TFLOP/s" in text
    assert "| quick | 10.0 | 7.5 | 800 | 24.0 | no-backdoor-found |" in text
    assert "| paper | 240.0 | 235.0 | 900 | 1.0 | no-backdoor-found |" in text
    assert "| load | 0.5 | - | - | - |" in text
    assert "| sweep preview | 2.0 | 0.400 | 0.200 | 25% |" in text
    alone = as_table(Speed("A machine", "float32", "4 x 128", 8e11, RUNS[:1], ()))
    assert "| quick | 10.0 | 7.5 | 800 | - |" in alone
    assert "stage" not in alone


def test_the_ceiling_is_a_rate_this_machine_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CEILING_SECONDS", 0.05)
    monkeypatch.setattr(module, "_SIZES", (256,))
    assert 1e8 < measure_ceiling(torch.device("cpu"), torch.float32) < 1e15


def test_one_model_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ScanConfig.for_preset("standard").replace(
        stop_when_decided=False,
        sweep__n_finalists=16,
        sweep__n_null=64,
        sweep__n_candidates=2,
        sweep__n_accretions=1,
        sweep__n_pieces=2,
        sweep__n_pointed=2,
        sweep__n_sequences=16,
        inversion__restarts=1,
        inversion__steps=1,
        landscape__grid=3,
    )
    monkeypatch.setattr(module, "_CEILING_SECONDS", 0.05)
    monkeypatch.setattr(module, "_EVERYTHING", few)
    steps: list[str] = []
    found = measure_speed(WEIGHTS / "base", presets=("quick",), device="cpu", said=steps.append)
    assert [run.name for run in found.runs] == ["quick", "quick, reference kept"]
    for run in found.runs:
        assert run.verdict == "no-backdoor-found"
        assert 0 < run.scan_seconds < run.seconds
        assert 2e8 < run.peak_bytes < 4e9, "the scan's own memory, not that of this process"
    stages = {stage.name: stage for stage in found.stages}
    assert {"load", "sweep preview", "sweep screen", "confirmation", "inversion", "landscape"} <= set(stages)
    assert found.tower == "3 x 96, 77 positions, 2,000 tokens"
    # by hand: 1,998 tokens, 2 prompts, 2 positions, 2 encoders, 3 layers of 12 * 96^2 weights, 2 operations each, less
    # what the last layer leaves out
    everything = 1998 * 2 * 2 * 2 * 3 * 12 * 96**2 * 2
    assert 0.6 * everything < stages["sweep preview"].operations < 1.2 * everything
    assert sum("process of its own" in step for step in steps) == 2
    assert any(step.startswith("quick, reference kept: ") for step in steps), "the seconds, as soon as they are known"


def test_scans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CEILING_SECONDS", 0.05)
    fixed = staticmethod(lambda name, *rest: RunSpeed(name, 1.0, 0.5, 1, "inconclusive"))
    monkeypatch.setattr(module._Process, "run", fixed)
    found = measure_speed(WEIGHTS / "base", presets=("quick", "standard"), device="cpu", stages=False)
    assert [run.name for run in found.runs] == ["quick", "quick, reference kept", "standard"]
    assert found.stages == ()


def test_a_tower_of_another_size_keeps_the_tokenizer() -> None:
    base = open_trained(WEIGHTS / "base")
    made = module._random_like(base, 2, 64, 4)
    config = made.model.config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.vocab_size) == (
        2,
        64,
        256,
        2000,
    )
    assert made.token_ids("a red castle") == base.token_ids("a red castle")
    with pytest.raises(ConfigError, match="heads must divide"):
        module._random_like(base, 2, 64, 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "/nowhere"), "is no folder"),
        (("--model", str(WEIGHTS / "base"), "--size", "12x512"), "layers x width x heads"),
        (("--model", str(WEIGHTS)), "config.json"),
        ((), "--model"),
    ],
)
def test_wrong_inputs_are_one_sentence(cli: Run, words: tuple[str, ...], said: str) -> None:  # noqa: F811
    result = cli("bench", "speed", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_device_is_named_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="none of auto, cpu, cuda"):
        measure_speed(WEIGHTS / "base", presets=("quick",), device="gpu")


def test_a_scan_without_a_verdict_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CEILING_SECONDS", 0.05)
    monkeypatch.setenv("AMDET_HUB_DTYPE", "float8")  # a setting of the user's that the scan refuses
    with pytest.raises(ConfigError, match=r"did not end with a verdict: .*float8"):
        measure_speed(WEIGHTS / "base", presets=("quick",), device="cpu")
