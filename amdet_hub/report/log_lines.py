"""A `ScanReport` as lines of a log, and back: the only way out of a machine of which nothing but the log comes home.

Every line starts with a word that the reader chose at random, so that no text of a scanned repository can pass for the
result. The lines are short enough for any log, numbered, and checked as a whole by a sha256.
"""

import base64
import binascii
import hashlib
import re
import zlib

from amdet_hub.errors import ReportError
from amdet_hub.records import ScanReport
from amdet_hub.report.as_json import MAX_REPORT_BYTES, as_json, parse_report

PREFIX = "amdet-hub-result"
_CHUNK_CHARS = 1000
_MAX_LINES = 100_000


def is_log_key(key: str) -> bool:
    """Whether `key` is one that lines can be marked with: 32 hex digits."""
    return re.fullmatch(r"[0-9a-f]{32}", key) is not None


def as_log_lines(report: ScanReport, key: str) -> list[str]:
    """The lines, `amdet-hub-result KEY I/N PART`; the first part is the sha256 of the rest."""
    data = base64.b64encode(zlib.compress(as_json(report).encode("ascii"), 9)).decode("ascii")
    parts = [
        hashlib.sha256(data.encode()).hexdigest(),
        *(data[i : i + _CHUNK_CHARS] for i in range(0, len(data), _CHUNK_CHARS)),
    ]
    return [f"{PREFIX} {key} {i}/{len(parts)} {part}" for i, part in enumerate(parts)]


class LogReader:
    """Collects the lines that carry a key; everything else is talk.

    Args:
        key: what the lines are marked with.
    """

    def __init__(self, key: str) -> None:
        self._line = re.compile(rf"{PREFIX} {key} (\d{{1,6}})/(\d{{1,6}}) ([A-Za-z0-9+/=]{{1,{_CHUNK_CHARS}}})")
        self._parts: dict[int, str] = {}
        self._count: int | None = None

    def take(self, line: str) -> bool:
        """Whether the line was one of the result's."""
        match = self._line.fullmatch(line.strip())
        if match is None:
            return False
        if int(match[1]) < int(match[2]) <= _MAX_LINES:
            self._count = int(match[2])
            self._parts[int(match[1])] = match[3]
        return True

    @property
    def complete(self) -> bool:
        """Whether every line came."""
        return self._count is not None and all(i in self._parts for i in range(self._count))

    def report(self) -> ScanReport:
        """The report.

        Raises:
            ReportError: lines are missing or damaged, or what they say is no report.
        """
        if self._count is None or not self.complete:
            raise ReportError(f"the log holds {len(self._parts)} of the {self._count or 0} lines of a result")
        data = "".join(self._parts[i] for i in range(1, self._count))
        if hashlib.sha256(data.encode()).hexdigest() != self._parts[0]:
            raise ReportError("the result in the log is damaged")
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(base64.b64decode(data, validate=True), MAX_REPORT_BYTES + 1).decode("ascii")
        except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
            raise ReportError("the result in the log cannot be unpacked") from error
        return parse_report(text)
