"""A local Hub with one ordinary repository, and settings that reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.hub import HubSettings, _client
from amdet_hub.testing import LocalHub

README = b"---\nlicense: mit\nbase_model: openai/clip-vit-base-patch32\n---\n# A model\n"
WEIGHTS = bytes(range(256)) * 20

Settle = Callable[..., HubSettings]


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token="hf_alice")
        hub.add_user("bob", token="hf_bob")
        hub.add_user("owner", token="hf_owner", can_write=("org",))
        hub.add_user("reader", token="hf_reader", read_only=True)
        hub.add_model(
            "org/m", {"README.md": README, "config.json": b'{"a": 1}', "text_encoder/model.safetensors": WEIGHTS}
        )
        yield hub


@pytest.fixture
def settle(hub: LocalHub, tmp_path: Path) -> Settle:
    """Settings for the local Hub, without a token and without retries unless asked for."""

    def make(**values: Any) -> HubSettings:
        return HubSettings(
            **{"endpoint": hub.endpoint, "cache_dir": tmp_path / "cache", "max_retries": 0, "timeout_s": 5.0, **values}
        )

    return make


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "FIRST_PAUSE_S", 0.01)
