"""The board: recent public scans, one JSON line each, stored in a Hub dataset so that a restart forgets nothing.

Knows the columns of a row and which scans may be listed: never private and gated models, nor unfinished scans. Writing
needs a token of its own, which no scan ever sees; without one the board lives in memory.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from dataclasses import asdict, dataclass

from amdet_hub.errors import HubError
from amdet_hub.hub import HubSettings
from amdet_hub.hub.upload import read_own, upload
from amdet_hub.records import ScanReport
from amdet_hub.report import wording

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

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in asdict(self).values()):
            raise TypeError("a row holds texts")

    @classmethod
    def of(cls, report: ScanReport) -> BoardRow:
        """The row of a report."""
        snapshot, verdict = report.snapshot, report.verdict
        return cls(
            snapshot.repo_id,
            snapshot.commit_sha or "",
            verdict.label,
            verdict.confidence,
            wording.setting(report, "preset"),
            report.created,
        )


class Board:
    """Recent scans, the newest first. Safe to use from several threads.

    Args:
        repo_id: the dataset; `""` stores the board in memory.
        hub: how to reach the Hub; its token may write the dataset.
    """

    def __init__(self, repo_id: str = "", hub: HubSettings | None = None) -> None:
        self._repo_id, self._hub = repo_id, hub or HubSettings()
        self._lock = threading.Lock()
        self._rows = self._read() if repo_id else []

    def rows(self) -> list[BoardRow]:
        """The rows, the newest first."""
        return list(self._rows)

    def add(self, report: ScanReport) -> bool:
        """Put a scan on the board. Returns False, and does nothing, when others may not see it.

        They may see a whole scan, of a model that everybody may read.
        """
        if not report.complete or not report.results or report.snapshot.private or report.snapshot.gated:
            return False
        row = BoardRow.of(report)
        with self._lock:
            same = (row.model, row.commit, row.preset)
            others = [one for one in self._rows if (one.model, one.commit, one.preset) != same]
            self._rows = [row, *others][:MAX_ROWS]
            if self._repo_id and self._hub.token:
                self._write()
        return True

    def _read(self) -> list[BoardRow]:
        """The rows of the dataset; lines that are none are left out."""
        rows: list[BoardRow] = []
        try:
            with read_own(self._repo_id, "dataset", FILE, self._hub).open(encoding="utf-8", errors="replace") as file:
                lines = file.read(_MAX_BYTES).splitlines()
        except HubError as error:
            _log.info("the board starts empty: %s", error)
            return rows
        for line in lines[:MAX_ROWS]:
            with contextlib.suppress(ValueError, TypeError):
                rows.append(BoardRow(**json.loads(line)))
        return rows

    def _write(self) -> None:
        try:
            upload(
                self._repo_id,
                "dataset",
                {FILE: "".join(f"{json.dumps(asdict(row))}\n" for row in self._rows).encode()},
                self._hub,
                message="Add a scan to the board",
            )
        except HubError as error:  # the scan is not lost for it; the next row writes this one too
            _log.warning("the board could not be written: %s", error)
