"""`amdet-hub scan` of many models: an organisation, a collection, a list.

One line a model, a summary, and a state file to go on from.

Knows: the order of models, what is finished, when to wait. Refuses to know: how one is scanned (`amdet_hub.cli.scan`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_INTERRUPTED, worst
from amdet_hub.cli._output import emit, escape, format_duration, say
from amdet_hub.cli._scan_state import NOTHING, Key, Ledger
from amdet_hub.errors import AmdetError, ConfigError, Interrupted, NothingToScan, RateLimited
from amdet_hub.records import RepoRef, fingerprint

if TYPE_CHECKING:
    from amdet_hub.cli._progress import Progress
    from amdet_hub.cli.scan import Request
    from amdet_hub.hub import HubSettings
    from amdet_hub.records import ScanReport

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
MAX_LIST_BYTES = 4 << 20
MAX_WAIT_S = 900.0
"""A `Retry-After` up to this is waited for; a longer one ends that model."""
WAIT_WITHOUT_FIGURE_S = 60.0
_MOST_WAITS = 5
_SECTION = "Many models"

_OPTIONS = (
    opt.option(
        "--org",
        section=_SECTION,
        env=False,
        metavar="NAME",
        help="Every model of this organisation or user, most downloaded first.",
    ),
    opt.option("--collection", section=_SECTION, env=False, metavar="SLUG", help="Every model of this collection."),
    opt.option(
        "--from-file",
        section=_SECTION,
        env=False,
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        help="Every target of this file, one a line; - reads stdin.",
    ),
    opt.option(
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
    opt.option(
        "--limit",
        section=_SECTION,
        env=False,
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="At most so many models.",
    ),
    opt.option(
        "--state",
        section=_SECTION,
        env=False,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Remember finished models here, and skip those whose commit and settings are the same.",
    ),
)


def many_options(function: F) -> F:
    """The flags that ask for a list of models."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


def is_many(flags: Mapping[str, Any]) -> bool:
    """Whether a list of models was asked for, and not only targets."""
    return any(flags[name] for name in ("org", "collection", "from_file", "filters", "limit", "state"))


# ---------------------------------------------------------------- which models


def gather(refs: tuple[RepoRef, ...], flags: Mapping[str, Any], settings: HubSettings) -> tuple[RepoRef, ...]:
    """The targets of the command line, then those of the lists, each once and at most `--limit` of them.

    Raises:
        ConfigError: the flags contradict each other, or a list is empty.
        TargetError: a line of the file is no target.
        HubError: a list could not be read.
    """
    from amdet_hub.hub.listing import list_collection, list_models

    org, filters, limit = flags["org"], flags["filters"], flags["limit"]
    if filters and not org and limit is None:
        raise ConfigError("--filter", "goes with --org, or with --limit for the whole Hub")
    for name in ("revision", "subfolder"):
        if flags.get(name):
            raise ConfigError(f"--{name}", "goes with one target only; write org/model@revision in the list")
    found = list(refs)
    if org or filters:
        ids = patiently(lambda: list_models(settings, author=org, filters=filters, limit=limit))
        found += [RepoRef("hub", name, name) for name in ids]
        if not ids:
            raise ConfigError("--org" if org else "--filter", "the Hub lists no such model")
    if flags["collection"]:
        found += [
            RepoRef("hub", name, name) for name in patiently(lambda: list_collection(flags["collection"], settings))
        ]
    if flags["from_file"]:
        found += opt.parse_targets(_lines(flags["from_file"]), flags)
    unique = list(dict.fromkeys(found))[:limit]
    if not unique:
        raise ConfigError("scan", "the list of models is empty")
    return tuple(unique)


def _lines(path: Path) -> tuple[str, ...]:
    """The targets of a list: one a line; empty lines and what follows a `#` at a line's start are left out."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_LIST_BYTES + 1)
        if len(data) > MAX_LIST_BYTES:
            raise ConfigError("--from-file", f"'{path}' is larger than a list of models can be")
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(
            "--from-file", f"'{path}' cannot be read ({(error.strerror or 'system error').lower()})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("--from-file", f"'{path}' is not UTF-8 text") from error
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")))


def patiently(request: Callable[[], T]) -> T:
    """The result of `request`; when the Hub asks to slow down, wait as long as it says and ask again.

    Raises:
        RateLimited: it names more than a quarter of an hour, or has been waited for five times.
        AmdetError: whatever `request` raises.
    """
    for turn in range(_MOST_WAITS + 1):
        try:
            return request()
        except RateLimited as error:
            wait_s = WAIT_WITHOUT_FIGURE_S if error.retry_after_s is None else error.retry_after_s
            if turn == _MOST_WAITS or wait_s > MAX_WAIT_S:
                raise
            say(f"The Hub asks us to slow down: waiting {format_duration(wait_s)}.")
            time.sleep(wait_s)
    raise AssertionError("the last turn returns or raises")


# ---------------------------------------------------------------- the scans


@dataclass
class _Tally:
    """What became of the models so far."""

    started: float = field(default_factory=time.monotonic)
    codes: list[int] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    detected: list[str] = field(default_factory=list)
    remembered: int = 0

    def count(self, name: str, verdict: str, code: int) -> None:
        self.codes.append(code)
        self.verdicts[verdict] += 1
        if verdict == "backdoor-detected":
            self.detected.append(name)


def run_many(request: Request, progress: Progress, ledger: Ledger, *, main: bool) -> int:
    """Scan every model that is not finished, the next one's files arriving meanwhile. Returns the worst exit code."""
    from amdet_hub.cli.scan import report_interruption
    from amdet_hub.scanner.prefetch import Prefetcher
    from amdet_hub.scanner.shared_references import SharedReferences

    tally, shared = _Tally(), SharedReferences()
    with Prefetcher(
        request.settings, reference=request.reference, use_reference=request.options.use_reference
    ) as prefetcher:
        try:
            waiting = _unfinished(request, ledger, tally, main=main)
            following = next(waiting, None)
            while following is not None:
                (ref, key), following = following, next(waiting, None)
                if following is not None and main and request.job is None:
                    prefetcher.start(following[0])
                try:
                    _scan(request, ref, key, ledger, tally, progress, shared, main=main)
                except Interrupted as stop:
                    progress.close()
                    report_interruption(request, ref, stop, main=main)
                    return _interrupted(request, tally, main=main)
        except KeyboardInterrupt:  # between two scans, or while the result of one was kept
            if main:
                say("Interrupted.")
            return _interrupted(request, tally, main=main)
    if main:
        _summarise(request, tally)
    return worst(tally.codes)


