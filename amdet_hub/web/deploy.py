"""The Space's own files, and their upload: one commit that makes or updates it.

Knows the files of the Space's repository.

The Space carries this very version of amdet-hub, so that what it says can be repeated with it; `requirements.txt`
brings the rest.
"""

from pathlib import Path

import amdet_hub
from amdet_hub.hub import HubSettings
from amdet_hub.hub.upload import upload

PACKAGE = Path(amdet_hub.__file__).parent
# Files at the root of a Space: `space/` of a checkout, which a wheel carries beside this module.
ROOT_FILES = ("README.md", "requirements.txt", "app.py")

_SUFFIXES = frozenset({".py", ".json", ".safetensors", ".md", ".txt", ".typed", ".css"})


def space_files() -> dict[str, bytes]:
    """The Space's repository: path -> content."""
    carried = Path(__file__).with_name("space")
    home = carried if carried.is_dir() else PACKAGE.parent / "space"
    root = {name: (home / name).read_bytes() for name in ROOT_FILES}
    return root | {
        f"amdet_hub/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file()
        and path.suffix in _SUFFIXES
        and carried not in path.parents
        and "__pycache__" not in path.parts
    }


def deploy_space(repo_id: str, settings: HubSettings, *, private: bool = False) -> str:
    """Create the Space if there is none and upload everything in one commit. Returns its address.

    Raises:
        AccessDenied: no token, or it may not write there.
        HubError: anything else between us and the Hub.
    """
    return upload(
        repo_id, "space", space_files(), settings, message=f"amdet-hub {amdet_hub.__version__}", private=private
    )
