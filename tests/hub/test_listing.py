"""Listings of an owner and a collection, with the real client against a LocalHub."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amdet_hub.errors import OfflineMiss, RateLimited, RepoNotFound
from amdet_hub.hub import HubSettings
from amdet_hub.hub.listing import commit_of, list_collection, list_models, model_commits
from amdet_hub.testing import LocalHub
from tests.hub.conftest import Settle

COLLECTION = "org/encoders-0123456789abcdef01234567"


@pytest.fixture
def filled(hub: LocalHub) -> LocalHub:
    for name in ("b", "a"):
        hub.add_model(f"zoo/{name}", {"config.json": b"{}"})
    hub.add_model("zoo/hidden", {"config.json": b"{}"}, private=True)
    hub.grant_access("alice", "zoo/hidden")
    hub.add_collection(COLLECTION, ["zoo/b", "dataset:zoo/texts", "zoo/a", "zoo/b"])
    return hub


def test_models_of_an_owner_with_their_commits(filled: LocalHub, settle: Settle) -> None:
    commits = model_commits("zoo", settle(token="hf_alice"))
    assert commits == {f"zoo/{name}": filled.head(f"zoo/{name}") for name in ("a", "b", "hidden")}
    assert list(model_commits("zoo", settle())) == ["zoo/a", "zoo/b"] == list(list_models(settle(), author="zoo"))
    assert commit_of("zoo/a", None, settle()) == commit_of("zoo/a", commits["zoo/a"], settle()) == commits["zoo/a"]
    assert list_collection(COLLECTION, settle()) == ("zoo/b", "zoo/a")


def test_an_owner_without_models_is_no_error(filled: LocalHub, settle: Settle) -> None:
    assert list_models(settle(), author="alice") == ()
    assert model_commits("alice", settle()) == {}


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda settings: list_models(settings, author="nosuch"), "user or organisation"),
        (lambda settings: model_commits("nosuch", settings), "user or organisation"),
        (lambda settings: list_collection("nosuch/none-0123456789abcdef01234567", settings), "collection"),
        (lambda settings: commit_of("nosuch/none", None, settings), "repository"),
    ],
)
def test_a_name_that_the_hub_does_not_know(
    filled: LocalHub, settle: Settle, ask: Callable[[HubSettings], object], kind: str
) -> None:
    with pytest.raises(RepoNotFound) as caught:
        ask(settle())
    assert (caught.value.kind, caught.value.token_sent) == (kind, False)
    assert (caught.value.repo_id or "").startswith("nosuch")
    with pytest.raises(OfflineMiss):
        ask(settle(offline=True))
    filled.rate_limit("/api/", retry_after_s=60)
    with pytest.raises(RateLimited):
        ask(settle())
