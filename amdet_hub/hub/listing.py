"""Which models belong to an organisation or a collection, and at which commit one stands.

Reads listings; opens no repository.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from amdet_hub.errors import ConfigError, HubError, OfflineMiss
from amdet_hub.hub import _client
from amdet_hub.hub._errors import Question
from amdet_hub.hub._listings import is_commit_sha
from amdet_hub.hub.settings import HubSettings
from amdet_hub.hub.targets import is_repo_id

MAX_MODELS = 10_000
"""More models than this are no single errand: the listing alone is a hundred requests."""


def list_models(
    settings: HubSettings, *, author: str | None, filters: Iterable[str] = (), limit: int | None = None
) -> tuple[str, ...]:
    """Ids of models on the Hub, the most downloaded first.

    Args:
        settings: how to reach the Hub.
        author: user or organisation; None: of all.
        filters: tags that every one of them has, such as a library (`"diffusers"`) or `"clip"`.
        limit: at most so many.

    Raises:
        ConfigError: there are more than 10,000.
        OfflineMiss: offline.
        HubError: the listing could not be read.
    """
    owner = author or "the Hub"
    _require_network(settings, owner)
    api, wanted = _client.api_of(settings), list(filters)

    def request() -> list[str]:
        found = api.list_models(author=author, filter=wanted or None, sort="downloads", limit=limit)
        return [model.id for model in itertools.islice(found, MAX_MODELS + 1)]

    return _checked(_client.ask(_question(f"list the models of {owner}", settings), settings, request), owner)


def list_collection(slug: str, settings: HubSettings) -> tuple[str, ...]:
    """Ids of the models in a collection (`"org/title-0123456789abcdef01234567"`), in its order.

    Raises: as `list_models`.
    """
    _require_network(settings, slug)
    api = _client.api_of(settings)
    question = _question(f"read the collection '{slug}'", settings)
    items = _client.ask(question, settings, lambda: api.get_collection(slug).items)
    return _checked([item.item_id for item in items if item.item_type == "model"], slug)


def commit_of(repo_id: str, revision: str | None, settings: HubSettings) -> str:
    """The commit (40 hex digits) that a revision of a model stands at; one request. Raises: OfflineMiss; HubError."""
    if revision is not None and is_commit_sha(revision):
        return revision
    _require_network(settings, repo_id)
    api = _client.api_of(settings)
    question = Question(f"read '{repo_id}'", _client.endpoint_of(settings), repo_id, revision)
    sha = _client.ask(
        question, settings, lambda: api.model_info(repo_id, revision=revision, timeout=settings.timeout_s)
    ).sha
    if not isinstance(sha, str) or not is_commit_sha(sha):
        raise HubError("the Hub's answer names no commit", repo_id=repo_id, endpoint=question.endpoint)
    return sha


def _question(action: str, settings: HubSettings) -> Question:
    return Question(action, _client.endpoint_of(settings))


def _require_network(settings: HubSettings, name: str) -> None:
    if _client.is_offline(settings):
        raise OfflineMiss(name, "listing")


def _checked(ids: Iterable[object], owner: str) -> tuple[str, ...]:
    """The ids, each once.

    An id that is none comes from a server that is no Hub: it would be read as a path or an address.
    """
    found: dict[str, None] = {}
    for name in ids:
        if not isinstance(name, str) or not is_repo_id(name):
            raise HubError(f"the Hub's listing of '{owner}' holds a name that no model can have")
        found.setdefault(name)
    if len(found) > MAX_MODELS:
        raise ConfigError("--limit", f"'{owner}' has more than {MAX_MODELS:,} models; say how many to scan")
    return tuple(found)
