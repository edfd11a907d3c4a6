"""What a watch has seen, in one file that survives a kill. Knows: the file and its lock.

Refuses to know: the Hub, and scans.

The file is replaced whole after every repository. Only one watch may use it at a time.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amdet_hub.errors import OutputError, ReportError
from amdet_hub.files import read_at_most, write_atomically
from amdet_hub.records import VerdictLabel, from_dict, to_dict

STATE_SCHEMA_VERSION = "2.0"
MAX_STATE_BYTES = 64 << 20
STATE_FILE, LOCK_FILE = "state.json", "state.lock"


@dataclass(frozen=True)
class SeenRepository:
    """What is known of one repository.

    Attributes:
        commit_sha: the commit that was looked at.
        verdict: of that commit; None when there is none, because of `error`.
        code: the verdict's reason code, or the error's.
        towers: the digests of its towers, sorted.
        report: the report's file, relative to the watch's folder; None where there is none.
        error: why there is no verdict, in one sentence (hostile text).
        discussion: the discussion that was opened about it.
        question: fingerprint of what it was asked with: another configuration or reference is another question.
    """

    commit_sha: str
    verdict: VerdictLabel | None = None
    code: str | None = None
    towers: tuple[str, ...] = ()
    report: str | None = None
    error: str | None = None
    discussion: str | None = None
    question: str = ""


class WatchState:
    """The state of one watch; made by `open_state`."""

    def __init__(self, folder: Path, repositories: dict[str, SeenRepository]) -> None:
        self._folder, self._repositories = folder, repositories

    def seen(self, repo_id: str) -> SeenRepository | None:
        """What is known of a repository, None when it was never looked at."""
        return self._repositories.get(repo_id)

    def record(self, repo_id: str, seen: SeenRepository) -> None:
        """Keep what was seen, on disk, before anything else happens. Raises: OutputError."""
        self._repositories[repo_id] = seen
        stored = {"repositories": to_dict(self._repositories), "schema_version": STATE_SCHEMA_VERSION}
        self.write(STATE_FILE, json.dumps(stored, indent=1, ensure_ascii=True) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace a file of the watch's folder whole. Raises: OutputError."""
        path = self._folder / name
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise OutputError(str(path), (error.strerror or type(error).__name__).lower()) from error


@contextlib.contextmanager
def open_state(folder: Path) -> Iterator[WatchState]:
    """The state kept in a folder, which is made if need be, for this process alone.

    Raises:
        OutputError: the folder cannot be written, or another watch is using it.
        ReportError: the state in it cannot be read; nothing is overwritten.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a+b")
    except OSError as error:
        raise OutputError(str(folder), (error.strerror or type(error).__name__).lower()) from error
    with lock:
        _lock(lock.fileno(), folder)
        yield WatchState(folder, _read(folder / STATE_FILE))


def report_name(repo_id: str, commit_sha: str) -> str:
    """Where a report goes: `org--model/COMMIT.json`. Letters, digits, `.`, `_` and `-` only."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', repo_id.replace('/', '--')).lstrip('.') or 'model'}/{commit_sha}.json"


def _lock(descriptor: int, folder: Path) -> None:
    """Ends with the process, however it ends."""
    if os.name != "posix":
        return  # elsewhere two watches on one folder would do the same work twice, and break nothing
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OutputError(str(folder), "another watch is using it") from error


def _read(path: Path) -> dict[str, SeenRepository]:
    try:
        data = json.loads(read_at_most(path, MAX_STATE_BYTES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ReportError(
            f"the watch's state '{path}' cannot be read: {(error.strerror or 'unknown reason').lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"the watch's state '{path}' is not JSON; delete it to begin anew") from error
    if not isinstance(data, dict) or data.get("schema_version") != STATE_SCHEMA_VERSION:
        raise ReportError(f"the watch's state '{path}' is not of this version; delete it to begin anew")
    repositories = data.get("repositories")
    if not isinstance(repositories, dict):
        raise ReportError(f"the watch's state '{path}' names no repositories; delete it to begin anew")
    return {repo_id: from_dict(SeenRepository, seen) for repo_id, seen in repositories.items()}
