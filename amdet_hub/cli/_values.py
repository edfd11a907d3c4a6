"""How the value of a flag is read: sizes, durations, output files, named folders. Knows: forms.

Refuses to know: what a value is for. Each function is the `type` of an option, and raises `click.BadParameter`.
"""

import re
from pathlib import Path

import click

from amdet_hub.cli._output import FORMATS, OutputFile

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", re.IGNORECASE)


def size(text: str) -> int:
    """Bytes of `800`, `2GB` or `1.5GiB`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise click.BadParameter(f"'{text}' is not a size; write it like 2GB, 500MB or 1.5GiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " "))


def duration(text: str) -> float:
    """Seconds of `90`, `90s`, `10m` or `1h30m`, more than 0."""
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise click.BadParameter(f"'{text}' is not a duration; write it like 90s, 10m or 1h30m")
    return seconds


def output(text: str) -> OutputFile:
    """The file of `FORMAT=PATH`, split at the first `=`."""
    form, _, path = text.partition("=")
    if not path:
        raise click.BadParameter(f"'{text}' is not FORMAT=PATH, such as json=report.json")
    if form not in FORMATS:
        raise click.BadParameter(f"'{form}' is none of the formats {', '.join(FORMATS)}")
    if path == "-":
        raise click.BadParameter(f"to print to stdout use --format {form}")
    return OutputFile(form, Path(path).expanduser())


def named_folder(text: str) -> tuple[str, Path]:
    """Name and folder of `NAME=FOLDER`, split at the first `=`."""
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise click.BadParameter(f"'{text}' is not NAME=FOLDER, such as clip-b=./my-base")
    return name, Path(folder).expanduser()
