"""The few claims of a model card that a scan repeats: `base_model` and `license`.

Knows: YAML front matter, read safely. Refuses to believe any of it, and never fails on a strange card: what cannot be
read is not claimed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from amdet_hub.hub.targets import is_repo_id
from amdet_hub.records import RepoFile, RepoSnapshot

# A larger README is not read for its claims.
MAX_CARD_BYTES = 1 << 20

_MAX_FRONT_MATTER_CHARS = 1 << 16
_MAX_BASE_MODELS = 16
_MAX_LICENSE_CHARS = 100
_BLOCK = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class CardClaims:
    """What the card says of itself.

    `base_models` holds well-formed repository ids only: a path or a URL is dropped.
    """

    base_models: tuple[str, ...] = ()
    license: str | None = None


class _NoAliasLoader(yaml.SafeLoader):
    """A safe loader without anchors: a few hundred bytes of nested aliases expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def claims_of(snapshot: RepoSnapshot, read: Callable[[RepoFile], bytes]) -> CardClaims:
    """The claims of the README of a listed repository; none where it has none, or one too large. `read` reads it."""
    card = snapshot.file("README.md")
    if card is None or card.size_bytes > MAX_CARD_BYTES:
        return CardClaims()
    return card_claims(read(card))


def card_claims(readme: bytes) -> CardClaims:
    """The claims of a README's front matter; none where there is no front matter, or none that can be read."""
    match = _BLOCK.match(readme[:MAX_CARD_BYTES].decode(errors="replace"))
    if match is None or len(match[1]) > _MAX_FRONT_MATTER_CHARS:
        return CardClaims()
    try:
        data = yaml.load(match[1], Loader=_NoAliasLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        # all but the first: odd dates, keys, numbers and nesting, and values that are not what their tag says (`!!bool
        # maybe`)
        return CardClaims()
    if not isinstance(data, dict):
        return CardClaims()
    named = data.get("base_model")
    names = named if isinstance(named, list) else [named]
    base_models = dict.fromkeys(name for name in names if isinstance(name, str) and is_repo_id(name))
    licence = data.get("license")
    plain = isinstance(licence, str) and 0 < len(licence) <= _MAX_LICENSE_CHARS and licence.isprintable()
    return CardClaims(tuple(base_models)[:_MAX_BASE_MODELS], licence if plain else None)
