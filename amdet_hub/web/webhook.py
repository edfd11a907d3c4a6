"""The Hub's webhook: scan what was pushed, and propose the result.

Knows: who may call, what to ignore, what was seen before.

Without `AMDET_SPACE_WEBHOOK_SECRET` there is no such address. Source: huggingface.co/docs/hub/webhooks (payload,
`X-Webhook-Secret`).
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from amdet_hub.errors import AmdetError, HubUnavailable, RateLimited
from amdet_hub.hub import is_repo_id
from amdet_hub.web.error_messages import error_message
from amdet_hub.web.job_queue import QueueRefused
from amdet_hub.web.service import ScanService

PATH = "/webhooks/hub"
PRESET = "quick"
MAX_BODY = 1 << 20
_REMEMBERED = 2000

_log = logging.getLogger(__name__)


def add_webhook(app: Starlette, service: ScanService) -> None:
    """Serve the webhook, if there is a secret to check callers by."""
    if service.settings.webhook_secret:
        receiver = WebhookReceiver(service)
        app.router.routes.insert(0, Route(PATH, receiver.answer, methods=["POST"]))


class WebhookReceiver:
    """Answers the Hub's calls.

    Each new commit of a repository is looked at once, and scanned if its weights are new.
    """

    def __init__(self, service: ScanService) -> None:
        self._service = service
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    async def answer(self, request: Request) -> Response:
        """Check the caller before a byte of the body is looked at."""
        given = request.headers.get("x-webhook-secret", "")
        if not hmac.compare_digest(given.encode(), self._service.settings.webhook_secret.encode()):
            return JSONResponse({"error": "the secret is missing or wrong"}, status_code=401)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return JSONResponse({"error": "the body is too large"}, status_code=413)
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):  # the second of a body that is nested without an end
            return JSONResponse({"error": "the body is not JSON"}, status_code=400)
        status, said = await run_in_threadpool(self.receive, payload)
        return JSONResponse(said, status_code=status)

    def receive(self, payload: Any) -> tuple[int, dict[str, str]]:
        """Decide about one payload. Returns an HTTP status and what to say."""
        pushed = pushed_commit(payload)
        if pushed is None:
            return 200, {"ignored": "not a push to the main branch of a model"}
        repo_id, sha = pushed
        with self._lock:
            if pushed in self._seen:
                return 200, {"ignored": "this commit was received before"}
            self._seen[pushed] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        try:
            found = self._service.look_up(f"{repo_id}@{sha}", PRESET)
            if found.earlier is not None and found.earlier.snapshot.repo_id == repo_id:
                return 200, {
                    "ignored": "these weights were scanned before"
                }  # a new README: our own proposal, merged, among them
            job = self._service.start(
                found, f"webhook {repo_id}", then=self._service.propose_as_webhook, visitor=False
            )
        except (QueueRefused, HubUnavailable, RateLimited) as error:
            with self._lock:
                self._seen.pop(pushed, None)  # not done: the same call again is no replay
            return (
                (429, {"error": str(error)}) if isinstance(error, QueueRefused) else (503, {"error": error_message(error)})
            )
        except AmdetError as error:
            return 200, {"ignored": error_message(error)}
        _log.info("webhook: scan %s of %s was queued", job.id, repo_id)
        return 202, {"queued": job.id}


def pushed_commit(payload: Any) -> tuple[str, str] | None:
    """Repository and new commit of a push to the main branch of a model; None for everything else, so for pull requests, ours among them."""
    event, repo = _part(payload, "event"), _part(payload, "repo")
    if event.get("action") != "update" or event.get("scope") != "repo.content" or repo.get("type") != "model":
        return None
    updates = payload.get("updatedRefs")
    for update in updates if isinstance(updates, list) else []:
        if isinstance(update, Mapping) and update.get("ref") == "refs/heads/main":
            name, sha = repo.get("name"), update.get("newSha")
            if isinstance(name, str) and is_repo_id(name) and _is_sha(sha):
                return name, str(sha)
    return None


def _part(payload: Any, name: str) -> Mapping[str, Any]:
    part = payload.get(name) if isinstance(payload, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _is_sha(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 40 and all(c in "0123456789abcdef" for c in value)
