"""`amdet-hub cache`: what is kept on this disk between scans, how much it is, and how to remove it. Knows: click.

Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_OK
from amdet_hub.cli._output import emit, escape, format_bytes

if TYPE_CHECKING:
    from amdet_hub.hub.cache import CachedFile

_WORDS = {
    "references": "what trusted references say of every token, so that the next scan computes only the suspect's half",
    "towers": "text towers fetched without the rest of their files",
    "results": "verdicts of towers that were scanned",
}

EPILOG = """
Everything here may be removed at any time; it is made again when it is needed. What the Hub's own client keeps is not touched
(`hf cache` shows that). AMDET_HUB_CACHE names another folder, AMDET_HUB_CACHE_MAX the most that is kept (20GB; 0 keeps nothing).

Exit codes: 0 done, 2 usage or error.
"""


@click.group(
    cls=opt.GroupLayout,
    short_help="Show, bound and clear what is kept between scans.",
    no_args_is_help=True,
    epilog=EPILOG,
)
def cache() -> None:
    """Show, bound and clear what is kept between scans."""


@cache.command("list", cls=opt.HelpLayout, epilog=EPILOG, short_help="What is kept, and how much.")
@click.option("--files", is_flag=True, help="Every file, the least recently used first.")
@opt.hub_options
def list_kept(files: bool, **flags: Any) -> int:
    """Say what is kept, how much, and where."""
    from amdet_hub.hub import own_cache
    from amdet_hub.hub.cache import KINDS, cached_files, limit_bytes

    settings = opt.hub_settings(flags)
    found, limit = cached_files(settings), limit_bytes()
    emit(f"{escape(str(own_cache(settings)))}: {_amount(found)}, at most {format_bytes(limit)}")
    for kind in KINDS:
        emit(f"  {kind:<11} {_amount([f for f in found if f.kind == kind]):<22} {_WORDS[kind]}")
    for file in found if files else []:
        emit(f"  {format_bytes(file.size_bytes):>9}  {escape(str(file.path))}")
    return EXIT_OK


@cache.command("clear", cls=opt.HelpLayout, epilog=EPILOG, short_help="Remove what is kept.")
@click.option(
    "--only", type=click.Choice(tuple(_WORDS)), multiple=True, help="Only this kind. Repeatable. Default: everything."
)
@opt.hub_options
def clear_kept(only: tuple[str, ...], **flags: Any) -> int:
    """Remove what is kept, and say how much that was."""
    from amdet_hub.hub.cache import KINDS, clear

    kinds = tuple(kind for kind in KINDS if not only or kind in only)
    count, size = clear(opt.hub_settings(flags), kinds)
    emit(f"removed {count} file{'' if count == 1 else 's'}, {format_bytes(size)}")
    return EXIT_OK


def _amount(files: list[CachedFile]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {format_bytes(sum(file.size_bytes for file in files))}"
