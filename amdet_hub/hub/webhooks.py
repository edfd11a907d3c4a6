"""Webhooks: the Hub tells of every push, to a URL or by running a Job again."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from amdet_hub.errors import ConfigError
from amdet_hub.hub import _client
from amdet_hub.hub.settings import HubSettings


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
        for wrong, name, reason in (
            ((self.url is None) == (self.job_id is None), "webhook", "it needs --url or --job, and not both"),
            (
                self.url is not None and not self.url.startswith(("https://", "http://127.0.0.1", "http://localhost")),
                "--url",
                "it must start with https://, or the secret could be read on its way",
            ),
            (
                self.url is not None and self.secret is None,
                "webhook",
                "a webhook with a URL needs a secret, or anybody could send its messages",
            ),
            (self.job_secrets and self.job_id is None, "--job-secret", "goes with --job"),
            (not self.watched, "webhook", "it watches nothing"),
        ):
            if wrong:
                raise ConfigError(name, reason)


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
    api, question = _client.prepare("set up a webhook", settings)
    wanted = sorted(plan.watched)
    for hook in _client.ask(question, settings, api.list_webhooks):
        # The Hub does not say which Job a webhook was made from, so only those that go to a URL can be recognised.
        if (
            plan.url is not None
            and hook.url == plan.url
            and not hook.disabled
            and "repo" in hook.domains
            and sorted((item.type, item.name) for item in hook.watched) == wanted
        ):
            return WebhookMade(str(hook.id), created=False)

    def create() -> Any:
        return api.create_webhook(
            url=plan.url,
            job_id=plan.job_id,
            watched=[{"type": kind, "name": name} for kind, name in plan.watched],
            domains=["repo"],
            secret=plan.secret,
            secrets=dict(plan.job_secrets) or None,
        )

    return WebhookMade(str(_client.ask(question, settings, create, writes=True).id), created=True)


def fresh_secret() -> str:
    """A secret for a webhook: 32 random bytes, 43 letters."""
    return secrets.token_urlsafe(32)
