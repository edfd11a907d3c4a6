"""The local Hub's stand-in for Hugging Face Jobs: takes a job, lets a test run it, streams its log, says how it ended.

Knows the addresses and forms that huggingface_hub 2.4 uses. Refuses to know what a command does: a test hands in what
runs it. Source: huggingface_hub 2.4, `HfApi.run_job`, `fetch_job_logs`, `inspect_job`, `cancel_job`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amdet_hub.testing.hub_http import HubRefusal, HubRequest, HubResponse, json_response
from amdet_hub.testing.hub_routes import route
from amdet_hub.testing.hub_world import World

_DATE = "2026-01-01T00:00:00.000Z"
_LOG_WAIT_S = 0.2  # how long an answer waits for another line, so that a client that follows does not spin


@dataclass
class LocalJob:
    """One job as it was asked for.

    `stage` becomes COMPLETED or ERROR when its runner ends, CANCELED when the client says so.
    """

    id: str
    owner: str
    command: list[str]
    environment: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    flavor: str
    timeout_s: int | None
    stage: str = "RUNNING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)


JobRunner = Callable[[LocalJob, Callable[[str], None]], int]
"""Called in a thread with the job and a function that takes a line of its log; returns the exit code."""


def _start(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    user = world.user(request)
    if user is None or user.read_only or names["owner"] not in (user.name, *user.can_write):
        raise HubRefusal(403 if user else 401, "You may not start jobs here.")
    if world.job_runner is None:
        raise HubRefusal(402, "Pre-paid credit balance is insufficient")
    spec = request.json()
    job = LocalJob(
        f"{len(world.jobs) + 1:024x}",
        names["owner"],
        list(spec["command"]),
        dict(spec.get("environment", {})),
        dict(spec.get("secrets", {})),
        str(spec["flavor"]),
        spec.get("timeoutSeconds"),
    )
    world.jobs[job.id] = job
    threading.Thread(target=_run, args=(world, job, world.job_runner), name="local-hub-job", daemon=True).start()
    return json_response(_described(job), changed=True)


def _run(world: World, job: LocalJob, runner: JobRunner) -> None:
    code = runner(job, job.lines.append)
    with world.lock:
        if job.stage == "RUNNING":
            job.stage, job.message = (
                ("COMPLETED", None) if code == 0 else ("ERROR", f"Job failed with exit code: {code}")
            )


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


def _job(world: World, request: HubRequest, names: dict[str, str]) -> LocalJob:
    job = world.jobs.get(names["job"])
    if world.user(request) is None or job is None or job.owner != names["owner"]:
        raise HubRefusal(404, "Job not found")
    return job


def _inspect(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    return json_response(_described(_job(world, request, names)))


def _logs(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    """Every line so far, as server-sent events; the client asks again until the job has ended."""
    job = _job(world, request, names)
    if job.stage == "RUNNING":
        threading.Condition(world.lock).wait(_LOG_WAIT_S)  # lets go of the lock: the job itself may be asking this Hub
    events = [{"timestamp": _DATE, "data": line} for line in ["===== Job started", *job.lines]]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    return HubResponse(200, {"Content-Type": "text/event-stream"}, body)


def _cancel(world: World, request: HubRequest, names: dict[str, str]) -> HubResponse:
    job = _job(world, request, names)
    job.stage = "CANCELED"
    return json_response(_described(job), changed=True)


_JOB = "/api/jobs/(?P<owner>[^/]+)/(?P<job>[0-9a-f]{24})"
JOB_ROUTES = (
    route("POST", "/api/jobs/(?P<owner>[^/]+)", _start),
    route("GET", _JOB, _inspect),
    route("GET", f"{_JOB}/logs", _logs),
    route("POST", f"{_JOB}/cancel", _cancel),
)
