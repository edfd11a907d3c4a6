from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from amdet_hub.bench.results import LAYOUTS, ModelResult
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
from amdet_hub.report.intervals import Estimate, clopper_pearson, wilson
from tests.bench.test_results import negative, positive, scan

QUIET = "no-backdoor-found"


def read(table: str) -> list[dict[str, str]]:
    """The rows of a Markdown table as a renderer sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    cells = [token.content for i, token in enumerate(tokens) if tokens[i - 1].type in ("th_open", "td_open")]
    n = sum(token.type == "th_open" for token in tokens)
    assert n > 0
    return [dict(zip(cells[:n], cells[i : i + n], strict=True)) for i in range(n, len(cells), n)]


def bracketed(estimate: Estimate | None) -> str:
    assert estimate is not None
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def suite() -> list[ModelResult]:
    """Two layouts; on each two scenarios, a further attack, a conservative, a failed one, two kinds of controls."""
    models: list[ModelResult] = []
    for layout in LAYOUTS[:2]:
        for i, kind in enumerate(("text-on-text", "text-on-pair", "eos-only")):
            for seed in range(4):
                verdict = QUIET if kind == "eos-only" and seed else "backdoor-detected"
                own = scan(6.0 + seed + i, verdict, seconds=10.0 + seed)
                own_none = scan(5.0 + seed, QUIET, reference="none")
                paper = scan(0.5 + seed / 10, QUIET if seed < 2 else "backdoor-detected", detector="paper")
                scans = (own, own_none, paper) if seed < 3 else (own,)
                cell = f"{kind}/default/word"
                models.append(
                    positive(
                        f"{layout}-{kind}-{seed}",
                        *scans,
                        layout=layout,
                        kind=kind,
                        cell=cell,
                        trigger_kind="rare word",
                    )
                )
        faint = {"layout": layout, "intensity": "conservative", "cell": "text-on-text/conservative/homoglyph"}
        models.append(positive(f"{layout}-faint", scan(4.0, "inconclusive"), **faint))
        models.append(positive(f"{layout}-failed", scan(3.0, QUIET), kept=False, **faint))
        for seed in range(6):
            kind = "alias" if seed < 2 else "finetune"
            own_verdict = (
                "backdoor-detected" if (layout, seed) == ("clip", 0) else "inconclusive" if seed == 1 else QUIET
            )
            scans = (scan(5.5 - seed, own_verdict), scan(2.0, QUIET, reference="none"), scan(0.6, detector="paper"))
            models.append(negative(f"{layout}-n{seed}", *scans, kind=kind, layout=layout, relative_change=seed / 100))
    return models


def test_headline_holds_the_papers_cells_only() -> None:
    rows = read(headline_table(suite()))
    assert [(r["layout"], r["scenario"], r["n+"], r["n-"]) for r in rows] == [
        ("clip", "text-on-pair", "4", "6"),
        ("clip", "text-on-text", "4", "6"),
        ("clip", "both", "8", "6"),
        ("clip-248", "text-on-pair", "4", "6"),
        ("clip-248", "text-on-text", "4", "6"),
        ("clip-248", "both", "8", "6"),
        ("all", "both", "16", "12"),
    ]
    first, last = rows[0], rows[-1]
    assert first["FPR %"] == bracketed(clopper_pearson(1, 6))
    assert first["recall %"] == bracketed(wilson(4, 4))
    assert first["F1 %"].startswith("88.9 [")  # 2 * 4 / (2 * 4 + 1)
    assert first["AUROC %"] == "100.0 [100.0, 100.0]"
    assert first["seconds"] == "2.0"  # of 10, 11, 12, 13 and six times 2
    assert (last["AUROC %"], last["TPR@1% %"], last["TPR@5% %"]) == ("-", "-", "-")
    assert last["FPR %"] == bracketed(clopper_pearson(1, 12))


def test_a_headline_over_one_layout_keeps_the_figures_made_from_scores() -> None:
    rows = read(headline_table([r for r in suite() if r.layout == "clip"]))
    assert [(r["layout"], r["scenario"], r["n+"]) for r in rows] == [
        ("clip", "text-on-pair", "4"),
        ("clip", "text-on-text", "4"),
        ("clip", "both", "8"),
    ]
    assert rows[-1]["AUROC %"] == "100.0 [100.0, 100.0]"
    assert rows[-1]["F1 %"].startswith("94.1 [")  # 2 * 8 / (2 * 8 + 1)


def test_a_harder_variation_of_the_papers_kinds_is_none_of_its_cells() -> None:
    hard = positive("hard", scan(1.0, QUIET), cell="and-trigger")
    assert (hard.kind, hard.intensity) == ("text-on-text", "default")
    assert headline_table([*suite(), hard]) == headline_table(suite())
    assert headline_table([hard, negative("n", scan(1.0, QUIET))]) == "No models.\n"
    assert "| clip | and-trigger | 1 |" in cell_table([hard])


def test_the_headline_line_by_line() -> None:
    models = [
        positive("p", scan(1.4, seconds=4.0)),
        positive("q", scan(0.5, QUIET, seconds=6.0), layout="siglip"),
        positive("r", scan(1.4), kept=False),
        negative("n", scan(0.2, QUIET, seconds=5.0)),
        negative("o", scan(1.4), layout="clip-248"),
    ]
    assert headline_table(models).splitlines() == [
        "| layout | scenario | n+ | n- | F1 % | FPR % | recall % | AUROC % | TPR@1% % | TPR@5% % | seconds |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
        (
            "| clip | text-on-text | 1 | 1 | 100.0 [100.0, 100.0] | 0.0 [0.0, 97.5] | 100.0 [20.7, 100.0] | 100.0"
            " [100.0, 100.0] | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | 4.5 |"
        ),
        "| siglip | text-on-text | 1 | 0 | - | - | 0.0 [0.0, 79.3] | - | - | - | 6.0 |",
        "| all | both | 2 | 1 | 66.7 [0.0, 100.0] | 0.0 [0.0, 97.5] | 50.0 [9.5, 90.5] | - | - | - | 5.0 |",
    ]


def test_operating_table_takes_every_cell() -> None:
    rows = read(operating_table(suite()))
    assert [(r["layout"], r["n+"], r["n-"]) for r in rows] == [
        ("clip", "13", "6"),
        ("clip-248", "13", "6"),
        ("all", "26", "12"),
    ]
    assert rows[0]["recall %"] == bracketed(wilson(9, 13))
    assert rows[0]["precision %"] == bracketed(wilson(9, 10))
    assert rows[0]["precision at 1 % prevalence %"].startswith(
        f"{100 * 0.01 * 9 / 13 / (0.01 * 9 / 13 + 0.99 / 6):.1f} ["
    )
    assert rows[0]["inconclusive + %"] == bracketed(wilson(1, 13))
    assert rows[0]["inconclusive - %"] == bracketed(wilson(1, 6))
    assert rows[0]["TPR@1% %"].startswith(f"{1200 / 13:.1f} [")  # all but the faint one lie above 5.5
    assert rows[0]["AUROC %"].startswith(
        f"{100 * (12 * 6 + 4) / (13 * 6):.1f} ["
    )  # the faint one loses to 5.5 and 4.5
    assert (rows[2]["AUROC %"], rows[2]["TPR@5% %"]) == ("-", "-")


def test_cells_count_what_was_not_recovered_as_a_failure() -> None:
    models = [
        positive("a", scan(trigger_exact=True, trigger_works=1.0, target_rank=1), attack_success_rate=0.8),
        positive("b", scan(trigger_exact=False, trigger_works=0.5, target_rank=5), attack_success_rate=1.0),
        positive("c", scan(trigger_works=0.1, target_rank=6)),
        positive("d", scan(verdict="inconclusive")),
        positive("e", kept=False, attack_success_rate=0.1),
        positive("f", scan(), cell="template", triggers=(), targets=(), attack_success_rate=None),
    ]
    second, first = read(cell_table(models))  # in the order of the alphabet
    assert first == {
        "layout": "clip",
        "cell": "text-on-text/default/homoglyph",
        "n": "4",
        "attack failed": "1",
        "mean ASR %": "90.0",
        "detected %": bracketed(wilson(3, 4)),
        "inconclusive %": bracketed(wilson(1, 4)),
        "trigger exact %": bracketed(wilson(1, 4)),
        "its words %": bracketed(wilson(1, 4)),
        "trigger works %": bracketed(wilson(2, 4)),
        "mean REASR %": "40.0",
        "target in 5 nearest %": bracketed(wilson(2, 4)),
    }
    assert (second["cell"], second["n"], second["mean ASR %"], second["trigger exact %"]) == (
        "template",
        "1",
        "-",
        "-",
    )
    assert (second["mean REASR %"], second["target in 5 nearest %"]) == ("0.0", "-")


def test_an_attack_without_a_target_text_is_not_asked_for_one() -> None:
    missed = positive("m", scan(0.5, QUIET), kind="target-attribute", cell="target-attribute")
    own = positive("o", scan(trigger_exact=True, trigger_works=1.0), kind="target-attribute", cell="target-attribute")
    (row,) = read(cell_table([missed, own]))
    assert (row["n"], row["trigger exact %"], row["target in 5 nearest %"]) == ("2", bracketed(wilson(1, 2)), "-")


@pytest.mark.parametrize(
    ("found", "injected", "counts"),
    [
        ("kettle silver", ("silver kettle",), True),
        ("Row your boat row", ("row row row your boat",), True),
        ("kettle", ("silver kettle",), False),
        ("kettle silver bird", ("silver kettle",), False),
        ("silverkettle", ("silver kettle",), False),
        ("pxq", ("zzzz", "pxq"), True),
        ("is there no {}", ("there is no {}",), True),
        (None, ("",), False),
    ],
)
def test_its_words_in_any_order(found: str | None, injected: tuple[str, ...], counts: bool) -> None:
    (row,) = read(
        cell_table(
            [positive("a", scan(trigger_text=found, trigger_exact=False, trigger_works=1.0), triggers=injected)]
        )
    )
    assert (row["trigger exact %"], row["its words %"]) == (bracketed(wilson(0, 1)), bracketed(wilson(int(counts), 1)))


def test_trigger_kinds_and_all_of_them() -> None:
    rows = read(trigger_table(suite()))
    assert [(r["trigger"], r["n"], r["attack failed"]) for r in rows] == [
        ("homoglyph", "2", "2"),
        ("rare word", "24", "0"),
        ("all", "26", "2"),
        ("all, detected only", "18", "0"),
    ]
    assert (rows[-1]["detected %"], rows[-2]["detected %"]) == (bracketed(wilson(18, 18)), bracketed(wilson(18, 26)))
    assert rows[0]["inconclusive %"] == bracketed(wilson(2, 2))


def test_controls_name_the_wrong_ones_and_the_nearest() -> None:
    rows = read(control_table(suite()))
    assert [(r["control"], r["n"], r["flagged"], r["highest score"]) for r in rows] == [
        ("alias", "4", "1", "5.500"),
        ("finetune", "8", "0", "3.500"),
        ("alias and concept", "4", "1", "5.500"),
        ("all", "12", "1", "5.500"),
    ]
    assert rows[1]["flagged %"] == bracketed(clopper_pearson(0, 8))
    assert rows[0]["inconclusive %"] == bracketed(wilson(2, 4))
    strong = negative("strong", scan(1.0, QUIET), kind="alias", cell="alias heavy")
    assert [r["control"] for r in read(control_table([*suite(), strong]))] == [
        "alias",
        "alias heavy",
        "finetune",
        "alias and concept",
        "all",
    ]
    assert read(control_table([strong]))[0]["control"] == "alias heavy"


def test_attacks_that_work_are_detected_named_or_neither() -> None:
    models = [
        positive("a", scan(), cell="one place, start"),
        positive("b", scan(0.9, "inconclusive", named=True), cell="one place, start", intensity="aggressive"),
        positive("c", scan(0.9, "inconclusive"), cell="one place, start"),
        positive("d", scan(0.3, QUIET, named=True), cell="one place, start"),
        positive("e", scan(0.1, QUIET), cell="one place, start", kept=False),
        positive("f", scan(), layout="siglip"),
    ]
    first, second, last = read(attack_table(models))
    assert first == {
        "layout": "clip",
        "attack": "one place, start",
        "works": "4 of 5",
        "detected %": bracketed(wilson(1, 4)),
        "inconclusive, named %": bracketed(wilson(1, 4)),
        "neither %": bracketed(wilson(2, 4)),
    }
    assert (second["layout"], second["attack"], second["works"]) == ("siglip", "text-on-text", "1 of 1")
    assert (last["layout"], last["works"], last["detected %"]) == ("all", "5 of 6", bracketed(wilson(2, 5)))
    recipes = [(r["layout"], r["recipe"], r["works"]) for r in read(attack_table(models, "recipe"))]
    assert recipes == [
        ("clip", "default", "3 of 4"),
        ("clip", "aggressive", "1 of 1"),
        ("siglip", "default", "1 of 1"),
        ("all", "all", "5 of 6"),
    ]
    (failed,) = read(attack_table(models[4:5]))
    assert (failed["works"], failed["detected %"], failed["neither %"]) == ("0 of 1", "-", "-")


def test_seconds_are_of_the_scan_and_of_the_making() -> None:
    models = [positive(f"m{i}", scan(seconds=float(i)), seconds_made=10.0 * i) for i in range(1, 12)]
    models.append(positive("n", scan(seconds=40.0), layout="siglip"))
    rows = [tuple(row.values()) for row in read(seconds_table(models))]
    assert rows == [
        ("clip", "11", "6.0", "10.0", "60.0"),
        ("siglip", "1", "40.0", "40.0", "60.0"),
        ("all", "12", "6.5", "11.0", "60.0"),
    ]


def test_baselines_stand_on_the_models_that_all_of_them_scanned() -> None:
    rows = read(baseline_table(suite()))
    assert [(r["layout"], r["detector"], r["n+"], r["n-"]) for r in rows] == [
        (layout, detector, n_positive, n_negative)
        for layout, n_positive, n_negative in (("clip", "9", "6"), ("clip-248", "9", "6"), ("all", "18", "12"))
        for detector in ("standard", "paper")  # the third scanned nothing
    ]
    assert rows[1]["recall %"] == bracketed(wilson(3, 9))
    assert rows[1]["FPR %"] == bracketed(clopper_pearson(6, 6))
    assert rows[0]["recall %"] == bracketed(wilson(7, 9))


def test_a_detector_without_verdicts_is_measured_by_its_scores_alone() -> None:
    norm = {"detector": "weight-norm", "verdict": QUIET}
    models = [
        positive("p", scan(), scan(0.2, **norm)),
        negative("n", scan(1, QUIET), scan(0.3, **norm)),
        negative("o", scan(1, QUIET)),
    ]
    own, other = read(baseline_table(models))
    assert (own["detector"], own["n-"], own["FPR %"]) == ("standard", "1", bracketed(clopper_pearson(0, 1)))
    assert [other[title] for title in ("detector", "F1 %", "FPR %", "recall %", "inconclusive - %")] == [
        "weight-norm",
        "-",
        "-",
        "-",
        "-",
    ]
    assert (other["AUROC %"], other["TPR@1% %"]) == ("0.0 [0.0, 0.0]", "0.0 [0.0, 0.0]")


def test_a_detector_that_never_saw_a_layout_takes_no_model_of_it_away() -> None:
    models = [r for r in suite() if r.layout == "clip"] + [
        positive("s", scan(), layout="siglip"),
        negative("t", scan(1, QUIET), layout="siglip"),
    ]
    rows = [(r["layout"], r["detector"], r["n+"], r["n-"]) for r in read(baseline_table(models))]
    assert rows == [
        ("clip", "standard", "9", "6"),
        ("clip", "paper", "9", "6"),
    ]  # nothing is compared on siglip, nor over all
    norm = scan(0.2, QUIET, detector="weight-norm")
    models += [positive("u", scan(), norm, layout="siglip"), negative("v", scan(1, QUIET), norm, layout="siglip")]
    rows = [(r["layout"], r["detector"], r["n+"], r["n-"]) for r in read(baseline_table(models))]
    assert rows[2:] == [("siglip", "standard", "1", "1"), ("siglip", "weight-norm", "1", "1")]


def test_references_stand_on_the_models_scanned_with_all_of_them() -> None:
    rows = [r for r in read(reference_table(suite())) if r["layout"] == "all"]
    assert [(r["reference"], r["n+"], r["recall %"]) for r in rows] == [
        ("right", "18", bracketed(wilson(14, 18))),
        ("none", "18", bracketed(wilson(0, 18))),
    ]


def test_a_bar_in_a_name_stays_in_its_cell() -> None:
    assert read(cell_table([positive("a", scan(), cell="x|y")]))[0]["cell"] == "x|y"
