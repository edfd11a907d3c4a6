"""The board: recent public scans, one JSON line each, kept in a Hub dataset so that a restart forgets nothing.

Knows: what a row holds and who may be on it. Private and gated models, and unfinished scans, never are. Writing needs
a token of its own, which no scan ever sees; without one the board lives in memory.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from amdet_hub.records import ScanReport
from amdet_hub.report import wording
from amdet_hub.web.result_store import may_keep

FILE = "board.jsonl"
MAX_ROWS = 500
_MAX_BYTES = 4 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoardRow:
    """One scan on the board. All strings but the label are hostile text."""

    model: str
    commit: str
    verdict: str
    confidence: str
    preset: str
    created: str

    @classmethod
    def of(cls, report: ScanReport) -> BoardRow:
        """The row of a report."""
        snapshot = report.snapshot
        verdict = report.verdict
        preset = wording.setting(report, "preset")
        return cls(
            snapshot.repo_id, snapshot.commit_sha or "", verdict.label, verdict.confidence, preset, report.created
        )


class Board:
    """Recent scans, the newest first. Safe to use from several threads.

    Args:
        repo_id: the dataset; `""` keeps the board in memory.
        token: may write it.
        endpoint: of the Hub, None for the public one.
    """

    def __init__(self, repo_id: str = "", *, token: str = "", endpoint: str | None = None) -> None:
        self._repo_id, self._token, self._endpoint = repo_id, token, endpoint
        self._lock = threading.Lock()
        self._rows: list[BoardRow] = []
        if repo_id:
            self._rows = self._read()

    def rows(self) -> list[BoardRow]:
        """The rows, the newest first."""
        with self._lock:
            return list(self._rows)

    def add(self, report: ScanReport) -> bool:
        """Put a scan on the board. Returns False, and does nothing, when others may not see it."""
        if not may_keep(report):
            return False
        row = BoardRow.of(report)
        with self._lock:
            same = [
                one for one in self._rows if (one.model, one.commit, one.preset) != (row.model, row.commit, row.preset)
            ]
            self._rows = [row, *same][:MAX_ROWS]
            if self._repo_id and self._token:
                self._write()
        return True

    def _read(self) -> list[BoardRow]:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        try:
            path = hf_hub_download(
                self._repo_id, FILE, repo_type="dataset", token=self._token or False, endpoint=self._endpoint
            )
            with open(path, "rb") as file:
                return _rows(file.read(_MAX_BYTES))
        except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
            _log.info("the board starts empty: %s", type(error).__name__)
            return []

    def _write(self) -> None:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        content = "".join(json.dumps(asdict(row), ensure_ascii=True) + "\n" for row in self._rows).encode()
        api = HfApi(endpoint=self._endpoint, token=self._token)
        try:
            api.create_repo(self._repo_id, repo_type="dataset", exist_ok=True)
            api.create_commit(
                self._repo_id,
                [CommitOperationAdd(FILE, content)],
                commit_message="Add a scan to the board",
                repo_type="dataset",
            )
        except (HfHubHTTPError, OSError) as error:  # the scan is not lost for it; the next row writes this one too
            _log.warning("the board could not be written: %s", type(error).__name__)


def _rows(content: bytes) -> list[BoardRow]:
    """The rows of a board file; lines that are none are left out."""
    found = []
    for line in content.decode("utf-8", errors="replace").splitlines():
        try:
            data: Any = json.loads(line)
        except ValueError:
            continue
        if (
            isinstance(data, Mapping)
            and {f.name for f in fields(BoardRow)} == set(data)
            and all(isinstance(v, str) for v in data.values())
        ):
            found.append(BoardRow(**data))
    return found[:MAX_ROWS]
