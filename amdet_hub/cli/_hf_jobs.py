"""`amdet-hub scan --on jobs`: the same scan on Hugging Face Jobs.

Knows: what a job is told, and when its result is believed.

What is scanned is looked up here first: a target with nothing to scan costs nothing, and the job is told the commit.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from amdet_hub import __version__
from amdet_hub.cli import _options as opt
from amdet_hub.cli._output import escape, say
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError, HubError

if TYPE_CHECKING:
    from amdet_hub.cli.scan import Request
    from amdet_hub.records import RepoRef, ScanReport

F = TypeVar("F", bound=Callable[..., Any])
INSTALL_S = 900.0
"""Time of a job beside the scan's own: to install torch and to download the weights."""
WITHOUT_TIMEOUT_S = 7200.0
"""What the scan gets when no --timeout says otherwise: a job must have an end, because it costs."""

_SECTION = "Elsewhere"
_OPTIONS = (
    opt.option(
        "--on",
        "where",
        section=_SECTION,
        type=click.Choice(("here", "jobs")),
        default="here",
        help="jobs: on Hugging Face Jobs, paid by the minute from your credit.",
    ),
    opt.option(
        "--flavor",
        section=_SECTION,
        metavar="NAME",
        default="cpu-upgrade",
        show_default=True,
        help="The job's hardware; `hf jobs hardware` lists it with prices.",
    ),
    opt.option(
        "--job-package",
        section=_SECTION,
        metavar="SPEC",
        help="What the job installs, as pip would. Default: this version.",
    ),
    opt.option(
        "--result-to-log",
        section=_SECTION,
        env=False,
        hidden=True,
        help="Print the report as marked lines, which a job does.",
    ),
)


@dataclass(frozen=True)
class JobRequest:
    """The hardware of a job, and what it installs."""

    flavor: str
    package: str


def job_options(function: F) -> F:
    """The flags of `--on jobs`."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


def job_request(flags: Mapping[str, Any]) -> JobRequest | None:
    """What the flags ask of Jobs; None for a scan on this machine."""
    return (
        JobRequest(flags["flavor"], flags["job_package"] or f"amdet-hub=={__version__}")
        if flags.get("where") == "jobs"
        else None
    )


def log_key(flags: Mapping[str, Any]) -> str | None:
    """The key of `--result-to-log`. Raises: ConfigError, it is none."""
    from amdet_hub.report.log_lines import is_log_key

    key: str | None = flags.get("result_to_log")
    if key is not None and not is_log_key(key):
        raise ConfigError("--result-to-log", "a key has 32 hex digits")
    return key


def scan_on_job(request: Request, ref: RepoRef, job: JobRequest) -> ScanReport:
    """Scan one target on a job and bring its report home.

    Raises:
        ConfigError: a setting does not travel.
        NothingToScan: there is nothing to scan; no job was started.
        HubError: the job could not be started, or ended without a result.
        ReportError: its result is damaged.
    """
    from amdet_hub.hub.jobs import RunningJob, job_end, job_log, start_job, stop_job
    from amdet_hub.report.log_lines import LogReader
    from amdet_hub.scanner.estimate import open_target

    _check_travels(request, ref)
    source, _ = open_target(ref, request.settings, request.reference)
    snapshot, key = source.snapshot, secrets.token_hex(16)
    running: RunningJob = start_job(
        _arguments(request, ref, str(snapshot.commit_sha), key),
        request.settings,
        package=job.package,
        flavor=job.flavor,
        timeout_s=(request.options.timeout_s or WITHOUT_TIMEOUT_S) + INSTALL_S,
        environment=_environment(request),
        with_token=snapshot.private or snapshot.gated,
    )
    if not request.quiet:
        say(f"Started on {escape(job.flavor)}: {escape(running.url)}")
    reader = LogReader(key)
    stage = message = ""
    try:
        for line in job_log(running, request.settings):
            if not reader.take(line) and not request.quiet:
                say(f"job: {escape(line)}")
    except BaseException:
        stopped = stop_job(running, request.settings)
        say(
            "The job was stopped."
            if stopped
            else f"The job could not be stopped and may go on costing: {escape(running.url)}"
        )
        raise
    if not reader.complete:
        stage, message = job_end(running, request.settings)
        for line in job_log(
            running, request.settings, follow=False
        ):  # who follows stops when the job ends, which is before its last lines come
            reader.take(line)
    if not reader.complete:
        why = f"{stage.lower()}{f': {message}' if message else ''}"
        raise HubError(f"the job ended without a result ({why}); its log is at {running.url}", repo_id=ref.repo_id)
    return _believed(reader.report(), request, ref, str(snapshot.commit_sha))


def _check_travels(request: Request, ref: RepoRef) -> None:
    """Refuse what a job cannot be told. Raises: ConfigError."""
    if ref.kind != "hub" or (request.reference is not None and request.reference.kind != "hub"):
        raise ConfigError("--on", "a job cannot read folders of this machine; name repositories of the Hub")
    plain = ScanConfig.for_preset(request.config.preset, seed=request.config.seed)
    if request.config != plain:
        raise ConfigError("--on", "settings of a configuration file beyond preset and seed do not travel to a job")


def _arguments(request: Request, ref: RepoRef, commit_sha: str, key: str) -> list[str]:
    options, settings = request.options, request.settings
    values = {
        "preset": request.config.preset,
        "seed": request.config.seed,
        "reference": _address(request.reference) if request.reference is not None else None,
        "device": options.device if options.device != "cpu" else "auto",  # the device of this machine is not the job's
        "dtype": options.dtype,
        "timeout": f"{math.ceil(options.timeout_s or WITHOUT_TIMEOUT_S)}s",
        "max-memory": options.max_memory_bytes,
        "max-download": settings.max_download_bytes,
        "fail-on": "never",  # the exit code is decided here
        "result-to-log": key,
    }
    flags = [f"--{name}={value}" for name, value in values.items() if value is not None]
    return [
        "scan",
        _address(replace(ref, revision=commit_sha)),
        *flags,
        "--no-progress",
        *([] if options.use_reference else ["--no-reference"]),
    ]


def _address(ref: RepoRef) -> str:
    at = f"@{ref.revision}" if ref.revision else ""
    place = ref.filename or ref.subfolder
    return f"hf://{ref.repo_id}{at}" + (f"/{place}" if place else "")


def _environment(request: Request) -> dict[str, str]:
    endpoint = request.settings.endpoint
    return {"HF_HUB_DISABLE_TELEMETRY": "1", **({"HF_ENDPOINT": endpoint} if endpoint else {})}


def _believed(report: ScanReport, request: Request, ref: RepoRef, commit_sha: str) -> ScanReport:
    """The report under the target's own name, if it is of this repository, commit and settings. Raises: HubError."""
    found = (report.snapshot.repo_id, report.snapshot.commit_sha, report.config_fingerprint)
    if found != (ref.repo_id, commit_sha, request.config.fingerprint()):
        raise HubError(
            "the job's result is of another repository, commit or setting than it was asked for", repo_id=ref.repo_id
        )
    return replace(report, target=ref.raw)
