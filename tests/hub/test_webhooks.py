"""Webhooks, with the real client against a LocalHub."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import HfApi

from amdet_hub.errors import AccessDenied, ConfigError
from amdet_hub.hub import HubSettings
from amdet_hub.hub.webhooks import WebhookPlan, ensure_webhook, fresh_secret
from amdet_hub.testing import LocalHub
from tests.hub.conftest import Settle


@pytest.fixture
def settings(settle: Settle) -> HubSettings:
    return settle(token="hf_owner")


WATCHED = (("org", "org"), ("model", "other/a"))


def test_a_webhook_to_a_url_is_made_once(hub: LocalHub, settings: HubSettings) -> None:
    plan = WebhookPlan(WATCHED, url="https://example.org/scan", secret="s3cret")  # type: ignore[arg-type]
    first = ensure_webhook(plan, settings)
    assert first.created
    again = ensure_webhook(replace(plan, watched=tuple(reversed(plan.watched))), settings)
    assert (again.created, again.id) == (False, first.id)
    assert ensure_webhook(replace(plan, url="https://example.org/other"), settings).created
    assert [hook["url"] for hook in hub.webhooks("owner")] == ["https://example.org/scan", "https://example.org/other"]


def test_a_webhook_to_a_job(hub: LocalHub, settings: HubSettings) -> None:
    plan = WebhookPlan((("org", "org"),), job_id="66f1", job_secrets={"HF_TOKEN": "hf_" + "x" * 20})
    assert ensure_webhook(plan, settings).created
    (hook,) = HfApi(endpoint=hub.endpoint, token="hf_owner").list_webhooks()
    assert hook.job is not None
    assert hook.domains == ["repo"]
    assert "xxxx" not in repr(plan)


@pytest.mark.parametrize("token", [None, "hf_reader"])
def test_a_webhook_needs_the_right(settings: HubSettings, token: str | None) -> None:
    with pytest.raises(AccessDenied):
        ensure_webhook(WebhookPlan((("org", "org"),), job_id="66f1"), replace(settings, token=token))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"url": "https://a", "job_id": "b", "secret": "s"},
        {"url": "http://example.org", "secret": "s"},
        {"url": "https://example.org"},
        {"url": "https://example.org", "secret": "s", "job_secrets": {"A": "b"}},
        {"job_id": "b", "watched": ()},
    ],
)
def test_a_wrong_plan_is_refused_at_birth(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        WebhookPlan(**{"watched": (("org", "org"),), **wrong})  # type: ignore[arg-type]


def test_secrets_differ_and_are_long() -> None:
    assert len({fresh_secret() for _ in range(20)}) == 20
    assert all(len(fresh_secret()) >= 40 for _ in range(5))
