"""Files of a Space or a dataset of the user's own: written in one commit, and read back.

Knows repositories that the caller owns; `publish` proposes changes to models of other people.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd

from amdet_hub.hub import _client
from amdet_hub.hub.settings import HubSettings

OwnRepoType = Literal["dataset", "space"]


def upload(
    repo_id: str,
    repo_type: OwnRepoType,
    files: Mapping[str, bytes],
    settings: HubSettings,
    *,
    message: str,
    private: bool = False,
) -> str:
    """Create the repository if there is none and write `files` (path -> content) in one commit. Returns its address.

    Raises:
        AccessDenied: no token, or it may not write there.
        HubError: anything else between us and the Hub.
    """
    api, question = _client.prepare(f"write the {repo_type} '{repo_id}'", settings, name=repo_id)
    new: dict[str, Any] = {"private": private, **({"space_sdk": "gradio"} if repo_type == "space" else {})}

    def write() -> None:
        api.create_repo(repo_id, repo_type=repo_type, exist_ok=True, **new)
        api.create_commit(
            repo_id,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=message,
            repo_type=repo_type,
        )

    _client.ask(question, settings, write, writes=True)
    return f"{question.endpoint}/{repo_type}s/{repo_id}"


def read_own(repo_id: str, repo_type: OwnRepoType, path: str, settings: HubSettings) -> Path:
    """A file as it is now, downloaded. Raises: HubError."""
    api, question = _client.prepare(f"read '{repo_id}'", settings, name=repo_id, path=path)
    return Path(_client.ask(question, settings, lambda: api.hf_hub_download(repo_id, path, repo_type=repo_type)))
