"""`amdet-hub cache`: show, bound and clear the cache of this machine. Imports no torch."""

import json
from collections.abc import Sequence
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import GroupLayout, HelpLayout
from amdet_hub.cli._output import emit, escape
from amdet_hub.cli._request import hub_settings
from amdet_hub.hub import own_cache
from amdet_hub.hub.cache import KINDS, CachedFile, cached_files, clear, limit_bytes
from amdet_hub.report.quantities import format_bytes

_WORDS = {
    "references": "the reference's half of a sweep, so that the next scan computes only the suspect's",
    "towers": "text towers fetched without the rest of their files",
    "results": "verdicts on towers that were scanned",
}

EPILOG = """
Everything here may be removed at any time; it is made again when it is needed. The cache of the Hub's own client is
not touched (`hf cache` shows it). AMDET_HUB_CACHE names another folder, AMDET_HUB_CACHE_MAX the most that is cached
(20GB; 0 caches nothing). Results are signed with a key of yours, the file amdet-hub-key in HF_HOME
(AMDET_HUB_CACHE_KEY names another); a result with another signature is ignored, and a line on stderr says so. The
seed of your scans follows from that key: a new key is a new seed, and the results of the old one count no more.

Exit codes: 0 done, 2 usage or error.
"""


@click.group(cls=GroupLayout, short_help="Show, bound and clear the cache.", no_args_is_help=True, epilog=EPILOG)
def cache() -> None:
    """Show, bound and clear the cache of this machine."""


@cache.command("list", cls=HelpLayout, epilog=EPILOG, short_help="Show what is cached, and how much.")
@opt.switch("--files", section="Results", help="Every file, the least recently used first.")
@opt.data_format_options
@opt.hub_options
def list_cached(files: bool, as_json: bool, **flags: Any) -> None:
    """Say what is cached, how much, and where."""
    settings = hub_settings(flags)
    folder, limit, found = own_cache(settings), limit_bytes(), cached_files(settings)
    by_kind = {kind: [file for file in found if file.kind == kind] for kind in KINDS}
    if as_json:
        data: dict[str, Any] = {
            "folder": str(folder),
            "limit_bytes": limit,
            "kinds": {kind: {"files": len(some), "size_bytes": _size(some)} for kind, some in by_kind.items()},
        }
        if files:
            data["files"] = [{"path": str(file.path), "size_bytes": file.size_bytes} for file in found]
        emit(json.dumps(data, indent=2))
        return
    emit(f"{escape(str(folder))}: {_amount(found)}, at most {format_bytes(limit)}")
    for kind, some in by_kind.items():
        emit(f"  {kind:<11} {_amount(some):<22} {_WORDS[kind]}")
    for file in found if files else []:
        emit(f"  {format_bytes(file.size_bytes):>9}  {escape(str(file.path))}")


@cache.command("clear", cls=HelpLayout, epilog=EPILOG, short_help="Remove what is cached.")
@click.option(
    "--only", type=click.Choice(KINDS), multiple=True, help="Only this kind. Repeatable. Default: everything."
)
@opt.hub_options
def clear_cached(only: tuple[str, ...], **flags: Any) -> None:
    """Remove what is cached, and say how much that was."""
    count, size = clear(hub_settings(flags), tuple(kind for kind in KINDS if not only or kind in only))
    emit(f"removed {count} file{'' if count == 1 else 's'}, {format_bytes(size)}")


def _size(files: Sequence[CachedFile]) -> int:
    return sum(file.size_bytes for file in files)


def _amount(files: Sequence[CachedFile]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {format_bytes(_size(files))}"
