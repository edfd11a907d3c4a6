"""Which commits do these repositories stand at, and what do we tell their owners?

Knows: listings of a namespace, discussions, webhooks.

Refuses to know: what a scan found, and pull requests (`amdet_hub.hub.publish`). Everything read here is hostile text.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from huggingface_hub import HfApi

from amdet_hub.errors import BadRepository, ConfigError, HubError, HubUnavailable
from amdet_hub.hub import _client
from amdet_hub.hub._errors import Question
from amdet_hub.hub._listings import is_commit_sha
from amdet_hub.hub.publish import whoami
from amdet_hub.hub.settings import HubSettings
from amdet_hub.hub.targets import is_repo_id

T = TypeVar("T")

MAX_MODELS = 10_000
"""Most models of one namespace that are listed."""


def models_of(namespace: str, settings: HubSettings) -> dict[str, str]:
    """The models of a user or an organisation: id to the commit of the default branch, sorted by id.

    Raises:
        BadRepository: the listing holds an id that is none, or more than `MAX_MODELS`.
        HubError: it could not be read.
    """
    api, question = _asker(f"list the models of '{namespace}'", settings)

    def rows() -> list[Any]:
        return list(itertools.islice(api.list_models(author=namespace, expand=["sha"]), MAX_MODELS + 1))

    found: dict[str, str] = {}
    for row in _client.ask(question, settings, rows):
        if not is_repo_id(row.id) or row.id.partition("/")[0].lower() != namespace.lower():
            raise BadRepository(str(row.id), f"it is no model of '{namespace}'")
        if row.sha is not None:  # a repository without a commit holds nothing yet
            found[row.id] = _commit(row.sha, row.id, question)
    if len(found) > MAX_MODELS:
        raise BadRepository(namespace, f"it has more than {MAX_MODELS:,} models")
    return dict(sorted(found.items()))


def head_of(repo_id: str, settings: HubSettings) -> str:
    """The commit of a repository's default branch, 40 hex digits. Raises: HubError."""
    api, question = _asker(f"read '{repo_id}'", settings, repo_id)
    info = _client.ask(question, settings, lambda: api.model_info(repo_id, timeout=settings.timeout_s))
    return _commit(info.sha, repo_id, question)


def _commit(sha: Any, repo_id: str, question: Question) -> str:
    if not isinstance(sha, str) or not is_commit_sha(sha):
        raise HubError("the Hub's answer names no commit", repo_id=repo_id, endpoint=question.endpoint)
    return sha


def _asker(action: str, settings: HubSettings, repo_id: str | None = None) -> tuple[HfApi, Question]:
    endpoint = _client.endpoint_of(settings)
    if _client.is_offline(settings):
        raise HubUnavailable("offline mode is on", repo_id=repo_id, endpoint=endpoint)
    return _client.api_of(settings), Question(action, endpoint, repo_id)


# ---------------------------------------------------------------- discussions


def tell_owner(repo_id: str, *, title: str, text: str, settings: HubSettings) -> str | None:
    """Open a discussion, unless one of ours with this title exists: open, it was said; closed, the owner has answered.

    Args:
        repo_id: the repository.
        title: 3 to 200 characters; it is also how an earlier one is recognised.
        text: Markdown.
        settings: how to reach the Hub, as whom.

    Returns:
        The address of the new discussion, None when there was one already.

    Raises:
        AccessDenied: there is no token, or it lacks the right.
        HubError: anything else between us and the Hub.
    """
    user = whoami(settings)
    api, question = _asker(f"open a discussion on '{repo_id}'", settings, repo_id)

    def earlier() -> bool:
        found = api.get_repo_discussions(repo_id, author=user, discussion_type="discussion")
        return any(d.author == user and d.title.strip() == title.strip() for d in found)

    if _client.ask(question, settings, earlier):
        return None
    made = _write(question, settings, lambda: api.create_discussion(repo_id, title, description=text))
    return str(made.url)


def _write(question: Question, settings: HubSettings, request: Callable[[], T]) -> T:
    return _client.ask(question, settings, request, retries=0)  # an answer that got lost may have been a yes


# ---------------------------------------------------------------- webhooks


@dataclass(frozen=True)
class WebhookPlan:
    """A webhook as it is wanted. Exactly one of `url` and `job_id`.

    Attributes:
        watched: (type, name) of what is watched: type is "org", "user" or "model".
        url: where the Hub sends what happened.
        job_id: the Job that the Hub runs again, with what happened in its environment.
        secret: what the Hub sends along, so that a receiver can tell its messages from others.
        job_secrets: secret environment variables of the Job.
    """

    watched: tuple[tuple[Literal["org", "user", "model"], str], ...]
    url: str | None = None
    job_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    job_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if (self.url is None) == (self.job_id is None):
            raise ConfigError("webhook", "it needs --url or --job, and not both")
        if self.url is not None and not self.url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise ConfigError("--url", "it must start with https://, or a secret would travel in the open")
        if self.url is not None and self.secret is None:
            raise ConfigError("webhook", "a webhook with a URL needs a secret, or anybody could send its messages")
        if self.job_secrets and self.job_id is None:
            raise ConfigError("--job-secret", "goes with --job")
        if not self.watched:
            raise ConfigError("webhook", "it watches nothing")


@dataclass(frozen=True)
class WebhookMade:
    """A webhook that exists now; `created` is False when an equal one did before."""

    id: str
    created: bool


def ensure_webhook(plan: WebhookPlan, settings: HubSettings) -> WebhookMade:
    """Create the webhook, unless an enabled one watches the same and goes to the same place.

    Raises:
        AccessDenied: there is no token, or it may not manage webhooks.
        HubError: anything else between us and the Hub.
    """
    api, question = _asker("set up a webhook", settings)
    wanted = sorted(plan.watched)
    for hook in _client.ask(question, settings, api.list_webhooks):
        same = sorted((item.type, item.name) for item in hook.watched) == wanted and "repo" in hook.domains
        # The Hub does not say which Job a webhook was made from, so only those that go to a URL can be recognised.
        if same and not hook.disabled and plan.url is not None and hook.url == plan.url:
            return WebhookMade(str(hook.id), created=False)

    def create() -> Any:
        return api.create_webhook(
            url=plan.url,
            job_id=plan.job_id,
            watched=_watched_items(plan.watched),
            domains=["repo"],
            secret=plan.secret,
            secrets=dict(plan.job_secrets) or None,
        )

    return WebhookMade(str(_write(question, settings, create).id), created=True)


def _watched_items(watched: Sequence[tuple[str, str]]) -> list[Any]:
    return [{"type": kind, "name": name} for kind, name in watched]


def fresh_secret() -> str:
    """A secret for a webhook: 32 random bytes, 43 letters."""
    return secrets.token_urlsafe(32)
