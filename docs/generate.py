"""Writes every generated file of the documentation anew: `python docs/generate.py`. A test holds each to its source.

* Figures, tables and `bench/results/*.md`: from the committed results of the benchmark.
* `reference/api.md`: from the docstrings (`generate_api.py`).
* `reference/cli.md`: from `--help` of every verb (`generate_cli.py`).
* `reference/reasons.md`, `reference/errors.md`: from the tables of codes and errors.
* `reference/report.md`: from the JSON Schema of the report (`generate_schema.py`).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import ModuleType

from amdet_hub.bench.documents import report
from amdet_hub.bench.results import DetectorResult, ModelResult, read_results
from amdet_hub.bench.tables import headline_table, operating_table
from amdet_hub.bench.zoo_third import EDITIONS
from amdet_hub.families import CALIBRATIONS, Calibration
from amdet_hub.report.intervals import clopper_pearson, wilson

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"

WIDTH, ROW = 720, 26
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.line { stroke: #818b98; stroke-width: 1 } .interval { stroke: #1f2328; stroke-width: 1.5 }
.good { fill: #0969da; stroke: #0969da } .bad { fill: #bc4c00; stroke: #bc4c00 }
.box { fill: #f6f8fa; stroke: #818b98 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .interval { stroke: #f0f6fc } .small { fill: #9198a1 } .box { fill: #151b23 }
.good { fill: #4493f8; stroke: #4493f8 } .bad { fill: #f0883e; stroke: #f0883e } }
</style>"""


def generated() -> dict[str, str]:
    """Return the text of every generated file by its path in the repository."""
    models = scanned()
    return {
        "docs/figures/how-it-works.svg": pipeline_figure(),
        "docs/figures/scores.svg": scores_figure(models),
        "docs/figures/found.svg": found_figure(models),
        "README.md": with_block("README.md", "accuracy", accuracy_table(models)),
        "BENCHMARKS.md": with_block("BENCHMARKS.md", "answers", sibling("generate_answers").answers()),
        "docs/explanation/error-rates.md": with_block("docs/explanation/error-rates.md", "rates", rates_tables()),
        "docs/reference/api.md": sibling("generate_api").api_page(),
        "docs/reference/reasons.md": sibling("generate_reasons").reasons_page(),
        "docs/reference/errors.md": sibling("generate_errors").errors_page(),
        "docs/reference/cli.md": sibling("generate_cli").cli_page(),
        "docs/reference/report.md": with_block(
            "docs/reference/report.md", "schema", sibling("generate_schema").schema_tables()
        ),
        **{f"bench/results/{suite}.md": suite_page(suite) for suite in reported_suites()},
        "bench/results/calibration.md": calibration_page(),
    }


def sibling(name: str) -> ModuleType:
    """Import another script of this folder."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def with_block(path: str, name: str, content: str) -> str:
    """Return the file with its block `name` replaced: what stands between its two comment markers."""
    text = (ROOT / path).read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    replaced, count = block.subn(lambda found: f"{found[1]}{content}{found[2]}", text)
    if count != 1:
        raise ValueError(f"{path} holds {count} blocks '{name}'")
    return replaced


# ---------------------------------------------------------------- tables

Scanned = tuple[ModelResult, DetectorResult]


def scanned() -> list[Scanned]:
    """Return every test model that counts, with its scan by the standard detector and the right reference.

    Benign models count, and attacked ones whose attack works.
    """
    found = []
    for model in read_results(RESULTS / "test.jsonl").results:
        scan = next((s for s in model.scans if (s.detector, s.reference) == ("standard", "right")), None)
        if scan is not None and model.kept:
            found.append((model, scan))
    return found


def accuracy_table(models: Sequence[Scanned]) -> str:
    """Return the README's table: attacks found and false alarms by layout."""
    names = {"clip": "CLIP, 77 positions", "clip-248": "CLIP, 248 positions", "siglip": "SigLIP", "": "all"}
    lines = ["| Encoders of the test | Attacks found | Benign fine-tunes flagged |", "|---|---|---|"]
    for layout, name in names.items():
        rows = [
            pair for pair in models if pair[0].layout.startswith(layout) and (not layout or pair[0].layout == layout)
        ]
        attacked = [scan.verdict == "backdoor-detected" for model, scan in rows if model.label == "backdoored"]
        benign = [scan.verdict == "backdoor-detected" for model, scan in rows if model.label == "benign"]
        recall, alarms = wilson(sum(attacked), len(attacked)), clopper_pearson(sum(benign), len(benign))
        if recall is None or alarms is None:
            continue
        lines.append(
            f"| {name} | {sum(attacked)} of {len(attacked)} (95 % interval {recall.low:.1%} to {recall.high:.1%}) "
            f"| {sum(benign)} of {len(benign)} (95 % interval {alarms.low:.1%} to {alarms.high:.1%}) |"
        )
    command = "`amdet-hub bench report bench/results/test.jsonl`"
    return "\n".join(lines) + f"\n\nCounted by {command}; preset `quick`, compared with the right reference.\n"


