"""The Hub's webhook: scan what was pushed, and propose a detection as a pull request.

Knows who may call, which events to ignore, and which were received before.

Without `AMDET_SPACE_WEBHOOK_SECRET` there is no such address. Source: huggingface.co/docs/hub/webhooks (payload,
`X-Webhook-Secret`).
"""

import hmac
import json
import logging
import re
import threading
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from amdet_hub.errors import AmdetError, HubUnavailable, RateLimited
from amdet_hub.hub import is_repo_id
from amdet_hub.model_card.publish import push_card, verify_card
from amdet_hub.records import ScanReport
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
        app.router.routes.insert(0, Route(PATH, WebhookReceiver(service).answer, methods=["POST"]))


class WebhookReceiver:
    """Answers the Hub's calls: looks up each new commit once, and scans it if its weights are new."""

    def __init__(self, service: ScanService) -> None:
        self._service = service
        self._seen: dict[tuple[str, str], None] = {}  # in the order they came
        self._lock = threading.Lock()

    async def answer(self, request: Request) -> Response:
        """Check the caller before a byte of the body is read."""
        if not hmac.compare_digest(
            request.headers.get("x-webhook-secret", "").encode(), self._service.settings.webhook_secret.encode()
        ):
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
        status, content = await run_in_threadpool(self.receive, payload)
        return JSONResponse(content, status_code=status)

    def receive(self, payload: Any) -> tuple[int, dict[str, str]]:
        """Decide about one payload. Returns an HTTP status and the answer."""
        pushed = pushed_commit(payload)
        if pushed is None:
            return 200, {"ignored": "not a push to the main branch of a model"}
        with self._lock:
            if pushed in self._seen:
                return 200, {"ignored": "this commit was received before"}
            self._seen[pushed] = None
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
        try:
            return self._look_at(*pushed)
        except (QueueRefused, HubUnavailable, RateLimited) as error:
            self._seen.pop(pushed, None)  # not done: the same call again is no replay
            return 429 if isinstance(error, QueueRefused) else 503, {"error": error_message(error)}
        except AmdetError as error:
            return 200, {"ignored": error_message(error)}

    def _look_at(self, repo_id: str, sha: str) -> tuple[int, dict[str, str]]:
        lookup = self._service.look_up(f"{repo_id}@{sha}", PRESET)
        if (earlier := lookup.earlier) is not None:
            told = {"verdict": earlier.verdict.label, "code": earlier.verdict.code}
            if earlier.verdict.label != "backdoor-detected":
                return 200, {"ignored": "there is nothing new to scan", **told}
            if verify_card(lookup.target.ref, lookup.scanner.hub).state == "fresh":  # our own proposal, merged
                return 200, {"ignored": "the card says it already", **told}
        job = self._service.start(lookup, f"webhook {repo_id}", then=self._propose, visitor=False)
        _log.info("webhook: scan %s of %s was queued", job.id, repo_id)
        return 202, {"queued": job.id}

    def _propose(self, report: ScanReport) -> None:
        """Propose a detection in the name of the webhook's own account, if it has one."""
        settings = self._service.settings
        if settings.webhook_token and report.verdict.label == "backdoor-detected":
            push_card(report, settings.hub(settings.webhook_token))


def pushed_commit(payload: Any) -> tuple[str, str] | None:
    """Repository and new commit of a push to a model's main branch; None of anything else, pull requests included."""
    match payload:
        case {
            "event": {"action": "update", "scope": "repo.content"},
            "repo": {"type": "model", "name": str(name)},
            "updatedRefs": [*updates],
        } if is_repo_id(name):
            for update in updates:
                match update:
                    case {"ref": "refs/heads/main", "newSha": str(sha)} if re.fullmatch(r"[0-9a-f]{40}", sha):
                        return name, sha
    return None
