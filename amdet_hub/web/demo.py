"""The demonstration's Hub behind the page: the three small encoders of `amdet_hub.demo` on loopback, and nothing else.

Needs no network. Their results lie beside this module, so that the first click is answered at once.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, BASE, FINETUNED, NOT_SERVED, TOKEN, USER
from amdet_hub.scanner.cache import ResultsCache
from amdet_hub.testing import LocalHub
from amdet_hub.web.settings import SpaceSettings

# Entries of the results cache, unsigned, made by `python -m amdet_hub.web.make_examples`.
EXAMPLES = Path(__file__).with_name("examples")


@contextmanager
def demo_settings(data_dir: Path) -> Iterator[tuple[SpaceSettings, LocalHub]]:
    """Settings of a Space that sees the demonstration's models and their results, while their Hub is up."""
    with LocalHub() as hub:
        for repo_id in (BASE, FINETUNED, BACKDOORED):
            files = sorted((WEIGHTS / repo_id.partition("/")[2]).iterdir())
            hub.add_model(repo_id, {f.name: f.read_bytes() for f in files if f.is_file() and f.name not in NOT_SERVED})
        hub.add_user(USER, token=TOKEN)
        settings = SpaceSettings(
            endpoint=hub.endpoint,
            data_dir=data_dir,
            seed=0,
            reference=BASE,
            examples=(BACKDOORED, FINETUNED),
            stand_in_token=TOKEN,
            stand_in_name=USER,
            per_visitor=8,
            per_visitor_hour=100,
        )
        copy_examples(settings)
        yield settings, hub


def copy_examples(settings: SpaceSettings) -> None:
    """Put the shipped results, which are ours, into the results cache of these settings under this user's key."""
    cache = ResultsCache(settings.hub())
    for path in EXAMPLES.rglob("*.json"):
        cache.write(path.relative_to(EXAMPLES).as_posix(), json.loads(path.read_bytes()))
