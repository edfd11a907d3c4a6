"""Where words go: stdout for the report and nothing else, stderr for talk, files whole or not at all.

Knows: streams, paths, how sizes and durations are said. Refuses to know: what a report says (`amdet_hub.report`), exit
codes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from amdet_hub.errors import OutputError

FORMATS = ("text", "json", "markdown", "sarif", "html", "table")
"""Names of the report formats, spelled here so that `--help` need not import the renderers.

Tested equal to `report.RENDERERS`.
"""

_TOKEN = re.compile(r"\b(hf|api_org)_[A-Za-z0-9]{6,}")
_MAX_MESSAGE = 1500
_MIN_WIDTH, _MAX_WIDTH = 60, 100  # the text report is laid out for 80 to 100 columns; wider lines are harder to read


@dataclass(frozen=True)
class OutputFile:
    """One `-o FORMAT=PATH`: the format's name and the file to write."""

    format: str
    path: Path


def escape(text: str) -> str:
    r"""`text` on one line with every character that is not plainly seen as `\u{...}`, and access tokens blanked.

    What comes from a repository may hold terminal sequences; what comes from a library's message may hold a header.
    """
    from amdet_hub.report.escape import visible

    return _TOKEN.sub(r"\1_***", visible(text, limit=_MAX_MESSAGE))


def say(text: str) -> None:
    """One line of talk, on stderr, which a build log reads too. A closed stderr is nobody listening, not an error."""
    from amdet_hub.report.escape import unactionable

    with suppress(BrokenPipeError):
        click.echo("\n".join(map(unactionable, text.split("\n"))), err=True)


def emit(text: str) -> None:
    """A report, on stdout, ending in one newline.

    A reader that went away (`| head`) is no error: the rest is dropped quietly.
    """
    try:
        click.echo(text, nl=not text.endswith("\n"))
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # so that the interpreter's last flush has somewhere to go
        os.close(null)


def wants_color() -> bool:
    """Whether stdout is a terminal whose owner did not set NO_COLOR (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Columns for a text report: the terminal's, kept between 60 and 100; 100 where there is no terminal."""
    if not sys.stdout.isatty():
        return _MAX_WIDTH
    return max(_MIN_WIDTH, min(_MAX_WIDTH, shutil.get_terminal_size().columns))


# ---------------------------------------------------------------- files


def check_writable(paths: Iterable[Path]) -> None:
    """Find out now, not after an hour of scanning, whether every path can be written. Nothing is left behind.

    Raises:
        OutputError: two outputs go to one path, a path is a directory, its folder is missing or cannot be written.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise OutputError(str(path), "another output goes to the same path")
        seen[real] = path
        if path.is_dir():
            raise OutputError(str(path), "it is a directory")
        if not Path(real).parent.is_dir():
            raise OutputError(str(path), f"there is no folder '{Path(real).parent}'")
        _probe(path, Path(real))


def _probe(shown: Path, real: Path) -> None:
    if real.exists() and not os.access(real, os.W_OK):  # rename would replace a file its owner made read-only
        raise OutputError(str(shown), "it exists and is read-only")
    if _is_special(real):
        return
    probe = _temporary_beside(real)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(str(shown), _cause(error)) from error


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 so that a reader sees the old file or the new one, never half of either.

    Raises:
        OutputError: the file system said no; the file that was there before is untouched.
    """
    real = Path(os.path.realpath(path))  # through a link, so that the link survives
    try:
        if _is_special(real):  # a device or a pipe cannot be renamed over
            real.write_text(text, encoding="utf-8", newline="")
            return
        _replace(real, text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise OutputError(str(path), _cause(error)) from error


def _replace(path: Path, data: bytes) -> None:
    temporary = _temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _cause(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


# ---------------------------------------------------------------- quantities


def format_bytes(count: float) -> str:
    """A size in decimal units, as the Hub shows them: `1536` is `"1.5 kB"`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_duration(seconds: float) -> str:
    """A duration for people: `"45 s"`, `"3 min"`, `"1 h 20 min"`; a started second counts."""
    whole = max(1, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
