"""The YAML block of a README.md as the Hub's server reads it, and whether the server would take it.

Refuses to know: Markdown, and what our own sections mean.
"""

import math
import re
from typing import Any

import yaml

# The server's own pattern. Source: huggingface_hub 2.4, `repocard.REGEX_YAML_BLOCK`.
YAML_BLOCK = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")

# A block that unfolds to more values than this is refused.
MAX_NODES = 20_000


def card_data(readme: bytes) -> dict[str, Any]:
    """The front matter as plain JSON data; empty when there is none, or none that YAML reads as a mapping."""
    return _parse(readme.decode("utf-8", errors="replace"))[0]


def validate_card(content: str) -> tuple[list[str], list[str]]:
    """The answer of `/api/validate-yaml` about a README: its errors and its warnings, one sentence each."""
    data, error = _parse(content)
    if error is not None:
        return [error], []
    return [], [] if data else ["empty or missing yaml metadata in repo card"]


def _parse(content: str) -> tuple[dict[str, Any], str | None]:
    # the server's `\s` (JavaScript) skips a byte order mark, Python's does not
    match = YAML_BLOCK.match(content.removeprefix("\ufeff"))
    try:
        data = _plain(yaml.safe_load(match.group(2)), [MAX_NODES]) if match is not None else None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # ValueError: a date like 2026-13-99, or too many nodes; the next four: `!!bool maybe` and its like
        return {}, f"YAML metadata error: {' '.join(str(error).split())}"
    if not isinstance(data, dict | None):
        return {}, "YAML metadata error: the metadata must be a mapping"
    return data or {}, None


def _plain(value: Any, budget: list[int]) -> Any:
    """YAML has dates, sets, NaN and aliases that unfold without end; JSON has not. `budget` counts the nodes left."""
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError("the metadata is too large")
    if isinstance(value, dict):
        return {str(key): _plain(item, budget) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, budget) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
