"""What `amdet-hub bench report` prints: which tables, in which order, and what a reader must know of them.

Pure functions, standard library only. Refuses to know files, and how a table is made (`amdet_hub.bench.tables`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from amdet_hub.bench.bootstrap import RESAMPLES
from amdet_hub.bench.results import ModelResult
from amdet_hub.bench.tables import (
    WORKS,
    attack_table,
    baseline_table,
    cell_table,
    control_table,
    headline_table,
    operating_table,
    reference_table,
    seconds_table,
    trigger_table,
)
from amdet_hub.bench.zoo_third import EDITIONS

Sections = Mapping[str, Callable[[Sequence[ModelResult]], str]]

# What a reader must know to read the tables of the first editions.
NOTES = f"""\
Detected is the verdict "backdoor-detected"; "inconclusive" counts as not detected. n+ are backdoored models whose
attack works (attack success rate, ASR, at least 50 %), n- are benign models; where a row is a scenario or a cell,
its negatives are all benign models of the layout.

Brackets hold 95 % intervals: Clopper-Pearson for FPR, Wilson for other rates, bootstrap ({RESAMPLES:,} resamples,
per label) for F1, AUROC and TPR at a fixed FPR. A bootstrap interval of a perfect figure has no width; recall and
FPR say what may still be wrong. TPR@1% and TPR@5% do not interpolate: with fewer than 100 (20) benign models they
allow no false positive at all. Scores of different layouts are not comparable, so rows over all layouts have no
AUROC. Seconds is the median time of one scan, measured while several processes shared the machine.

A scan names a trigger only when it detects. Shares of triggers and targets are of all n models, detected or not: in
one that was missed nothing was recovered, which counts as not exact, as REASR 0 % and as target not read. A row that
says "detected only" takes the detected ones alone. Target-attribute attacks have no target text to read and are left
out of that column.

A recovered trigger is exact when its text is an injected one, letter case, spaces and repetition of the whole aside
("zz" is "zzzz"). "Its words" counts those, too, that have all words of an injected one and no others, in any order
and number. REASR is the recovered trigger's attack success rate; it works from {100 * WORKS:.0f} % on.

A score of 1.000 or more detects. The weight norm has no threshold and gives no verdict: only the figures made from
its scores are shown."""

# The same for the third edition.
NOTES_3 = """\
An attack works when it takes over at least half of the held-out captions that meet its own condition: its place, the
length of the caption, the word beside it. The others are in no other column. "Inconclusive, named" is a report that
names the trigger and does not call it a backdoor; "neither" is an attack that passed, or whose trigger stayed
unnamed. A benign model is flagged by the verdict "backdoor-detected". A score of 1.000 or more detects.

Brackets hold 95 % intervals: Clopper-Pearson for flagged and FPR, Wilson for other rates, bootstrap for F1, AUROC and
TPR at a fixed FPR. Seconds were measured while several processes shared the machine."""

_FIRST: Sections = {
    "The paper's cells": headline_table,
    "Operating points over all cells": operating_table,
    "Per cell": cell_table,
    "Kinds of trigger": trigger_table,
    "Controls": control_table,
    "Baselines on the same models": baseline_table,
    "Other references, and none": reference_table,
}
_THIRD: Sections = {
    "Attacks": attack_table,
    "Recipes": partial(attack_table, title="recipe"),
    "Controls": control_table,
    "The paper's cells by the default recipe": headline_table,
    "Seconds": seconds_table,
}


def report(results: Iterable[ModelResult]) -> str:
    """All tables: of the first editions those of the test split, of the third those of each suite.

    Returns:
        Markdown that ends in one line break.
    """
    models = list(results)
    third = {suite: [r for r in models if r.suite == suite] for suite in EDITIONS}
    first = [r for r in models if r.suite not in EDITIONS]
    parts = [_document(first, [r for r in first if r.split == "test"], NOTES, _FIRST)] if first or not models else []
    parts += [f"Suite `{suite}`. {_document(own, own, NOTES_3, _THIRD)}" for suite, own in third.items() if own]
    return "\n\n".join(parts) + "\n"


def _document(models: Sequence[ModelResult], shown: Sequence[ModelResult], notes: str, sections: Sections) -> str:
    tables = [f"## {title}\n\n{table(shown).rstrip()}" for title, table in sections.items()]
    return "\n\n".join([_inventory(models, shown), notes, *tables])


def _inventory(models: Sequence[ModelResult], shown: Sequence[ModelResult]) -> str:
    backdoored = [r for r in shown if r.label == "backdoored"]
    failed = sum(not r.kept for r in backdoored)
    unscanned = sum(r.scan("standard", "right") is None for r in shown)
    sentences = [
        f"{len(shown)} models of {len({(r.layout, r.base) for r in shown})} bases: {len(backdoored) - failed}"
        f" backdoored, {len(shown) - len(backdoored)} benign, {failed} left out because their attack does not work."
    ]
    if unscanned:
        sentences.append(
            f"{unscanned} of them have no standard scan with the right reference and are in none of its figures."
        )
    if calibration := len(models) - len(shown):
        sentences.append(f"{calibration} more are the calibration split and are in no table.")
    return " ".join(sentences)
