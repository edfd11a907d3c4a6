"""The demonstration's encoders on a LocalHub, and settings that scan them in seconds.

For the tests of what scans without being asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amdet_hub.config import ScanConfig
from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import NOT_SERVED
from amdet_hub.hub import HubSettings
from amdet_hub.testing import LocalHub

BASE, FINETUNED, BACKDOORED = "demo/base", "demo/finetuned", "demo/backdoored"
TOKEN = "hf_alicealicealice"

REDUCED: dict[str, Any] = {
    "sweep__screen_prompts": 2,
    "sweep__n_finalists": 16,
    "sweep__n_null": 64,
    "sweep__copies": (1,),
    "sweep__n_candidates": 2,
    "sweep__n_paired": 2,
    "sweep__n_pieces": 1,
    "sweep__n_pointed": 2,
    "sweep__n_accretions": 0,
    "sweep__max_pieces": 2,
    "sweep__n_sequences": 32,
}
FAST = ScanConfig.for_preset("quick").replace(**REDUCED)
"""The quick preset with fewer of everything; the demonstration's verdicts stay right."""

FAST_TOML = 'preset = "quick"\ndevice = "cpu"\n\n[sweep]\n' + "".join(
    f"{key.removeprefix('sweep__')} = {list(value) if isinstance(value, tuple) else value}\n"
    for key, value in REDUCED.items()
)
"""`FAST`, as a file for `--config`."""


def files_of(name: str) -> dict[str, bytes]:
    """What the Hub serves of one of the encoders: "base", "finetuned" or "backdoored"."""
    return {
        p.name: p.read_bytes() for p in sorted((WEIGHTS / name).iterdir()) if p.is_file() and p.name not in NOT_SERVED
    }


@contextmanager
def demo_hub() -> Iterator[LocalHub]:
    """A Hub with the three repositories, and a user who may write to them."""
    with LocalHub() as hub:
        for repo_id in (BASE, FINETUNED, BACKDOORED):
            hub.add_model(repo_id, files_of(repo_id.partition("/")[2]))
        hub.add_user("alice", token=TOKEN, can_write=("demo",))
        yield hub


def settings_of(hub: LocalHub, cache: Path, *, token: str | None = TOKEN) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, token=token, cache_dir=cache)
