"""Who may see what on the local Hub, and the exceptions the real client makes of a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import get_session

from amdet_hub.testing import LocalHub

FILES = {"README.md": b"hello", "config.json": b"{}"}


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token="hf_alice", can_write=("org",))
        hub.add_user("bob", token="hf_bob")
        hub.add_model("org/m", FILES)
        yield hub


def _api(hub: LocalHub, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


def test_missing_things_are_typed(hub: LocalHub) -> None:
    api = _api(hub, "hf_bob")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/m", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/m", revision="f" * 40)
    for token in (False, "hf_bob"):
        with pytest.raises(RepositoryNotFoundError) as missing:
            _api(hub, token).model_info("org/absent")
        assert missing.value.response.status_code == (404 if token else 401)
    with pytest.raises(RemoteEntryNotFoundError) as entry:
        hf_hub_download("org/m", "absent.json", endpoint=hub.endpoint)
    assert entry.value.response.headers["X-Repo-Commit"] == hub.head("org/m")
    assert get_session().get(f"{hub.endpoint}/api/agent-harnesses").status_code == 404


def test_a_private_repository(hub: LocalHub, tmp_path: Path) -> None:
    hub.add_model("org/secret", FILES, private=True)
    for token, status in ((False, 401), ("hf_bob", 404)):
        with pytest.raises(RepositoryNotFoundError) as refused:
            _api(hub, token).model_info("org/secret")
        assert refused.value.response.status_code == status
        assert not isinstance(refused.value, GatedRepoError)
    with pytest.raises(HfHubHTTPError) as wrong:
        _api(hub, "hf_wrong").model_info("org/secret")
    assert wrong.value.response.status_code == 401
    assert not isinstance(wrong.value, RepositoryNotFoundError)
    assert "Invalid credentials" in str(wrong.value)
    assert _api(hub, "hf_alice").model_info("org/secret").private is True
    hub.grant_access("bob", "org/secret")
    path = hf_hub_download("org/secret", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_bob")
    assert Path(path).read_bytes() == b"{}"
    listed = {m.id for m in _api(hub).list_models(author="org")}
    assert listed == {"org/m"}


def test_a_gated_repository_lists_but_does_not_give(hub: LocalHub, tmp_path: Path) -> None:
    hub.add_model("org/gated", FILES, gated=True)
    info = _api(hub).model_info("org/gated")
    assert info.gated == "auto"
    assert info.siblings is not None
    for token, status in ((False, 401), ("hf_bob", 403)):
        with pytest.raises(GatedRepoError) as refused:
            hf_hub_download("org/gated", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path, token=token)
        assert refused.value.response.status_code == status
    with pytest.raises(GatedRepoError):
        _api(hub, "hf_bob").auth_check("org/gated")
    hub.grant_access("bob", "org/gated")
    _api(hub, "hf_bob").auth_check("org/gated")
    assert hf_hub_download("org/gated", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path, token="hf_bob")


def test_whoami(hub: LocalHub) -> None:
    who = _api(hub, "hf_alice").whoami()
    assert (who["name"], [org["name"] for org in who["orgs"]]) == ("alice", ["org"])
    with pytest.raises(HfHubHTTPError) as wrong:
        _api(hub, "hf_wrong").whoami()
    assert wrong.value.response.status_code == 401
