"""The local Hub's webhooks and discussions, driven by the real client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from amdet_hub.testing import LocalHub

TOKEN = "hf_alicealicealice"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN)
        hub.add_user("bob", token="hf_bobbobbobbob", read_only=True)
        hub.add_model("org/model", {"config.json": b"{}"})
        yield hub


def test_webhooks_are_kept_for_their_owner(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=TOKEN)
    to_url = api.create_webhook(
        url="https://example.org", watched=[{"type": "org", "name": "org"}], domains=["repo"], secret="s"
    )
    to_job = api.create_webhook(job_id="66f1", watched=[{"type": "model", "name": "org/model"}], secrets={"A": "b"})
    listed = api.list_webhooks()
    assert [hook.id for hook in listed] == [to_url.id, to_job.id]
    assert (listed[0].url, listed[0].secret, listed[0].domains) == ("https://example.org", "s", ["repo"])
    assert listed[1].job is not None
    assert hub.webhooks("bob") == []
    assert [request.method for request in hub.writes] == ["POST", "POST"]


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_bobbobbobbob", 403)])
def test_webhooks_need_the_right(hub: LocalHub, token: str | bool, status: int) -> None:
    with pytest.raises(HfHubHTTPError) as found:
        HfApi(endpoint=hub.endpoint, token=token).create_webhook(
            url="https://example.org", watched=[{"type": "org", "name": "org"}]
        )
    assert found.value.response.status_code == status
    assert hub.writes == []


def test_a_webhook_that_watches_nothing_is_refused(hub: LocalHub) -> None:
    with pytest.raises(HfHubHTTPError) as found:
        HfApi(endpoint=hub.endpoint, token=TOKEN).create_webhook(url="https://example.org", watched=[])
    assert found.value.response.status_code == 400


def test_discussions_as_a_test_sees_them(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=TOKEN)
    api.create_discussion("org/model", "A question", description="Is it?")
    api.create_pull_request("org/model", "A change")
    assert hub.discussions("org/model") == [(1, "A question", "alice", "Is it?")]
