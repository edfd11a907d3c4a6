"""Discussions and pull requests of the local Hub, and the JSON the client reads them from.

Knows: events, states, the difference a pull request makes. Refuses to know: who may do what, and HTTP.
"""

import difflib
import io
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.testing.local_hub.storage import Commit, Repository, sha1

DEFAULT_TITLE = "Upload files"


@dataclass(frozen=True)
class LocalPullRequest:
    """A pull request as a test sees it.

    `description` is its first comment; `comments` are those after it, oldest first. `status` is "draft", "open",
    "closed" or "merged".
    """

    number: int
    title: str
    author: str
    status: str
    head_sha: str
    description: str
    comments: tuple[str, ...] = ()


@dataclass
class Discussion:
    """A discussion or pull request with everything that happened to it, oldest first."""

    repo_id: str
    number: int
    title: str
    author: str
    is_pull_request: bool
    created: str
    status: str = "open"
    events: list[dict[str, Any]] = field(default_factory=list)
    base_sha: str | None = None
    merge_commit: str | None = None

    @property
    def ref(self) -> str:
        """The branch of a pull request."""
        return f"refs/pr/{self.number}"

    @property
    def comments(self) -> list[str]:
        """The texts of all comments as they are now, the description first."""
        return [event["data"]["latest"]["raw"] for event in self.events if event["type"] == "comment"]

    def matches(self, *, kind: str, status: str, author: str) -> bool:
        """Whether the client's three filters let this one through. A draft counts as open, a merged one as closed."""
        is_kind = kind in ("", "all") or (kind == "pull_request") == self.is_pull_request
        is_status = status in ("", "all") or (status == "open") == (self.status in ("open", "draft"))
        return is_kind and is_status and author in ("", self.author)

    def comment(self, author: str, text: str, date: str) -> dict[str, Any]:
        """Add a comment and return its event."""
        return self._add(
            "comment",
            author,
            date,
            {"edited": False, "hidden": False, "latest": _text(text, author, date), "history": []},
        )

    def edit(self, event: dict[str, Any], author: str, text: str, date: str) -> dict[str, Any]:
        """Replace the text of a comment; the old one stays in its history."""
        data = event["data"]
        data.update(edited=True, latest=_text(text, author, date), history=[*data["history"], data["latest"]])
        return event

    def hide(self, event: dict[str, Any], author: str, date: str) -> dict[str, Any]:
        """Hide a comment: its text is gone."""
        event["data"].update(hidden=True, latest=_text("", author, date), history=[])
        return event

    def set_status(self, status: str, author: str, date: str) -> dict[str, Any]:
        """Open, close or mark as merged."""
        self.status = status
        return self._add("status-change", author, date, {"status": status})

    def set_title(self, title: str, author: str, date: str) -> dict[str, Any]:
        """Rename it."""
        old, self.title = self.title, title
        return self._add("title-change", author, date, {"from": old, "to": title})

    def add_commit(self, commit: Commit) -> None:
        """Note a commit on the pull request's branch."""
        self._add("commit", commit.note.author, commit.date, {"subject": commit.note.title, "oid": commit.sha})

    def _add(self, kind: str, author: str, date: str, data: dict[str, Any]) -> dict[str, Any]:
        self.events.append(
            {
                "id": sha1(f"{self.repo_id}/{self.number}/{len(self.events)}".encode())[:24],
                "type": kind,
                "createdAt": date,
                "author": {"name": author, "type": "user"},
                "data": data,
            }
        )
        return self.events[-1]

    def as_local(self, repo: Repository) -> LocalPullRequest:
        """The pull request as `LocalHub.pull_requests` shows it."""
        head, (description, *others) = repo.refs[self.ref], self.comments
        return LocalPullRequest(self.number, self.title, self.author, self.status, head, description, tuple(others))


def _text(text: str, author: str, date: str) -> dict[str, Any]:
    return {"raw": text, "html": "", "updatedAt": date, "author": {"name": author}}


def summary(discussion: Discussion) -> dict[str, Any]:
    """One row of the list of discussions."""
    return {
        "num": discussion.number,
        "title": discussion.title,
        "author": {"name": discussion.author, "type": "user"},
        "status": discussion.status,
        "createdAt": discussion.created,
        "isPullRequest": discussion.is_pull_request,
        "repo": {"name": discussion.repo_id, "type": "model"},
        "numComments": len(discussion.comments),
        "pinned": False,
    }


def details(discussion: Discussion, repo: Repository, *, with_diff: bool) -> dict[str, Any]:
    """One discussion with its events, and for a pull request its target, conflicts and difference."""
    data = {**summary(discussion), "events": discussion.events}
    if not discussion.is_pull_request:
        return data
    head, main = repo.commits[repo.refs[discussion.ref]], repo.commits[repo.refs["refs/heads/main"]]
    merged = {"mergeCommitId": discussion.merge_commit} if discussion.merge_commit else {}
    base = repo.commits[discussion.base_sha] if discussion.base_sha else repo.merge_base(main, head)
    return {
        **data,
        "changes": {"base": "refs/heads/main", **merged},
        "filesWithConflicts": [] if merged else list(repo.conflicts(main, head)),
        **({"diff": diff(repo, base, head)} if with_diff else {}),
    }


def diff(repo: Repository, old: Commit, new: Commit) -> str:
    """The unified diff between two commits; LFS files appear as their pointers."""
    out: list[str] = []
    for path in sorted(repo.changed_paths(old, new)):
        out.append(f"diff --git a/{path} b/{path}\n")
        names = (f"a/{path}" if path in old.files else "/dev/null", f"b/{path}" if path in new.files else "/dev/null")
        lines = difflib.unified_diff(_lines(old, path), _lines(new, path), *names)
        out.extend(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join(out)


def _lines(commit: Commit, path: str) -> list[str]:
    entry = commit.files.get(path)
    data = b"" if entry is None else entry.pointer if entry.lfs else entry.blob.read()
    return io.StringIO(data.decode("utf-8", errors="replace"), newline="\n").readlines()
