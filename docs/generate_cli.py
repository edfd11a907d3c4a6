"""Makes the page of the command line from `--help` of every verb. Used by `generate.py`."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

from amdet_hub.cli.app import app

PROGRAM = "amdet-hub"
WIDTH = 100

INTRODUCTION = f"""\
# Command line

The help text of every verb, as `{PROGRAM} VERB --help` prints it. `make docs` writes this page, and a test holds it
to the program.

The report goes to standard output and nothing else does. Progress and talk go to standard error. A flag beats an
environment variable (`AMDET_HUB_PRESET` for `--preset`, and so on), which beats `--config FILE`.

A `pyproject.toml` in the working directory may have come with a cloned repository. Without `--config`, its table
`[tool.amdet-hub]` may set `device`, `format` and `progress`. Any other key there is an error, because it could weaken
the scan or send a token elsewhere. `--config pyproject.toml` lets the whole table count.

See also: [exit codes](exit-codes.md), [reason codes](reasons.md), [errors](errors.md),
[shell completion and `hf-amdet`](../how-to/shell.md).
"""


def cli_page() -> str:
    """Return the whole page: a table of the verbs, and a section for the program and for each verb."""
    return "\n".join([INTRODUCTION, _verbs_table(), *(_section(words) for words in ((), *verbs(app)))])


def verbs(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every verb that is not hidden, and those of its own verbs."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from verbs(command, (*above, name))


def help_text(words: tuple[str, ...]) -> str:
    """Return what `amdet-hub WORDS --help` prints on a terminal of `WIDTH` columns."""
    result = CliRunner(env={"COLUMNS": str(WIDTH)}).invoke(app, [*words, "--help"], prog_name=PROGRAM)
    if result.exit_code:
        raise ValueError(f"{words}: {result.output}")
    return result.stdout


def _section(words: tuple[str, ...]) -> str:
    return f"## {' '.join((PROGRAM, *words))}\n\n```text\n{help_text(words)}```\n"


def _verbs_table() -> str:
    lines = ["| Verb | What it does |", "|---|---|"]
    for name, command in sorted(app.commands.items()):
        if not command.hidden:
            lines.append(f"| [`{name}`](#{PROGRAM}-{name}) | {command.get_short_help_str(limit=200)} |")
    return "\n".join(lines) + "\n"
