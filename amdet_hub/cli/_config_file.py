"""`--config FILE` and `[tool.amdet-hub]` of `./pyproject.toml`: defaults below the environment.

Knows: which keys a file may hold and of what type. Refuses to know: what the settings do. A `pyproject.toml` that
merely lies in the working directory may have come with a cloned repository: it may set `UNNAMED_KEYS`, which change no
verdict, and nothing else.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amdet_hub.cli._output import read_text
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError, ReportError
from amdet_hub.records import from_dict, to_dict

# Plain keys, named like the flags. `timeout`, `max-download` and `max-memory` may also be bare numbers.
KEYS: Mapping[str, type] = {
    "preset": str,
    "seed": int,
    "device": str,
    "dtype": str,
    "reference": str,
    "no-reference": bool,
    "timeout": str,
    "max-download": str,
    "max-memory": str,
    "format": str,
    "output": list,
    "fail-on": str,
    "cache-dir": str,
    "endpoint": str,
    "offline": bool,
    "progress": bool,
}

# Keys that a `./pyproject.toml` may set unasked. All others weaken a scan, or choose where tokens and files go.
UNNAMED_KEYS = ("device", "format", "progress")

_STANDARD = ScanConfig.for_preset("standard", seed=0)
# Tables that a file may hold, one for each part of `ScanConfig`.
SCAN_TABLES = tuple(
    part.name for part in dataclasses.fields(_STANDARD) if dataclasses.is_dataclass(getattr(_STANDARD, part.name))
)

_SAID: Mapping[type, str] = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list: 'a list such as ["json=report.json"]',
}
_TABLE = "tool.amdet-hub"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class FileSettings:
    """What a configuration file said.

    Attributes:
        unasked: the file, if it was read without being named by `--config`.
        defaults: flag name (`max_download`) to value.
        scan: overrides for `ScanConfig.replace` (`inversion__steps`).
    """

    unasked: Path | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scan: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The flags that the file sets, as people write them."""
        return tuple(k.replace("_", "-") for k in self.defaults)


def read_config(path: Path | None) -> FileSettings:
    """The settings of `path`, or of `./pyproject.toml` when `path` is None and it has our table.

    A file named by `--config` holds the keys at its top, or, if it is a `pyproject.toml`, in `[tool.amdet-hub]`.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key or value that is not ours; names the nearest
            key. Or a file that `--config` does not name has a key beyond `UNNAMED_KEYS`.
    """
    if path is not None:
        data = _load(path)
        return _check(path, _own_table(data) if path.name == "pyproject.toml" else data, explicit=True)
    path = Path("pyproject.toml")
    if not path.is_file():
        return FileSettings()
    try:
        data = _own_table(_load(path))
    except ConfigError:
        if _TABLE not in path.read_text(encoding="utf-8", errors="replace"):
            return FileSettings()  # somebody else's broken file, which says nothing to us
        raise
    return _check(path, data, explicit=False) if data else FileSettings()


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(str(path), "configuration file", _MAX_BYTES))
    except ReportError as error:
        raise ConfigError(str(path), str(error)) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(str(path), f"is not TOML: {error}") from error


def _own_table(data: Mapping[str, Any]) -> dict[str, Any]:
    tool = data.get("tool")
    table = tool.get("amdet-hub") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else {}


def _check(path: Path, data: Mapping[str, Any], *, explicit: bool) -> FileSettings:
    defaults: dict[str, Any] = {}
    scan: dict[str, Any] = {}
    for raw_key, value in data.items():
        key = raw_key.replace("_", "-")
        where = f"{path}: {raw_key}"
        if key == "token":
            raise ConfigError(where, "a token does not belong in a file; use `hf auth login` or HF_TOKEN")
        if key not in KEYS and key not in SCAN_TABLES:
            raise ConfigError(where, _unknown(key, [*KEYS, *SCAN_TABLES]))
        if not explicit and key not in UNNAMED_KEYS:
            raise ConfigError(where, f"may only be set in a file that --config names (--config {path}) or by a flag")
        if key in SCAN_TABLES:
            scan.update(_table_overrides(where, key, value))
        else:
            defaults[key.replace("-", "_")] = _plain_value(where, key, value)
    return FileSettings(None if explicit else path, defaults, scan)


def _plain_value(where: str, key: str, value: Any) -> Any:
    kind = KEYS[key]
    if key in ("timeout", "max-download", "max-memory") and type(value) in (int, float):
        return str(value)
    if type(value) is not kind or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
        raise ConfigError(where, f"expected {_SAID[kind]}, found {value!r}")
    return value


def _table_overrides(where: str, table: str, value: Any) -> dict[str, Any]:
    """The settings of one table, by the name that `ScanConfig.replace` takes."""
    part = getattr(_STANDARD, table)
    names = [field.name for field in dataclasses.fields(part)]
    if not isinstance(value, dict):
        raise ConfigError(where, f"expected a table, [{table}]")
    given = {key.replace("-", "_"): item for key, item in value.items()}
    if unknown := sorted(set(given) - set(names)):
        raise ConfigError(f"{where}.{unknown[0]}", _unknown(unknown[0], names))
    try:
        checked = from_dict(type(part), {**to_dict(part), **given})
    except ReportError as error:
        raise ConfigError(where, str(error)) from error
    return {f"{table}__{key}": getattr(checked, key) for key in given}


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"unknown key; did you mean '{near[0]}'?" if near else f"unknown key; known are {', '.join(known)}"
