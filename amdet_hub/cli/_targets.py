"""The targets of a command line: words, and lists (an organisation, a collection, a file).

Knows: the flags of lists, and when to ask the Hub again. Refuses to know: how a model is scanned.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from amdet_hub.cli._help import option, stack
from amdet_hub.cli._output import read_text, say
from amdet_hub.errors import ConfigError, RateLimited
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import RepoRef
from amdet_hub.report.quantities import format_duration

T = TypeVar("T")
MAX_LIST_BYTES = 4 << 20
# A `Retry-After` up to this is waited for; a longer one ends that model.
MAX_WAIT_S = 900.0
WAIT_WITHOUT_FIGURE_S = 60.0
_MOST_WAITS = 5
_SECTION = "Many models"

list_options = stack(
    option(
        "--org",
        section=_SECTION,
        env=False,
        metavar="NAME",
        help="Every model of this organisation or user, most downloaded first.",
    ),
    option("--collection", section=_SECTION, env=False, metavar="SLUG", help="Every model of this collection."),
    option(
        "--from-file",
        section=_SECTION,
        env=False,
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        help="Every target of this file, one a line; - reads stdin.",
    ),
    option(
        "--filter",
        "filters",
        section=_SECTION,
        env=False,
        multiple=True,
        metavar="TAG",
        help=(
            "Only models with this tag or library, such as diffusers. Repeatable. Of the whole Hub with --limit and"
            " without --org."
        ),
    ),
    option(
        "--limit",
        section=_SECTION,
        env=False,
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="At most so many models.",
    ),
    option(
        "--state",
        section=_SECTION,
        env=False,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Remember finished models here, and skip those whose commit and settings are the same.",
    ),
)


def parse_targets(raw: Sequence[str], flags: Mapping[str, Any]) -> tuple[RepoRef, ...]:
    """The targets as asked, all understood or none.

    Raises:
        TargetError: one is not a target.
        ConfigError: one `--revision` or `--subfolder` for several targets.
    """
    given = {name: flags.get(name) for name in ("revision", "subfolder", "endpoint")}
    for name in ("revision", "subfolder"):
        if given[name] and len(raw) > 1:
            place = "write org/model@revision or hf://org/model@revision/subfolder"
            raise ConfigError(f"--{name}", f"goes with one target only; {place}")
    return tuple(parse_target(target, **given) for target in raw)


def address(ref: RepoRef) -> str:
    """A Hub target as one word without `hf://`: `org/model@revision/folder`."""
    at = f"@{ref.revision}" if ref.revision else ""
    place = ref.filename or ref.subfolder
    return f"{ref.repo_id}{at}" + (f"/{place}" if place else "")


def asks_for_list(flags: Mapping[str, Any]) -> bool:
    """Whether a list of models was asked for, and not only targets."""
    return any(flags.get(name) for name in ("org", "collection", "from_file", "filters", "limit", "state"))


def gather(refs: tuple[RepoRef, ...], flags: Mapping[str, Any], settings: HubSettings) -> tuple[RepoRef, ...]:
    """The targets of the command line, then those of the lists, each once and at most `--limit` of them.

    Raises:
        ConfigError: the flags contradict each other, or a list is empty.
        ReportError: the file cannot be read.
        TargetError: a line of the file is no target.
        HubError: a list could not be read.
    """
    from amdet_hub.hub.listing import list_collection, list_models

    org, filters, limit, slug = flags["org"], flags["filters"], flags["limit"], flags["collection"]
    if filters and not org and limit is None:
        raise ConfigError("--filter", "goes with --org, or with --limit for the whole Hub")
    for name in ("revision", "subfolder"):
        if flags.get(name):
            raise ConfigError(f"--{name}", "goes with one target only; write org/model@revision in the list")
    ids: list[str] = []
    if org or filters:
        ids += retry_rate_limited(lambda: list_models(settings, author=org, filters=filters, limit=limit))
    if slug:
        ids += retry_rate_limited(lambda: list_collection(slug, settings))
    found = [*refs, *(RepoRef("hub", name, name) for name in ids)]
    if path := flags["from_file"]:
        lines = [line.strip() for line in read_text(str(path), "list of models", MAX_LIST_BYTES).splitlines()]
        found += parse_targets([line for line in lines if line and line[0] != "#"], flags)
    unique = tuple(dict.fromkeys(found))[:limit]
    if not unique:
        raise ConfigError("scan", "the list of models is empty")
    return unique


def retry_rate_limited(request: Callable[[], T]) -> T:
    """The result of `request`; when the Hub asks to slow down, wait as long as it says and ask again.

    Raises:
        RateLimited: it names more than a quarter of an hour, or has been waited for five times.
        AmdetError: whatever `request` raises.
    """
    for _ in range(_MOST_WAITS):
        try:
            return request()
        except RateLimited as error:
            wait_s = WAIT_WITHOUT_FIGURE_S if error.retry_after_s is None else error.retry_after_s
            if wait_s > MAX_WAIT_S:
                raise
            say(f"The Hub asks us to slow down: waiting {format_duration(wait_s)}.")
            time.sleep(wait_s)
    return request()
