"""The only room that talks to the Hugging Face Hub, or to a folder in its place.

* `targets`: what the user typed -> `RepoRef`. `settings`: how to reach the Hub, and as whom.
* `resolve`: `RepoRef` -> a `RepoSource` pinned to one commit; `remote` and `local` are its two implementations,
  `download` moves the bytes of whole files, `partial_download` those of some tensors, `cache` bounds our own cache.
* `listing`: the models of an owner or a collection, and the commit a model stands at.
* `publish`: files -> one pull request, opened or updated in place. `discussions`, `webhooks`: what their names say.
* `jobs`: a command on Hugging Face Jobs.

Everything read here is hostile text. Every error that leaves is an `amdet_hub.errors.AmdetError`. The names below are
loaded on first use, so that importing this package does not import the Hub's client. Its telemetry is off unless the
user's environment says otherwise.
"""

import os
from typing import TYPE_CHECKING

from amdet_hub._lazy import loader

if TYPE_CHECKING:
    from amdet_hub.hub.publish import PushResult, push_files, whoami
    from amdet_hub.hub.resolve import open_at, open_source
    from amdet_hub.hub.settings import HubSettings, own_cache
    from amdet_hub.hub.targets import is_repo_id, parse_target

__all__ = [
    "HubSettings",
    "PushResult",
    "is_repo_id",
    "open_at",
    "open_source",
    "own_cache",
    "parse_target",
    "push_files",
    "whoami",
]

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read once, when the client is imported

__getattr__ = loader(
    __name__,
    {
        "HubSettings": "settings",
        "PushResult": "publish",
        "is_repo_id": "targets",
        "open_at": "resolve",
        "open_source": "resolve",
        "own_cache": "settings",
        "parse_target": "targets",
        "push_files": "publish",
        "whoami": "publish",
    },
)
