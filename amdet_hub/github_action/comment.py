"""One comment on a pull request, kept up to date: a hidden marker tells ours from others.

GitHub's REST API through the standard library.

Source: GitHub's documentation, "REST API endpoints for issue comments" (100 a page; a body of at most 65,536
characters).
"""

import json
import re
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from amdet_hub.errors import AmdetError, ConfigError

MARKER = "<!-- amdet-hub:comment -->"
MAX_BODY_CHARS = 60_000
_MAX_PAGES = 30
_MAX_ANSWER_BYTES = 16 << 20
_TIMEOUT_S = 30
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class CommentRefused(AmdetError):
    """GitHub did not take the comment; the message holds the status and nothing of the answer."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token is for one host, so a redirect is an answer and not followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def keep_comment(api: str, repository: str, number: int, body: str, *, token: str) -> str:
    """Write the comment, or rewrite the one that a bot wrote for us before.

    Args:
        api: base URL of the API.
        repository: `owner/name`.
        number: of the pull request.
        body: Markdown; cut where it is longer than a comment may be.
        token: with the right to write on pull requests.

    Returns:
        `"created"`, `"updated"` or `"unchanged"`.

    Raises:
        ConfigError: the API's address or the repository's name is none.
        CommentRefused: GitHub said no.
    """
    if urlsplit(api).scheme not in ("http", "https") or not _REPOSITORY.fullmatch(repository):
        raise ConfigError("comment", "the runner names no GitHub repository to comment on")
    text = f"{MARKER}\n{body}"
    if len(text) > MAX_BODY_CHARS:
        text = f"{text[:MAX_BODY_CHARS]}\n\n(cut: the whole report is in the files of the job)\n"
    base = f"{api.rstrip('/')}/repos/{repository}/issues"
    for page in range(1, _MAX_PAGES + 1):
        comments = _ask("GET", f"{base}/{number}/comments?per_page=100&page={page}", token)
        for comment in comments if isinstance(comments, list) else []:
            if _is_ours(comment):
                if str(comment.get("body", "")).strip() == text.strip():
                    return "unchanged"
                _ask("PATCH", f"{base}/comments/{int(comment['id'])}", token, {"body": text})
                return "updated"
        if not isinstance(comments, list) or len(comments) < 100:
            break
    _ask("POST", f"{base}/{number}/comments", token, {"body": text})
    return "created"


def _is_ours(comment: Any) -> bool:
    """Whether a bot wrote it with our marker: a comment of a person who copies the marker is left alone."""
    if not isinstance(comment, dict) or not isinstance(comment.get("id"), int):
        return False
    user = comment.get("user")
    return isinstance(user, dict) and user.get("type") == "Bot" and str(comment.get("body", "")).startswith(MARKER)


def _ask(method: str, url: str, token: str, data: Any = None) -> Any:
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "amdet-hub",
        **({} if data is None else {"Content-Type": "application/json"}),
    }
    content = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, content, headers, method=method)
    try:
        with urllib.request.build_opener(_NoRedirects()).open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read(_MAX_ANSWER_BYTES) or b"null")
    except urllib.error.HTTPError as error:
        with error:
            raise CommentRefused(
                f"GitHub refused the comment (HTTP {error.code}); it needs 'permissions: pull-requests: write'"
            ) from error
    except (OSError, ValueError) as error:
        raise CommentRefused("GitHub could not be reached to write the comment") from error
