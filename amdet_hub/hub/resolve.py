"""From a `RepoRef` to a `RepoSource`: which commit is meant, and what it lists. Weights are not touched.

One commit id is asked for once; from then on every request carries it, so that a branch which moves during a scan
moves nothing here. The Hub's client is imported only for a repository on the Hub.
"""

from amdet_hub.hub.local import LocalSource
from amdet_hub.hub.settings import HubSettings
from amdet_hub.records import RepoRef, RepoSource


def open_source(ref: RepoRef, settings: HubSettings) -> RepoSource:
    """Read access to what `ref` names, pinned.

    Raises:
        TargetError: a local path is gone or cannot be read.
        BadRepository: the listing holds a path that cannot be used.
        RepoNotFound: there is no such repository, or it is private.
        RepoGated: its terms were not accepted.
        RevisionNotFound: it has no such revision.
        OfflineMiss: offline, and this revision was not opened before.
        HubError: anything else between us and the Hub.
    """
    if ref.kind == "local":
        return LocalSource(ref)
    return open_at(ref.repo_id, ref.revision, settings)


def open_at(repo_id: str, revision: str | None, settings: HubSettings) -> RepoSource:
    """Read access to a Hub repository at `revision` (None: its default branch), pinned.

    Raises:
        BadRepository: the listing holds a path that cannot be used.
        HubError: as `open_source`.
    """
    from amdet_hub.hub.remote import HubSource

    return HubSource.open(repo_id, revision, settings)
