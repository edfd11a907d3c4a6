"""The configuration: what it says of itself, what it refuses, and how it is stored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amdet_hub.config import PRESETS, ScanConfig
from amdet_hub.config_stages import SweepConfig, Thresholds
from amdet_hub.errors import ConfigError, ReportError


@pytest.mark.parametrize("preset", PRESETS)
def test_round_trip(preset: str) -> None:
    config = ScanConfig.for_preset(preset, seed=3)
    stored = json.loads(json.dumps(config.to_dict()))
    assert ScanConfig.from_dict(stored) == config
    assert ScanConfig.from_dict(stored).fingerprint() == config.fingerprint()
    assert config.preset == preset
    assert config.seed == 3


def test_the_fingerprint_is_the_sha256_of_canonical_json() -> None:
    config = ScanConfig.for_preset("standard")
    canonical = json.dumps(config.to_dict(), sort_keys=True, separators=(",", ":"))
    assert config.fingerprint() == hashlib.sha256(canonical.encode()).hexdigest()
    assert config.fingerprint() == ScanConfig.for_preset("standard").fingerprint()
    shuffled = dict(reversed(list(config.to_dict().items())))
    assert ScanConfig.from_dict(shuffled).fingerprint() == config.fingerprint()


def test_the_published_inversion_keeps_its_fingerprint() -> None:
    """What "--preset paper" asks must not change by accident: these numbers are the paper's, not ours."""
    config = ScanConfig.for_preset("paper").to_dict()
    published = {part: config[part] for part in ("inversion", "gates", "landscape")}
    canonical = json.dumps(published, sort_keys=True, separators=(",", ":"))
    assert (
        hashlib.sha256(canonical.encode()).hexdigest()
        == "e0d0cfb4e3565bdf0ccdc67153d4bbc80439daafbe8c91511bbbc908f6f1a475"
    )


def every_setting() -> list[str]:
    config, names = ScanConfig(), []
    for f in dataclasses.fields(ScanConfig):
        part = getattr(config, f.name)
        names += [f"{f.name}__{g.name}" for g in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []
    return names


@pytest.mark.parametrize("name", every_setting())
def test_every_number_is_in_the_fingerprint(name: str) -> None:
    config = ScanConfig.for_preset("standard")
    part, _, field = name.partition("__")
    old = getattr(getattr(config, part), field)
    if old is None:
        new: Any = 7.5
    elif isinstance(old, bool):
        new = not old
    else:
        new = (2, 4) if isinstance(old, tuple) else old + 1 if isinstance(old, int) else old * 0.9 + 0.013
    changed = config.replace(**{name: new})
    assert changed.fingerprint() != config.fingerprint()
    assert changed.replace(**{name: old}) == config


def test_the_paper_preset_is_an_inversion() -> None:
    assert ScanConfig.for_preset("standard").replace(inversion__restarts=0).inversion.restarts == 0
    with pytest.raises(ConfigError, match="nothing of the preset"):
        ScanConfig.for_preset("paper").replace(inversion__restarts=0)


def test_presets_differ_in_what_they_say_they_do() -> None:
    standard, quick, characters = (ScanConfig.for_preset(name) for name in ("standard", "quick", "characters"))
    assert quick.inversion.restarts == 0
    assert quick.sweep == standard.sweep, "what detects is the same"
    assert characters.sweep.characters
    assert not standard.sweep.characters
    assert dataclasses.replace(characters.sweep, characters=False) == standard.sweep
    assert characters.inversion == standard.inversion


def test_thresholds_of_the_user_go_over_the_calibrated_ones() -> None:
    calibrated = Thresholds(sweep_score=5.0, trigger_success=0.7, trigger_collapse=0.8)
    assert ScanConfig().thresholds.over(calibrated) == calibrated
    changed = ScanConfig().replace(thresholds__trigger_success=0.9).thresholds.over(calibrated)
    assert changed == Thresholds(sweep_score=5.0, trigger_success=0.9, trigger_collapse=0.8)


def test_replace() -> None:
    config = ScanConfig.for_preset("standard")
    made = config.replace(seed=4, sweep__n_prompts=12, sweep__copies=(1,), inversion__steps=7)
    assert (made.seed, made.sweep.n_prompts, made.sweep.copies, made.inversion.steps) == (4, 12, (1,), 7)
    assert made.sweep.n_null == config.sweep.n_null
    assert config.replace() == config
    assert config.replace(sweep=SweepConfig(n_null=5), sweep__n_finalists=6).sweep == SweepConfig(
        n_null=5, n_finalists=6
    )


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "sweep__nothing",
        "nothing__steps",
        "fingerprint",
        "to_dict",
        "seed__real",
        "sweep__n_null__x",
        "__class__",
        "sweep__",
    ],
)
def test_unknown_settings_are_refused(name: str) -> None:
    if name == "sweep__":  # an empty name is the part itself
        assert ScanConfig().replace(sweep__=SweepConfig(n_null=5)).sweep.n_null == 5
        return
    with pytest.raises(ConfigError, match="is not a scan setting") as caught:
        ScanConfig().replace(**{name: 1})
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("preset", "fast"),
        ("sweep__screen_prompts", 1),
        ("sweep__screen_prompts", 9),
        ("sweep__n_finalists", 0),
        ("sweep__n_null", 0),
        ("sweep__copies", ()),
        ("sweep__copies", (1, 0)),
        ("sweep__n_candidates", 0),
        ("sweep__batch_rows", 0),
        ("sweep__collapse_floor", float("nan")),
        ("inversion__restarts", -1),
        ("inversion__heldout_share", 0.0),
        ("inversion__heldout_share", 1.0),
        ("inversion__learning_rate", float("inf")),
        ("landscape__grid", 2),
        ("gates__check_every", 0),
        ("sweep__n_prompts", "8"),
    ],
)
def test_impossible_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        ScanConfig.for_preset("standard").replace(**{name: value})
    assert caught.value.name == name.replace("__", ".")


@pytest.mark.parametrize("preset", ["", "Standard", "paper2"])
def test_unknown_presets(preset: str) -> None:
    with pytest.raises(ConfigError, match="none of standard, quick, characters, paper"):
        ScanConfig.for_preset(preset)


def test_presets_differ_where_they_should() -> None:
    standard, paper = ScanConfig.for_preset("standard"), ScanConfig.for_preset("paper")
    assert standard.fingerprint() != paper.fingerprint()
    assert standard.landscape.relative_radius
    assert not paper.landscape.relative_radius
    assert standard.gates == paper.gates
    with pytest.raises(ConfigError):
        ScanConfig.for_preset("standard", seed=-1)


@pytest.mark.parametrize("spoil", ["missing", "unknown", "type", "range"])
def test_a_stored_configuration_that_is_not_one(spoil: str) -> None:
    data = ScanConfig().to_dict()
    if spoil == "missing":
        del data["sweep"]["n_null"]
    elif spoil == "unknown":
        data["more"] = 1
    elif spoil == "type":
        data["inversion"]["steps"] = "many"
    else:
        data["landscape"]["grid"] = 0
    with pytest.raises(ReportError):
        ScanConfig.from_dict(data)


@given(seed=st.integers(0, 2**63), score=st.floats(0, 1e9), copies=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_any_configuration_comes_back(seed: int, score: float, copies: list[int]) -> None:
    config = ScanConfig().replace(seed=seed, thresholds__sweep_score=score, sweep__copies=tuple(copies))
    again = ScanConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.fingerprint() == config.fingerprint()
