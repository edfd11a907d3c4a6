"""From a command line to records: how is scanned (a `Scanner`), what, and where the result goes.

Nothing is looked up here but lists of models.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._hf_jobs import JobRequest, job_request, log_key, scan_on_job
from amdet_hub.cli._output import OutputFile, escape, say
from amdet_hub.cli._stored import read_baseline
from amdet_hub.cli._targets import asks_for_list, gather, parse_targets
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError, Interrupted
from amdet_hub.hub import HubSettings, parse_target
from amdet_hub.records import Monitor, RepoRef, ScanReport
from amdet_hub.report.baselines import NO_BASELINE, Baseline
from amdet_hub.scanner.options import ScanOptions, is_main_process

if TYPE_CHECKING:
    from amdet_hub.cli._progress import Progress
    from amdet_hub.scanner import Scanner


@dataclass(frozen=True)
class Request:
    """One command line that scans, understood.

    Attributes:
        scanner: how targets are scanned.
        refs: the targets.
        format: of the report on stdout.
        outputs: the `-o` files; `{target}` in a path stands for the target's name.
        fail_on: verdicts that exit non-zero.
        quiet: only errors are said.
        verbose: the long report.
        listed: whether a list of models was asked for.
        state: the file that remembers finished models.
        job: the job that scans in place of this machine.
        log_key: prints the report as marked lines, in a job.
        baseline: accepted findings.
        main: whether this process prints and writes; one of several does.
    """

    scanner: Scanner
    refs: tuple[RepoRef, ...]
    format: str = "text"
    outputs: tuple[OutputFile, ...] = ()
    fail_on: str = "inconclusive"
    quiet: bool = False
    verbose: bool = False
    listed: bool = False
    state: Path | None = None
    job: JobRequest | None = None
    log_key: str | None = None
    baseline: Baseline = NO_BASELINE
    main: bool = field(default_factory=is_main_process)

    @property
    def several(self) -> bool:
        """Whether there may be more than one report."""
        return self.listed or len(self.refs) > 1

    def scan(self, ref: RepoRef, progress: Progress) -> ScanReport:
        """Scan one target. Raises: Interrupted, whenever Ctrl-C comes; any other AmdetError."""
        try:
            target = self.scanner.resolve(ref)
            if self.job is None:
                return self.scanner.scan(target, Monitor(progress))
            found = None if self.scanner.options.rescan and target.pairs else self.scanner.cached(target)
            return found or scan_on_job(self.job, self.scanner, target, quiet=self.quiet)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop
        finally:
            progress.close()


def parse_request(ctx: click.Context, targets: Sequence[str], flags: Mapping[str, Any]) -> Request:
    """The request of a command line.

    Raises:
        TargetError: a target or the reference is none.
        ConfigError: flags contradict each other.
        ReportError: the baseline or the list of models cannot be read.
        HubError: a list of models cannot be read.
    """
    refs = parse_targets(tuple(dict.fromkeys(targets)), flags)
    scanner, listed = build_scanner(ctx, flags), asks_for_list(flags)
    if listed:
        refs = gather(refs, flags, scanner.hub)
    state, baseline = flags.get("state"), flags.get("baseline")
    if state and baseline:
        raise click.UsageError(
            "--baseline and --state do not go together: finished models are counted again without their reports."
            " Drop one of them."
        )
    return Request(
        scanner,
        refs,
        format=flags.get("format", "text"),
        outputs=flags.get("output", ()),
        fail_on=flags.get("fail_on", "inconclusive"),
        quiet=flags["quiet"],
        verbose=flags["verbose"] > 0,
        listed=listed,
        state=state,
        job=job_request(flags),
        log_key=log_key(flags),
        baseline=read_baseline(baseline) if baseline else NO_BASELINE,
    )


def build_scanner(ctx: click.Context, flags: Mapping[str, Any]) -> Scanner:
    """The scanner of the flags and of the configuration file, which is named where it was not asked for.

    Raises:
        ConfigError: a value is out of its range, or flags contradict each other.
        TargetError: the reference is not a target.
    """
    from amdet_hub.scanner import Scanner

    settings = opt.file_settings(ctx)
    if settings.unasked and settings.names and not flags["quiet"] and is_main_process():
        say(f"Settings from {escape(str(settings.unasked))}: {escape(', '.join(settings.names))}.")
    reference, use_reference = chosen_reference(ctx, flags)
    options = ScanOptions(
        device=flags["device"],
        dtype=flags["dtype"],
        timeout_s=flags["timeout"],
        max_memory_bytes=flags["max_memory"],
        use_reference=use_reference,
        rescan=flags.get("rescan", False),
    )
    config = ScanConfig.for_preset(flags["preset"], seed=flags["seed"]).replace(**settings.scan)
    return Scanner(config, hub_settings(flags), reference, options)


def hub_settings(flags: Mapping[str, Any]) -> HubSettings:
    """The Hub settings of the flags. `--token -` reads one line of stdin, without echo on a terminal.

    Raises:
        ConfigError: stdin held no token.
    """
    token = flags.get("token")
    return HubSettings(
        endpoint=flags.get("endpoint"),
        token=_token_from_stdin() if token == "-" else token,
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


def chosen_reference(ctx: click.Context, flags: Mapping[str, Any]) -> tuple[RepoRef | None, bool]:
    """The reference that was named, and whether to compare with one at all.

    A flag on the command line beats the opposite choice of the environment or a file.

    Raises:
        ConfigError: both `--reference` and `--no-reference` were given on the command line.
        TargetError: the reference is not a target.
    """
    named, none = flags.get("reference"), bool(flags.get("no_reference"))
    if named and none:
        typed = [
            name
            for name in ("reference", "no_reference")
            if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if len(typed) != 1:
            raise ConfigError("--no-reference", "contradicts --reference")
        none = typed == ["no_reference"]
    if none or not named:
        return None, not none
    return parse_target(named, endpoint=flags.get("endpoint")), True
