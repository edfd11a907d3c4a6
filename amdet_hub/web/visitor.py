"""A visitor: the name that the limits count by, the token to read the Hub with, and the target that was typed.

Nothing of it is stored or shown. Refuses to know whether a repository exists.
"""

import os
import time
from typing import Any

from amdet_hub.errors import TargetError
from amdet_hub.hub import parse_target
from amdet_hub.records import RepoRef

# Longest text that can be a target; a whole file pasted by mistake is refused before it is parsed.
MAX_CHARS = 300


def parse_visitor_target(text: str, *, endpoint: str | None = None) -> RepoRef:
    """The Hub target that `text` names.

    Raises:
        TargetError: it is empty, too long, a path on this machine, or no id or address of a Hub model.
    """
    asked = text.strip()
    if not asked:
        raise TargetError("", "paste a model id such as org/model, or the address of its page")
    if len(asked) > MAX_CHARS:
        raise TargetError(f"{asked[:40]}...", f"it is longer than {MAX_CHARS} characters")
    if asked.startswith((".", "/", "~", "\\")) or asked[1:2] == ":":
        raise TargetError(asked, "files of a computer cannot be scanned here; install amdet-hub to scan a folder")
    if "://" not in asked and not asked.lower().startswith(("huggingface.co/", "hf.co/")):
        asked = f"hf://{asked}"  # an id, never a path that happens to exist on the server
    ref = parse_target(asked, endpoint=endpoint)
    if ref.kind != "hub":
        raise TargetError(text.strip(), "only models on the Hub can be scanned here")
    return ref


def owner_of(request: Any) -> str:
    """A name for the limits: the signed-in user, else the address the request came from.

    A Space stands behind the Hub's proxy, which appends the visitor's address to `X-Forwarded-For`: the last entry is
    the proxy's own word. Outside a Space the visitor could invent that header, so it is not read.
    """
    if username := getattr(request, "username", None):
        return f"user {username}"
    address = getattr(getattr(request, "client", None), "host", None) or "unknown"
    if os.environ.get("SPACE_ID"):
        address = str(getattr(request, "headers", {}).get("x-forwarded-for", "")).split(",")[-1].strip() or address
    return f"address {address}"


def session_token(request: Any) -> str | None:
    """The signed-in visitor's OAuth token, None when there is none or it has expired."""
    info = getattr(getattr(request, "request", request), "scope", {}).get("session", {}).get("oauth_info")
    if not isinstance(info, dict) or float(info.get("expires_at") or 0) < time.time():
        return None
    return str(info.get("access_token") or "") or None
