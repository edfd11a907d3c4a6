"""`python -m tests.differential --repositories 5000 --seed 1`: prints counts, and each mismatch with its seed.

Exits 1 where a library loads a tower that was not scanned and nothing blocks, or one that it does not take by the
model of the loaders (`amdet_hub.encoders.loaders`). Repository number n of a run is that of seed `--seed` + n, so that
`--repositories 1 --seed S --keep FOLDER` shows the repository of one mismatch again, and several runs side by side
share one task (`--part 0/2`, `--part 1/2`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from tests.differential.compare import Comparison, compare
from tests.differential.environment import SCRATCH
from tests.differential.loaders import NOT_TRIED
from tests.differential.repositories import make_repository


def main() -> int:
    """Run the comparison and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--repositories", type=int, default=300, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="that of the first")
    parser.add_argument("--part", default="0/1", help="of N parts side by side, this one: 0/2")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long, and say how far it came")
    parser.add_argument("--keep", type=Path, help="write the repositories here, and keep them")
    parser.add_argument("--json", type=Path, help="write the counts there too")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    began, counts = time.monotonic(), Counter[str]()
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.repositories):
            if seed // 2 % parts != part:  # an ordinary one and a hostile one together
                continue
            if time.monotonic() - began > 60 * arguments.minutes:
                say(f"stopped before seed {seed}: the {arguments.minutes:g} minutes are over")
                break
            folder = (arguments.keep or SCRATCH / "repositories") / str(seed)
            comparison = compare(make_repository(folder.absolute(), seed))
            count(counts, comparison)
            show(comparison, everything=arguments.keep is not None)
            if arguments.keep is None:
                shutil.rmtree(folder)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    counts.update(f"not installed: {name}" for name in NOT_TRIED)
    counts["seconds"] = round(time.monotonic() - began)
    say(summary(counts))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(counts, indent=1, sort_keys=True))
    return 1 if counts["mismatches"] or counts["not in the model of the loaders"] else 0


def say(text: str) -> None:
    """Print a line now, whatever becomes of the run."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def count(counts: Counter[str], comparison: Comparison) -> None:
    """Add one repository to the counts."""
    kind = "ordinary" if comparison.repository.ordinary else "hostile"
    counts.update({kind: 1, f"{kind} blocked": bool(comparison.blocked_by)})
    counts.update({"loaded": len(comparison.loaded), "scanned": len(comparison.scanned)})
    counts.update({f"{kind} nothing loaded": not comparison.loaded, "mismatches": bool(comparison.unseen)})
    counts["not in the model of the loaders"] += bool(comparison.unmodelled)
    counts.update(f"loaded by {tower.loader.split()[0]}" for tower in comparison.loaded)


def show(comparison: Comparison, *, everything: bool) -> None:
    """Print a mismatch, an ordinary repository from which nothing is loaded, or all that is known of a repository."""
    idle = comparison.repository.ordinary and not comparison.loaded
    if not comparison.unseen and not comparison.unmodelled and not idle and not everything:
        return
    said = "MISMATCH" if comparison.unseen or comparison.unmodelled else "nothing is loaded" if idle else "no mismatch"
    say(f"seed {comparison.repository.seed}: {said}")
    lines = [*comparison.repository.notes]
    lines += [f"not scanned: {tower.loader} loads {tower.identity.digest[:8]}" for tower in comparison.unseen]
    lines += [f"not in the model: {tower.loader} loads {tower.identity.digest[:8]}" for tower in comparison.unmodelled]
    if everything:
        lines += [f"loaded: {tower.loader} {tower.identity.digest[:8]}" for tower in comparison.loaded]
        lines += [f"failed: {name}: {error}" for name, error in comparison.errors.items()]
        lines += [f"scanned: {identity.digest[:8]}" for identity in comparison.scanned]
        lines += [f"blocked: {comparison.blocked_by or 'no'}"]
    say("\n".join(f"  {line}" for line in lines))


def summary(counts: Counter[str]) -> str:
    """One line for each count."""
    blocked = 100 * counts["ordinary blocked"] / max(1, counts["ordinary"])
    return "\n".join([f"{name}: {counts[name]}" for name in sorted(counts)] + [f"ordinary blocked: {blocked:.1f} %"])


if __name__ == "__main__":
    sys.exit(main())
