"""How help is laid out, and an option that knows its heading. Knows: click. Refuses to know: which flags there are."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

# Headings of a verb's help, in order. A heading that is not among them comes first.
SECTIONS = ("What to scan", "Many models", "How to scan", "Elsewhere", "Limits", "Results", "The Hub", "Talk", "Other")


class HelpLayout(click.Command):
    """A command whose help shows options under headings and keeps the line ends of its epilog."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by section, in the order of `SECTIONS`. Arguments stand in the usage line."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                rows.setdefault(getattr(param, "section", "Other"), []).append(record)
        for section in sorted(rows, key=lambda name: SECTIONS.index(name) if name in SECTIONS else -1):
            with formatter.section(section):
                formatter.write_dl(rows[section])
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The epilog as written."""
        program = ctx.find_root().info_name or "amdet-hub"
        formatter.write(f"\n{(self.epilog or '').strip()}\n".replace("{prog}", program) if self.epilog else "")


class GroupLayout(HelpLayout, click.Group):
    """A group laid out the same way."""


class _Option(click.Option):
    """A click option that knows its heading."""

    def __init__(self, *args: Any, section: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """The default in brackets; not a number's range, which the error names."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def option(*flags: str, section: str, env: bool = True, **settings: Any) -> Callable[[F], F]:
    """`click.option` under a heading, with the environment variable `AMDET_HUB_<FLAG>` unless `env` is False."""
    if env:
        long = next(f for f in flags if f.startswith("--")).split("/")[0]
        settings["envvar"] = "AMDET_HUB_" + long[2:].replace("-", "_").upper()
    return click.option(*flags, cls=_Option, section=section, **settings)


def stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first outermost."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply
