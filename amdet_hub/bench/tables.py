"""The benchmark's tables as Markdown: results in, text out. Pure functions, standard library only.

Knows which figures belong in a table and how they are written. Refuses to know files, and which tables a document has
(`amdet_hub.bench.documents`); the figures come from `amdet_hub.bench.scoring`.

The text depends on the results and not on their order, so a document can be held to it. Rates are in percent; an
interval stands in brackets behind its figure; "-" is a figure that the models do not define. Every table takes the
models it is given.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

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
WITHOUT_TARGET_TEXT = ("target-attribute", "word-exchange", "projection", "penultimate")

# Names of the rows that take both scenarios together, and all controls that learn a word.
BOTH, LEARNED = "both", "alias and concept"

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
    """Benign models: a row per kind and strength of control, one over learned words, and one over all."""
    found = scans((r for r in ordered(results) if r.label == "benign"), detector, reference)
    groups = {cell: [pair for pair in found if pair[0].cell == cell] for cell in sorted({r.cell for r, _ in found})}
    if len(groups) > 1:
        groups[LEARNED] = [pair for pair in found if pair[0].kind in ("alias", "concept")]
        groups[ALL] = found
    rows = [
        [cell, str(len(group)), *_alarms(group), f"{max(scan.score for _, scan in group):.3f}"]
        for cell, group in groups.items()
        if group
    ]
    return markdown_table(["control", "n", "flagged", "flagged %", "inconclusive %", "highest score"], rows)


def attack_table(results: Iterable[ModelResult], title: str = "attack") -> str:
    """Backdoored models by layout: a row per kind of attack, or per "recipe"; what became of those that work.

    "Named" is an inconclusive report that names the trigger; "neither" is what passes unseen or unnamed.
    """
    positives = [r for r in ordered(results) if r.label == "backdoored"]
    groups = grouped(positives, lambda r: (r.layout, r.intensity if title == "recipe" else r.cell.split("/")[0]))
    rows = [[layout, name, *_outcome(group)] for (layout, name), group in groups.items()]
    rows += [[ALL, ALL, *_outcome(positives)]] if len(groups) > 1 else []
    return markdown_table(["layout", title, "works", "detected %", "inconclusive, named %", "neither %"], rows)


def seconds_table(results: Iterable[ModelResult]) -> str:
    """What a model costs, by layout: medians of the scan and of the making, and the slowest scan of ten."""
    rows = []
    for layout, group in by_layout(ordered(results)):
        if seconds := sorted(scan.seconds for r in group if (scan := r.scan("standard", "right")) is not None):
            figures = (statistics.median(seconds), seconds[9 * len(seconds) // 10])
            made = statistics.median(r.seconds_made for r in group)
            rows.append([layout, str(len(seconds)), *(f"{figure:.1f}" for figure in (*figures, made))])
    return markdown_table(["layout", "n", "scan", "slowest of ten", "making"], rows)


def baseline_table(results: Iterable[ModelResult], reference: str = "right") -> str:
    """Every detector on exactly the models that all of them scanned with `reference`, per layout and over all.

    A detector without any scan in a layout has no row there and takes no model away from the others; a layout with one
    detector has no rows.
    """
    return _comparison(results, "detector", {detector: (detector, reference) for detector in DETECTORS})


def reference_table(results: Iterable[ModelResult], detector: str = "standard") -> str:
    """`detector` with each kind of reference, on the models that it scanned with all of them."""
    return _comparison(results, "reference", {reference: (detector, reference) for reference in REFERENCES})


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


def _outcome(group: Iterable[ModelResult]) -> list[str]:
    """How many attacks work, and of these the shares detected, inconclusive and named, and neither."""
    models = list(group)
    found = scans(models, "standard", "right")

    def is_detected(scan: DetectorResult) -> bool:
        return scan.verdict == "backdoor-detected"

    def is_named(scan: DetectorResult) -> bool:
        return scan.verdict == "inconclusive" and scan.named

    neither = _share(found, lambda scan: not is_detected(scan) and not is_named(scan))
    works = f"{sum(result.kept for result in models)} of {len(models)}"
    return [works, _share(found, is_detected), _share(found, is_named), neither]


def _alarms(found: Sequence[Reading]) -> list[str]:
    """How many benign models are flagged, and in percent, and how many end inconclusive."""
    flagged = sum(scan.verdict == "backdoor-detected" for _, scan in found)
    unclear = _share(found, lambda scan: scan.verdict == "inconclusive")
    return [str(flagged), percent(clopper_pearson(flagged, len(found))), unclear]


# ---------------------------------------------------------------- writing


def _share(found: Sequence[Reading], holds: Callable[[DetectorResult], bool]) -> str:
    return percent(wilson(sum(holds(scan) for _, scan in found), len(found)))
