"""Shared by every test: no network but loopback, no token of the machine, no Hub cache but a temporary one.

The Hub's client reads its environment when it is imported, so this is set before anything else.
"""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

import pytest

os.environ.update(
    HF_HOME=tempfile.mkdtemp(prefix="amdet-hub-tests-"),
    HF_ENDPOINT="http://127.0.0.1:9",  # the discard port: a test that forgets its LocalHub fails at once
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    DISABLE_SAFETENSORS_CONVERSION="1",
    NO_COLOR="1",
    AMDET_HUB_SEED="0",  # else each run of the tests draws other prompts
)
for _name in (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_OIDC_RESOURCE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
):
    os.environ.pop(_name, None)

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    host = address[0] if isinstance(address, tuple) else "local"
    if host not in ("127.0.0.1", "::1", "localhost", "local"):
        raise RuntimeError(f"a test tried to reach {host}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)
