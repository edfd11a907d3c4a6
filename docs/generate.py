"""Everything in this folder that is made from something else: `python docs/generate.py` writes it anew, and a test holds it to its source.

* `figures/*.svg` and the table in `error-rates.md`: from the committed results of the benchmark,
  `bench/results/test.jsonl`.
* `api.md`: from the docstrings (`generate_api.py`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from amdet_hub.bench.results import DetectorResult, ModelResult, read_results
from amdet_hub.bench.tables import headline_table, operating_table
from amdet_hub.report.intervals import wilson

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "bench" / "results" / "test.jsonl"
TABLE = re.compile(
    r"(<!-- made by docs/generate.py: begin -->\n).*?(<!-- made by docs/generate.py: end -->)", re.DOTALL
)

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


def made() -> dict[str, str]:
    """Every made file of this folder: its path in it, and its text."""
    sys.path.insert(0, str(DOCS))
    try:
        from generate_api import api_page  # type: ignore[import-not-found,unused-ignore]
    finally:
        sys.path.remove(str(DOCS))
    models = scanned()
    rates = (DOCS / "error-rates.md").read_text(encoding="utf-8")
    return {
        "figures/how-it-works.svg": pipeline_figure(),
        "figures/scores.svg": scores_figure(models),
        "figures/found.svg": found_figure(models),
        "error-rates.md": TABLE.sub(lambda found: found[1] + rates_table() + found[2], rates),
        "api.md": api_page(),
    }


Scanned = tuple[ModelResult, DetectorResult]


def scanned() -> list[Scanned]:
    """Every test model that counts (benign, or with an attack that works), with its scan by the standard detector and the right reference."""
    found = []
    for model in read_results(RESULTS).results:
        scan = next((s for s in model.scans if (s.detector, s.reference) == ("standard", "right")), None)
        if scan is not None and model.kept:
            found.append((model, scan))
    return found


def rates_table() -> str:
    """The two tables of BENCHMARKS.md that a reader asks for first, as `amdet-hub bench report` prints them."""
    results = read_results(RESULTS).results
    return (
        f"\nThe paper's kinds of attack:\n\n{headline_table(results).strip()}\n\nEverything that was"
        f" tried:\n\n{operating_table(results).strip()}\n\n"
    )


# ---------------------------------------------------------------- figures


def svg(height: int, title: str, parts: Sequence[str]) -> str:
    """A whole SVG file, light and dark, with a title for those who do not see it."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", _STYLE, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Words at a point; `anchor` is "start", "middle" or "end"."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, kind: str = "line") -> str:
    """A thin line."""
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"{dash}/>'


def scores_figure(models: Sequence[Scanned]) -> str:
    """One dot for every test model: its score, above or below the line that convicts."""
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
        text(place(1), 13, "convicts from here on", kind="small", anchor="middle"),
    ]
    parts += [text(place(s), height - 10, f"{s:g}", kind="small", anchor="middle") for s in (0, 0.5, 1, 1.5)]
    return svg(height, "Scores of every encoder of the test, by layout and truth", parts)


def found_figure(models: Sequence[Scanned]) -> str:
    """How many attacked encoders were found, by kind of trigger, with 95 % intervals; and how many benign ones were accused."""
    groups: dict[str, list[bool]] = {}
    for model, scan in models:
        name = model.trigger_kind if model.label == "backdoored" else "benign encoders, accused"
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
            (
                f'<rect x="{left:.1f}" y="{y - 7:.1f}" width="{width:.1f}" height="14" class="{kind}"'
                ' fill-opacity="0.6"/>'
            ),
            line(low, y, high, y, kind="interval"),
            text(right + 10, y + 5, f"{sum(detected)} of {len(detected)}"),
        ]
    parts += [
        text(left + (right - left) * s, height - 6, f"{s:.0%}", kind="small", anchor="middle") for s in (0, 0.5, 1)
    ]
    return svg(height, "Share of encoders that were called backdoored, by kind of trigger", parts)


def pipeline_figure() -> str:
    """The way from a model id to a verdict."""
    steps = (
        ("Resolve", "one commit; checked config; which encoders", "reference: a clean encoder of the same shape"),
        ("Load", "safetensors only; every tensor checked", "the same weights as the reference: nothing was changed"),
        (
            "Sweep",
            "every token of the vocabulary, in a few prompts",
            "which one makes unlike prompts alike, here and not there?",
        ),
        (
            "Accretion",
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
    """Write what differs."""
    for name, content in files.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            say(f"wrote {name}\n")


if __name__ == "__main__":
    write(made(), sys.stdout.write)
