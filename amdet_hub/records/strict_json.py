"""JSON from a stranger: no key twice, no NaN, no number beyond 64 bits but one. Standard library only."""

import json
import math
from typing import Any, NoReturn

# What transformers writes where a length has no limit (`VERY_LARGE_INTEGER`), in nearly every `tokenizer_config.json`.
UNLIMITED = int(1e30)


def loads(text: str) -> Any:
    """The value in `text`. Readers disagree on what is refused here, so that two of them could see two values.

    Raises:
        ValueError: not JSON, a key twice, a number that is none or too large, or nested too deeply; it says which.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in items:
        if key in result:
            raise ValueError(f"the key {key[:80]!a} appears twice")
        result[key] = value
    return result


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _integer(digits: str) -> int:
    if digits != str(UNLIMITED) and (len(digits) > 20 or abs(int(digits)) >= 2**63):
        raise ValueError(f"the number {digits[:40]} is too large")
    return int(digits)
