"""Results of earlier scans, cached on disk by what was scanned. Torch-free; refuses to know how a scan is made.

A result is found by the tower's digest, the fingerprint of the configuration, this package's version and thresholds,
and whatever else can change a verdict: the checked config of the tower, its projection, the tokenizer's files, and the
reference. So a verdict never crosses from one context into another in which it would have been a different one. A
tower that was seen before is recognised without a download, by the identity of its files, and a LoRA by that of its
own file and of its base's.

    results/<tower digest>/<sha256 of the key>.json    one result
    results/files/<identity of the files>.json         the digests that such files hold

Each file is signed with the user's key for its place. One that was not, or that cannot be read, is ignored, and a log
line says so; one that cannot be written costs the next scan its short cut.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from amdet_hub import __version__
from amdet_hub.config import ScanConfig
from amdet_hub.encoders.file_identity import file_identity
from amdet_hub.errors import ReportError
from amdet_hub.families import CALIBRATIONS, MEANING
from amdet_hub.files import read_json_object
from amdet_hub.hub import cache as files
from amdet_hub.hub.settings import HubSettings, own_cache
from amdet_hub.installation import read_key
from amdet_hub.records import Environment, RepoSource, ResolvedEncoder, ScanResult, fingerprint, from_dict, to_dict
from amdet_hub.scanner.cache_key import is_signed, signature
from amdet_hub.scanner.file_contents import paths_of
from amdet_hub.scanner.resolve import EncoderPair

ENTRY_VERSION = 5
MAX_ENTRY_BYTES = 64 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TowerDigests:
    """`tower` and `projection` (None: it has none), each 64 hex digits; see `amdet_hub.encoders.digest`."""

    tower: str
    projection: str | None


@dataclass(frozen=True)
class CachedResult:
    """A result of an earlier scan, with what made it and when (RFC 3339 UTC)."""

    result: ScanResult
    environment: Environment
    created: str


class ResultsCache:
    """The results in `amdet_hub.hub.own_cache(settings)`. Makes its folders when it first writes."""

    def __init__(self, settings: HubSettings) -> None:
        self._settings = settings

    def digests(self, pair: EncoderPair) -> TowerDigests | None:
        """The digests of the tower in the suspect's files, None when such files were never loaded here."""
        data = self._read(f"files/{_identity(pair)}.json")
        tower, projection = data.get("tower", ""), data.get("projection")
        valid = _is_digest(tower) and (projection is None or _is_digest(projection))
        return TowerDigests(tower, projection) if valid else None

    def remember(self, pair: EncoderPair, digests: TowerDigests) -> None:
        """Note which tower the suspect's files hold."""
        self.write(f"files/{_identity(pair)}.json", to_dict(digests))

    def find(self, pair: EncoderPair, digests: TowerDigests, config: ScanConfig) -> CachedResult | None:
        """The result of an earlier scan of the same tower in the same context, None when there is none to be read."""
        key = _key(pair, digests, config)
        data = self._read(_place(digests, key))
        if data.get("v") != ENTRY_VERSION or data.get("key") != key:
            return None
        try:
            found = from_dict(CachedResult, data.get("cached"))
        except ReportError:
            return None
        return found if found.result.tower_digest == digests.tower else None

    def store(self, pair: EncoderPair, digests: TowerDigests, config: ScanConfig, found: CachedResult) -> None:
        """Cache a result of the suspect, and which tower its files hold."""
        if found.result.tower_digest != digests.tower:
            raise ValueError("the result is of another tower than the digests")
        self.remember(pair, digests)
        key = _key(pair, digests, config)
        self.write(_place(digests, key), {"v": ENTRY_VERSION, "key": key, "cached": to_dict(found)})

    def write(self, name: str, entry: Mapping[str, Any]) -> None:
        """Cache an entry of our own making, signed with the user's key; nothing where there is no key."""
        if (key := read_key()) is None:
            return
        data = {"mac": signature(key, name, entry), "entry": entry}
        written = json.dumps(data, ensure_ascii=True, allow_nan=False).encode()
        files.store(self._settings, "results", name, lambda path: path.write_bytes(written))

    def _read(self, name: str) -> dict[str, Any]:
        """A signed entry; an empty one where there is none."""
        path = own_cache(self._settings) / "results" / name
        data = read_json_object(path, MAX_ENTRY_BYTES)
        entry: dict[str, Any] = data.get("entry", {})
        if is_signed(name, entry, data.get("mac")):
            return entry
        if path.exists():
            _say_ignored(path)
        return {}


@cache
def _say_ignored(path: Path) -> None:
    """Once for each file."""
    _log.warning("A cached entry was ignored, because it is not signed with this user's key: %s", path)


def judged_by() -> str:
    """Our version and a digest of all thresholds: a part of every key of a cached verdict."""
    thresholds = [to_dict(row) for row in (*CALIBRATIONS, *MEANING.values())]
    return f"{__version__} {fingerprint(thresholds)[:16]}"


def _place(digests: TowerDigests, key: Mapping[str, Any]) -> str:
    return str(Path(digests.tower) / f"{fingerprint(key)}.json")


def _key(pair: EncoderPair, digests: TowerDigests, config: ScanConfig) -> dict[str, Any]:
    """Everything that can change the verdict on a suspect."""
    reference, record = pair.reference, pair.reference.record
    against: dict[str, Any] = {"trust": record.trust, "repo_id": record.repo_id, "component": record.component}
    if reference.encoder is not None and reference.source is not None:
        against["identity"] = fingerprint(_contents(reference.encoder, reference.source))
    return {
        "tower_digest": digests.tower,
        "projection_digest": digests.projection,
        "config_fingerprint": config.fingerprint(),
        "judged_by": judged_by(),
        "tower": to_dict(pair.suspect.config),
        "tokenizer": [
            [path.rpartition("/")[2], file_identity(path, pair.source)] for path in pair.suspect.tokenizer_files
        ],
        "reference": against,
    }


def _identity(pair: EncoderPair) -> str:
    """sha256 of the suspect's config and of every file that makes it, its base's included."""
    base = pair.lora_base
    files = {"suspect": _contents(pair.suspect, pair.source)}
    return fingerprint(files if base is None else {**files, "base": _contents(base.encoder, base.source)})


def _contents(encoder: ResolvedEncoder, source: RepoSource) -> dict[str, Any]:
    """All that was resolved of an encoder, names of repositories and commits aside, and the content of its files."""
    data: dict[str, Any] = to_dict(encoder)
    del data["repo_id"], data["commit_sha"], data["weight_files"]
    if data["adapter"] is not None:
        del data["adapter"]["base_repo_id"], data["adapter"]["base_commit_sha"]
    return {**data, "contents": [file_identity(path, source) for path in paths_of(encoder)]}


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
