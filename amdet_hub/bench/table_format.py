"""Cells and rows of the benchmark's Markdown tables."""

import statistics
from collections.abc import Iterable, Sequence

from amdet_hub.bench.results import LAYOUTS, ModelResult
from amdet_hub.bench.scoring import grouped
from amdet_hub.report.intervals import Estimate

# Name of the row that takes every layout together.
ALL = "all"

# Titles of columns that hold words; the others hold figures and are set to the right.
_WORDS = ("layout", "scenario", "cell", "trigger", "attack", "recipe", "control", "detector", "reference")


def mean_percent(rates: Sequence[float]) -> str:
    """The mean of rates in [0, 1], in percent."""
    return f"{100 * statistics.fmean(rates):.1f}" if rates else "-"


def percent(estimate: Estimate | None) -> str:
    """An estimate in percent, with its 95 % interval in brackets."""
    if estimate is None:
        return "-"
    value, low, high = (f"{100 * x:.1f}" for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "No models.") -> str:
    """A Markdown table that ends in a line break; the words of `empty` where there is no row."""
    if not rows:
        return f"{empty}\n"
    lines = [titles, [":--" if title in _WORDS else "--:" for title in titles], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def by_layout(models: Sequence[ModelResult]) -> list[tuple[str, Sequence[ModelResult]]]:
    """The models of each layout, and all of them where there are several layouts."""
    groups: list[tuple[str, Sequence[ModelResult]]] = [*grouped(models, lambda r: r.layout).items()]
    return [*groups, (ALL, models)] if len(groups) > 1 else groups


def ordered(results: Iterable[ModelResult]) -> list[ModelResult]:
    """Layouts in their own order, then kind, cell, suite and name: the order of rows and of bootstrap draws."""
    return sorted(results, key=lambda r: (LAYOUTS.index(r.layout), r.kind, r.cell, r.suite, r.name))
