"""Files onto a Hub repository: as one pull request, opened once and then updated in place, or straight onto its main branch.

Knows: how to find our own earlier pull request (same author, same title), and to leave things alone: equal content
writes nothing, a pull request that the owner closed is not opened again, and files computed from an older commit are
not written over a newer one. Bytes are sent as they are. Refuses to know: what the files say.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from huggingface_hub import CommitOperationAdd, Discussion, DiscussionComment, HfApi

from amdet_hub.errors import (
    AccessDenied,
    BadRepository,
    CardError,
    CommitConflict,
    HubError,
    HubUnavailable,
    PullRequestClosed,
)
from amdet_hub.hub import _client
from amdet_hub.hub._errors import Question
from amdet_hub.hub._listings import is_commit_sha
from amdet_hub.hub._paths import path_fault
from amdet_hub.hub.settings import HubSettings

T = TypeVar("T")
PushAction = Literal["opened", "updated", "unchanged", "committed"]


@dataclass(frozen=True)
class PushResult:
    """What a push did.

    Attributes:
        action: "opened" or "updated" a pull request, "committed" to main, or "unchanged": everything was there
            already, nothing was written.
        url: of the pull request, or of the commit; None where there is neither.
        number: of the pull request, None where there is none.
    """

    action: PushAction
    url: str | None
    number: int | None


def whoami(settings: HubSettings) -> str:
    """The user name that the token belongs to.

    Raises:
        AccessDenied: there is no token, or it is nobody's.
        HubError: anything else between us and the Hub.
    """
    if _client.is_offline(settings):
        raise HubUnavailable("offline mode is on", endpoint=_client.endpoint_of(settings))
    question = Question("say whose token this is", _client.endpoint_of(settings))
    user = _client.ask(question, settings, lambda: _client.api_of(settings).whoami(token=settings.token)["name"])
    if not isinstance(user, str) or not user:
        raise HubError("the Hub's answer names no user", endpoint=question.endpoint)
    return user


def push_files(
    repo_id: str,
    files: Mapping[str, bytes],
    *,
    title: str,
    description: str,
    parent_commit: str,
    settings: HubSettings,
    direct: bool = False,
) -> PushResult:
    """Write `files` (path -> content) to a model repository; all in one commit, or nothing.

    Args:
        repo_id: the repository.
        files: contents by path; files not named here stay as they are.
        title: of the pull request; it is also how an earlier one of ours is found, so it must not change.
        description: of the pull request; replaced when the pull request is updated.
        parent_commit: the commit of main, 40 hex digits, that `files` were computed from.
        settings: how to reach the Hub, as whom.
        direct: commit to main instead of a pull request.

    Raises:
        CommitConflict: main is no longer at `parent_commit`. Nothing was written.
        PullRequestClosed: our last pull request was closed unmerged.
        AccessDenied: no token, or it lacks the right.
        BadRepository: a path is not a plain one.
        CardError: the Hub refuses the README's metadata.
        HubError: anything else between us and the Hub.
    """
    return _Push(repo_id, dict(files), title.strip(), description, parent_commit, settings).run(direct=direct)


class _Push:
    def __init__(
        self,
        repo_id: str,
        files: dict[str, bytes],
        title: str,
        description: str,
        parent_commit: str,
        settings: HubSettings,
    ) -> None:
        if not files or not title or not is_commit_sha(parent_commit):
            raise ValueError("a push needs files, a title and a full parent commit")
        for path in files:
            if (fault := path_fault(path)) is not None:
                raise BadRepository(path, fault)
        self._repo_id, self._files, self._title, self._description = repo_id, files, title, description
        self._parent, self._settings = parent_commit, settings
        self._api: HfApi = _client.api_of(settings)
        self._endpoint = _client.endpoint_of(settings)

    def run(self, *, direct: bool) -> PushResult:
        user = whoami(self._settings)
        if self._head(None) != self._parent:
            raise CommitConflict(self._repo_id, parent_commit=self._parent, endpoint=self._endpoint)
        if self._holds(self._parent):
            return PushResult("unchanged", None, None)
        if direct:
            info = self._write("commit to", lambda: self._commit(self._parent))
            return PushResult("committed", info.commit_url, None)
        ours = self._our_pull_requests(user)
        open_ones = [found for found in ours if found.status in ("open", "draft")]
        if open_ones:
            return self._update(open_ones[0])
        if ours and ours[0].status == "closed":
            raise PullRequestClosed(self._repo_id, number=ours[0].num, endpoint=self._endpoint)
        info = self._write("open a pull request on", lambda: self._commit(self._parent, create_pr=True))
        return PushResult("opened", info.pr_url, info.pr_num)

    def _update(self, found: Discussion) -> PushResult:
        ref = f"refs/pr/{found.num}"
        head = self._head(ref)
        if self._holds(head):
            return PushResult("unchanged", found.url, found.num)
        self._write("update a pull request on", lambda: self._commit(head, revision=ref))
        self._describe(found.num)
        return PushResult("updated", found.url, found.num)

    def _describe(self, number: int) -> None:
        """Replace the pull request's first comment, which is its description, when it says something else."""
        details = self._read(lambda: self._api.get_discussion_details(self._repo_id, number))
        first = next((event for event in details.events if isinstance(event, DiscussionComment)), None)
        if first is not None and first.content.strip() != self._description.strip():
            self._write(
                "describe a pull request on",
                lambda: self._api.edit_discussion_comment(self._repo_id, number, first.id, self._description),
            )

    def _our_pull_requests(self, user: str) -> list[Discussion]:
        """Pull requests of this user with this title, the latest first."""
        found = self._read(
            lambda: [
                d
                for d in self._api.get_repo_discussions(self._repo_id, author=user, discussion_type="pull_request")
                if d.is_pull_request and d.author == user and d.title.strip() == self._title
            ]
        )
        return sorted(found, key=lambda d: d.num, reverse=True)

    def _head(self, revision: str | None) -> str:
        info = self._read(
            lambda: self._api.model_info(self._repo_id, revision=revision, timeout=self._settings.timeout_s)
        )
        if not isinstance(info.sha, str):
            raise HubError("the Hub's answer names no commit", repo_id=self._repo_id, endpoint=self._endpoint)
        return info.sha

    def _holds(self, revision: str) -> bool:
        """Whether every file is there with exactly this content, by the ids that the listing states."""
        rows = self._read(lambda: self._api.get_paths_info(self._repo_id, list(self._files), revision=revision))
        there = {row.path: row for row in rows}
        return all(_is_content(there.get(path), content) for path, content in self._files.items())

    def _commit(self, parent: str, *, revision: str | None = None, create_pr: bool = False) -> Any:
        return self._api.create_commit(
            self._repo_id,
            [CommitOperationAdd(path, content) for path, content in self._files.items()],
            commit_message=self._title,
            commit_description=self._description,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent,
        )

    def _read(self, request: Callable[[], T]) -> T:
        return _client.ask(Question(f"read '{self._repo_id}'", self._endpoint, self._repo_id), self._settings, request)

    def _write(self, action: str, request: Callable[[], T]) -> T:
        question = Question(f"{action} '{self._repo_id}'", self._endpoint, self._repo_id, parent_commit=self._parent)
        try:
            # Never repeated: when the answer to a commit is lost, asking again would make a second pull request.
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", UserWarning
                )  # the client's remarks about a card that is not ours to mend
                return _client.ask(question, self._settings, request, retries=0)
        except (AccessDenied, CommitConflict):
            raise
        except HubError as error:
            if isinstance(error.__cause__, ValueError) and "README.md" in str(error.__cause__):
                raise CardError("the Hub does not accept the metadata at the top of README.md") from error
            raise


def _is_content(row: Any, content: bytes) -> bool:
    if row is None or getattr(row, "blob_id", None) is None:
        return False
    if row.lfs is not None:
        return bool(row.lfs.sha256 == hashlib.sha256(content).hexdigest())
    return bool(row.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest())
