"""`amdet-hub scan --on jobs`: the same scan on Hugging Face Jobs.

Knows: the words that a job is told, and when its result is believed. The target was resolved before, so that one with
nothing to scan costs nothing, and the job is told the commit.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from amdet_hub import __version__
from amdet_hub.cli._help import option, stack
from amdet_hub.cli._output import escape, say
from amdet_hub.cli._targets import address
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError, HubError
from amdet_hub.hub import HubSettings
from amdet_hub.records import ScanReport
from amdet_hub.report.log_lines import LogReader, is_log_key

if TYPE_CHECKING:
    from amdet_hub.hub.jobs import RunningJob
    from amdet_hub.scanner import ResolvedTarget, Scanner

# Time of a job beside the scan's own: to install torch and to download the weights.
INSTALL_S = 900.0
# What the scan gets when no --timeout says otherwise: a job must have an end, because it costs.
WITHOUT_TIMEOUT_S = 7200.0

_SECTION = "Elsewhere"
job_options = stack(
    option(
        "--on",
        "where",
        section=_SECTION,
        type=click.Choice(("here", "jobs")),
        default="here",
        help="jobs: on Hugging Face Jobs, paid by the minute from your credit.",
    ),
    option(
        "--flavor",
        section=_SECTION,
        metavar="NAME",
        default="cpu-upgrade",
        show_default=True,
        help="The job's hardware; `hf jobs hardware` lists it with prices.",
    ),
    option(
        "--job-package",
        section=_SECTION,
        metavar="SPEC",
        help="What the job installs, as pip would. Default: this version.",
    ),
    option(
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


def job_request(flags: Mapping[str, Any]) -> JobRequest | None:
    """What the flags ask of Jobs; None for a scan on this machine."""
    return (
        JobRequest(flags["flavor"], flags["job_package"] or f"amdet-hub=={__version__}")
        if flags.get("where") == "jobs"
        else None
    )


def log_key(flags: Mapping[str, Any]) -> str | None:
    """The key of `--result-to-log`. Raises: ConfigError, it is none."""
    key: str | None = flags.get("result_to_log")
    if key is not None and not is_log_key(key):
        raise ConfigError("--result-to-log", "a key has 32 hex digits")
    return key


def scan_on_job(job: JobRequest, scanner: Scanner, target: ResolvedTarget, *, quiet: bool) -> ScanReport:
    """Scan one target on a job and bring its report home.

    Raises:
        ConfigError: a job cannot be told a setting.
        HubError: the job could not be started, or ended without a result.
        ReportError: its result is damaged.
    """
    from amdet_hub.hub.jobs import JobOrder, job_end, job_log, start_job

    _check_portable(scanner, target)
    key, endpoint = secrets.token_hex(16), scanner.hub.endpoint
    reader = LogReader(key)
    order = JobOrder(
        tuple(_arguments(scanner, target, key)),
        package=job.package,
        flavor=job.flavor,
        timeout_s=(scanner.options.timeout_s or WITHOUT_TIMEOUT_S) + INSTALL_S,
        environment={"HF_HUB_DISABLE_TELEMETRY": "1", **({"HF_ENDPOINT": endpoint} if endpoint else {})},
        with_token=target.snapshot.private or target.snapshot.gated,
    )
    running = start_job(order, scanner.hub)
    if not quiet:
        say(f"Started on {escape(job.flavor)}: {escape(running.url)}")
    _follow(running, scanner.hub, reader, quiet=quiet)
    if not reader.complete:
        stage, message = job_end(running, scanner.hub)
        # A log that is followed stops when the job ends, which is before its last lines come.
        for line in job_log(running, scanner.hub, follow=False):
            reader.take(line)
        if not reader.complete:
            why = f"{stage.lower()}{f': {message}' if message else ''}"
            said = f"the job ended without a result ({why}); its log is at {running.url}"
            raise HubError(said, repo_id=target.ref.repo_id)
    return _checked(reader.report(), scanner, target)


def _follow(running: RunningJob, settings: HubSettings, reader: LogReader, *, quiet: bool) -> None:
    """Read a job's log until it ends. An interruption stops the job, because it costs."""
    from amdet_hub.hub.jobs import job_log, stop_job

    try:
        for line in job_log(running, settings):
            if not reader.take(line) and not quiet:
                say(f"job: {escape(line)}")
    except BaseException:
        going_on = f"The job could not be stopped and may go on costing: {escape(running.url)}"
        say("The job was stopped." if stop_job(running, settings) else going_on)
        raise


def _check_portable(scanner: Scanner, target: ResolvedTarget) -> None:
    """Refuse the settings that a job cannot be told. Raises: ConfigError."""
    if target.ref.kind != "hub" or (scanner.reference is not None and scanner.reference.kind != "hub"):
        raise ConfigError("--on", "a job cannot read folders of this machine; name repositories of the Hub")
    if scanner.config != ScanConfig.for_preset(scanner.config.preset, seed=scanner.config.seed):
        raise ConfigError("--on", "a job takes preset and seed, and no other setting of a configuration file")


def _arguments(scanner: Scanner, target: ResolvedTarget, key: str) -> list[str]:
    options = scanner.options
    values = {
        "preset": scanner.config.preset,
        "seed": scanner.config.seed,
        "reference": f"hf://{address(scanner.reference)}" if scanner.reference is not None else None,
        "device": options.device if options.device != "cpu" else "auto",  # the device of this machine is not the job's
        "dtype": options.dtype,
        "timeout": f"{math.ceil(options.timeout_s or WITHOUT_TIMEOUT_S)}s",
        "max-memory": options.max_memory_bytes,
        "max-download": scanner.hub.max_download_bytes,
        "fail-on": "never",  # the exit code is decided here
        "result-to-log": key,
    }
    return [
        "scan",
        f"hf://{address(target.ref)}",
        *(f"--{name}={value}" for name, value in values.items() if value is not None),
        "--no-progress",
        *([] if options.use_reference else ["--no-reference"]),
    ]


def _checked(report: ScanReport, scanner: Scanner, target: ResolvedTarget) -> ScanReport:
    """The report under the target's own name, if it is of this repository, commit and settings. Raises: HubError."""
    asked = (target.ref.repo_id, target.snapshot.commit_sha, scanner.config.fingerprint())
    if (report.snapshot.repo_id, report.snapshot.commit_sha, report.config_fingerprint) != asked:
        said = "the job's result is of another repository, commit or setting than it was asked for"
        raise HubError(said, repo_id=target.ref.repo_id)
    return replace(report, target=target.ref.raw)
