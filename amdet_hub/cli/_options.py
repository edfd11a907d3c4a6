"""Flags that verbs share, and how help is laid out.

Knows: click, the environment variables `AMDET_HUB_*`. Refuses to know: what the values do. Precedence, by click's own
order: flag > environment > configuration file (`ctx.default_map`, see `_config_file`) > default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from amdet_hub.cli._config_file import FileSettings, read_config
from amdet_hub.cli._output import FORMATS
from amdet_hub.cli._values import Device, Duration, Output, Size
from amdet_hub.config import PRESETS, ScanConfig
from amdet_hub.errors import ConfigError

if TYPE_CHECKING:
    from amdet_hub.hub import HubSettings
    from amdet_hub.records import RepoRef

F = TypeVar("F", bound=Callable[..., Any])
_FILE_SETTINGS = "amdet_hub.file_settings"

SECTIONS = ("What to scan", "Many models", "How to scan", "Elsewhere", "Limits", "Results", "The Hub", "Talk")
"""Headings of a verb's help, in order; anything else comes last under "Other"."""


# ---------------------------------------------------------------- help


class HelpLayout(click.Command):
    """A command whose help shows options under headings and keeps the line ends of its epilog."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options by section, in the order of `SECTIONS`."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = (
                param.get_help_record(ctx) if isinstance(param, click.Option) else None
            )  # arguments stand in the usage line
            if record is not None:
                rows.setdefault(getattr(param, "section", "Other"), []).append(record)
        for section in (*SECTIONS, "Other"):
            if section in rows:
                with formatter.section(section):
                    formatter.write_dl(rows[section])
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The epilog as written."""
        if self.epilog:
            formatter.write(
                "\n" + self.epilog.strip("\n").replace("{prog}", ctx.find_root().info_name or "amdet-hub") + "\n"
            )


class GroupLayout(HelpLayout, click.Group):
    """A group laid out the same way."""


