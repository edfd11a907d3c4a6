from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import amdet_hub.hub
from amdet_hub.errors import ConfigError
from amdet_hub.hub import HubSettings, own_cache


def test_the_token_is_never_shown() -> None:
    settings = HubSettings(token="hf_secret")
    assert settings.token == "hf_secret"
    assert "hf_secret" not in repr(settings) + str(settings)


def test_values_are_normalised() -> None:
    settings = HubSettings(endpoint="https://hub.example.org/", cache_dir=Path("~/x/../y"))
    assert settings.endpoint == "https://hub.example.org"
    assert settings.cache_dir == Path.home() / "y"


@pytest.mark.parametrize(
    "values",
    [
        {"endpoint": "hub.example.org"},
        {"endpoint": "ftp://hub.example.org"},
        {"endpoint": "https://user:pw@hub.example.org"},
        {"endpoint": "https://"},
        {"endpoint": "https://[x"},
        {"endpoint": "https://x:99999999"},
        {"token": ""},
        {"token": "hf_a\nX-Other: 1"},
        {"token": "hf_é"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"max_download_bytes": -1},
        {"max_retries": -1},
    ],
)
def test_unusable_values_are_refused_without_showing_them(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        HubSettings(**values)
    assert "pw@" not in str(caught.value)
    assert "hf_" not in str(caught.value)


@pytest.mark.parametrize(("said", "off"), [(None, True), ("0", False), ("1", True)])
def test_telemetry_is_off_unless_the_user_says_otherwise(said: str | None, off: bool) -> None:
    environment = {
        k: v
        for k, v in os.environ.items()
        if k not in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    if said is not None:
        environment["HF_HUB_DISABLE_TELEMETRY"] = said
    code = "import huggingface_hub.constants as c, amdet_hub.hub._client; print(c.HF_HUB_DISABLE_TELEMETRY)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert out.stdout.strip() == str(off)


def test_every_exported_name_is_there_and_no_other() -> None:
    for name in amdet_hub.hub.__all__:
        assert getattr(amdet_hub.hub, name).__name__ == name
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = amdet_hub.hub.nonesuch


def test_our_own_cache_lies_beside_the_hubs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AMDET_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert own_cache(HubSettings()) == Path.home() / ".cache/huggingface/amdet-hub"
    assert own_cache(HubSettings(cache_dir=tmp_path)) == tmp_path / "amdet-hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert own_cache(HubSettings()) == tmp_path / "home" / "amdet-hub"
    monkeypatch.setenv("AMDET_HUB_CACHE", str(tmp_path / "mine"))
    assert own_cache(HubSettings(cache_dir=tmp_path)) == tmp_path / "mine"
