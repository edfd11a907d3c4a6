"""Which models belong to an owner or a collection, and at which commit one stands.

Reads listings; opens no repository. Everything read here is hostile text.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from amdet_hub.errors import BadRepository, ConfigError, HubError
from amdet_hub.hub import _client
from amdet_hub.hub._errors import Question
from amdet_hub.hub._listings import is_commit_sha
from amdet_hub.hub.settings import HubSettings
from amdet_hub.hub.targets import is_repo_id

# More models than this are no single errand: the listing alone is a hundred requests.
MAX_MODELS = 10_000


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
        RepoNotFound: there is no such author.
        HubError: the listing could not be read.
    """
    rows = _models(author, settings, {"filter": list(filters) or None, "sort": "downloads", "limit": limit})
    return _checked((name for name, _ in rows), author or "the Hub")


def model_commits(author: str, settings: HubSettings) -> dict[str, str]:
    """The models of a user or an organisation: id to the commit of the default branch, sorted by id.

    Raises:
        BadRepository: the listing holds a model of another author.
        ConfigError: there are more than 10,000.
        RepoNotFound: there is no such author.
        HubError: the listing could not be read.
    """
    rows = _models(author, settings, {"expand": ["sha"]})
    for name in _checked((name for name, _ in rows), author):
        if name.partition("/")[0].lower() != author.lower():
            raise BadRepository(name, f"it is no model of '{author}'")
    place = Question("", _client.endpoint_of(settings))
    # a repository without a commit holds nothing yet
    return {name: checked_commit(sha, place) for name, sha in sorted(rows) if sha is not None}


def list_collection(slug: str, settings: HubSettings) -> tuple[str, ...]:
    """Ids of the models in a collection (`"org/title-0123456789abcdef01234567"`), in its order.

    Raises:
        ConfigError: there are more than 10,000.
        RepoNotFound: there is no such collection.
        HubError: it could not be read.
    """
    api, question = _client.prepare(f"read the collection '{slug}'", settings, name=slug, kind="collection")
    items = _client.ask(question, settings, lambda: api.get_collection(slug).items)
    return _checked((item.item_id for item in items if item.item_type == "model"), slug)


def commit_of(repo_id: str, revision: str | None, settings: HubSettings) -> str:
    """The commit (40 hex digits) that a revision of a model stands at; one request. Raises: HubError."""
    if revision is not None and is_commit_sha(revision):
        return revision
    api, question = _client.prepare(f"read '{repo_id}'", settings, name=repo_id, revision=revision)
    info = _client.ask(
        question, settings, lambda: api.model_info(repo_id, revision=revision, timeout=settings.timeout_s)
    )
    return checked_commit(info.sha, question)


def checked_commit(sha: object, question: Question) -> str:
    """The commit (40 hex digits) that an answer about a model names. Raises: HubError."""
    if not isinstance(sha, str) or not is_commit_sha(sha):
        raise HubError("the Hub's answer names no commit", **question.place)
    return sha


def _models(author: str | None, settings: HubSettings, asked: dict[str, Any]) -> list[tuple[str, object]]:
    """Id and commit of each model: all that is kept of a row, which may hold anything."""
    about: dict[str, Any] = {"name": author, "kind": "user or organisation"} if author else {}
    api, question = _client.prepare(f"list the models of {author or 'the Hub'}", settings, **about)

    def request() -> list[tuple[str, object]]:
        listed = itertools.islice(api.list_models(author=author, **asked), MAX_MODELS + 1)
        return [(row.id, row.sha) for row in listed]

    rows = _client.ask(question, settings, request)
    if not rows and author is not None:  # the Hub lists no models of an owner that there is not
        _client.ask(question, settings, lambda: _find_owner(api, author))
    return rows


def _find_owner(api: HfApi, name: str) -> None:
    try:
        api.get_user_overview(name)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
        api.get_organization_overview(name)


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
