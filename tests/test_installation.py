"""The key of a user and the seed of scans: kept between processes, of its user alone, and never known beforehand."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from amdet_hub import Scanner
from amdet_hub.bench.scanning import bench_config
from amdet_hub.config import PRESETS, ScanConfig
from amdet_hub.errors import ConfigError
from amdet_hub.installation import installation_seed, key_file, read_key

SEEDS = (
    "from amdet_hub import Scanner; from amdet_hub.config import ScanConfig\n"
    "print(ScanConfig.for_preset('quick').seed, ScanConfig().seed, Scanner().config.seed)"
)


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key of this test is, and no seed that is named."""
    monkeypatch.delenv("AMDET_HUB_SEED")
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "key"))
    return tmp_path / "key"


def seed_of_a_process(**environment: str) -> int:
    """The one seed that every way to a configuration has in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SEEDS],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (seed,) = set(done.stdout.split())
    return int(seed)


def test_the_seed_is_drawn_once_for_a_user_and_kept(key: Path, tmp_path: Path) -> None:
    first = seed_of_a_process()
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) == (0o600, 32)
    assert seed_of_a_process() == first == installation_seed() == Scanner().config.seed
    assert {ScanConfig.for_preset(preset).seed for preset in PRESETS} == {first}
    others = {seed_of_a_process(AMDET_HUB_CACHE_KEY=str(tmp_path / name)) for name in "ab"}
    assert len({first, 0, *others}) == 4
    assert all(seed < 2**32 for seed in (first, *others))


def planted(key: Path, fault: str) -> None:
    """What somebody else could have put there, or what stands in the way."""
    if fault == "a folder":
        key.mkdir()
    elif fault == "below a file":
        key.parent.rmdir()
        key.parent.write_bytes(b"")
    else:
        key.write_bytes(bytes(31 if fault == "short" else 32))
        key.chmod({"writable by the group": 0o620, "readable by others": 0o604}.get(fault, 0o600))


@pytest.mark.parametrize("fault", ["writable by the group", "readable by others", "short", "a folder", "below a file"])
def test_where_no_key_can_be_kept_each_process_draws_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place = tmp_path / "place" / "key"
    place.parent.mkdir()
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(place))
    place.write_bytes(bytes(32))
    place.chmod(0o600)
    known = installation_seed()
    place.unlink()
    planted(place, fault)
    assert read_key() is None
    here = installation_seed()
    assert here == installation_seed() == Scanner().config.seed
    assert len({seed_of_a_process(), seed_of_a_process(), here, known, 0}) == 5


def test_a_key_of_another_owner_is_not_used(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = installation_seed()
    monkeypatch.setattr(os, "geteuid", lambda: key.stat().st_uid + 1)
    assert (read_key(), installation_seed() == mine) == (None, False)


def test_a_named_seed_is_the_seed(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_SEED", "17")
    assert (Scanner().config.seed, ScanConfig.for_preset("quick", seed=3).seed) == (17, 3)
    assert not key.exists()
    for wrong in ("seven", "-1"):
        monkeypatch.setenv("AMDET_HUB_SEED", wrong)
        with pytest.raises(ConfigError):
            ScanConfig()


def test_figures_that_are_published_have_a_fixed_seed(key: Path) -> None:
    assert {bench_config(detector).seed for detector in ("standard", "paper")} == {1}
    assert not key.exists()


def test_the_key_lies_outside_of_the_cache_that_it_signs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AMDET_HUB_CACHE_KEY", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AMDET_HUB_CACHE", str(tmp_path / "mine"))
    assert key_file() == Path.home() / ".cache/huggingface/amdet-hub-key"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert key_file() == tmp_path / "home" / "amdet-hub-key"
    monkeypatch.setenv("AMDET_HUB_CACHE_KEY", str(tmp_path / "key"))
    assert key_file() == tmp_path / "key"
