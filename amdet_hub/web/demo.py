"""The demonstration's Hub behind the page: the three small encoders of `amdet_hub.demo` on loopback, nothing else.

Needs no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED, NOT_SERVED, TOKEN, USER
from amdet_hub.testing import LocalHub
from amdet_hub.web.settings import SpaceSettings


@contextmanager
def demo_settings(data_dir: Path) -> Iterator[tuple[SpaceSettings, LocalHub]]:
    """Settings of a Space that sees the demonstration's models and nothing else, while the Hub is up."""
    with LocalHub() as hub:
        for repo_id in (BASE, FINETUNED, BACKDOORED):
            source = WEIGHTS / repo_id.partition("/")[2]
            hub.add_model(
                repo_id,
                {p.name: p.read_bytes() for p in sorted(source.iterdir()) if p.is_file() and p.name not in NOT_SERVED},
            )
        hub.add_user(USER, token=TOKEN)
        settings = SpaceSettings(
            endpoint=hub.endpoint,
            data_dir=data_dir,
            reference=BASE,
            examples=(BACKDOORED, FINETUNED),
            stand_in_token=TOKEN,
            stand_in_name=USER,
            per_visitor=8,
            per_visitor_hour=100,
        )
        yield settings, hub
