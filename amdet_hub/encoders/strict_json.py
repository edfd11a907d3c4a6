"""JSON from a stranger, and checks of its values: small, no key twice, no NaN, not deep. Standard library only."""

from collections.abc import Mapping
from typing import Any, cast

from amdet_hub.errors import BadRepository, BadWeights
from amdet_hub.records import RepoSource, strict_json

# A real `config.json` or `model_index.json` is under 10 kB; a shard index of a large pipeline stays below 1 MB.
MAX_CONFIG_BYTES = 4 << 20
# Nesting that no configuration needs more than; real ones stay below 6.
MAX_DEPTH = 32
# Brackets and commas of one file. The largest real one (SigLIP 2's tokenizer) has about 0.6 and 1.5 million. An empty
# list is 3 bytes of JSON and some 90 of memory: a file may be small and its content large.
MAX_GROUPS, MAX_ITEMS = 1_500_000, 6_000_000


def read_json_object(source: RepoSource, path: str, *, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The object in a repository's JSON file.

    Raises:
        BadRepository: not UTF-8, not JSON, not an object, a key twice, NaN or an overflowing number, or nested too
            deep.
        HubError: it could not be read.
    """
    return parse_json_object(source.read_small(path, max_bytes=max_bytes), path)


def parse_json_object(data: bytes, path: str) -> dict[str, Any]:
    """The object in `data`; `path` names it in errors. Raises: BadRepository, as `read_json_object`."""
    value = parse_json(data, path)
    require(isinstance(value, dict), path, "it is not a JSON object")
    return cast(dict[str, Any], value)


def parse_json(data: bytes, path: str) -> Any:
    """Any JSON value in `data`; `path` names it in errors.

    Raises: BadRepository, as `read_json_object`, but for the object.
    """
    groups, items = data.count(b"[") + data.count(b"{"), data.count(b",")
    require(groups <= MAX_GROUPS and items <= MAX_ITEMS, path, "it holds millions of values")
    try:
        value = strict_json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRepository(path, "it is not UTF-8 text") from error
    except ValueError as error:
        raise BadRepository(path, f"it is not acceptable JSON: {str(error)[:120]}") from error
    require(_depth(value) <= MAX_DEPTH, path, "it is nested too deep")
    return value


def require(ok: bool, path: str, reason: str, *, tensor: str | None = None) -> None:
    """Refuse the file `path` of a repository for this reason, unless `ok`.

    Raises: BadRepository, or, where the reason is of one tensor, BadWeights.
    """
    if not ok:
        raise BadRepository(path, reason) if tensor is None else BadWeights(path, tensor, reason)


def printable(text: str) -> str:
    """The start of a stranger's text, short and without control characters, to be quoted in a sentence."""
    start = text[:80]
    return start if start.isprintable() else "".join(c if c.isprintable() else "?" for c in start)


def object_at(data: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    """The object under `key`, empty where the key is left out. Raises: BadRepository where it is no object."""
    value = data.get(key, {})
    require(isinstance(value, Mapping), path, f"'{key}' is not an object")
    return cast(Mapping[str, Any], value)


def whole_number(value: Any, name: str, low: int, high: int, path: str) -> int:
    """`value`, held between two bounds. Raises: BadRepository, which names it."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        path,
        f"{name} {str(value)[:40]} is not a whole number between {low} and {high}",
    )
    return int(value)


def real_number(value: Any, name: str, low: float, high: float, path: str) -> float:
    """`value`, held between two bounds; NaN lies outside. Raises: BadRepository, which names it."""
    require(
        isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high,
        path,
        f"{name} {str(value)[:40]} is not a number between {low:g} and {high:g}",
    )
    return float(value)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        nested = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [child for children in nested for child in children if isinstance(child, dict | list)]
    return depth
