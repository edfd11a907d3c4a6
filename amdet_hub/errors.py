"""The error tree. Errors carry data; the command line finds the words.

Knows: what can go wrong, as types with fields. Refuses to know: exit codes, advice, how anything is printed
(`amdet_hub.cli._exit_codes` owns those). Every error that leaves a public function of this package is an `AmdetError`;
library errors are chained as `__cause__`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amdet_hub.records import Evidence, ScanReport, TriggerFinding


# How a line of a build log becomes a command to GitHub's runner.
_RUNNER_COMMAND = re.compile(r"::(?=[a-z-]+(?: .*?)?::)|##(?=\[)")


class AmdetError(Exception):
    """Base of every error of this package.

    `str(error)` is one plain sentence without advice, `code` the class's name in kebab case (`"repo-not-found"`). A
    name in the sentence may come from a repository: control characters, and commands to the log of a build, are
    escaped. The fields keep the name as it is. Errors can be pickled, so that worker processes can raise them.
    """

    code = "amdet-error"

    def __init__(self, message: str = "") -> None:
        plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        super().__init__(_RUNNER_COMMAND.sub(lambda found: f"{found[0][0]}\\x{ord(found[0][1]):x}", plain))

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with the sentence alone: one raised in a worker would break the pool.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class TargetError(AmdetError):
    """A scan target could not be understood (`"org/model"`, `hf://...`, a URL, `./dir`, a `.safetensors` file).

    Args:
        target: what was asked for, verbatim.
        reason: why it cannot be used.
    """

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"'{target}' is not a usable target: {reason}")
        self.target, self.reason = target, reason


class ConfigError(AmdetError):
    """A setting (flag, environment variable, configuration file, accelerator option) has an unusable value."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


class HubError(AmdetError):
    """Something between us and the Hub failed.

    Args:
        message: one sentence.
        repo_id: the repository asked for, when there is one.
        endpoint: base URL of the Hub that was asked, when known.
    """

    def __init__(self, message: str, *, repo_id: str | None = None, endpoint: str | None = None) -> None:
        super().__init__(message)
        self.repo_id, self.endpoint = repo_id, endpoint


class RepoNotFound(HubError):
    """The repository does not exist, or is private and the token (if any) does not open it.

    `token_sent` says which to suspect. `kind` says what `repo_id` names where that is no repository: a collection, or
    an owner of models.
    """

    def __init__(
        self, repo_id: str, *, token_sent: bool, endpoint: str | None = None, kind: str = "repository"
    ) -> None:
        super().__init__(f"{kind} '{repo_id}' was not found (or it is private)", repo_id=repo_id, endpoint=endpoint)
        self.token_sent, self.kind = token_sent, kind


class RepoGated(HubError):
    """The repository asks for its terms to be accepted first, at `terms_url`."""

    def __init__(self, repo_id: str, *, terms_url: str, endpoint: str | None = None) -> None:
        super().__init__(f"repository '{repo_id}' is gated", repo_id=repo_id, endpoint=endpoint)
        self.terms_url = terms_url


class RevisionNotFound(HubError):
    """The repository exists, the branch, tag or commit does not."""

    def __init__(self, repo_id: str, revision: str, *, endpoint: str | None = None) -> None:
        super().__init__(f"repository '{repo_id}' has no revision '{revision}'", repo_id=repo_id, endpoint=endpoint)
        self.revision = revision


class FileNotInRepo(HubError):
    """A file that was listed or expected is not in the repository at the pinned commit."""

    def __init__(self, repo_id: str, path: str, *, endpoint: str | None = None) -> None:
        super().__init__(f"'{repo_id}' has no file '{path}'", repo_id=repo_id, endpoint=endpoint)
        self.path = path


class AccessDenied(HubError):
    """The Hub refused the token (401) or the right to do this (403). `action` names what was tried."""

    def __init__(self, action: str, *, status: int, repo_id: str | None = None, endpoint: str | None = None) -> None:
        super().__init__(f"the Hub refused to {action} (HTTP {status})", repo_id=repo_id, endpoint=endpoint)
        self.action, self.status = action, status


class RateLimited(HubError):
    """HTTP 429. `retry_after_s` is the server's own figure in seconds, None when it named none."""

    def __init__(
        self, *, retry_after_s: float | None, repo_id: str | None = None, endpoint: str | None = None
    ) -> None:
        super().__init__("the Hub asks us to slow down (HTTP 429)", repo_id=repo_id, endpoint=endpoint)
        self.retry_after_s = retry_after_s


class HubUnavailable(HubError):
    """The Hub did not answer, or answered 5xx, after every retry. `status` is None when there was no answer at all."""

    def __init__(
        self, reason: str, *, status: int | None = None, repo_id: str | None = None, endpoint: str | None = None
    ) -> None:
        super().__init__(f"the Hub could not be reached: {reason}", repo_id=repo_id, endpoint=endpoint)
        self.reason, self.status = reason, status


