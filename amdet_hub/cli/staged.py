"""`amdet-hub staged`: what pre-commit runs on the files of a commit.

Knows: which changed files fail a commit, and with which words.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_OK, worst
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress, choose_mode
from amdet_hub.cli.baseline import read_baseline, say_accepted, today
from amdet_hub.cli.scan import announce_settings, render, set_up_logging, verdict_exit_code
from amdet_hub.errors import AmdetError, Interrupted, NothingToScan

if TYPE_CHECKING:
    from amdet_hub.config import ScanConfig
    from amdet_hub.hub import HubSettings
    from amdet_hub.records import RepoRef, ScanReport
    from amdet_hub.report.baselines import Baseline
    from amdet_hub.scanner import ScanOptions

EPILOG = """
Examples:
  {prog} staged --preset quick -- models/clip/model.safetensors
  {prog} staged -- $(git diff --cached --name-only)

Options stand before the files. Files of one checkpoint are scanned once; a checkpoint whose weights were scanned before is answered at once;
one that holds no supported encoder passes. A Git LFS pointer without its content is inconclusive: run `git lfs pull`.
Exit codes: 0 nothing found, 1 backdoor detected, 2 error, 3 inconclusive.
"""


@click.command(
    cls=opt.HelpLayout,
    epilog=EPILOG,
    short_help="Scan the checkpoints that changed files belong to.",
    context_settings={"allow_interspersed_args": False},  # a committed file may be called --config=...
)
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@opt.scan_options
@opt.fail_on_option
@opt.baseline_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def staged(ctx: click.Context, /, files: tuple[Path, ...], **flags: Any) -> int:
    """Scan the checkpoints that FILEs belong to, before they are committed. Made for pre-commit."""
    from amdet_hub.automation.changed_checkpoints import checkpoints_of

    set_up_logging(flags["verbose"])
    announce_settings(ctx, quiet=flags["quiet"])
    baseline = read_baseline(flags["baseline"]) if flags["baseline"] else None
    found = checkpoints_of(files)
    for path in found.absent:
        say(
            f"{escape(str(path))}: a Git LFS pointer whose content is not here, so it was not scanned. Run `git lfs"
            " pull`."
        )
    codes = [verdict_exit_code("inconclusive", flags["fail_on"])] if found.absent else []
    with Progress(choose_mode(asked=flags["progress"], quiet=flags["quiet"])) as progress:
        scan = _Scan(ctx, flags, progress, baseline) if found.targets else None
        codes += [scan.run(target) for target in found.targets if scan is not None]
    return worst(codes)


class _Scan:
    """What the scans of one call share."""

    def __init__(
        self, ctx: click.Context, flags: dict[str, Any], progress: Progress, baseline: Baseline | None
    ) -> None:
        from amdet_hub.scanner import ScanOptions

        reference = opt.reference_choice(ctx, flags)
        self._config: ScanConfig = opt.scan_config(ctx, flags)
        self._settings: HubSettings = opt.hub_settings(flags)
        self._reference: RepoRef | None = reference.ref
        self._options: ScanOptions = ScanOptions(
            device=flags["device"],
            dtype=flags["dtype"],
            timeout_s=flags["timeout"],
            max_memory_bytes=flags["max_memory"],
            use_reference=not reference.none,
        )
        self._progress, self._baseline, self._fail_on = progress, baseline, flags["fail_on"]
        self._ctx = ctx

    def run(self, target: Path) -> int:
        """Scan one checkpoint and say what matters of it. Returns the exit code."""
        from amdet_hub.cli._errors import report_error

        name = escape(str(target))
        try:
            report = self._report(target)
        except NothingToScan:
            self._progress.close()
            say(f"{name}: no text encoder of a supported family, nothing to scan.")
            return EXIT_OK
        except (KeyboardInterrupt, Interrupted):
            raise click.Abort from None
        except AmdetError as error:
            self._progress.close()
            return report_error(error, about=str(target))
        self._progress.close()
        return self._judge(report, name, today())

    def _report(self, target: Path) -> ScanReport:
        from amdet_hub.hub import parse_target
        from amdet_hub.scanner.known import open_known

        ref = parse_target(str(target) if target.is_absolute() else f"./{target}")
        opt.refuse_settings_from_target(self._ctx, [ref])
        known = open_known(
            ref, config=self._config, settings=self._settings, reference=self._reference, options=self._options
        )
        return known.recall() or known.scan(self._progress)

    def _judge(self, report: ScanReport, name: str, day: datetime.date) -> int:
        from amdet_hub.report.baselines import NO_BASELINE, verdict_beyond

        counted = verdict_beyond(self._baseline or NO_BASELINE, report, day)
        code = verdict_exit_code(counted, self._fail_on)
        if code == EXIT_OK:
            emit(f"{name}: {report.verdict.label}")
        else:
            emit(render(report, "text"))
        if self._baseline is not None:
            say_accepted(self._baseline, report)
        return code
