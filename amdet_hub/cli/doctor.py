"""`amdet-hub doctor`: what this machine offers, and what would stop a scan. Knows: what to look at.

Never shows a token.
"""

import importlib.metadata
import itertools
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from amdet_hub import __version__
from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_ERROR, EXIT_OK
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit, escape
from amdet_hub.cli._request import hub_settings
from amdet_hub.errors import AmdetError
from amdet_hub.hub import HubSettings
from amdet_hub.installation import key_file, read_key
from amdet_hub.report.quantities import format_bytes

PACKAGES = ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "tokenizers")
# Below this much free space a larger pipeline's encoders do not fit; said as a warning.
ENOUGH_DISK_BYTES = 5_000_000_000
CONNECT_TIMEOUT_S = 10.0

EPILOG = """
Exit codes: 0 everything a scan needs is there (warnings included), 2 something is missing.
"""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    state: Literal["ok", "warn", "fail"]
    name: str
    finding: str


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Check versions, device, token, cache and connection.")
@opt.data_format_options
@opt.hub_options
@opt.config_option
def doctor(as_json: bool, **flags: Any) -> int:
    """Check what a scan needs: versions, device, token (never shown), cache folder, and whether the Hub answers."""
    settings, checks = hub_settings(flags), []
    for check in itertools.chain(_versions(), _device(), _cache(settings), _key(), _hub(settings)):
        checks.append(check)
        if not as_json:
            emit(f"{check.state:<5} {check.name:<16} {escape(check.finding)}")
    if as_json:
        emit(json.dumps([vars(check) for check in checks], indent=2))
    return EXIT_ERROR if any(check.state == "fail" for check in checks) else EXIT_OK


def _versions() -> Iterator[Check]:
    yield Check("ok", "amdet-hub", __version__)
    yield Check("ok", "python", platform.python_version())
    for package in PACKAGES:
        try:
            yield Check("ok", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Check("fail", package, "is not installed")


def _device() -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing
        yield Check("fail", "device", f"torch cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield Check("ok", "device", f"cuda:{index}, {facts.name}, {format_bytes(facts.total_memory)}")
        return
    threads = torch.get_num_threads()
    yield Check(
        "ok",
        "device",
        f"cpu, {threads} thread{'' if threads == 1 else 's'}; an NVIDIA GPU makes scans many times quicker",
    )


def _cache(settings: HubSettings) -> Iterator[Check]:
    from huggingface_hub import constants

    folder = settings.cache_dir or Path(constants.HF_HUB_CACHE)
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())  # the cache is made on first use
    try:
        tempfile.TemporaryFile(dir=there).close()  # asked by doing: permission bits do not tell everything
    except OSError as error:
        yield Check("fail", "cache", f"{folder} cannot be written: {error.strerror}")
        return
    free = shutil.disk_usage(there).free
    yield Check("ok" if free >= ENOUGH_DISK_BYTES else "warn", "cache", f"{folder}, {format_bytes(free)} free")


def _key() -> Iterator[Check]:
    if read_key() is None:
        why = "cannot be kept as yours alone: no result is cached, and every run draws another seed"
        yield Check("warn", "key", f"{key_file()} {why}")
    else:
        yield Check("ok", "key", f"{key_file()}, which signs cached results and gives the seed of scans")


def _hub(settings: HubSettings) -> Iterator[Check]:
    from huggingface_hub import constants, get_token

    from amdet_hub.hub import whoami

    endpoint = (settings.endpoint or constants.ENDPOINT).rstrip("/")
    yield Check("ok", "endpoint", endpoint)
    has_token = bool(settings.token or get_token())
    yield Check(
        "ok", "token", "present" if has_token else "none; public repositories only (`hf auth login` to sign in)"
    )
    if settings.offline or constants.HF_HUB_OFFLINE:
        yield Check("warn", "connection", "not tried: offline mode is on")
        return
    yield _answer(endpoint)
    if has_token:
        try:
            yield Check("ok", "account", f"signed in as {whoami(settings)}")
        except AmdetError as error:
            yield Check("fail", "account", f"the token is not accepted: {error} [{error.code}]")


def _answer(endpoint: str) -> Check:
    """Whether the Hub answers at all, asked once and without a token."""
    from huggingface_hub import get_session

    try:
        status = get_session().get(f"{endpoint}/api/models?limit=1", timeout=CONNECT_TIMEOUT_S).status_code
    except Exception as error:  # noqa: BLE001 whatever the client's HTTP library raises is the finding
        return Check("fail", "connection", f"{endpoint} does not answer: {type(error).__name__}: {error}")
    state: Literal["ok", "warn", "fail"] = "ok" if status == 200 else "warn" if status == 429 else "fail"
    return Check(state, "connection", f"the Hub answers with HTTP {status}")
