"""Files onto a Hub repository: as one pull request, opened once and updated in place, or onto its main branch.

Knows: how to find our own earlier pull request (same author, same title), and to leave things alone: equal content
writes nothing, a pull request that the owner closed is not opened again, and files computed from an older commit are
not written over a newer one. Bytes are sent as they are. Refuses to know: what the files say.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from huggingface_hub import CommitOperationAdd, Discussion, DiscussionComment

from amdet_hub.errors import (
    BadRepository,
    CardError,
    CommitConflict,
    HubError,
    PullRequestClosed,
)
from amdet_hub.hub import _client
from amdet_hub.hub._listings import is_commit_sha
from amdet_hub.hub._paths import path_fault
from amdet_hub.hub.listing import commit_of
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


@dataclass(frozen=True)
class Proposal:
    """Files for a repository, and how they are proposed. Valid at birth.

    Attributes:
        repo_id: the repository.
        files: contents by path, all for one commit; files not named here stay as they are.
        title: of the pull request; an earlier one of ours is found by it, so it must not change.
        description: of the pull request; replaced when the pull request is updated.
        parent_commit: the commit of main, 40 hex digits, that `files` were computed from.

    Raises:
        BadRepository: a path is not a plain one.
    """

    repo_id: str
    files: Mapping[str, bytes]
    title: str
    description: str
    parent_commit: str

    def __post_init__(self) -> None:
        if not self.files or not self.title.strip() or not is_commit_sha(self.parent_commit):
            raise ValueError("a proposal needs files, a title and a full parent commit")
        for path in self.files:
            if (fault := path_fault(path)) is not None:
                raise BadRepository(path, fault)


def whoami(settings: HubSettings) -> str:
    """The user name that the token belongs to.

    Raises:
        AccessDenied: there is no token, or it belongs to no user.
        HubError: anything else between us and the Hub.
    """
    api, question = _client.prepare("say whose token this is", settings)
    user = _client.ask(question, settings, lambda: api.whoami(token=settings.token)["name"])
    if not isinstance(user, str) or not user:
        raise HubError("the Hub's answer names no user", endpoint=question.endpoint)
    return user


def push_files(proposal: Proposal, settings: HubSettings, *, direct: bool = False) -> PushResult:
    """Write files to a model repository; all in one commit, or nothing.

    Args:
        proposal: the files, and the words of the pull request.
        settings: how to reach the Hub, as whom.
        direct: commit to main instead of a pull request.

    Raises:
        CommitConflict: main is no longer at the proposal's parent commit. Nothing was written.
        PullRequestClosed: our last pull request was closed unmerged.
        AccessDenied: no token, or it lacks the right.
        CardError: the Hub refuses the README's metadata.
        HubError: anything else between us and the Hub.
    """
    return _Push(proposal, settings).run(direct=direct)


class _Push:
    def __init__(self, proposal: Proposal, settings: HubSettings) -> None:
        self._proposal, self._settings, self._repo_id = proposal, settings, proposal.repo_id
        self._api, self._question = _client.prepare(f"read '{self._repo_id}'", settings, name=self._repo_id)

    def run(self, *, direct: bool) -> PushResult:
        parent = self._proposal.parent_commit
        user = whoami(self._settings)
        if commit_of(self._repo_id, None, self._settings) != parent:
            raise CommitConflict(self._repo_id, parent_commit=parent, endpoint=self._question.endpoint)
        if self._holds(parent):
            return PushResult("unchanged", None, None)
        if direct:
            info = self._write("commit to", lambda: self._commit(parent))
            return PushResult("committed", info.commit_url, None)
        ours = self._our_pull_requests(user)
        open_ones = [found for found in ours if found.status in ("open", "draft")]
        if open_ones:
            return self._update(open_ones[0])
        if ours and ours[0].status == "closed":
            raise PullRequestClosed(self._repo_id, number=ours[0].num, endpoint=self._question.endpoint)
        info = self._write("open a pull request on", lambda: self._commit(parent, create_pr=True))
        return PushResult("opened", info.pr_url, info.pr_num)

    def _update(self, found: Discussion) -> PushResult:
        ref = f"refs/pr/{found.num}"
        head = commit_of(self._repo_id, ref, self._settings)
        if self._holds(head):
            return PushResult("unchanged", found.url, found.num)
        self._write("update a pull request on", lambda: self._commit(head, revision=ref))
        self._describe(found.num)
        return PushResult("updated", found.url, found.num)

    def _describe(self, number: int) -> None:
        """Replace the pull request's first comment, which is its description, when it says something else."""
        details = self._read(lambda: self._api.get_discussion_details(self._repo_id, number))
        first = next((event for event in details.events if isinstance(event, DiscussionComment)), None)
        if first is not None and first.content.strip() != self._proposal.description.strip():
            self._write(
                "describe a pull request on",
                lambda: self._api.edit_discussion_comment(self._repo_id, number, first.id, self._proposal.description),
            )

    def _our_pull_requests(self, user: str) -> list[Discussion]:
        """Pull requests of this user with this title, the latest first."""
        found = self._read(
            lambda: [
                d
                for d in self._api.get_repo_discussions(self._repo_id, author=user, discussion_type="pull_request")
                if d.is_pull_request and d.author == user and d.title.strip() == self._proposal.title.strip()
            ]
        )
        return sorted(found, key=lambda d: d.num, reverse=True)

    def _holds(self, revision: str) -> bool:
        """Whether every file is there with exactly this content, by the ids that the listing states."""
        rows = self._read(
            lambda: self._api.get_paths_info(self._repo_id, list(self._proposal.files), revision=revision)
        )
        there = {row.path: row for row in rows}
        return all(_is_content(there.get(path), content) for path, content in self._proposal.files.items())

    def _commit(self, parent: str, *, revision: str | None = None, create_pr: bool = False) -> Any:
        return self._api.create_commit(
            self._repo_id,
            [CommitOperationAdd(path, content) for path, content in self._proposal.files.items()],
            commit_message=self._proposal.title.strip(),
            commit_description=self._proposal.description,
            revision=revision,
            create_pr=create_pr,
            parent_commit=parent,
        )

    def _read(self, request: Callable[[], T]) -> T:
        return _client.ask(self._question, self._settings, request)

    def _write(self, action: str, request: Callable[[], T]) -> T:
        question = replace(
            self._question, action=f"{action} '{self._repo_id}'", parent_commit=self._proposal.parent_commit
        )
        try:
            # the client's remarks about a card that is not ours to mend
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                return _client.ask(question, self._settings, request, writes=True)
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
