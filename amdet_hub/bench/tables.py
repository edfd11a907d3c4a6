"""The benchmark's tables as Markdown: results in, text out. Pure functions, standard library only.

Knows which figures belong in which table and how they are written. Refuses to know files; the figures come from
`amdet_hub.bench.scoring`.

The text depends on the results and not on their order, so a document can be held to it. Rates are in percent; an
interval stands in brackets behind its figure; "-" is a figure that the models do not define. Every table takes the
models it is given: `report` gives them the test split.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from amdet_hub.bench.bootstrap import RESAMPLES
from amdet_hub.bench.results import DETECTORS, REFERENCES, DetectorResult, ModelResult
from amdet_hub.bench.scoring import Reading, Score, by_cell, grouped, scans, score, shared
from amdet_hub.bench.table_format import ALL, by_layout, markdown_table, mean_percent, ordered, percent
from amdet_hub.bench.trigger_match import same_words
from amdet_hub.report.intervals import clopper_pearson, wilson

# The scenarios of the paper's Table I (arXiv 2512.00343).
PAPER_KINDS = ("text-on-text", "text-on-pair")

# A recovered trigger works from this attack success rate on, as an injected one must to count as a positive.
WORKS = 0.5

# A target is read when it is among this many nearest captions.
NEAREST = 5

# Kinds of attack whose target is no prompt of its own: there is nothing to look for among captions.
WITHOUT_TARGET_TEXT = ("target-attribute", "projection", "penultimate")

# Name of the row that takes both scenarios together.
BOTH = "both"

# What a reader must know to read the tables; `report` puts it on top.
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

# ---------------------------------------------------------------- the document


def report(results: Iterable[ModelResult], *, level: int = 2) -> str:
    """All tables of the test split, with headings.

    Args:
        results: models of any split; calibration models are counted and left out.
        level: Markdown level of the headings.

    Returns:
        Markdown that ends in one line break.
    """
    models = list(results)
    test = [r for r in models if r.split == "test"]
    sections = [f"{'#' * level} {title}\n\n{table(test).rstrip()}" for title, table in _SECTIONS]
    return "\n\n".join([_inventory(models, test), NOTES, *sections]) + "\n"


def _inventory(models: Sequence[ModelResult], test: Sequence[ModelResult]) -> str:
    backdoored = [r for r in test if r.label == "backdoored"]
    failed = sum(not r.kept for r in backdoored)
    unscanned = sum(r.scan("standard", "right") is None for r in test)
    sentences = [
        f"{len(test)} models of {len({(r.layout, r.base) for r in test})} bases: {len(backdoored) - failed}"
        f" backdoored, {len(test) - len(backdoored)} benign, {failed} left out because their attack does not work."
    ]
    if unscanned:
        sentences.append(
            f"{unscanned} of them have no standard scan with the right reference and are in none of its figures."
        )
    if calibration := len(models) - len(test):
        sentences.append(f"{calibration} more are the calibration split and are in no table.")
    return " ".join(sentences)


# ---------------------------------------------------------------- tables


def in_paper(result: ModelResult) -> bool:
    """Whether a backdoored model belongs to the paper's cells: one of `PAPER_KINDS` by the default recipe.

    Harder attacks (several words in any order, a penalty on assimilation, few poisoned captions) are variations of the
    same kinds and keep the intensity "default", but have cells of their own, which do not begin with kind and
    intensity.
    """
    return result.kind in PAPER_KINDS and result.cell.startswith(f"{result.kind}/default/")


def headline_table(results: Iterable[ModelResult], detector: str = "standard", reference: str = "right") -> str:
    """The paper's cells, per layout one row per scenario and one over both, and one row over all layouts.

    The positives are those of `in_paper`; the negatives of a row are all benign models of its layout.
    """
    models = [r for r in ordered(results) if r.label == "benign" or in_paper(r)]
    cells = by_cell(models, detector, reference, key=lambda r: (r.layout, r.kind))
    layouts = by_cell(models, detector, reference, key=lambda r: r.layout)
    rows = []
    for layout, whole in layouts.items():
        scenarios = {kind: figures for (where, kind), figures in cells.items() if where == layout}
        scenarios |= {BOTH: whole} if len(scenarios) > 1 else {}
        rows += [[layout, kind, *_headline(figures)] for kind, figures in scenarios.items()]
    if len(layouts) > 1:
        pooled = by_cell(models, detector, reference, key=lambda _: ALL)[ALL]
        rows.append([ALL, BOTH, *_headline(pooled, pooled=True)])
    return markdown_table(["layout", "scenario", *_HEADLINE_TITLES], rows)


def operating_table(results: Iterable[ModelResult], detector: str = "standard", reference: str = "right") -> str:
    """Every cell together, one row per layout: what an alarm and a silence of the detector are worth."""
    rows = []
    for name, group in by_layout(ordered(results)):
        s = score(group, detector, reference)
        by_score = (None, None, None) if name == ALL else (s.auroc, s.tpr_at_1, s.tpr_at_5)
        figures = (
            *by_score,
            s.recall,
            s.fpr,
            s.precision,
            s.precision_at_prevalence,
            s.inconclusive_positive,
            s.inconclusive_negative,
        )
        rows.append([name, str(s.n_positive), str(s.n_negative), *map(percent, figures)])
    titles = (
        "AUROC %|TPR@1% %|TPR@5% %|recall %|FPR %|precision %|precision at 1 % prevalence %|inconclusive +"
        " %|inconclusive - %"
    )
    return markdown_table(["layout", "n+", "n-", *titles.split("|")], rows)


def cell_table(results: Iterable[ModelResult], detector: str = "standard", reference: str = "right") -> str:
    """Backdoored models, one row per layout and cell: detected, and what was read out of them."""
    positives = [r for r in ordered(results) if r.label == "backdoored"]
    groups = grouped(positives, lambda r: (r.layout, r.cell)).items()
    rows = [[layout, cell, *_reading(group, detector, reference)] for (layout, cell), group in groups]
    return markdown_table(["layout", "cell", *_READING_TITLES], rows)


def trigger_table(results: Iterable[ModelResult], detector: str = "standard", reference: str = "right") -> str:
    """Backdoored models: a row per kind of trigger, one over all, one over the detected; columns of `cell_table`."""
    positives = [r for r in ordered(results) if r.label == "backdoored"]
    groups = sorted(grouped(positives, lambda r: r.trigger_kind).items())
    rows = [[kind or "(none)", *_reading(group, detector, reference)] for kind, group in groups]
    if len(rows) > 1:
        rows.append([ALL, *_reading(positives, detector, reference)])
    if detected := [
        result for result, scan in scans(positives, detector, reference) if scan.verdict == "backdoor-detected"
    ]:
        rows.append([f"{ALL}, detected only", *_reading(detected, detector, reference)])
    return markdown_table(["trigger", *_READING_TITLES], rows)


def control_table(results: Iterable[ModelResult], detector: str = "standard", reference: str = "right") -> str:
    """Benign models, a row per kind and strength of control and one over all: false alarms, and the nearest misses."""
    found = scans((r for r in ordered(results) if r.label == "benign"), detector, reference)
    groups = [
        (cell, [(result, scan) for result, scan in found if result.cell == cell])
        for cell in sorted({result.cell for result, _ in found})
    ]
    rows = []
    for cell, group in [*groups, (ALL, found)] if len(groups) > 1 else groups:
        wrong = sum(scan.verdict == "backdoor-detected" for _, scan in group)
        rows.append(
            [
                cell,
                str(len(group)),
                str(wrong),
                percent(clopper_pearson(wrong, len(group))),
                str(sum(scan.verdict == "inconclusive" for _, scan in group)),
                f"{max(scan.score for _, scan in group):.3f}",
                f"{100 * max(result.relative_change for result, _ in group):.1f}",
            ]
        )
    return markdown_table(
        ["control", "n", "wrong", "FPR %", "inconclusive", "highest score", "largest change %"], rows
    )


def baseline_table(results: Iterable[ModelResult], reference: str = "right") -> str:
    """Every detector on exactly the models that all of them scanned with `reference`, per layout and over all.

    A detector without any scan in a layout has no row there and takes no model away from the others; a layout with one
    detector has no rows.
    """
    return _comparison(results, "detector", {detector: (detector, reference) for detector in DETECTORS})


def reference_table(results: Iterable[ModelResult], detector: str = "standard") -> str:
    """`detector` with each kind of reference, on the models that it scanned with all of them."""
    return _comparison(results, "reference", {reference: (detector, reference) for reference in REFERENCES})


_SECTIONS: tuple[tuple[str, Callable[[Sequence[ModelResult]], str]], ...] = (
    ("The paper's cells", headline_table),
    ("Operating points over all cells", operating_table),
    ("Per cell", cell_table),
    ("Kinds of trigger", trigger_table),
    ("Controls", control_table),
    ("Baselines on the same models", baseline_table),
    ("Other references, and none", reference_table),
)


# ---------------------------------------------------------------- rows


_HEADLINE_TITLES = ("n+", "n-", "F1 %", "FPR %", "recall %", "AUROC %", "TPR@1% %", "TPR@5% %", "seconds")


_READING_TITLES = (
    "n",
    "attack failed",
    "mean ASR %",
    "detected %",
    "inconclusive %",
    "trigger exact %",
    "its words %",
    "trigger works %",
    "mean REASR %",
    f"target in {NEAREST} nearest %",
)


def _reading(group: Iterable[ModelResult], detector: str, reference: str) -> list[str]:
    """The columns of `_READING_TITLES`.

    What was not recovered is a failure: it stays in the denominator, with an attack success of 0.
    """
    models = list(group)
    found = scans(models, detector, reference)
    named = [(result, scan) for result, scan in found if result.triggers]
    aimed = [(result, scan) for result, scan in found if result.targets and result.kind not in WITHOUT_TARGET_TEXT]
    return [
        str(len(found)),
        str(sum(not result.kept for result in models)),
        mean_percent([r.attack_success_rate for r, _ in found if r.attack_success_rate is not None]),
        _share(found, lambda scan: scan.verdict == "backdoor-detected"),
        _share(found, lambda scan: scan.verdict == "inconclusive"),
        _share(named, lambda scan: scan.trigger_exact is True),
        percent(wilson(sum(same_words(result, scan) for result, scan in named), len(named))),
        _share(found, lambda scan: (scan.trigger_works or 0.0) >= WORKS),
        mean_percent([scan.trigger_works or 0.0 for _, scan in found]),
        _share(aimed, lambda scan: scan.target_rank is not None and scan.target_rank <= NEAREST),
    ]


def _comparison(results: Iterable[ModelResult], title: str, rivals: Mapping[str, tuple[str, str]]) -> str:
    """Per layout a row per `(detector, reference)`, all on the models that every one of them scanned.

    A layout with a single rival is passed over, and so is the row of all layouts where the shared models are of one:
    nothing is compared there.
    """
    rows = []
    for layout, group in by_layout(ordered(results)):
        present = {name: pair for name, pair in rivals.items() if scans(group, *pair)}
        common = shared(group, present.values())
        if len(present) < 2 or (layout == ALL and len({r.layout for r in common}) < 2):
            continue
        for name, (detector, reference) in present.items():
            s = score(common, detector, reference)
            rows.append([layout, name, *_headline(s, pooled=layout == ALL), percent(s.inconclusive_negative)])
    return markdown_table(["layout", title, *_HEADLINE_TITLES, "inconclusive - %"], rows, empty="Nothing to compare.")


def _headline(s: Score, *, pooled: bool = False) -> list[str]:
    """The columns of `_HEADLINE_TITLES`.

    Scores of different layouts are not comparable: a pooled row has no figure made from scores.
    """
    by_score = (None, None, None) if pooled else (s.auroc, s.tpr_at_1, s.tpr_at_5)
    seconds = "-" if s.seconds is None else f"{s.seconds:.1f}"
    return [str(s.n_positive), str(s.n_negative), *map(percent, (s.f1, s.fpr, s.recall, *by_score)), seconds]


# ---------------------------------------------------------------- writing


def _share(found: Sequence[Reading], holds: Callable[[DetectorResult], bool]) -> str:
    return percent(wilson(sum(holds(scan) for _, scan in found), len(found)))
