"""What the verbs of `amdet-hub bench` share: the layout of their help, their errors, their flags.

Knows: click. Refuses to know: suites, recipes, encoders.
"""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._output import say
from amdet_hub.errors import ConfigError, ReportError

_LAST = ("Talk", "Other")


class BenchLayout(opt.HelpLayout):
    """A verb whose headings come in the order of its options, and whose wrong inputs are one sentence and exit code 2.

    The advice of other verbs names the settings of a scan, which these do not have.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options under their headings, in the order in which they were declared, talk and help last."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows.setdefault(getattr(param, "section", "Other"), []).append(record)
        for section in sorted(rows, key=lambda heading: heading in _LAST):
            with formatter.section(section):
                formatter.write_dl(rows[section])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb.

        Raises:
            click.ClickException: an input or an output cannot be used.
        """
        try:
            return super().invoke(ctx)
        except (ConfigError, ReportError) as error:
            raise _refusal(error, str(error)) from error
        except OSError as error:
            if error.errno is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # no file's fault, or a full disk, for which there is advice
            raise _refusal(error, f"'{error.filename}': {(error.strerror or 'cannot be used').lower()}") from error


def _refusal(error: Exception, said: str) -> click.ClickException:
    """The sentence to end with; a traceback before it only if AMDET_HUB_DEBUG is set."""
    if os.environ.get("AMDET_HUB_DEBUG"):
        say("".join(traceback.format_exception(error)).rstrip())
    return click.ClickException(said if said.endswith((".", "?", "!")) else f"{said}.")


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
