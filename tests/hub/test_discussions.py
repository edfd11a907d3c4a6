"""A discussion with an owner, with the real client against a LocalHub."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from amdet_hub.errors import AccessDenied
from amdet_hub.hub.discussions import tell_owner
from amdet_hub.testing import LocalHub
from tests.hub.conftest import Settle


def test_an_owner_is_told_once_and_the_answer_stands(hub: LocalHub, settle: Settle) -> None:
    settings = settle(token="hf_alice")
    address = tell_owner("org/m", title="Something was found", text="**what**", settings=settings)
    assert address == f"{hub.endpoint}/org/m/discussions/1"
    assert hub.discussions("org/m") == [(1, "Something was found", "alice", "**what**")]
    assert tell_owner("org/m", title="Something was found", text="again", settings=settings) is None
    HfApi(endpoint=hub.endpoint, token="hf_owner").change_discussion_status("org/m", 1, "closed")
    assert tell_owner("org/m", title="Something was found", text="again", settings=settings) is None
    assert len(hub.discussions("org/m")) == 1


def test_without_a_token_no_owner_is_told(settle: Settle) -> None:
    with pytest.raises(AccessDenied):
        tell_owner("org/m", title="Something was found", text="x", settings=settle())