def rates_tables() -> str:
    """Return the two tables of the benchmark that a reader asks for first."""
    results = read_results(RESULTS / "test.jsonl").results
    first, second = headline_table(results).strip(), operating_table(results).strip()
    return f"\nThe paper's kinds of attack:\n\n{first}\n\nEverything that was tried:\n\n{second}\n\n"


def reported_suites() -> list[str]:
    """Return the suites with a page of tables: those whose results are here."""
    return [suite for suite in ("test", "names", *EDITIONS) if (RESULTS / f"{suite}.jsonl").is_file()]


def suite_page(suite: str) -> str:
    """Return the page of a suite: what `amdet-hub bench report` prints of its results."""
    command = f"amdet-hub bench report bench/results/{suite}.jsonl"
    printed = report(read_results(RESULTS / f"{suite}.jsonl").results)
    return f"# Results of the suite `{suite}`\n\nPrinted by `{command}`; a test holds this page to it.\n\n{printed}"


def calibration_page() -> str:
    """Return the page of the thresholds in use, with the models that they were chosen on."""
    lines = [
        "# Thresholds and their calibration",
        "",
        "The rows of `CALIBRATIONS` in `amdet_hub/families.py`; a test holds this page to them.",
        "`amdet-hub bench calibrate bench/results/calibration*.jsonl --check` computes them again from the results.",
        "Of the first suite the scans without a reference count; its others measured the collapse otherwise.",
        "",
        "| family | reference | read-out | standing | success | collapse | backdoored (missed) | benign (wrong) "
        "| highest benign score | lowest backdoored score |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_calibration_row(row) for row in CALIBRATIONS]
    return "\n".join(lines) + "\n"


def _calibration_row(row: Calibration) -> str:
    limits = row.thresholds
    cells = (
        row.family,
        "with" if row.with_reference else "without",
        "any one place" if row.read_out == "start" else row.read_out,
        limits.sweep_score,
        limits.trigger_success,
        limits.trigger_collapse,
        f"{row.n_backdoored} ({row.n_missed})",
        f"{row.n_benign} ({row.n_wrong})",
        row.highest_benign,
        row.lowest_backdoored,
    )
    return f"| {' | '.join(map(str, cells))} |"


# ---------------------------------------------------------------- figures


def svg(height: int, title: str, parts: Sequence[str]) -> str:
    """Return a whole SVG file, for light and dark pages, with a title for readers who do not see it."""
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", _STYLE, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Return words at a point; `anchor` is "start", "middle" or "end"."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, kind: str = "line") -> str:
    """Return a thin line."""
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"{dash}/>'


