"""From an error of the Hub's client to one of ours: one table, from the most to the least specific class.

Knows: the client's exceptions and HTTP statuses. Refuses to know: retries (`_client`), exit codes and advice
(`amdet_hub.cli`). Source: huggingface_hub 2.4, `errors.py` and `utils/_http.py`.
"""

import errno
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import httpx, parse_ratelimit_headers  # type: ignore[attr-defined]  # exported by name only at run time

from amdet_hub.errors import (
    AccessDenied,
    AmdetError,
    CommitConflict,
    DownloadCorrupt,
    FileNotInRepo,
    HubError,
    HubUnavailable,
    OfflineMiss,
    RateLimited,
    RepoGated,
    RepoNotFound,
    ResourceError,
    RevisionNotFound,
)

# Statuses of a server, or of a proxy before it, that is not well just now.
UNAVAILABLE_STATUSES = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524})

_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MAX_REASON_CHARS = 200


@dataclass(frozen=True)
class Question:
    """What is being asked of the Hub, for the words of an error.

    `action` completes "the Hub refused to ..."; `kind` says what `repo_id` names; `parent_commit` is set for a commit;
    `size_bytes` is the size of the file asked for, if known.
    """

    action: str
    endpoint: str
    repo_id: str | None = None
    revision: str | None = None
    path: str | None = None
    parent_commit: str | None = None
    size_bytes: int | None = None
    kind: str = "repository"

    @property
    def name(self) -> str:
        """The repository, or the Hub itself."""
        return self.repo_id or self.endpoint

    @property
    def place(self) -> dict[str, Any]:
        """Where an error happened, for the keywords of its class."""
        return {"repo_id": self.repo_id, "endpoint": self.endpoint}

    def unusable(self, reason: str) -> HubError:
        """The error that says that the Hub's answer is none."""
        return HubError(f"the Hub's answer to '{self.action}' cannot be used ({reason})", **self.place)


def translate(error: Exception, question: Question) -> AmdetError | None:
    """The error of ours that says what `error` means for `question`; None when `error` is a defect and no answer."""
    if isinstance(error, AmdetError):
        return error
    return next((make(error, question) for kind, make in _TABLE if isinstance(error, kind)), None)


def status_error(status: int, headers: Mapping[str, str], question: Question) -> AmdetError | None:
    """What a status that ends every attempt at once means: 429 or an ailing server; None for all others."""
    if status == 429:
        return RateLimited(retry_after_s=retry_after_s(headers), **question.place)
    if status in UNAVAILABLE_STATUSES:
        return HubUnavailable(f"HTTP {status}", status=status, **question.place)
    return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks us to wait, None when it names none.

    Reads `Retry-After` (both forms), else `RateLimit`.

    Source: RFC 9110 section 10.2.3.
    """
    value = next((v.strip() for k, v in headers.items() if k.lower() == "retry-after"), "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            limits = parse_ratelimit_headers(headers)
            return float(limits.reset_in_seconds) if limits is not None and limits.remaining == 0 else None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def disk_error(error: OSError, size_bytes: int | None) -> ResourceError:
    """What an error of this machine's file system means for a download of this size."""
    full = error.errno in _DISK_ERRNOS
    unusable = f"the cache folder cannot be used ({(error.strerror or 'system error').lower()})"
    return ResourceError("disk", "there is no space left for the download" if full else unusable, needed=size_bytes)


def _not_found(error: Any, question: Question) -> AmdetError:
    # a write that was refused: the repository was read just before
    if question.parent_commit is not None and error.response.status_code == 401:
        return _denied(error, question)
    try:
        token_sent = "authorization" in error.response.request.headers
    except RuntimeError:  # an answer that lost its request
        token_sent = False
    return RepoNotFound(question.name, token_sent=token_sent, endpoint=question.endpoint, kind=question.kind)


def _denied(error: Any, question: Question, status: int = 401) -> AmdetError:
    return AccessDenied(question.action, status=status, **question.place)


def _no_entry(error: Any, question: Question) -> AmdetError:
    if question.path is None:
        return question.unusable("it says that a file is missing where none was asked for")
    return FileNotInRepo(question.name, question.path, endpoint=question.endpoint)


