"""Listings of pinned repositories, cached so that a second scan of the same commit needs no network.

They lie in the repository's own cache folder, under `.amdet-hub`, and go when it is deleted. Writing is best effort;
what cannot be read back is not there. A listing of a commit never changes; which commit a branch was at is remembered
for each endpoint apart.
"""

import contextlib
import json
import re
from pathlib import Path

from amdet_hub.errors import BadRepository, ReportError
from amdet_hub.files import read_json_object, write_atomically
from amdet_hub.hub._paths import checked_listing
from amdet_hub.records import RepoSnapshot, from_dict, to_dict

_FOLDER = ".amdet-hub"
_VERSION = 1
_SHA = re.compile(r"[0-9a-f]{40}")
_MAX_BYTES = 64 << 20


def is_commit_sha(text: str) -> bool:
    """Whether `text` is a full commit id, 40 hex digits in lower case."""
    return _SHA.fullmatch(text) is not None


def repo_folder(cache: Path, repo_id: str) -> Path:
    """The folder of a model repository in the Hub cache. Source: huggingface_hub `repo_folder_name`."""
    return cache / f"models--{repo_id.replace('/', '--')}"


def remember(cache: Path, snapshot: RepoSnapshot, *, endpoint: str, revision: str | None) -> None:
    """Keep the listing of a pinned repository, and that `revision` (None: the default branch) means its commit."""
    folder = repo_folder(cache, snapshot.repo_id) / _FOLDER
    with contextlib.suppress(OSError):  # a read-only cache only costs the offline mode
        listing = {"version": _VERSION, "snapshot": to_dict(snapshot)}
        write_atomically(folder / f"{snapshot.commit_sha}.json", json.dumps(listing).encode())
        if revision is None or not is_commit_sha(revision):
            refs = read_json_object(folder / "refs.json", _MAX_BYTES)
            known = refs.get(endpoint)
            refs[endpoint] = {**(known if isinstance(known, dict) else {}), revision or "": snapshot.commit_sha}
            write_atomically(folder / "refs.json", json.dumps(refs).encode())


def recall(cache: Path, repo_id: str, *, endpoint: str, revision: str | None) -> RepoSnapshot | None:
    """The listing that `remember` kept for a revision, None when there is none that can be read."""
    folder = repo_folder(cache, repo_id) / _FOLDER
    sha = revision
    if sha is None or not is_commit_sha(sha):
        known = read_json_object(folder / "refs.json", _MAX_BYTES).get(endpoint)
        sha = known.get(revision or "") if isinstance(known, dict) else None
    if not isinstance(sha, str) or not is_commit_sha(sha):
        return None
    data = read_json_object(folder / f"{sha}.json", _MAX_BYTES)
    if data.get("version") != _VERSION:
        return None
    try:
        snapshot = from_dict(RepoSnapshot, data.get("snapshot"))
        checked_listing(snapshot.files)
    except (ReportError, BadRepository):
        return None
    return snapshot if (snapshot.repo_id, snapshot.commit_sha) == (repo_id, sha) else None
