"""From what a visitor typed to a target on the Hub. Knows: what a public page accepts.

Refuses to know: whether the repository exists.
"""

from __future__ import annotations

from amdet_hub.errors import TargetError
from amdet_hub.hub import parse_target
from amdet_hub.records import RepoRef

MAX_CHARS = 300
"""Longest text that can be a target; a whole file pasted by mistake is refused before it is looked at."""


def read_target(text: str, *, endpoint: str | None = None) -> RepoRef:
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
