"""The cache of this package on this disk, and how to see, bound and remove it. Standard library only.

Every kind has a folder of its own in `own_cache(settings)`; every file there may be deleted at any time and is made
again. A disk that cannot be written costs the shortcut, never the scan.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from amdet_hub.errors import ConfigError
from amdet_hub.files import draft_of
from amdet_hub.hub.settings import HubSettings, own_cache

Kind = Literal["references", "towers", "results"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_LIMIT_BYTES = 10_000_000_000
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class CachedFile:
    """One cached file.

    Attributes:
        kind: what it is: a reference's half of the sweep, a tower's bytes, a result.
        path: where it lies.
        size_bytes: how large it is.
        used: when it was last written or read, in seconds since the epoch.
    """

    kind: Kind
    path: Path
    size_bytes: int
    used: float


def limit_bytes() -> int:
    """The most that is cached: `AMDET_HUB_CACHE_MAX` (20GB, 500MB; 0 caches nothing), 10 GB where it is not set.

    Raises:
        ConfigError: it is set to something that is no size.
    """
    text = os.environ.get("AMDET_HUB_CACHE_MAX", "").strip() or str(DEFAULT_LIMIT_BYTES)
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigError("AMDET_HUB_CACHE_MAX", f"'{text[:40]}' is no size like 20GB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cached_files(settings: HubSettings) -> list[CachedFile]:
    """Every cached file, the least recently used first. Files that vanish meanwhile are passed over."""
    return sorted(_found(own_cache(settings)), key=lambda file: (file.used, str(file.path)))


def store(settings: HubSettings, kind: Kind, name: str, write: Callable[[Path], object]) -> Path | None:
    """Cache one file, and make room for it by removing what was used longest ago.

    Args:
        settings: where the cache is.
        kind: its folder.
        name: path inside that folder, of our own making.
        write: called with a draft's path.

    Returns:
        Where it lies now; None when nothing is to be cached, or this disk does not let us.

    Raises:
        ConfigError: `AMDET_HUB_CACHE_MAX` is no size.
    """
    limit = limit_bytes()
    if limit == 0:
        return None
    place = own_cache(settings) / kind / name
    try:
        with draft_of(place) as draft:
            write(draft)
    except OSError:
        return None
    trim(settings, limit)
    return place if place.exists() else None


def trim(settings: HubSettings, most_bytes: int) -> None:
    """Remove what was used longest ago until at most `most_bytes` are cached."""
    files = cached_files(settings)
    total = sum(file.size_bytes for file in files)
    for file in files:
        if total <= most_bytes:
            return
        remove(file.path)
        total -= file.size_bytes


def clear(settings: HubSettings, kinds: tuple[Kind, ...] = KINDS) -> tuple[int, int]:
    """Remove everything of these kinds. Returns how many files and bytes went."""
    removed = [file for file in cached_files(settings) if file.kind in kinds and remove(file.path)]
    return len(removed), sum(file.size_bytes for file in removed)


def touch(path: Path) -> None:
    """Note that a file was used now."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove(path: Path) -> bool:
    """Delete a cached file. Returns whether this disk let us."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _found(root: Path) -> Iterator[CachedFile]:
    for kind in KINDS:
        for folder, _, names in os.walk(root / kind):
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(OSError):
                    facts = path.lstat()
                    yield CachedFile(kind, path, facts.st_size, facts.st_mtime)
