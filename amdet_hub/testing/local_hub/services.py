"""Beside the repositories of the local Hub: Hugging Face Jobs and webhooks.

A job is taken, run by a function that a test hands in, its log streamed, its end told. Webhooks are listed and
created; they are stored, not delivered. Source: huggingface_hub 2.4, `HfApi.run_job`, `fetch_job_logs`,
`inspect_job`, `cancel_job`, `list_webhooks` and `create_webhook`.
"""

import json
import threading
from typing import Any

from amdet_hub.testing.local_hub.messages import HubRefusal, HubResponse, json_response
from amdet_hub.testing.local_hub.routing import Call, Route
from amdet_hub.testing.local_hub.world import HubUser, JobRunner, LocalJob, World

_DATE = "2026-01-01T00:00:00.000Z"
_LOG_WAIT_S = 0.2  # how long an answer waits for another line, so that a client that follows does not spin
_WATCHED = ("dataset", "model", "org", "space", "user", "bucket")


def _start(call: Call) -> HubResponse:
    world, user, owner = call.world, call.user, call.names["owner"]
    if user.read_only or not user.writes_to(owner):
        raise HubRefusal(403, "You may not start jobs here.")
    if world.job_runner is None:
        raise HubRefusal(402, "Pre-paid credit balance is insufficient")
    asked = call.request.json()
    job = LocalJob(
        f"{len(world.jobs) + 1:024x}",
        owner,
        list(asked["command"]),
        dict(asked.get("environment", {})),
        dict(asked.get("secrets", {})),
        str(asked["flavor"]),
        asked.get("timeoutSeconds"),
    )
    world.jobs[job.id] = job
    threading.Thread(target=_run, args=(world, job, world.job_runner), name="local-hub-job", daemon=True).start()
    return json_response(_described(job), changed=True)


def _run(world: World, job: LocalJob, runner: JobRunner) -> None:
    code = runner(job, job.lines.append)
    with world.lock:
        if job.stage == "RUNNING":
            job.stage, job.message = ("ERROR", f"Job failed with exit code: {code}") if code else ("COMPLETED", None)


def _described(job: LocalJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "createdAt": _DATE,
        "dockerImage": "uv",
        "command": job.command,
        "arguments": [],
        "environment": job.environment,
        "secrets": dict.fromkeys(job.secrets),
        "flavor": job.flavor,
        "status": {"stage": job.stage, "message": job.message},
        "owner": {"id": job.owner, "name": job.owner, "type": "user"},
    }


def _job(call: Call) -> LocalJob:
    job = call.world.jobs.get(call.names["job"])
    if call.visitor is None or job is None or job.owner != call.names["owner"]:
        raise HubRefusal(404, "Job not found")
    return job


def _inspect(call: Call) -> HubResponse:
    return json_response(_described(_job(call)))


def _logs(call: Call) -> HubResponse:
    """Every line so far, as server-sent events; the client asks again until the job has ended."""
    job = _job(call)
    if job.stage == "RUNNING":  # the wait lets go of the lock: the job itself may be asking this Hub
        threading.Condition(call.world.lock).wait(_LOG_WAIT_S)
    events = [{"timestamp": _DATE, "data": line} for line in ["===== Job started", *job.lines]]
    return HubResponse(
        200,
        {"Content-Type": "text/event-stream"},
        "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode(),
    )


def _cancel(call: Call) -> HubResponse:
    job = _job(call)
    job.stage = "CANCELED"
    return json_response(_described(job), changed=True)


def _manager(call: Call) -> HubUser:
    if call.user.read_only:
        raise HubRefusal(403, "Forbidden: this token may not manage webhooks")
    return call.user


def _list_webhooks(call: Call) -> HubResponse:
    return json_response(call.world.webhooks.get(_manager(call).name, []))


def _create_webhook(call: Call) -> HubResponse:
    user, asked, watched = _manager(call), call.request.json(), call.request.rows("watched")
    if bool(asked.get("url")) == bool(asked.get("jobSourceId")):
        raise HubRefusal(400, "a webhook needs a url or a job, and not both")
    if not watched or any(item.get("type") not in _WATCHED or not item.get("name") for item in watched):
        raise HubRefusal(400, "'watched' must name what is watched")
    hooks, domains = call.world.webhooks.setdefault(user.name, []), asked.get("domains", ["repo", "discussion"])
    job: dict[str, Any] = {
        "sourceJobId": asked.get("jobSourceId"),
        "secrets": sorted(asked.get("secrets") or {}),
        "command": [],
        "environment": {},
        "flavor": "cpu-basic",
    }
    hooks.append(
        {
            "id": f"{len(hooks) + 1:024x}",
            "watched": watched,
            "domains": domains,
            "disabled": False,
            **({"url": asked["url"]} if asked.get("url") else {"job": job}),
            **({"secret": asked["secret"]} if asked.get("secret") else {}),
        }
    )
    return json_response({"webhook": hooks[-1]}, changed=True)


_JOB = "/api/jobs/(?P<owner>[^/]+)/(?P<job>[0-9a-f]{24})"
SERVICE_ROUTES = (
    Route("POST", "/api/jobs/(?P<owner>[^/]+)", _start),
    Route("GET", _JOB, _inspect),
    Route("GET", f"{_JOB}/logs", _logs),
    Route("POST", f"{_JOB}/cancel", _cancel),
    Route("GET", "/api/settings/webhooks", _list_webhooks),
    Route("POST", "/api/settings/webhooks", _create_webhook),
)
