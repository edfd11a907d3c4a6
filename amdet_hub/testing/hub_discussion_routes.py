"""The addresses of the local Hub for discussions and pull requests: list, read, open, comment, edit, rename, close, merge.

Refuses to know: how a commit becomes a pull request (`hub_commit_routes` does).
Source: huggingface_hub 2.4, `hf_api.py`, from `get_repo_discussions` to `hide_discussion_comment`.
"""

from __future__ import annotations

from typing import Any

from amdet_hub.testing import hub_discussions
from amdet_hub.testing.hub_discussions import Discussion
from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, json_response
from amdet_hub.testing.hub_routes import MODEL, route
from amdet_hub.testing.hub_storage import MergeConflict, Repository
from amdet_hub.testing.hub_world import HubUser, World

_ONE = rf"{MODEL}/discussions/(?P<number>\d+)"
_COMMENT = rf"{_ONE}/comment/(?P<event>[0-9a-f]+)"


def _list(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    kind, status, author = request.first("type"), request.first("status"), request.first("author")
    found = [d for d in world.discussions[repo.repo_id] if d.matches(kind=kind, status=status, author=author)]
    found.reverse()  # newest first
    start = request.number("p", 0) * world.settings.discussions_page_size
    page = found[start : start + world.settings.discussions_page_size]
    return json_response(
        {"discussions": [hub_discussions.summary(d) for d in page], "count": len(found), "start": start}
    )


def _open(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, user = world.signed_in(request, names["repo"])
    asked = request.json()
    title = str(asked.get("title", "")).strip()
    if not 3 <= len(title) <= 200:
        raise HubRefusal(400, "the title must have 3 to 200 characters")
    is_pull_request = bool(asked.get("pullRequest"))
    discussion = world.open_discussion(
        repo,
        title=title,
        author=user.name,
        text=str(asked.get("description", "")),
        is_pull_request=is_pull_request,
        status="draft" if is_pull_request else "open",
    )
    if is_pull_request:
        discussion.base_sha = repo.refs[discussion.ref] = repo.refs["refs/heads/main"]
    address = f"{world.endpoint}/{repo.repo_id}/discussions/{discussion.number}"
    return json_response({"num": discussion.number, "url": address}, changed=True)


def _details(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, _ = world.visible(request, names["repo"])
    discussion = world.discussion(repo, int(names["number"]))
    return json_response(hub_discussions.details(discussion, repo, with_diff=request.flag("diff")))


def _mine(world: World, request: HubRequest, names: dict[str, str]) -> tuple[Repository, HubUser, Discussion]:
    """The discussion, for somebody who may manage it: its author and the repository's writers."""
    repo, user = world.signed_in(request, names["repo"])
    discussion = world.discussion(repo, int(names["number"]))
    if discussion.author != user.name:
        world.writer(request, names["repo"])
    return repo, user, discussion


def _comment(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, user = world.signed_in(request, names["repo"])
    discussion = world.discussion(repo, int(names["number"]))
    event = discussion.comment(user.name, str(request.json().get("comment", "")), world.clock.tick())
    return json_response({"newMessage": event}, changed=True)


def _own_comment(
    world: World, request: HubRequest, names: dict[str, str]
) -> tuple[HubUser, Discussion, dict[str, Any]]:
    repo, user = world.signed_in(request, names["repo"])
    discussion = world.discussion(repo, int(names["number"]))
    event = discussion.event(names["event"])
    if event is None or event["type"] != "comment":
        raise HubRefusal(404, "Comment not found")
    if event["author"]["name"] != user.name:
        raise HubRefusal(403, "Forbidden: this comment is not yours")
    return user, discussion, event


def _edit(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user, discussion, event = _own_comment(world, request, names)
    discussion.edit(event, user.name, str(request.json().get("content", "")), world.clock.tick())
    return json_response({"updatedComment": event}, changed=True)


def _hide(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user, discussion, event = _own_comment(world, request, names)
    discussion.hide(event, user.name, world.clock.tick())
    return json_response({"updatedComment": event}, changed=True)


def _status(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    _, user, discussion = _mine(world, request, names)
    asked = request.json()
    if asked.get("status") not in ("open", "closed"):
        raise HubRefusal(400, "the status must be 'open' or 'closed'")
    if discussion.status == "merged":
        raise HubRefusal(400, "This pull request is merged")
    if asked.get("comment"):
        discussion.comment(user.name, str(asked["comment"]), world.clock.tick())
    event = discussion.set_status(asked["status"], user.name, world.clock.tick())
    return json_response({"newStatus": event}, changed=True)


def _title(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    _, user, discussion = _mine(world, request, names)
    event = discussion.set_title(str(request.json().get("title", "")).strip(), user.name, world.clock.tick())
    return json_response({"newTitle": event}, changed=True)


def _merge(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    repo, user = world.writer(request, names["repo"])
    discussion = world.discussion(repo, int(names["number"]))
    if not discussion.is_pull_request or discussion.status not in ("open", "draft"):
        raise HubRefusal(400, "This pull request cannot be merged")
    try:
        world.merge(repo, discussion, user.name)
    except MergeConflict as error:
        raise HubRefusal(409, f"Merge conflict: {error}") from error
    if comment := request.json().get("comment"):
        discussion.comment(user.name, str(comment), world.clock.tick())
    return json_response({}, changed=True)


DISCUSSION_ROUTES = (
    route("GET", f"{MODEL}/discussions", _list),
    route("POST", f"{MODEL}/discussions", _open),
    route("GET", _ONE, _details),
    route("POST", f"{_ONE}/comment", _comment),
    route("POST", f"{_COMMENT}/edit", _edit),
    route("POST", f"{_COMMENT}/hide", _hide),
    route("POST", f"{_ONE}/status", _status),
    route("POST", f"{_ONE}/title", _title),
    route("POST", f"{_ONE}/merge", _merge),
)
