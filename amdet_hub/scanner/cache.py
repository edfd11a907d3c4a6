"""Results of earlier scans, kept on disk by what was scanned. Knows: keys, files, atomic writes.

Refuses to know: how a scan is made; torch.

A result is found by the tower's digest, the fingerprint of the configuration, this package's version and thresholds,
and whatever else can change a verdict: the checked config of the tower, its projection, the tokenizer's files, and the
reference. So a verdict never crosses from one context into another in which it would have been a different one. A
tower that was seen before is recognised without a download, by the identity of its files.

    results/<tower digest>/<sha256 of the key>.json    one result
    results/files/<identity of the files>.json         the digests that such files hold

Files are replaced whole, so processes may share the folder. One that cannot be read counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amdet_hub import __version__
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ReportError
from amdet_hub.families import CALIBRATIONS
from amdet_hub.hub.cache import limit_bytes
from amdet_hub.hub.settings import HubSettings, own_cache
from amdet_hub.records import Environment, ScanResult, fingerprint, from_dict, to_dict

ENTRY_VERSION = 1
MAX_ENTRY_BYTES = 64 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TowerDigests:
    """`tower` and `projection` (None: it has none), each a sha256 of 64 hex digits; see `amdet_hub.encoders.digest`."""

    tower: str
    projection: str | None


@dataclass(frozen=True)
class Subject:
    """Everything about one encoder that can change its verdict, but for its weights.

    Attributes:
        tower: the checked config, as plain data.
        tokenizer: identities of its tokenizer's files.
        reference: trust, repository, commit and component of the reference, and the identities of its files where it
            has no commit.
    """

    tower: Mapping[str, Any]
    tokenizer: tuple[str, ...]
    reference: Mapping[str, Any]


@dataclass(frozen=True)
class CachedResult:
    """A result of an earlier scan, with what made it and when (RFC 3339 UTC)."""

    result: ScanResult
    environment: Environment
    created: str


class ResultsCache:
    """The results below one folder. Makes it when it first writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, settings: HubSettings) -> ResultsCache:
        """The cache that belongs to these settings: `results` in `amdet_hub.hub.own_cache`."""
        return cls(own_cache(settings) / "results")

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def digests(self, identity: str) -> TowerDigests | None:
        """The digests of the tower in files of this identity, None when they were never loaded here."""
        data = _read(self._folder / "files" / f"{identity}.json")
        tower, projection = data.get("tower"), data.get("projection")
        if isinstance(tower, str) and _is_digest(tower) and (projection is None or _is_digest(projection)):
            return TowerDigests(tower, projection)
        return None

    def remember(self, identity: str, digests: TowerDigests) -> None:
        """Keep which tower files of this identity hold, unless nothing is to be kept (`AMDET_HUB_CACHE_MAX=0`).

        Raises: OSError; ConfigError.
        """
        if limit_bytes() == 0:
            return
        _write(self._folder / "files" / f"{identity}.json", {"tower": digests.tower, "projection": digests.projection})

    def find(self, digests: TowerDigests, subject: Subject, config: ScanConfig) -> CachedResult | None:
        """The result of an earlier scan of the same tower in the same context, None when there is none that can be read."""
        key = _key(digests, subject, config)
        data = _read(self._place(digests, key))
        if data.get("v") != ENTRY_VERSION or data.get("key") != key:
            return None
        try:
            result = from_dict(ScanResult, data.get("result"))
            environment = from_dict(Environment, data.get("environment"))
        except ReportError:
            return None
        created = data.get("created")
        if result.tower_digest != digests.tower or not isinstance(created, str):
            return None
        return CachedResult(result, environment, created)

    def keep(self, kept: CachedResult, digests: TowerDigests, subject: Subject, config: ScanConfig) -> None:
        """Keep a result, unless nothing is to be kept (`AMDET_HUB_CACHE_MAX=0`).

        Raises: OSError; ConfigError; ValueError when the result is of another tower.
        """
        if limit_bytes() == 0:
            return
        if kept.result.tower_digest != digests.tower:
            raise ValueError("the result is of another tower than the digests")
        key = _key(digests, subject, config)
        entry = {
            "v": ENTRY_VERSION,
            "key": key,
            "result": to_dict(kept.result),
            "environment": to_dict(kept.environment),
            "created": kept.created,
        }
        _write(self._place(digests, key), entry)

    def _place(self, digests: TowerDigests, key: Mapping[str, Any]) -> Path:
        return self._folder / digests.tower / f"{fingerprint(key)}.json"


def judged_by() -> str:
    """What every key of a kept verdict holds besides its subject and its settings: this package's version, and a digest of all thresholds."""
    return f"{__version__} {fingerprint({'calibrations': [to_dict(row) for row in CALIBRATIONS]})[:16]}"


def _key(digests: TowerDigests, subject: Subject, config: ScanConfig) -> dict[str, Any]:
    return {
        "tower_digest": digests.tower,
        "projection_digest": digests.projection,
        "config_fingerprint": config.fingerprint(),
        "judged_by": judged_by(),
        "tower": dict(subject.tower),
        "tokenizer": list(subject.tokenizer),
        "reference": dict(subject.reference),
    }


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file of ours; an empty one when it is absent, too large, damaged or something else."""
    try:
        if path.stat().st_size > MAX_ENTRY_BYTES:
            return {}
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(data, ensure_ascii=True, allow_nan=False).encode())


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file whole: another process sees the old content or the new one, and two writers leave one of both.

    Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
