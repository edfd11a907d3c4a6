"""The key of this user, with which cached results are signed. Standard library only, and of ours `files` and `hub`.

Another user who can write to the cache (a shared disk, an unpacked archive) cannot make an entry that counts, because
that takes the key: HMAC-SHA256 (RFC 2104). The key never leaves its file.
"""

import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from amdet_hub.files import create_private
from amdet_hub.hub.settings import cache_key_file
from amdet_hub.records import fingerprint

KEY_BYTES = 32


def read_key() -> bytes | None:
    """The key, 32 bytes, made where there is none.

    None where it cannot be made or read, or is not its user's alone: of another owner, or open to group or others.
    """
    path = cache_key_file()
    try:
        if not path.exists():
            create_private(path, secrets.token_bytes(KEY_BYTES))
        with path.open("rb") as file:
            facts, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError:
        return None
    private = os.name != "posix" or (facts.st_uid == os.geteuid() and facts.st_mode & 0o077 == 0)
    return key if private and len(key) == KEY_BYTES else None


def signature(key: bytes, name: str, entry: Mapping[str, Any]) -> str:
    """The MAC (64 hex digits) of an entry at its place in the cache.

    Raises:
        RecursionError: the entry is too deep for JSON.
        ValueError: it holds numbers that JSON does not have.
    """
    return hmac.new(key, f"{name} {fingerprint(entry)}".encode(), "sha256").hexdigest()


def is_signed(name: str, entry: Any, mac: Any) -> bool:
    """Whether an entry was written with this user's key for this place."""
    key = read_key()
    if key is None or not isinstance(entry, dict) or not isinstance(mac, str):
        return False
    with suppress(RecursionError, ValueError):
        return hmac.compare_digest(mac.encode(), signature(key, name, entry).encode())
    return False