def _unfinished(
    request: Request, ledger: Ledger, tally: _Tally, *, main: bool
) -> Iterator[tuple[RepoRef, Key | None]]:
    """The models to scan, with the keys to remember them by; finished ones are counted on the way."""
    from amdet_hub.cli.scan import verdict_exit_code

    for ref in request.refs:
        key = _key(request, ref) if request.state is not None else None
        verdict = ledger.verdict(key) if key is not None else None
        if verdict is None:
            yield ref, key
            continue
        label: Any = "inconclusive" if verdict == NOTHING else verdict
        tally.count(ref.raw, verdict, verdict_exit_code(label, request.fail_on))
        tally.remembered += 1
        if main and not request.quiet:
            say(f"{escape(ref.raw)}: finished before, {verdict.replace('-', ' ')}.")


def _key(request: Request, ref: RepoRef) -> Key | None:
    """What this scan is remembered by; None for a local folder, which has no commit, and for what cannot be read: its scan says why."""
    from amdet_hub.hub.listing import commit_of
    from amdet_hub.scanner.cache import judged_by

    if ref.kind != "hub":
        return None
    try:
        commit = patiently(lambda: commit_of(ref.repo_id, ref.revision, request.settings))
    except AmdetError:
        return None
    reference = (
        "none" if not request.options.use_reference else request.reference.raw if request.reference else "known"
    )
    decides = {
        "config": request.config.fingerprint(),
        "reference": reference,
        "dtype": request.options.dtype,
        "judged_by": judged_by(),
    }
    return Key(ref.repo_id, commit, ref.filename or ref.subfolder, fingerprint(decides))


def _scan(
    request: Request,
    ref: RepoRef,
    key: Key | None,
    ledger: Ledger,
    tally: _Tally,
    progress: Progress,
    shared: Any,
    *,
    main: bool,
) -> None:
    from amdet_hub.cli._errors import report_error
    from amdet_hub.cli.scan import deliver, scan_one, verdict_exit_code

    try:
        report = patiently(lambda: scan_one(request, ref, progress, shared=shared))
        tally.count(ref.raw, report.verdict.label, deliver(request, ref, report, main=main))
        if main and key is not None and _is_finished(report, key):
            ledger.finish(key, report.verdict.label)
    except Interrupted:
        raise
    except NothingToScan as error:
        tally.count(ref.raw, NOTHING, verdict_exit_code("inconclusive", request.fail_on))
        _line(
            request,
            f"[ ] {escape(ref.raw)}: nothing to scan, {escape('; '.join(error.found))[:120] or 'no model files'}",
            main=main,
        )
        if main and key is not None:
            ledger.finish(key, NOTHING)
    except AmdetError as error:
        tally.count(ref.raw, "error", report_error(error, about=ref.raw))
        _line(request, f"[x] {escape(ref.raw)}: not scanned, {type(error).__name__}", main=main)


def _is_finished(report: ScanReport, key: Key) -> bool:
    """Whether another run would find the same: nothing was cut short or unreadable, and the branch did not move meanwhile."""
    unreadable = any(skip.reason == "unreadable" for skip in report.skipped)
    return report.complete and not unreadable and report.snapshot.commit_sha == key.commit_sha


def _line(request: Request, text: str, *, main: bool) -> None:
    if main and request.format == "text":
        emit(text)


def _interrupted(request: Request, tally: _Tally, *, main: bool) -> int:
    if main:
        _summarise(request, tally)
        say(
            "Run the same command again to go on."
            if request.state
            else "With --state FILE such a run can be taken up again."
        )
    return EXIT_INTERRUPTED


def _summarise(request: Request, tally: _Tally) -> None:
    """The summary table: on stdout below the lines, on stderr where stdout is for a machine."""
    total = sum(tally.verdicts.values())
    rows = [(verdict.replace("-", " "), count) for verdict, count in sorted(tally.verdicts.items())]
    before = f", {tally.remembered:,} of them before" if tally.remembered else ""
    head = f"{total:,} of {len(request.refs):,} models in {format_duration(time.monotonic() - tally.started)}{before}"
    lines = ["", head, *(f"  {count:>6,}  {verdict}" for verdict, count in rows)]
    lines += [f"  detected: {escape(name)}" for name in tally.detected]
    if request.format == "text":
        emit("\n".join(lines))
    elif not request.quiet:
        say("\n".join(lines))
