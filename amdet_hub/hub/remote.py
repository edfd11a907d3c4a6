"""One Hub repository at one commit, as a `RepoSource`.

Asks for the commit once and lists it; `download` moves the bytes.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from huggingface_hub.hf_api import RepoFile as ClientFile

from amdet_hub.errors import BadRepository, FileNotInRepo, OfflineMiss
from amdet_hub.hub import _client, _listings
from amdet_hub.hub._front_matter import claims_of
from amdet_hub.hub._paths import MAX_FILES, checked_listing
from amdet_hub.hub.download import Downloads
from amdet_hub.hub.listing import checked_commit
from amdet_hub.hub.partial_download import TensorDownloads
from amdet_hub.hub.settings import HubSettings
from amdet_hub.records import FetchPlan, FileIssue, HubSecurity, ProgressCallback, RepoFile, RepoSnapshot, TensorInfo

_MAX_ISSUES, _MAX_PATH, _MAX_LEVEL = 20, 1024, 40  # files that are named, and characters of what names them
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubSource:
    """Read access to a Hub repository pinned to one commit; implements `RepoSource`. Made by `open`."""

    def __init__(self, snapshot: RepoSnapshot, downloads: Downloads, settings: HubSettings) -> None:
        self.snapshot, self._downloads = snapshot, downloads
        self._tensors = TensorDownloads(downloads, settings)

    @classmethod
    def open(cls, repo_id: str, revision: str | None, settings: HubSettings) -> Self:
        """Pin `revision` (None: the default branch) of a repository.

        Raises: as `amdet_hub.hub.resolve.open_source`.
        """
        endpoint, cache = _client.endpoint_of(settings), _client.cache_of(settings)
        if _client.is_offline(settings):
            known = _listings.recall(cache, repo_id, endpoint=endpoint, revision=revision)
            if known is None or known.commit_sha is None:
                raise OfflineMiss(repo_id, revision or "main")
            return cls(known, Downloads(repo_id, known.commit_sha, settings), settings)
        snapshot = _pinned(repo_id, revision, settings)
        downloads = Downloads(repo_id, snapshot.commit_sha or "", settings)
        claims = claims_of(snapshot, downloads.read)
        snapshot = dataclasses.replace(snapshot, base_models=claims.base_models, license=claims.license)
        _listings.remember(cache, snapshot, endpoint=endpoint, revision=revision)
        return cls(snapshot, downloads, settings)

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        """Whole content of a small file, verified; cached where this disk takes it.

        Raises:
            FileNotInRepo: it is not listed.
            BadRepository: it is larger than `max_bytes`; it is not asked for then.
            HubError: as `Downloads.read`.
        """
        file = self._listed(path)
        if file.size_bytes > max_bytes:
            raise BadRepository(path, f"it is larger than the {max_bytes:,} bytes that such a file may have")
        return self._downloads.read(file)

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes `start <= i < stop` of a file, fewer only at its end.

        Raises: FileNotInRepo; as `Downloads.read_range`.
        """
        file = self._listed(path)
        known = self._tensors.head(file, start, stop)
        if known is None:
            known = self._downloads.read_range(file, start, stop)
            self._tensors.keep_head(file, start, known)
        return known

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        """A local path of the whole file, verified. Raises: FileNotInRepo; as `Downloads.fetch`."""
        return self._downloads.fetch(self._listed(path), progress)

    def fetch_tensors(
        self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        """A local file with these tensors of a file. Raises: FileNotInRepo; as `TensorDownloads.fetch`."""
        return self._tensors.fetch(self._listed(path), tensors, progress)

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        """What fetching these tensors, or the whole file for None, would transfer now. Raises: FileNotInRepo."""
        return self._tensors.plan(self._listed(path), tensors)

    def check_unchanged(self) -> None:
        """Nothing: a commit stays what it is, and downloads are checked against it."""

    def _listed(self, path: str) -> RepoFile:
        file = self.snapshot.file(path)
        if file is None:
            raise FileNotInRepo(self.snapshot.repo_id, path)
        return file


def _pinned(repo_id: str, revision: str | None, settings: HubSettings) -> RepoSnapshot:
    api, question = _client.prepare(f"read '{repo_id}'", settings, name=repo_id, revision=revision)
    info = _client.ask(
        question,
        settings,
        lambda: api.model_info(repo_id, revision=revision, timeout=settings.timeout_s, securityStatus=True),
    )
    sha = checked_commit(info.sha, question)
    files = _client.ask(
        question, settings, lambda: checked_listing(_listed(api.list_repo_tree(repo_id, recursive=True, revision=sha)))
    )
    return RepoSnapshot(
        repo_id,
        "hub",
        sha,
        files,
        gated=bool(info.gated),
        private=bool(info.private),
        security=_security(info.security_repo_status),
    )


def _security(stated: Any) -> HubSecurity | None:
    """What the Hub's own scanners say, None where it says nothing that can be read.

    It is of the main branch, whatever was asked for.
    """
    if not isinstance(stated, dict) or not isinstance(stated.get("filesWithIssues"), list):
        return None
    rows = stated["filesWithIssues"]
    issues = [
        FileIssue(row["path"][:_MAX_PATH], row["level"][:_MAX_LEVEL])
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("path"), str) and isinstance(row.get("level"), str)
    ]
    return HubSecurity(stated.get("scansDone") is True, len(rows), tuple(issues[:_MAX_ISSUES]))


def _listed(rows: Any) -> Iterator[RepoFile]:
    for count, row in enumerate(rows):
        if count >= MAX_FILES:
            raise BadRepository(row.path, f"the repository lists more than {MAX_FILES:,} files and folders")
        if not isinstance(row, ClientFile):
            continue
        path, size_bytes = row.path, row.size
        if not isinstance(path, str) or not isinstance(size_bytes, int) or size_bytes < 0:
            raise BadRepository(str(path), "its row in the listing cannot be read")
        sha256 = row.lfs.sha256 if row.lfs is not None else None
        if sha256 is not None and (not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None):
            raise BadRepository(path, "the sha256 that the listing states is none")
        yield RepoFile(path, size_bytes, sha256, row.blob_id if isinstance(row.blob_id, str) else None)
