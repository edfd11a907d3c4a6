"""Hugging Face Jobs: a command on rented hardware. Starts one, hands out its log, says how it ended, stops it.

The token, where the job needs one, is a secret of the job and stands in no argument and no log. Refuses to
know what the command does. Source: huggingface_hub 2.4, `HfApi.run_uv_job`, `fetch_job_logs`, `inspect_job`,
`cancel_job`.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from amdet_hub.errors import ConfigError, HubError
from amdet_hub.hub import _client
from amdet_hub.hub._errors import translate
from amdet_hub.hub.publish import whoami
from amdet_hub.hub.settings import HubSettings

PROGRAM = "amdet-hub"
_FILE_SUFFIXES = (".py", ".sh", ".yaml", ".yml", ".toml")
_SETTLE_S, _SETTLE_TURNS = 1.0, 30  # how long a job may take to state its end after its log ended


@dataclass(frozen=True)
class RunningJob:
    """A job that was started: the namespace that pays, its id, and its page."""

    namespace: str
    id: str
    url: str


@dataclass(frozen=True)
class JobOrder:
    """`amdet-hub ARGUMENTS` on rented hardware.

    Attributes:
        arguments: of the command line; no secret may be among them.
        package: the requirement that pip installs, `"amdet-hub==0.1.0"`.
        flavor: the hardware, as the Hub names it (`"cpu-basic"`, `"t4-small"`).
        timeout_s: the Hub stops the job after this many seconds.
        environment: variables that anybody may see.
        with_token: whether the job gets the token, as the secret HF_TOKEN.

    Raises:
        ConfigError: an argument is also the name of a local file, which the client would send along.
    """

    arguments: Sequence[str]
    package: str
    flavor: str
    timeout_s: float
    environment: Mapping[str, str]
    with_token: bool

    def __post_init__(self) -> None:
        for argument in (PROGRAM, *self.arguments):
            # the client uploads every argument that is a local file, and refuses what looks like the name of a script
            if Path(argument).is_file() or argument.endswith(_FILE_SUFFIXES):
                raise ConfigError(
                    "--on",
                    f"'{argument}' is the name of a file here, or looks like one, and would be sent along; run it"
                    " elsewhere",
                )


def start_job(order: JobOrder, settings: HubSettings) -> RunningJob:
    """Start a job, paid by the owner of the token.

    Raises:
        AccessDenied: there is no token, or it may not start jobs.
        HubError: the job could not be started.
    """
    api, question = _client.prepare("start a job", settings)
    namespace, token = whoami(settings), settings.token or get_token()

    def request() -> Any:
        # the client calls this method experimental; our tests say when it changes
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return api.run_uv_job(
                PROGRAM,
                script_args=list(order.arguments),
                dependencies=[order.package],
                env=dict(order.environment),
                secrets={"HF_TOKEN": token} if order.with_token else None,
                flavor=order.flavor,
                timeout=int(order.timeout_s),
                namespace=namespace,
                token=token,
            )

    job = _client.ask(question, settings, request, writes=True)
    return RunningJob(namespace, job.id, job.url)


def job_log(job: RunningJob, settings: HubSettings, *, follow: bool = True) -> Iterator[str]:
    """The lines of its log as they come until it ends, the last ones perhaps aside; without `follow` those so far.

    Raises:
        HubError: it could not be read.
    """
    api, question = _client.prepare("read the log of a job", settings)
    try:
        yield from api.fetch_job_logs(job_id=job.id, namespace=job.namespace, follow=follow)
    except Exception as error:  # every error of the client is translated here, and any other is raised again
        known = translate(error, question)
        if known is None or known is error:
            raise
        raise known from error


def job_end(job: RunningJob, settings: HubSettings) -> tuple[str, str]:
    """How it ended: the Hub's word (`"COMPLETED"`, `"ERROR"`, `"CANCELED"`) and message. Raises: HubError."""
    api, question = _client.prepare("ask how a job ended", settings)

    for _ in range(_SETTLE_TURNS):
        status = _client.ask(
            question, settings, lambda: api.inspect_job(job_id=job.id, namespace=job.namespace)
        ).status
        stage = str(getattr(status.stage, "value", status.stage))
        if stage not in ("RUNNING", "SCHEDULING"):
            return stage, str(status.message or "")
        time.sleep(_SETTLE_S)
    return "RUNNING", "it does not end"


def stop_job(job: RunningJob, settings: HubSettings) -> bool:
    """Stop it, so that it costs nothing more. Returns whether the Hub took the order."""
    with contextlib.suppress(HubError):
        api, question = _client.prepare("stop a job", settings)
        _client.ask(question, settings, lambda: api.cancel_job(job_id=job.id, namespace=job.namespace))
        return True
    return False
