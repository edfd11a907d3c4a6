"""Listings of a namespace, discussions and webhooks, with the real client against a LocalHub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from amdet_hub.errors import AccessDenied, ConfigError, HubUnavailable, RateLimited, RepoNotFound
from amdet_hub.hub import HubSettings
from amdet_hub.hub.discussions import WebhookPlan, ensure_webhook, fresh_secret, head_of, models_of, tell_owner
from amdet_hub.testing import LocalHub

TOKEN = "hf_alicealicealice"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_user("reader", token="hf_readreadread", read_only=True)
        for name in ("b", "a"):
            hub.add_model(f"org/{name}", {"config.json": b"{}"})
        hub.add_model("org/hidden", {"config.json": b"{}"}, private=True)
        hub.add_model("other/a", {"config.json": b"{}"})
        yield hub


@pytest.fixture
def settings(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, token=TOKEN, cache_dir=tmp_path, max_retries=0)


def test_models_of_a_namespace_with_their_commits(hub: LocalHub, settings: HubSettings) -> None:
    assert models_of("org", settings) == {f"org/{name}": hub.head(f"org/{name}") for name in ("a", "b", "hidden")}
    assert list(models_of("org", replace(settings, token="hf_readreadread"))) == ["org/a", "org/b"]
    assert models_of("nobody", settings) == {}
    assert head_of("org/a", settings) == hub.head("org/a")


def test_failures_are_ours(hub: LocalHub, settings: HubSettings) -> None:
    with pytest.raises(RepoNotFound):
        head_of("org/none", settings)
    with pytest.raises(HubUnavailable, match="offline"):
        models_of("org", replace(settings, offline=True))
    hub.rate_limit("/api/models", retry_after_s=60)
    with pytest.raises(RateLimited):
        models_of("org", settings)


def test_an_owner_is_told_once_whatever_became_of_it(hub: LocalHub, settings: HubSettings) -> None:
    address = tell_owner("org/a", title="Something was found", text="**what**", settings=settings)
    assert address == f"{hub.endpoint}/org/a/discussions/1"
    assert hub.discussions("org/a") == [(1, "Something was found", "alice", "**what**")]
    assert tell_owner("org/a", title="Something was found", text="again", settings=settings) is None
    HfApi(endpoint=hub.endpoint, token=TOKEN).change_discussion_status("org/a", 1, "closed")
    assert tell_owner("org/a", title="Something was found", text="again", settings=settings) is None
    assert len(hub.discussions("org/a")) == 1


def test_nobody_cannot_tell(settings: HubSettings) -> None:
    with pytest.raises(AccessDenied):
        tell_owner("org/a", title="Something was found", text="x", settings=replace(settings, token=None))


WATCHED = (("org", "org"), ("model", "other/a"))


def test_a_webhook_to_a_url_is_made_once(hub: LocalHub, settings: HubSettings) -> None:
    plan = WebhookPlan(WATCHED, url="https://example.org/scan", secret="s3cret")  # type: ignore[arg-type]
    first = ensure_webhook(plan, settings)
    assert first.created
    again = ensure_webhook(replace(plan, watched=tuple(reversed(plan.watched))), settings)
    assert (again.created, again.id) == (False, first.id)
    assert ensure_webhook(replace(plan, url="https://example.org/other"), settings).created
    assert [hook["url"] for hook in hub.webhooks("alice")] == ["https://example.org/scan", "https://example.org/other"]


def test_a_webhook_to_a_job(hub: LocalHub, settings: HubSettings) -> None:
    plan = WebhookPlan((("org", "org"),), job_id="66f1", job_secrets={"HF_TOKEN": "hf_" + "x" * 20})
    assert ensure_webhook(plan, settings).created
    (hook,) = HfApi(endpoint=hub.endpoint, token=TOKEN).list_webhooks()
    assert hook.job is not None
    assert hook.domains == ["repo"]
    assert "xxxx" not in repr(plan)


@pytest.mark.parametrize("token", [None, "hf_readreadread"])
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
