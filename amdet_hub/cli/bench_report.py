"""`amdet-hub bench report|calibrate`: stored results in, tables, figures and thresholds out.

Knows: files and streams.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_OK
from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.errors import ConfigError

if TYPE_CHECKING:
    from amdet_hub.bench.results import ModelResult

# A quick check on a base of its own. It would change the figures of the benchmark, so of a folder it is not read.
SMOKE_FILE = "smoke.jsonl"

REPORT_EPILOG = """
Examples:
  {prog} bench report bench/results/test.jsonl > tables.md
  {prog} bench report bench/results --figures figures

Of a folder every .jsonl file is read but smoke.jsonl, which has to be named.
Exit codes: 0 shown, 2 usage or error, 130 interrupted.
"""

CALIBRATE_EPILOG = """
Examples:
  {prog} bench calibrate bench/results/calibration*.jsonl          what belongs into amdet_hub/families.py
  {prog} bench calibrate bench/results/calibration*.jsonl --check  whether it stands there

Exit codes: 0 shown, or all agree; 1 --check found a difference; 2 usage or error; 130 interrupted.
"""

paths_argument = click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command(cls=HelpLayout, epilog=REPORT_EPILOG, short_help="Print the tables of stored results.")
@paths_argument
@option(
    "--figures",
    section="Results",
    env=False,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Also write roc.png and scores.png to this folder. Needs matplotlib: pip install 'amdet-hub[bench]'.",
)
def report(paths: tuple[Path, ...], figures: Path | None) -> None:
    """Print, as Markdown, the tables of the results in each PATH: a .jsonl file, or a folder of them."""
    from amdet_hub.bench import documents

    results = read_all(paths)
    if figures is not None:
        draw(results, figures)
    emit(documents.report(results))


@click.command(cls=HelpLayout, epilog=CALIBRATE_EPILOG, short_help="Compute the thresholds from stored results.")
@paths_argument
@option(
    "--check",
    section="Results",
    env=False,
    is_flag=True,
    default=False,
    help="Print where these thresholds differ from the ones in use, instead of the thresholds.",
)
def calibrate(paths: tuple[Path, ...], check: bool) -> int:
    """Print, as Python, the thresholds that the calibration models in each PATH (.jsonl file or folder) lead to."""
    from amdet_hub.bench.calibrate import as_source, differences

    results = read_all(paths)
    if not check:
        emit(as_source(results))
        return EXIT_OK
    different = differences(results)
    emit("\n".join(different) if different else "The thresholds in use are the ones these results lead to.")
    return EXIT_DETECTED if different else EXIT_OK


def read_all(paths: Sequence[Path]) -> list[ModelResult]:
    """The results in files and folders, a file that is named twice once.

    Raises:
        ConfigError: a file cannot be read, or a folder holds none.
        ReportError: a line is no result.
    """
    from amdet_hub.bench.results import read_results

    results: list[ModelResult] = []
    for path in {file.resolve(): file for file in _files(paths)}.values():
        stored = read_results(path)
        results += stored.results
        if stored.torn_lines:
            say(
                f"{escape(path.name)}: passed over what a stopped run left unfinished ({stored.torn_lines} of its"
                " lines)."
            )
    return results


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        stored = (file for file in path.glob("*.jsonl") if file.name != SMOKE_FILE)
        files = sorted(stored) if path.is_dir() else [path]
        if not files:
            raise ConfigError(str(path), f"holds no results (.jsonl files other than {SMOKE_FILE})")
        yield from files


def draw(results: Sequence[ModelResult], folder: Path) -> None:
    """Write both figures of the test models to `folder`.

    Raises:
        ConfigError: matplotlib is missing, or there is nothing to draw.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--figures", "drawing needs matplotlib, which comes with the extra amdet-hub[bench]")
    from amdet_hub.bench.figures import distribution_figure, roc_figure

    test = [result for result in results if result.split == "test"]
    for name, figure in (("roc.png", roc_figure), ("scores.png", distribution_figure)):
        figure(test, folder / name)
        say(f"Wrote {escape(str(folder / name))}.")
