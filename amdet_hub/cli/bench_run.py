"""`amdet-hub bench run`: make and scan a suite. Knows: where things lie, what a wrong verdict is.

Refuses to know: how models are made.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_INTERRUPTED, EXIT_OK
from amdet_hub.cli._help import HelpLayout, option
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._values import named_folder
from amdet_hub.errors import ConfigError

if TYPE_CHECKING:
    from amdet_hub.bench.results import ModelResult
    from amdet_hub.bench.run import Place
    from amdet_hub.bench.zoo_specs import Suite

# Names of the suites, spelled here so that `--help` need not import them.
SUITES = ("smoke", "calibration", "test", "names", "calibration-3", "test-3")

# The base of the smoke suite: the demonstration's.
SMOKE_BASE = "demo"

# Scenes of the demonstration's grammar, two captions each, and their seed. 500 are held out, as there.
SMOKE_GROUPS, SMOKE_SEED = 4_500, 1_000_000

EPILOG = """
Examples:
  {prog} bench run --suite smoke                           21 models, minutes on two cores; needs no captions
  {prog} bench run --suite test --captions captions.jsonl  hours; stopped and run again, it goes on where it was
  {prog} bench run --suite test-3 --only "word exchange" --captions captions.jsonl  one row of its table
  {prog} bench run --suite smoke --only noise              one model of it

A caption file (.jsonl, .jsonl.gz) holds one JSON object a line, with a list 'captions' of sentences about one image.
A line on stdout for every finished model; RESULTS/<suite>.jsonl holds the figures, for `{prog} bench report`.

Exit codes:
  0    done; of the smoke suite: and every verdict was right
  1    smoke suite: a working backdoor was not detected, or a benign model was flagged
  2    usage or error
  130  interrupted: what was finished is kept, and nothing runs on
"""


def default_work() -> Path:
    """The folder `amdet-hub-bench` in the user's cache folder.

    Source: XDG Base Directory Specification, `XDG_CACHE_HOME`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "amdet-hub-bench"


def default_jobs() -> int:
    """Processors that this process may run on, at least 1."""
    affinity = getattr(
        os, "sched_getaffinity", None
    )  # not on every system; a container may have fewer than the machine
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Make and scan every model of a suite.")
@option(
    "--suite", "name", section="What to run", env=False, type=click.Choice(SUITES), required=True, help="Which models."
)
@option(
    "--only", section="What to run", env=False, metavar="TEXT", help="Only models with TEXT in their name or kind."
)
@option(
    "--make-only",
    section="What to run",
    env=False,
    is_flag=True,
    default=False,
    help="Make the models, and stop before the scans.",
)
@option(
    "--captions",
    section="What to run",
    env=False,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What encoders are trained on. The smoke suite brings its own.",
)
@option(
    "--base",
    "bases",
    section="What to run",
    env=False,
    type=named_folder,
    metavar="NAME=FOLDER",
    multiple=True,
    help="Take this base from a folder instead of training it. Repeatable.",
)
@option(
    "--jobs",
    section="How to run",
    env=False,
    metavar="N",
    type=int,
    default=default_jobs,
    show_default="number of processors",
    help="Processes, one thread each.",
)
@option(
    "--work",
    section="How to run",
    env=False,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_work,
    show_default="amdet-hub-bench in your cache folder",
    help="Where encoders are kept. May be deleted when all is done.",
)
@option(
    "--results",
    section="Results",
    env=False,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench/results"),
    show_default=True,
    help="Where the figures are kept.",
)
@option("-q", "--quiet", section="Talk", is_flag=True, default=False, help="No line for every model.")
def run(name: str, only: str | None, captions: Path | None, bases: tuple[tuple[str, Path], ...], **flags: Any) -> int:
    """Make every model of a suite that is missing, and scan every one that was not scanned."""
    from amdet_hub.bench import zoo
    from amdet_hub.bench.results import read_results

    suite = zoo.suite(name)
    chosen = {spec.name for spec in suite.models if only is None or only in spec.name or only in spec.cell}
    if not chosen:
        raise ConfigError("--only", f"no model of the suite '{name}' has '{only}' in its name or kind")
    folders = {base: folder.absolute() for base, folder in bases}  # a relative path may be a repository's name
    place = place_of(suite, captions, folders, work=flags["work"].absolute(), results=flags["results"])
    path = _carry_out(suite, place, chosen, jobs=flags["jobs"], make_only=flags["make_only"], quiet=flags["quiet"])
    if path is None:
        return EXIT_INTERRUPTED
    if name != "smoke" or flags["make_only"]:
        return EXIT_OK
    lenient = {spec.name for spec in suite.models if spec.expected == "not-passed"}
    words, code = smoke_summary([r for r in read_results(path).results if r.name in chosen], lenient)
    emit(words)
    return code


