"""Where words go: stdout for the report and nothing else, stderr for talk, files whole or not at all.

Knows: streams and paths. Refuses to know: what a report says (`amdet_hub.report`), exit codes.
"""

import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from amdet_hub.errors import OutputError, ReportError
from amdet_hub.files import write_atomically
from amdet_hub.report.escape import unactionable, visible

# Names of the report formats, spelled here so that `--help` need not import the renderers.
#
# Tested equal to `report.RENDERERS`.
FORMATS = ("text", "json", "markdown", "sarif", "html", "table")

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
    return _TOKEN.sub(r"\1_***", visible(text, limit=_MAX_MESSAGE))


def say(text: str) -> None:
    """One line of talk, on stderr, which a build log reads too. A stderr that was closed is no error."""
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


def set_up_logging(ctx: click.Context, param: click.Parameter, verbose: int) -> int:
    """`-v`: our own log on stderr; `-vv`: what the Hub's client does as well. Headers are never logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for name in ("amdet_hub", "huggingface_hub")[:verbose]:
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
        logger.addHandler(handler)
    return verbose


def wants_color() -> bool:
    """Whether stdout is a terminal whose owner did not set NO_COLOR (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Columns for a text report: the terminal's, kept between 60 and 100; 100 where there is no terminal."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else _MAX_WIDTH
    return max(_MIN_WIDTH, min(_MAX_WIDTH, columns))


# ---------------------------------------------------------------- files


def read_text(path: str, kind: str, max_bytes: int) -> str:
    """The whole text of a file, or of stdin for `-`, a byte order mark left out.

    Args:
        path: as the user wrote it.
        kind: what it should be, for the words of an error.
        max_bytes: a larger file is none of that kind.

    Raises:
        ReportError: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            raw = file.read(max_bytes + 1)
        if len(raw) > max_bytes:
            raise ReportError(f"'{path}' is larger than any {kind} ({max_bytes >> 20} MiB)")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise ReportError(f"the {kind} '{path}' cannot be read: {_cause(error)}") from error
    except UnicodeDecodeError as error:
        raise ReportError(f"'{path}' is not UTF-8 text") from error


def check_writable(paths: Iterable[Path]) -> None:
    """Find out now, not after an hour of scanning, whether every path can be written. Makes folders, and no file.

    Raises:
        OutputError: two outputs go to one path, a path is a directory, or it cannot be written.
    """
    seen: set[str] = set()
    for path in paths:
        real = Path(os.path.realpath(path))
        if str(real) in seen:
            raise OutputError(str(path), "another output goes to the same path")
        seen.add(str(real))
        if path.is_dir():
            raise OutputError(str(path), "it is a directory")
        if real.exists() and not os.access(real, os.W_OK):  # rename would replace a file its owner made read-only
            raise OutputError(str(path), "it exists and is read-only")
        if not _is_special(real):
            try:
                real.parent.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=real.parent).close()
            except OSError as error:
                raise OutputError(str(path), _cause(error)) from error


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 so that a reader sees the old file or the new one, never half of either.

    Raises:
        OutputError: the file system said no; the file that was there before is untouched.
    """
    real = Path(os.path.realpath(path))  # through a link, so that the link survives
    try:
        if _is_special(real):  # a device or a pipe cannot be renamed over
            real.write_text(text, encoding="utf-8", newline="")
        else:
            write_atomically(real, text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        raise OutputError(str(path), _cause(error)) from error


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _cause(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
