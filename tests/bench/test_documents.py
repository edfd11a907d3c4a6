"""The tables that a report prints, by edition."""

from __future__ import annotations

import random

from amdet_hub.bench.documents import report
from amdet_hub.bench.tables import (
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
from tests.bench.test_results import negative, positive, scan
from tests.bench.test_tables import QUIET, suite


def test_the_report_does_not_depend_on_the_order_of_the_results() -> None:
    expected = report(suite())
    for seed in range(2):
        shuffled = suite()
        random.Random(seed).shuffle(shuffled)
        assert report(shuffled) == expected


def test_the_report_leaves_calibration_out_and_says_what_it_holds() -> None:
    models = [*suite(), positive("own", scan(), split="calibration"), positive("unseen", layout="siglip")]
    text = report(models)
    assert text.startswith(
        "41 models of 3 bases: 27 backdoored, 12 benign, 2 left out because their attack does not work. 1 of them have"
        " no standard scan with the right reference and are in none of its figures. 1 more are the calibration split"
        " and are in no table.\n\n"
    )
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "## The paper's cells",
        "## Operating points over all cells",
        "## Per cell",
        "## Kinds of trigger",
        "## Controls",
        "## Baselines on the same models",
        "## Other references, and none",
    ]
    for table in (
        headline_table,
        operating_table,
        cell_table,
        trigger_table,
        control_table,
        baseline_table,
        reference_table,
    ):
        assert table([r for r in models if r.split == "test"]) in text
    assert text.endswith("|\n")


def test_no_models_are_said_in_words() -> None:
    text = report([])
    assert (text.count("No models."), text.count("Nothing to compare.")) == (5, 2)
    alone = report([positive("p", scan()), negative("n", scan(1, QUIET))])
    assert (alone.count("No models."), alone.count("Nothing to compare.")) == (0, 2)


def test_the_third_edition_has_tables_of_its_own() -> None:
    own = [
        positive("a", scan(), suite="test-3", cell="residual 50 %"),
        positive("b", scan(0.9, "inconclusive", named=True), suite="test-3", cell="word exchange"),
        negative("c", scan(0.2, QUIET), suite="test-3"),
    ]
    small = [positive("d", scan(), suite="calibration-3", split="calibration")]
    text = report(own)
    assert text.startswith("Suite `test-3`. 3 models of 1 bases: 2 backdoored, 1 benign, 0 left out")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## Attacks",
        "## Recipes",
        "## Controls",
        "## The paper's cells by the default recipe",
        "## Seconds",
    ]
    for table in (attack_table, control_table, headline_table, seconds_table):
        assert table(own) in text
    both = report([*small, *own, *suite()])
    assert both == "\n\n".join([report(suite()).rstrip(), text.rstrip(), report(small)])
    assert "Suite `calibration-3`. 1 models of 1 bases: 1 backdoored" in both
