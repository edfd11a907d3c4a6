"""The file that `scan --state` keeps: which models are finished, so that a run that was killed goes on.

Knows: its lines.

One JSON object a line, appended and flushed as each model ends. A line that was cut short or edited is one model not
finished.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from amdet_hub.cli._output import say
from amdet_hub.errors import OutputError, ReportError
from amdet_hub.records import VerdictLabel, from_dict

_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Key:
    """Equal keys are equal scans: repository, commit, part of it, and the fingerprint of all that decides."""

    repo_id: str
    commit_sha: str
    part: str
    fingerprint: str


@dataclass(frozen=True)
class _Line(Key):
    verdict: VerdictLabel


class Ledger:
    """The finished models of one state file.

    Args:
        path: where it is or will be.

    Raises:
        OutputError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                if file.tell() > _MAX_BYTES:
                    raise OutputError(str(path), "it is too large to be a state file")
                file.seek(0)
                data = file.read()
                if data and not data.endswith(b"\n"):  # a kill in the middle of a line
                    file.write(b"\n")
        except OSError as error:
            raise OutputError(str(path), (error.strerror or "system error").lower()) from error
        rows = [self._row(line) for line in data.splitlines()]
        self._finished = dict(row for row in rows if row is not None)
        if odd := sum(row is None for row in rows):
            say(f"Lines of the state file that cannot be read: {odd}. Those models are scanned again.")

    def verdict(self, key: Key) -> VerdictLabel | None:
        """The verdict on a finished model, None for one that is not finished."""
        return self._finished.get(key)

    def finish(self, key: Key, verdict: VerdictLabel) -> None:
        """Remember a model's verdict, on the disk before this returns. Raises: OutputError."""
        self._finished[key] = verdict
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps({**vars(key), "verdict": verdict}, ensure_ascii=True).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(str(self._path), (error.strerror or "system error").lower()) from error

    @staticmethod
    def _row(line: bytes) -> tuple[Key, VerdictLabel] | None:
        try:
            found = from_dict(_Line, json.loads(line))
        except (ReportError, ValueError, RecursionError):
            return None
        return Key(found.repo_id, found.commit_sha, found.part, found.fingerprint), found.verdict