class _Option(click.Option):
    """A click option that knows its heading."""

    def __init__(self, *args: Any, section: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        """What stands in brackets: the default; not a number's range, which the error names."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


def option(*flags: str, section: str, env: bool = True, **settings: Any) -> Callable[[F], F]:
    """`click.option` under a heading, with the environment variable `AMDET_HUB_<FLAG>` unless `env` is False."""
    if env:
        long = next(f for f in flags if f.startswith("--")).split("/")[0]
        settings["envvar"] = "AMDET_HUB_" + long[2:].replace("-", "_").upper()
    return click.option(*flags, cls=_Option, section=section, **settings)


def _stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _apply_config_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    settings = read_config(value)
    ctx.default_map = {**(ctx.default_map or {}), **settings.defaults}
    use_file_settings(ctx, settings)


def use_file_settings(ctx: click.Context, settings: FileSettings) -> None:
    """Let what a configuration file said count in this command."""
    ctx.meta[_FILE_SETTINGS] = settings


# ---------------------------------------------------------------- flags

config_option = option(
    "--config",
    section="How to scan",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_apply_config_file,
    help="TOML file with settings named like these flags. Default: [tool.amdet-hub] of ./pyproject.toml.",
)

revision_option = option(
    "--revision",
    section="What to scan",
    env=False,
    metavar="REV",
    help="Branch, tag or commit. Default: the main branch.",
)
target_options = _stack(
    revision_option,
    option(
        "--subfolder",
        section="What to scan",
        env=False,
        metavar="DIR",
        help="Look only in this folder of the repository.",
    ),
)

hub_options = _stack(
    option(
        "--token",
        section="The Hub",
        env=False,
        metavar="TOKEN",
        help=(
            "Access token. Other users of this machine can see a flag: prefer `hf auth login`, HF_TOKEN, or `--token"
            " -` to read it from stdin."
        ),
    ),
    option(
        "--cache-dir",
        section="The Hub",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where downloads are kept. Default: the Hub client's cache.",
    ),
    option(
        "--endpoint",
        section="The Hub",
        metavar="URL",
        help="Another Hub. Default: HF_ENDPOINT or https://huggingface.co.",
    ),
    option("--offline", section="The Hub", is_flag=True, default=False, help="Use only what was downloaded before."),
)

scan_options = _stack(
    option(
        "--preset",
        section="How to scan",
        type=click.Choice(PRESETS),
        default="standard",
        show_default=True,
        help=(
            "'quick' leaves out what convicts nobody, 'characters' also tries every Unicode character, 'paper' is the"
            " published procedure."
        ),
    ),
    option(
        "--seed",
        section="How to scan",
        type=click.IntRange(0, 2**32 - 1),
        metavar="N",
        default=0,
        show_default=True,
        help="Same seed, same machine, same result.",
    ),
    option(
        "--reference",
        section="How to scan",
        metavar="TARGET",
        help="The clean encoder to compare with. Default: the trusted base of this family.",
    ),
    option(
        "--no-reference",
        section="How to scan",
        is_flag=True,
        default=False,
        help="Compare with nothing. The verdict says it knows less.",
    ),
    option(
        "--device",
        section="How to scan",
        type=Device(),
        default="auto",
        show_default=True,
        help="auto, cpu, cuda or cuda:N.",
    ),
    option(
        "--dtype",
        section="How to scan",
        type=click.Choice(("auto", "float32", "bfloat16")),
        default="auto",
        show_default=True,
        help="Of the matrix products.",
    ),
    option(
        "--timeout",
        section="Limits",
        type=Duration(),
        help="Stop after this long (90s, 10m, 1h30m); what is unfinished makes it inconclusive.",
    ),
    option("--max-memory", section="Limits", type=Size(), help="Use at most this much device memory, e.g. 8GB."),
)

download_limit_option = option(
    "--max-download", section="Limits", type=Size(), help="Refuse to download more than this, e.g. 2GB."
)

format_option = option(
    "-f",
    "--format",
    section="Results",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Form of the report on stdout.",
)
output_option = option(
    "-o",
    "--output",
    section="Results",
    env=False,
    type=Output(),
    multiple=True,
    help="Also write the report to a file, e.g. -o json=report.json. Repeatable.",
)
json_option = option(
    "--json", "as_json", section="Results", env=False, is_flag=True, default=False, help="JSON instead of text."
)
fail_on_option = option(
    "--fail-on",
    section="Results",
    type=click.Choice(("detected", "inconclusive", "never")),
    default="inconclusive",
    show_default=True,
    help="Which verdicts exit non-zero: detected (1), or also inconclusive (3), or none.",
)
baseline_option = option(
    "--baseline",
    section="Results",
    env=False,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Accepted findings (see `baseline`): still reported, but no failure.",
)
talk_options = _stack(
    option("-q", "--quiet", section="Talk", is_flag=True, default=False, help="Say only errors on stderr."),
    option(
        "-v",
        "--verbose",
        section="Talk",
        env=False,
        count=True,
        help="Say more on stderr; -vv says what is asked of the Hub.",
    ),
    option(
        "--progress/--no-progress",
        section="Talk",
        default=None,
        help="Force or forbid bars. Default: bars on a terminal.",
    ),
)


# ---------------------------------------------------------------- from flags to records


@dataclass(frozen=True)
class ReferenceChoice:
    """What a scan compares with: `ref` when the user named one; `none` when the user wants no reference at all."""

    ref: RepoRef | None
    none: bool = False


def file_settings(ctx: click.Context) -> FileSettings:
    """What the configuration file said."""
    settings: FileSettings = ctx.meta.get(_FILE_SETTINGS, FileSettings())
    return settings


def hub_settings(flags: Mapping[str, Any]) -> HubSettings:
    """The Hub settings of the flags. `--token -` reads one line of stdin, without echo on a terminal.

    Raises:
        ConfigError: stdin held no token.
    """
    from amdet_hub.hub import HubSettings

    token: str | None = flags.get("token")
    if token == "-":
        token = _token_from_stdin()
    return HubSettings(
        endpoint=flags.get("endpoint"),
        token=token,
        cache_dir=flags.get("cache_dir"),
        offline=bool(flags.get("offline")),
        max_download_bytes=flags.get("max_download"),
    )


def _token_from_stdin() -> str:
    line = click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    token = str(line).strip()
    if not token or not token.isprintable() or " " in token:
        raise ConfigError("--token", "stdin held no token")
    return token


def parse_targets(raw: Sequence[str], flags: Mapping[str, Any]) -> tuple[RepoRef, ...]:
    """The targets as asked, all understood or none.

    Raises:
        TargetError: one is not a target.
        ConfigError: one `--revision` or `--subfolder` for several targets.
    """
    from amdet_hub.hub import parse_target

    for name in ("revision", "subfolder"):
        if flags.get(name) and len(raw) > 1:
            raise ConfigError(
                f"--{name}", "goes with one target only; write org/model@revision or hf://org/model@revision/subfolder"
            )
    return tuple(
        parse_target(
            target, revision=flags.get("revision"), subfolder=flags.get("subfolder"), endpoint=flags.get("endpoint")
        )
        for target in raw
    )


def scan_config(ctx: click.Context, flags: Mapping[str, Any]) -> ScanConfig:
    """The scan configuration: preset and seed of the flags, and the file's overrides.

    Raises:
        ConfigError: a value is out of its range.
    """
    return ScanConfig.for_preset(flags["preset"], seed=flags["seed"]).replace(**file_settings(ctx).scan)


def reference_choice(ctx: click.Context, flags: Mapping[str, Any]) -> ReferenceChoice:
    """What to compare with. A flag on the command line beats the opposite choice of the environment or a file.

    Raises:
        ConfigError: both `--reference` and `--no-reference` were given on the command line.
        TargetError: the reference is not a target.
    """
    from amdet_hub.hub import parse_target

    named, none = flags.get("reference"), bool(flags.get("no_reference"))
    if named and none:
        typed = {
            n
            for n in ("reference", "no_reference")
            if ctx.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE
        }
        if len(typed) != 1:
            raise ConfigError("--no-reference", "contradicts --reference")
        named, none = (named, False) if typed == {"reference"} else (None, True)
    return ReferenceChoice(parse_target(named, endpoint=flags.get("endpoint")) if named else None, none)


def refuse_settings_from_target(ctx: click.Context, refs: Sequence[RepoRef]) -> None:
    """A folder that is scanned may not say how it is scanned.

    Raises:
        ConfigError: `./pyproject.toml` was read on its own and lies inside a scanned folder.
    """
    settings = file_settings(ctx)
    if settings.path is None or settings.explicit:
        return
    here = settings.path.resolve()
    for ref in refs:
        if ref.kind == "local" and here.is_relative_to(Path(ref.repo_id).resolve()):
            raise ConfigError(
                str(settings.path),
                f"lies in the scanned folder '{ref.repo_id}', so it may not set how that is scanned",
            )
