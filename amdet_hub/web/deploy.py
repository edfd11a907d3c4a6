"""The Space's own files, and their upload: one commit that makes or updates it.

Knows: what belongs in the Space's repository.

The Space carries this very version of amdet-hub, so that what it says can be repeated with it; `requirements.txt`
brings the rest.
"""

from __future__ import annotations

from pathlib import Path

import amdet_hub
from amdet_hub.errors import AccessDenied, HubError, HubUnavailable
from amdet_hub.hub import HubSettings

PACKAGE = Path(amdet_hub.__file__).parent
ROOT_FILES = ("README.md", "requirements.txt", "app.py")
"""Files at the root of a Space: `space/` of a checkout, which a wheel carries beside this module."""

_SUFFIXES = frozenset({".py", ".json", ".safetensors", ".md", ".txt", ".typed", ".css"})


def space_files() -> dict[str, bytes]:
    """The Space's repository: path -> content."""
    carried = Path(__file__).with_name("space")
    home = carried if carried.is_dir() else PACKAGE.parent / "space"
    files = {name: (home / name).read_bytes() for name in ROOT_FILES}
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and path.suffix in _SUFFIXES and "__pycache__" not in path.parts:
            files[f"amdet_hub/{path.relative_to(PACKAGE).as_posix()}"] = path.read_bytes()
    return files


def deploy_space(repo_id: str, settings: HubSettings, *, private: bool = False) -> str:
    """Create the Space if there is none and upload everything in one commit. Returns its address.

    Raises:
        AccessDenied: no token, or it may not write there.
        HubUnavailable: offline, or no answer.
        HubError: anything else between us and the Hub.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    endpoint = settings.endpoint or constants.ENDPOINT
    if settings.offline:
        raise HubUnavailable("offline mode is on", endpoint=endpoint)
    api = HfApi(
        endpoint=endpoint, token=settings.token, library_name="amdet-hub", library_version=amdet_hub.__version__
    )
    operations = [CommitOperationAdd(path, content) for path, content in space_files().items()]
    message = f"amdet-hub {amdet_hub.__version__}"
    try:
        api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        api.create_commit(repo_id, operations, commit_message=message, repo_type="space")
    except LocalTokenNotFoundError as error:
        raise AccessDenied(f"write the Space '{repo_id}' without a token", status=401, endpoint=endpoint) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise AccessDenied(f"write the Space '{repo_id}'", status=status, endpoint=endpoint) from error
        raise HubError(
            f"the Hub refused the Space '{repo_id}' (HTTP {status})", repo_id=repo_id, endpoint=endpoint
        ) from error
    except OSError as error:
        raise HubUnavailable("the Hub cannot be reached", endpoint=endpoint) from error
    return f"{endpoint}/spaces/{repo_id}"
