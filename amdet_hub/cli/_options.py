"""Flags that several verbs share, each written once. Knows: names, defaults, help texts.

Refuses to know: the meaning of a value (`_values` reads it, `_request` makes records of it). Precedence: flag >
environment > configuration file (`ctx.default_map`, see `_config_file`) > default.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from amdet_hub.cli._config_file import UNNAMED_KEYS, FileSettings, read_config
from amdet_hub.cli._help import F, option, stack
from amdet_hub.cli._output import FORMATS, set_up_logging
from amdet_hub.cli._values import duration, output, size
from amdet_hub.config import PRESETS

_FILE_SETTINGS = "amdet_hub.file_settings"


def file_settings(ctx: click.Context) -> FileSettings:
    """The settings of the configuration file."""
    settings: FileSettings = ctx.meta.get(_FILE_SETTINGS, FileSettings())
    return settings


def use_file_settings(ctx: click.Context, settings: FileSettings) -> None:
    """Let the settings of a configuration file count in this command."""
    ctx.meta[_FILE_SETTINGS] = settings


def _apply_config_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    settings = read_config(value)
    ctx.default_map = {**(ctx.default_map or {}), **settings.defaults}
    use_file_settings(ctx, settings)


def _choose_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.default_map = {**(ctx.default_map or {}), "as_json": "json"}


def switch(*flags: str, section: str, help: str, **settings: Any) -> Callable[[F], F]:
    """An option without a value, off by default, that no environment variable turns on."""
    return option(*flags, section=section, env=False, is_flag=True, default=False, help=help, **settings)


file_argument = click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))

config_option = option(
    "--config",
    section="How to scan",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_apply_config_file,
    help=(
        "TOML file with settings named like these flags. Without it, [tool.amdet-hub] of ./pyproject.toml may set"
        f" {', '.join(UNNAMED_KEYS)}."
    ),
)

revision_option = option(
    "--revision",
    section="What to scan",
    env=False,
    metavar="REV",
    help="Branch, tag or commit. Default: the main branch.",
)
target_options = stack(
    revision_option,
    option(
        "--subfolder",
        section="What to scan",
        env=False,
        metavar="DIR",
        help="Look only in this folder of the repository.",
    ),
)

hub_options = stack(
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

scan_options = stack(
    option(
        "--preset",
        section="How to scan",
        type=click.Choice(PRESETS),
        default="standard",
        show_default=True,
        help=(
            "'quick' leaves out what changes no verdict, 'characters' also tries every Unicode character, 'paper' is"
            " the published procedure."
        ),
    ),
    option(
        "--seed",
        section="How to scan",
        type=click.IntRange(0, 2**32 - 1),
        metavar="N",
        help="Same seed, same machine, same result. Default: drawn once for this user, so that no attacker knows it.",
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
        metavar="DEVICE",
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
        type=duration,
        metavar="TIME",
        help="Stop after this long (90s, 10m, 1h30m); what is unfinished makes it inconclusive.",
    ),
    option("--max-memory", section="Limits", type=size, help="Use at most this much device memory, e.g. 8GB."),
)

download_limit_option = option(
    "--max-download", section="Limits", type=size, help="Refuse to download more than this, e.g. 2GB."
)

format_option = option(
    "-f",
    "--format",
    section="Results",
    type=click.Choice((*FORMATS, "table")),
    default="text",
    show_default=True,
    help="Form of the report on stdout; table is one line a target.",
)
output_option = option(
    "-o",
    "--output",
    section="Results",
    env=False,
    type=output,
    metavar="FORMAT=PATH",
    multiple=True,
    help="Also write the report to a file, e.g. -o json=report.json. Repeatable.",
)
data_format_options = stack(
    option(
        "-f",
        "--format",
        "as_json",
        section="Results",
        env=False,
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        callback=lambda ctx, param, value: value == "json",
        help="Form of the answer on stdout.",
    ),
    switch(
        "--json",
        "choose_json",
        section="Results",
        is_eager=True,
        expose_value=False,
        callback=_choose_json,
        help="The same as -f json.",
    ),
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
verbose_option = option(
    "-v",
    "--verbose",
    section="Talk",
    env=False,
    count=True,
    callback=set_up_logging,
    help="The long report, and more on stderr; -vv also says what is asked of the Hub.",
)
quiet_option = option("-q", "--quiet", section="Talk", is_flag=True, default=False, help="Say only errors on stderr.")
progress_option = option(
    "--progress/--no-progress",
    section="Talk",
    default=None,
    help="Force or forbid bars. Default: bars on a terminal.",
)
talk_options = stack(quiet_option, verbose_option, progress_option)
