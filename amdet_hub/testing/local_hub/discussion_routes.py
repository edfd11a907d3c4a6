"""The addresses of the local Hub for discussions and pull requests.

Refuses to know: how a commit becomes a pull request (`writing` does).
Source: huggingface_hub 2.4, `hf_api.py`, from `get_repo_discussions` to `hide_discussion_comment`.
"""

from typing import Any

from amdet_hub.testing.local_hub import discussions
from amdet_hub.testing.local_hub.discussions import Discussion
from amdet_hub.testing.local_hub.messages import HubRefusal, HubResponse, json_response
from amdet_hub.testing.local_hub.routing import MODEL, Call, Route
from amdet_hub.testing.local_hub.storage import MergeConflict, Note, Repository
from amdet_hub.testing.local_hub.world import HubUser

_ONE = rf"{MODEL}/discussions/(?P<number>\d+)"
_COMMENT = rf"{_ONE}/comment/(?P<event>[0-9a-f]+)"


def _list(call: Call) -> HubResponse:
    repo, request, size = call.visible, call.request, call.world.limits.discussions_page_size
    filters = {"kind": request.first("type"), "status": request.first("status"), "author": request.first("author")}
    found = [d for d in reversed(call.world.discussions[repo.repo_id]) if d.matches(**filters)]  # newest first
    start = request.number("p", 0) * size
    return json_response(
        {
            "discussions": [discussions.summary(d) for d in found[start : start + size]],
            "count": len(found),
            "start": start,
        }
    )


def _open(call: Call) -> HubResponse:
    repo, user = call.signed_in
    asked = call.request.json()
    title, is_pull_request = str(asked.get("title", "")).strip(), bool(asked.get("pullRequest"))
    if not 3 <= len(title) <= 200:
        raise HubRefusal(400, "the title must have 3 to 200 characters")
    note = Note(title, user.name, str(asked.get("description", "")))
    discussion = call.world.open_discussion(
        repo, note, pull_request=is_pull_request, status="draft" if is_pull_request else "open"
    )
    if is_pull_request:
        discussion.base_sha = repo.refs[discussion.ref] = repo.refs["refs/heads/main"]
    return json_response(
        {"num": discussion.number, "url": f"{call.world.endpoint}/{repo.repo_id}/discussions/{discussion.number}"},
        changed=True,
    )


def _one(call: Call, repo: Repository) -> Discussion:
    return call.world.discussion(repo, int(call.names["number"]))


def _details(call: Call) -> HubResponse:
    repo = call.visible
    return json_response(discussions.details(_one(call, repo), repo, with_diff=call.request.flag("diff")))


def _managed(call: Call) -> tuple[HubUser, Discussion]:
    """The discussion, for a user who may manage it: its author and the repository's writers."""
    repo, user = call.signed_in
    discussion = _one(call, repo)
    if discussion.author != user.name:
        _ = call.writer
    return user, discussion


def _comment(call: Call) -> HubResponse:
    repo, user = call.signed_in
    text = str(call.request.json().get("comment", ""))
    return json_response({"newMessage": _one(call, repo).comment(user.name, text, call.world.clock())}, changed=True)


def _own_comment(call: Call) -> tuple[HubUser, Discussion, dict[str, Any]]:
    repo, user = call.signed_in
    discussion = _one(call, repo)
    comments = (e for e in discussion.events if e["type"] == "comment")
    event = next((e for e in comments if e["id"] == call.names["event"]), None)
    if event is None:
        raise HubRefusal(404, "Comment not found")
    if event["author"]["name"] != user.name:
        raise HubRefusal(403, "Forbidden: this comment is not yours")
    return user, discussion, event


def _edit(call: Call) -> HubResponse:
    user, discussion, event = _own_comment(call)
    text = str(call.request.json().get("content", ""))
    return json_response({"updatedComment": discussion.edit(event, user.name, text, call.world.clock())}, changed=True)


def _hide(call: Call) -> HubResponse:
    user, discussion, event = _own_comment(call)
    return json_response({"updatedComment": discussion.hide(event, user.name, call.world.clock())}, changed=True)


def _status(call: Call) -> HubResponse:
    user, discussion = _managed(call)
    asked, clock = call.request.json(), call.world.clock
    if asked.get("status") not in ("open", "closed"):
        raise HubRefusal(400, "the status must be 'open' or 'closed'")
    if discussion.status == "merged":
        raise HubRefusal(400, "This pull request is merged")
    if asked.get("comment"):
        discussion.comment(user.name, str(asked["comment"]), clock())
    return json_response({"newStatus": discussion.set_status(asked["status"], user.name, clock())}, changed=True)


def _title(call: Call) -> HubResponse:
    user, discussion = _managed(call)
    title = str(call.request.json().get("title", "")).strip()
    return json_response({"newTitle": discussion.set_title(title, user.name, call.world.clock())}, changed=True)


def _merge(call: Call) -> HubResponse:
    repo, user = call.writer
    discussion = _one(call, repo)
    if not discussion.is_pull_request or discussion.status not in ("open", "draft"):
        raise HubRefusal(400, "This pull request cannot be merged")
    try:
        call.world.merge(repo, discussion, user.name)
    except MergeConflict as error:
        raise HubRefusal(409, f"Merge conflict: {error}") from error
    if comment := call.request.json().get("comment"):
        discussion.comment(user.name, str(comment), call.world.clock())
    return json_response({}, changed=True)


DISCUSSION_ROUTES = (
    Route("GET", f"{MODEL}/discussions", _list),
    Route("POST", f"{MODEL}/discussions", _open),
    Route("GET", _ONE, _details),
    Route("POST", f"{_ONE}/comment", _comment),
    Route("POST", f"{_COMMENT}/edit", _edit),
    Route("POST", f"{_COMMENT}/hide", _hide),
    Route("POST", f"{_ONE}/status", _status),
    Route("POST", f"{_ONE}/title", _title),
    Route("POST", f"{_ONE}/merge", _merge),
)
