"""Signatures of cached results, with the key of this user.

Another user who can write to the cache (a shared disk, an unpacked archive) cannot make an entry that counts, because
that takes the key: HMAC-SHA256 (RFC 2104). The key never leaves its file.
"""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from amdet_hub.installation import read_key
from amdet_hub.records import fingerprint


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
