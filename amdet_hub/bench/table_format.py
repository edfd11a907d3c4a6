"""Cells and rows of the benchmark's Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from amdet_hub.report.intervals import Estimate

_WORDS = ("layout", "scenario", "cell", "trigger", "control", "detector", "reference")
"""Titles of columns that hold words; the others hold figures and are set to the right."""


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