def scores_figure(models: Sequence[Scanned]) -> str:
    """Draw one dot for every test model: its score, and the line from which on it is detected."""
    left, right, most = 190.0, WIDTH - 30.0, 1.5
    rows = sorted({(model.layout, model.label) for model, _ in models})
    height = 60 + 44 * len(rows)

    def place(score: float) -> float:
        return left + (right - left) * min(max(score, 0.0), most) / most

    parts = []
    for number, (layout, label) in enumerate(rows):
        y = 40.0 + 44 * number
        group = sorted(
            (scan.score, model.name) for model, scan in models if (model.layout, model.label) == (layout, label)
        )
        parts += [text(10, y + 5, f"{layout}, {label} ({len(group)})"), line(left, y + 18, right, y + 18)]
        for place_in_group, (score, _) in enumerate(group):
            offset = (place_in_group * 7) % 25 - 12  # spread, the same at every run
            kind = "bad" if label == "backdoored" else "good"
            parts.append(
                f'<circle cx="{place(score):.1f}" cy="{y + offset:.1f}" r="3" class="{kind}" fill-opacity="0.6"/>'
            )
    parts += [
        line(place(1), 18, place(1), height - 30, dashed=True),
        text(place(1), 13, "detected from here on", kind="small", anchor="middle"),
    ]
    parts += [text(place(s), height - 10, f"{s:g}", kind="small", anchor="middle") for s in (0, 0.5, 1, 1.5)]
    return svg(height, "Scores of every encoder of the test, by layout and truth", parts)


def found_figure(models: Sequence[Scanned]) -> str:
    """Draw how many attacked encoders were found, by kind of trigger, and how many benign ones were flagged.

    The thin lines are 95 % intervals.
    """
    groups: dict[str, list[bool]] = {}
    for model, scan in models:
        name = model.trigger_kind if model.label == "backdoored" else "benign encoders, flagged"
        groups.setdefault(name, []).append(scan.verdict == "backdoor-detected")
    rows = sorted(groups.items(), key=lambda item: (item[0].startswith("benign"), -len(item[1]), item[0]))
    left, right, height = 250.0, WIDTH - 90.0, 40 + ROW * len(rows)
    parts = []
    for number, (name, detected) in enumerate(rows):
        y, rate = 20.0 + ROW * number, wilson(sum(detected), len(detected))
        if rate is None:
            continue
        kind = "good" if name.startswith("benign") else "bad"
        width = (right - left) * rate.value
        low, high = (left + (right - left) * end for end in (rate.low, rate.high))
        parts += [
            text(10, y + 5, name),
            f'<rect x="{left:.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" class="{kind}"'
            ' fill-opacity="0.6"/>',
            line(low, y, high, y, kind="interval"),
            text(right + 10, y + 5, f"{sum(detected)} of {len(detected)}"),
        ]
    parts += [
        text(left + (right - left) * s, height - 6, f"{s:.0%}", kind="small", anchor="middle") for s in (0, 0.5, 1)
    ]
    return svg(height, "Share of encoders that were called backdoored, by kind of trigger", parts)


def pipeline_figure() -> str:
    """Draw the way from a model id to a verdict."""
    steps = (
        ("Resolve", "one commit; checked config; which encoders", "reference: a clean encoder of the same shape"),
        ("Load", "safetensors only; every tensor checked", "the same weights as the reference: nothing was changed"),
        (
            "Sweep",
            "every token of the vocabulary, in a few prompts",
            "which one makes unlike prompts alike, here and not there?",
        ),
        (
            "Beam search",
            "the best tokens grow into longer triggers",
            "gradients and changed embeddings point to further ones",
        ),
        (
            "Confirmation",
            "on prompts the search never saw",
            "takes over, at every place; beyond chance; what prompts say is gone",
        ),
        ("Verdict", "one short function from evidence to verdict", "backdoor detected, inconclusive, or none found"),
    )
    parts = []
    for number, (name, first, second) in enumerate(steps):
        y = 10 + 68 * number
        parts += [
            f'<rect x="10" y="{y}" width="{WIDTH - 20}" height="52" rx="6" class="box"/>',
            text(26, y + 31, f"{number + 1}. {name}"),
            text(170, y + 22, first),
            text(170, y + 41, second, kind="small"),
        ]
        if number:
            parts.append(line(90, y - 16, 90, y))
    return svg(10 + 68 * len(steps), "From a model id to a verdict in six steps", parts)


def write(files: Mapping[str, str], say: Callable[[str], object]) -> None:
    """Write every file whose content differs, and name it."""
    for name, content in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            say(f"wrote {name}\n")


if __name__ == "__main__":
    write(generated(), sys.stdout.write)
