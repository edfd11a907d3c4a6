"""Who asks: enough to limit what one visitor can start, and no more. Nothing of it is kept or shown."""

from __future__ import annotations

import os
from typing import Any


def owner_of(request: Any) -> str:
    """A name for the limits: the signed-in user, else the address the request came from.

    A Space stands behind the Hub's proxy, which appends the visitor's address to `X-Forwarded-For`: the last entry is
    the proxy's own word. Outside a Space that header is the visitor's to invent, and is not read.
    """
    username = getattr(request, "username", None)
    if username:
        return f"user {username}"
    client = getattr(getattr(request, "client", None), "host", None) or "nobody"
    if os.environ.get("SPACE_ID"):
        forwarded = str(getattr(request, "headers", {}).get("x-forwarded-for", "")).split(",")[-1].strip()
        client = forwarded or client
    return f"address {client}"
