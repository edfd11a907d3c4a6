"""Records as plain JSON data, and back. Refuses to know any record."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from amdet_hub.errors import ReportError

R = typing.TypeVar("R")


def to_dict(record: Any) -> Any:
    """Plain JSON data of a record: dataclasses become dicts, tuples become lists, mappings keep their order."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_dict(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(k): to_dict(v) for k, v in record.items()}
    if isinstance(record, tuple | list):
        return [to_dict(v) for v in record]
    return record


def from_dict(cls: type[R], data: Any) -> R:
    """The record of class `cls` that `to_dict` made `data` from.

    Raises:
        ReportError: a field is missing, unknown or of the wrong type; the message names it.
    """
    return typing.cast(R, _decode(cls, data, cls.__name__))


def fingerprint(data: Mapping[str, Any] | Sequence[Any]) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `data`: sorted keys, no spaces, UTF-8."""
    return hashlib.sha256(
        json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), data, where)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise ReportError(f"{where}: {data!r} is not one of {', '.join(map(repr, typing.get_args(kind)))}")
        return data
    if origin is tuple:
        if not isinstance(data, list):
            raise ReportError(f"{where}: expected a list")
        return tuple(_decode(typing.get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise ReportError(f"{where}: expected an object")
        return {k: _decode(typing.get_args(kind)[1], v, f"{where}.{k}") for k, v in data.items()}
    return _decode_scalar(kind, data, where)


def _decode_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError as error:
            raise ReportError(f"{where}: {str(data)[:20]}... is too large a number") from error
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise ReportError(f"{where}: expected {kind.__name__}, found {type(data).__name__}")
    return data


def _decode_union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    options = tuple(o for o in options if o is not type(None))
    if len(options) > 1 and isinstance(data, dict):  # records in a union carry a literal `kind`
        for option in options:
            if typing.get_args(typing.get_type_hints(option)["kind"])[0] == data.get("kind"):
                return _decode(option, data, where)
        raise ReportError(f"{where}: unknown kind {data.get('kind')!r}")
    return _decode(options[0], data, where)


def _decode_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ReportError(f"{where}: expected an object")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(fields)):
        raise ReportError(f"{where}: unknown field '{unknown[0]}'")
    if missing := [name for name, f in fields.items() if name not in data and "later" not in f.metadata]:
        raise ReportError(f"{where}: missing field '{missing[0]}'")
    try:
        return cls(**{name: _decode(hints[name], data[name], f"{where}.{name}") for name in fields if name in data})
    except ValueError as error:
        raise ReportError(f"{where}: {error}") from error
