"""The job: the inputs of `action.yml`, and the event that started it. Knows: environment variables and payloads.

Refuses to know: git, the Hub.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amdet_hub.errors import ConfigError
from amdet_hub.files import read_json_object

# Inputs come as `AMDET_INPUT_<NAME>`: through `env:`, so that no text of an input is ever part of a script.
PREFIX = "AMDET_INPUT_"

FORMATS = ("json", "sarif", "markdown", "html")
# Hub repositories that one job watches.
MAX_MODELS = 100
_MAX_EVENT_BYTES = 32 << 20
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DURATION = re.compile(r"(?=.)(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?")
# The commit that a change is compared with, in the payload of each event that is about one.
_BASES = {
    "push": ("before",),
    "pull_request": ("pull_request", "base", "sha"),
    "pull_request_target": ("pull_request", "base", "sha"),
    "pull_request_review": ("pull_request", "base", "sha"),
    "pull_request_review_comment": ("pull_request", "base", "sha"),
    "merge_group": ("merge_group", "base_sha"),
}
_WORKFLOW = re.compile(r"[^/@\s]+/[^/@\s]+/(\.github/workflows/[A-Za-z0-9][A-Za-z0-9._-]*\.ya?ml)@.*", re.DOTALL)


@dataclass(frozen=True)
class Inputs:
    """The inputs of one use of the Action, checked.

    `models` are Hub targets, `path` lies in the checkout ("" is all of it).
    """

    models: tuple[str, ...]
    path: str
    revision: str | None
    subfolder: str | None
    reference: str | None
    endpoint: str | None
    preset: str
    fail_on: str
    formats: tuple[str, ...]
    timeout: str | None
    config: str | None
    baseline: str | None
    comment: bool
    push_card: bool

    def __post_init__(self) -> None:
        count = len(self.models)
        for wrong, name, reason in (
            (self.models and self.path, "path", "give either 'model' or 'path', not both"),
            (count > MAX_MODELS, "model", f"{count} repositories, more than the {MAX_MODELS} that one job watches"),
            (
                count != 1 and (self.revision or self.subfolder),
                "revision",
                "'revision' and 'subfolder' go with exactly one 'model'",
            ),
            (
                self.timeout is not None and not _DURATION.fullmatch(self.timeout),
                "timeout",
                "it is no duration; write it like 90s, 10m or 1h30m",
            ),
            (
                any(model.startswith((".", "/", "~")) for model in self.models),
                "model",
                "a path stands where a Hub repository should; paths go into 'path'",
            ),
        ):
            if wrong:
                raise ConfigError(name, reason)
        for name, given, known in (
            ("fail-on", (self.fail_on,), ("detected", "inconclusive", "never")),
            ("preset", (self.preset,), ("quick", "standard", "characters", "paper")),
            ("formats", self.formats, FORMATS),
        ):
            if unknown := sorted(set(given) - set(known)):
                raise ConfigError(name, f"'{unknown[0][:40]}' is none of {', '.join(known)}")


def read_inputs(environ: Mapping[str, str]) -> Inputs:
    """The inputs in the environment.

    Raises:
        ConfigError: one is unusable.
    """

    def text(name: str) -> str | None:
        return environ.get(PREFIX + name.replace("-", "_").upper(), "").strip() or None

    return Inputs(
        models=tuple(dict.fromkeys((text("model") or "").split())),
        path=text("path") or "",
        revision=text("revision"),
        subfolder=text("subfolder"),
        reference=text("reference"),
        endpoint=text("endpoint"),
        preset=text("preset") or "quick",
        fail_on=text("fail-on") or "inconclusive",
        formats=tuple(dict.fromkeys(re.split(r"[,\s]+", text("formats") or ",".join(FORMATS)))),
        timeout=text("timeout"),
        config=text("config"),
        baseline=text("baseline"),
        comment=_switch("comment", text("comment")),
        push_card=_switch("push-card", text("push-card")),
    )


def _switch(name: str, value: str | None) -> bool:
    if value not in (None, "true", "false"):
        raise ConfigError(name, "it is neither true nor false")
    return value == "true"


@dataclass(frozen=True)
class Event:
    """What started the job.

    Attributes:
        name: `push`, `pull_request`, `schedule`, ...
        base: the commit that the pushed one is compared with, None where there is none (a new branch, a schedule).
        compares: whether this kind of event is about a change.
        deletes: a push that deletes its branch.
        pull_request: number of the pull request, None outside one.
    """

    name: str
    base: str | None = None
    compares: bool = False
    deletes: bool = False
    pull_request: int | None = None

    @property
    def is_proposal(self) -> bool:
        """Whether the checkout is what somebody proposes to merge: a pull request, or a group of them in the queue."""
        return self.compares and self.name != "push"


def read_event(environ: Mapping[str, str]) -> Event:
    """The event in the environment.

    A payload that cannot be read, or is not as documented, compares with nothing: everything is looked at.
    """
    name = environ.get("GITHUB_EVENT_NAME", "")
    payload = read_json_object(Path(environ.get("GITHUB_EVENT_PATH", "")), _MAX_EVENT_BYTES)
    if name not in _BASES:
        return Event(name)
    base, number = _at(payload, *_BASES[name]), _at(payload, "pull_request", "number")
    is_commit = isinstance(base, str) and _SHA.fullmatch(base) and base.strip("0")
    return Event(
        name,
        base if is_commit else None,
        compares=True,
        deletes=_at(payload, "deleted") is True,
        pull_request=number if type(number) is int and number > 0 else None,
    )


def may_use_cache(environ: Mapping[str, str], event: Event) -> bool:
    """Whether this job may read earlier verdicts and keep its own: one of a protected branch, and no proposal.

    Elsewhere the author of a change could keep a forged verdict by a first version of the workflow, and show only a
    second one. A protected branch reads its own entries and the default branch's. Source: GitHub's documentation,
    "Caching dependencies to speed up workflows" (restrictions for accessing a cache).
    """
    return environ.get("GITHUB_REF_PROTECTED") == "true" and not event.is_proposal


def _at(data: Any, *path: str) -> Any:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def naming_file(environ: Mapping[str, str]) -> str:
    """The file of this repository that names the watched models: the workflow itself.

    `.github/workflows` where the runner does not say.
    """
    found = _WORKFLOW.fullmatch(environ.get("GITHUB_WORKFLOW_REF", ""))
    return found[1] if found else ".github/workflows"


def workspace(environ: Mapping[str, str]) -> Path:
    """The checkout. Raises: ConfigError."""
    path = Path(os.path.realpath(environ.get("GITHUB_WORKSPACE") or os.curdir))
    if not path.is_dir():
        raise ConfigError("GITHUB_WORKSPACE", "it is no folder; run actions/checkout first")
    return path


def inside(root: Path, path: str, name: str) -> Path:
    """The real path of something that an input names in the checkout.

    Raises:
        ConfigError: it leads out of the checkout, by dots or by links.
    """
    if any(ord(c) < 32 or ord(c) == 127 for c in path):
        raise ConfigError(name, "it holds control characters")
    real = Path(os.path.realpath(root / path))
    if not real.is_relative_to(root):
        raise ConfigError(name, "it leads out of the checkout")
    return real
