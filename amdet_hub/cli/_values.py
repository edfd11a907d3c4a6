"""How the value of a flag is read: sizes, durations, output files, named folders. Knows: forms.

Refuses to know: what a value is for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli._output import FORMATS, OutputFile


class Size(click.ParamType[int]):
    """Bytes: `800`, `2GB`, `1.5GiB`."""

    name = "SIZE"
    _FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a size."""
        if isinstance(value, int):
            return value
        match = self._FORM.fullmatch(str(value).strip())
        if match is None or (match[3] and not match[2]):
            self.fail(f"'{value}' is not a size; write it like 2GB, 500MB or 1.5GiB", param, ctx)
        return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " "))


class Duration(click.ParamType[float]):
    """Seconds: `90`, `90s`, `10m`, `1h30m`."""

    name = "TIME"
    _FORM = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", re.IGNORECASE)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration."""
        if isinstance(value, float):
            return value
        match = self._FORM.fullmatch(str(value).strip())
        seconds = (
            sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
            if match
            else 0.0
        )
        if seconds <= 0:
            self.fail(f"'{value}' is not a duration; write it like 90s, 10m or 1h30m", param, ctx)
        return seconds


class Output(click.ParamType[OutputFile]):
    """`FORMAT=PATH`."""

    name = "FORMAT=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> OutputFile:
        """Split at the first `=` and check the format."""
        if isinstance(value, OutputFile):
            return value
        form, equals, path = str(value).partition("=")
        if not equals or not path:
            self.fail(f"'{value}' is not FORMAT=PATH, such as json=report.json", param, ctx)
        if form not in FORMATS:
            self.fail(f"'{form}' is none of the formats {', '.join(FORMATS)}", param, ctx)
        if path == "-":
            self.fail(f"to print to stdout use --format {form}", param, ctx)
        return OutputFile(form, Path(path).expanduser())


class NamedFolder(click.ParamType[tuple[str, Path]]):
    """`NAME=FOLDER`."""

    name = "NAME=FOLDER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value
        name, equals, folder = str(value).partition("=")
        if not name or not equals or not folder:
            self.fail(f"'{value}' is not NAME=FOLDER, such as clip-b=./my-base", param, ctx)
        return name, Path(folder).expanduser()