class OfflineMiss(HubError):
    """Offline mode is on and the file is not in the local cache."""

    def __init__(self, repo_id: str, path: str) -> None:
        super().__init__(f"offline, and '{path}' of '{repo_id}' is not in the cache", repo_id=repo_id)
        self.path = path


class DownloadCorrupt(HubError):
    """A body ended early or its sha256 is not the one the repository states. Nothing of it is kept."""

    def __init__(self, repo_id: str, path: str, *, expected: str, actual: str, endpoint: str | None = None) -> None:
        super().__init__(
            f"'{path}' of '{repo_id}' arrived damaged: expected {expected}, got {actual}",
            repo_id=repo_id,
            endpoint=endpoint,
        )
        self.path, self.expected, self.actual = path, expected, actual


class CommitConflict(HubError):
    """The branch moved between reading and writing (HTTP 412: stale `parent_commit`). Nothing was written."""

    def __init__(self, repo_id: str, *, parent_commit: str, endpoint: str | None = None) -> None:
        super().__init__(
            f"'{repo_id}' changed while we were writing (expected parent {parent_commit[:12]})",
            repo_id=repo_id,
            endpoint=endpoint,
        )
        self.parent_commit = parent_commit


class PullRequestClosed(HubError):
    """An earlier pull request of ours was closed by the owner; another one is not opened."""

    def __init__(self, repo_id: str, *, number: int, endpoint: str | None = None) -> None:
        super().__init__(
            f"pull request #{number} on '{repo_id}' was closed by its owner", repo_id=repo_id, endpoint=endpoint
        )
        self.number = number


class ResourceError(AmdetError):
    """This machine lacks something.

    `resource` is "disk", "memory" or "time"; amounts in bytes (or seconds), None when unknown.
    """

    def __init__(
        self, resource: str, message: str, *, needed: float | None = None, available: float | None = None
    ) -> None:
        super().__init__(message)
        self.resource, self.needed, self.available = resource, needed, available


class OutputError(AmdetError):
    """A report could not be written to `path`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot write '{path}': {reason}")
        self.path, self.reason = path, reason


class BadRepository(AmdetError):
    """A file of the scanned repository is broken or hostile: malformed JSON, header, index, path or value.

    Args:
        path: the file in the repository.
        reason: what is wrong, naming the key or tensor.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"'{path}' cannot be used: {reason}")
        self.path, self.reason = path, reason


class BadWeights(BadRepository):
    """The tensors do not make the encoder its config describes; `tensor` is the first missing, extra or odd one."""

    def __init__(self, path: str, tensor: str, reason: str) -> None:
        super().__init__(path, f"tensor '{tensor}' {reason}")
        self.tensor = tensor


class FileChanged(BadRepository):
    """A local file is another one than when its scan began."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it changed while it was being scanned")


class CardError(AmdetError):
    """A model card cannot be spliced: duplicated or unbalanced amdet-hub markers, or bytes that are not UTF-8."""


class PushRefused(CardError):
    """A report may not be written to that repository; the message says why."""


class ReportError(AmdetError):
    """A stored report cannot be read: not JSON, an unknown `schema_version`, or fields that contradict each other."""


class ShapeError(AmdetError):
    """A tensor at a public door has the wrong shape. The message names the argument and both shapes."""


class Interrupted(AmdetError):
    """The user stopped the scan (Ctrl-C).

    Args:
        report: the partial `ScanReport` (`complete` is False) with everything that was finished, None when nothing had
            started.
    """

    def __init__(self, report: ScanReport | None = None) -> None:
        super().__init__("the scan was interrupted")
        self.report = report


class BackdoorDetected(AmdetError):
    """A model that was about to be loaded has a detected backdoor. Raised by `amdet_hub.guard`.

    Args:
        target: what was asked for, verbatim.
        report: the whole report; its text is hostile where it quotes the repository.
        source: where the verdict comes from: "scan", "cache" or "card".
    """

    def __init__(self, target: str, report: ScanReport, source: str) -> None:
        at = f" at commit {report.snapshot.commit_sha[:12]}" if report.snapshot.commit_sha else ""
        super().__init__(f"a backdoor was detected in '{target}'{at} ({source}): {report.verdict.reasons[0]}")
        self.target, self.report, self.source = target, report, source

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence of every encoder in which it was detected."""
        return tuple(e for r in self.report.results if r.verdict.label == "backdoor-detected" for e in r.evidence)

    @property
    def triggers(self) -> tuple[TriggerFinding, ...]:
        """The recovered triggers."""
        return tuple(t for r in self.report.results for t in r.triggers)


class NotCleared(AmdetError):
    """A model was not cleared: its result is inconclusive, or there is none and scanning was not allowed.

    Args:
        target: what was asked for, verbatim.
        reason: why, in one phrase.
        report: the inconclusive report, None when there is none.
    """

    def __init__(self, target: str, reason: str, report: ScanReport | None = None) -> None:
        super().__init__(f"'{target}' was not cleared: {reason}")
        self.target, self.reason, self.report = target, reason, report