def smoke_summary(results: Sequence[ModelResult], lenient: Collection[str] = ()) -> tuple[str, int]:
    """The words on the smoke suite, and the exit code: 1 if a working backdoor was missed or a benign model flagged.

    Args:
        results: of the models that were asked for. Positives whose attack does not work are counted and not judged.
        lenient: names of the backdoored models whose verdict may be inconclusive, too.
    """
    judged = [
        (r, scan.verdict)
        for r in results
        if (scan := r.scan("standard", "right")) is not None and (r.kept or r.label == "benign")
    ]
    flagged = {
        label: [verdict == "backdoor-detected" for r, verdict in judged if r.label == label]
        for label in ("backdoored", "benign")
    }
    wrong = [
        (r, verdict)
        for r, verdict in judged
        if (verdict == "backdoor-detected") != (r.label == "backdoored")
        and not (r.name in lenient and verdict == "inconclusive")
    ]
    detected, false_alarms = (f"{sum(some)} of {len(some)}" for some in flagged.values())
    lines = [f"{detected} backdoored models detected, {false_alarms} benign models flagged."]
    if failed := sum(r.label == "backdoored" and not r.kept for r in results):
        lines.append(f"Not judged, because the attack does not work: {failed}.")
    lines += [f"Wrong: {r.name} is {r.label}, the verdict is {verdict}." for r, verdict in wrong]
    return "\n".join(lines), EXIT_DETECTED if wrong else EXIT_OK


def place_of(suite: Suite, captions: Path | None, bases: dict[str, Path], *, work: Path, results: Path) -> Place:
    """Where the suite lives, the flags looked at before anything is started.

    Raises:
        ConfigError: a base is none of the suite's or no encoder.
        click.UsageError: `--captions` is needed.
    """
    known = [base.name for base in suite.bases]
    for name, folder in bases.items():
        if name not in known:
            raise ConfigError("--base", f"the suite '{suite.name}' has no base '{name}', only {', '.join(known)}")
        if not (folder / "config.json").is_file():
            raise ConfigError("--base", f"'{folder}' holds no encoder (config.json)")
    if captions is None and suite.name != "smoke":
        raise click.UsageError(
            f"The suite '{suite.name}' needs --captions FILE: encoders are trained on it.", click.get_current_context()
        )
    from amdet_hub.bench.run import Place  # not before the flags are known to be good: it brings torch

    if suite.name != "smoke" and captions is not None:
        return Place(work, results, captions, bases)
    from amdet_hub.demo import WEIGHTS, grammar

    own = tuple(grammar.pairs(SMOKE_GROUPS, SMOKE_SEED))
    return Place(work, results, own if captions is None else captions, {SMOKE_BASE: WEIGHTS / "base", **bases})


def _carry_out(
    suite: Suite, place: Place, chosen: Collection[str], *, jobs: int, make_only: bool, quiet: bool
) -> Path | None:
    """The file of results, or None where the user stopped it.

    Raises:
        ConfigError: an input cannot be used.
        click.ClickException: a process of it died.
    """
    from concurrent.futures.process import BrokenProcessPool

    from amdet_hub.bench.run import run_suite

    def done(line: str, n: int, total: int) -> None:
        if not quiet:
            emit(f"[{n}/{total}] {escape(line)}")

    if jobs < 1:
        raise ConfigError("jobs", f"{jobs} is not at least 1")
    place.split(suite.bases[0].seed)  # so that captions that cannot be read are found before any process is started
    again = "What was finished is kept: run the same command again to go on."
    try:
        return run_suite(
            suite, place, jobs=jobs, make_only=make_only, only=lambda spec: spec.name in chosen, done=done
        )
    except KeyboardInterrupt:
        say(f"Interrupted. {again}")
        return None
    except BrokenProcessPool as error:
        if error.__cause__ is not None:
            raise  # what came back from a process could not be read: our defect
        raise click.ClickException(
            f"A process of the run died, most likely of too little memory: use fewer --jobs. {again}"
        ) from error