def _status(error: Any, question: Question) -> AmdetError:
    status, headers = int(error.response.status_code), error.response.headers
    if (passing := status_error(status, headers, question)) is not None:
        return passing
    if status in (401, 403):
        return _denied(error, question, status)
    if status in (409, 412) and question.parent_commit is not None:
        return CommitConflict(question.name, parent_commit=question.parent_commit, endpoint=question.endpoint)
    if status == 404 and question.path is not None:
        return _no_entry(error, question)
    if status == 404 and question.kind != "repository":  # the Hub has an error code for repositories only
        return _not_found(error, question)
    said = one_line(headers.get("X-Error-Message") or getattr(error, "server_message", None) or "")
    return question.unusable(f"HTTP {status}{f': {said}' if said else ''}")


def _no_answer(error: Any, question: Question) -> AmdetError:
    said = one_line(str(error)) or type(error).__name__
    if question.path is not None and "complete message body" in said:
        return _ended_early(question, re.search(r"received (\d+) bytes", said))
    return HubUnavailable(said, **question.place)


def _local_miss(error: Any, question: Question) -> AmdetError:
    """The client hides the reason why it could not ask for a file behind "not in the cache"; it is the cause."""
    cause = error.__cause__
    hidden = isinstance(cause, Exception) and not isinstance(cause, hub_errors.LocalEntryNotFoundError)
    return (translate(cause, question) if hidden else None) or _offline(error, question)


def _offline(error: Any, question: Question) -> AmdetError:
    return OfflineMiss(question.name, question.path or question.revision or "main")


def _system(error: OSError, question: Question) -> AmdetError:
    # a system error with a file name is this machine's, one without is the network's
    if error.errno in _DISK_ERRNOS or error.filename is not None:
        return disk_error(error, question.size_bytes)
    if question.path is not None and "Consistency check failed" in str(error):
        return _ended_early(question, re.search(r"has size (\d+)", str(error)))
    return _no_answer(error, question)


def _ended_early(question: Question, received: re.Match[str] | None) -> AmdetError:
    expected = "the whole file" if question.size_bytes is None else f"{question.size_bytes:,} bytes"
    actual = f"{int(received[1]):,} bytes" if received else "less"
    return DownloadCorrupt(
        question.name, question.path or "", expected=expected, actual=actual, endpoint=question.endpoint
    )


def _malformed(error: Exception, question: Question) -> AmdetError:
    return question.unusable(f"{type(error).__name__}: {one_line(str(error))}")


def one_line(text: str) -> str:
    """The start of an error's words, without line ends."""
    return " ".join(text.split())[:_MAX_REASON_CHARS].rstrip(".")


_TABLE: tuple[tuple[type[Exception], Callable[[Any, Question], AmdetError]], ...] = (
    (  # a RepositoryNotFoundError too
        hub_errors.GatedRepoError,
        lambda _, q: RepoGated(q.name, terms_url=f"{q.endpoint}/{q.repo_id}", endpoint=q.endpoint),
    ),
    (
        hub_errors.DisabledRepoError,
        lambda _, q: HubError(f"access to '{q.name}' was disabled by the Hub", **q.place),
    ),
    (hub_errors.RepositoryNotFoundError, _not_found),
    (
        hub_errors.RevisionNotFoundError,
        lambda _, q: RevisionNotFound(q.name, q.revision or "main", endpoint=q.endpoint),
    ),
    (hub_errors.RemoteEntryNotFoundError, _no_entry),
    (hub_errors.HfHubHTTPError, _status),
    (hub_errors.LocalEntryNotFoundError, _local_miss),
    (hub_errors.OfflineModeIsEnabled, _offline),
    (hub_errors.FileMetadataError, lambda _, q: q.unusable("it does not answer like a Hugging Face Hub")),
    (hub_errors.LocalTokenNotFoundError, _denied),
    (hub_errors.OIDCError, _denied),
    (hub_errors.XetDownloadError, _no_answer),
    (httpx.HTTPError, _no_answer),
    (httpx.InvalidURL, _no_answer),
    (OSError, _system),
    (RuntimeError, _no_answer),  # what hf_xet raises when its own transfer fails
    (ValueError, _malformed),  # broken JSON, an address that cannot be one
    (LookupError, _malformed),
    (TypeError, _malformed),
    (AttributeError, _malformed),
    (AssertionError, _malformed),
)
