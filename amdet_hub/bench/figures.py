"""The benchmark's two figures as PNG: ROC curves, and the scores of every cell beside their threshold.

Knows how results are drawn. Refuses to know how figures are computed (`amdet_hub.bench.scoring`). matplotlib is
imported when a figure is drawn, so everything else works without it. No global state of matplotlib is used or changed,
and a user's own style does not show.

The files hold no date and no software name: the same results, matplotlib and fonts give the same bytes.

Source of the colours: Okabe and Ito 2008, "Color Universal Design", told apart with every common form of colour
blindness. Nothing is told by colour alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amdet_hub.bench.curves import auroc, roc_points
from amdet_hub.bench.results import DETECTORS, LAYOUTS, SCORE_THRESHOLD, ModelResult
from amdet_hub.bench.scoring import Reading, scans, shared
from amdet_hub.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"

# Sharp on a high-density screen, and still a small file.
DOTS_PER_INCH = 150

# How the curve of each detector and of each layout is drawn.
STYLES: Mapping[str, Mapping[str, Any]] = {
    "standard": {"color": BLUE, "linestyle": "-"},
    "paper": {"color": ORANGE, "linestyle": "--"},
    "weight-norm": {"color": GREEN, "linestyle": ":"},
    "clip": {"color": BLUE, "linestyle": "-"},
    "clip-248": {"color": ORANGE, "linestyle": "--"},
    "siglip": {"color": GREEN, "linestyle": ":"},
}

# Label, colour and marker of a model.
LABEL_STYLES = (("backdoored", ORANGE, "D"), ("benign", BLUE, "o"))

_FPR_TICKS = (0.0, 0.01, 0.05, 0.1, 0.3, 1.0)

_SLANT_STEPS = 100  # a slanted piece may span the whole axis


def roc_figure(
    results: Sequence[ModelResult], path: Path, *, detector: str = "standard", reference: str = "right"
) -> None:
    """Draw ROC curves: a panel of detectors on the models all of them scanned, a panel of `detector` per layout.

    The detectors stand side by side in the one layout that most of those models have, for scores of different layouts
    are not comparable. The FPR axis is linear up to 1 % and logarithmic above, because the low end is where a scan of
    many models lives.

    Args:
        results: the models, of one split.
        path: PNG file; its folder is made when missing.
        detector: of the second panel.
        reference: of both panels.

    Raises:
        ConfigError: matplotlib is missing, or no layout has both labels.
    """
    layouts = _curves({layout: scans(_of_layout(results, layout), detector, reference) for layout in LAYOUTS})
    if not layouts:
        raise ConfigError("results", f"no layout has backdoored and benign models that '{detector}' scanned")
    title, rivals = _rivals(results, reference)
    panels = [("Detectors", title, rivals)] if len(rivals) > 1 else []
    panels.append((f"Detector '{detector}'", "by layout", layouts))
    with _canvas(path, 4.6 * len(panels), 4.6) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (heading, detail, curves) in zip(axes, panels, strict=True):
            axis.set_title(f"{heading}, {detail}", fontsize=10, loc="left")
            _draw_curves(axis, curves)


def distribution_figure(
    results: Sequence[ModelResult], path: Path, *, detector: str = "standard", reference: str = "right"
) -> None:
    """Draw every score: one row per cell of backdoored models and of controls, one panel per layout.

    A dot is one model; a hollow dot is one that was not detected. The line is the threshold of the score,
    `SCORE_THRESHOLD` of the scans' own thresholds, drawn where they have it.

    Args:
        results: the models, of one split.
        path: PNG file; its folder is made when missing.
        detector: whose scores.
        reference: with which reference.

    Raises:
        ConfigError: matplotlib is missing, or there is no scan to draw.
    """
    found = scans(results, detector, reference)
    if not found:
        raise ConfigError("results", f"'{detector}' scanned no model with the reference '{reference}'")
    layouts = [layout for layout in LAYOUTS if any(result.layout == layout for result, _ in found)]
    rows = sorted({(result.label, result.cell) for result, _ in found})
    width = 1.2 + 0.075 * max(len(name) for _, name in rows) + 3.4 * len(layouts)
    with _canvas(path, width, 1.3 + 0.26 * len(rows)) as figure:
        axes = figure.subplots(1, len(layouts), squeeze=False, sharex=True, sharey=True)[0]
        for axis, layout in zip(axes, layouts, strict=True):
            _draw_rows(axis, rows, [(r, s) for r, s in found if r.layout == layout])
            axis.set_title(layout, fontsize=10, loc="left")
            axis.set_xlabel("score (higher is more suspicious)")
        # the first row on top; a dollar sign would start a formula
        axes[0].set_yticks(range(len(rows)), [name.replace("$", r"\$") for _, name in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        _explain_dots(figure, with_threshold=bool(_thresholds(found)))


# ---------------------------------------------------------------- ROC


def _curves(groups: Mapping[str, Sequence[Reading]]) -> dict[str, tuple[list[float], list[float]]]:
    """`(positive, negative)` scores of every group that has both."""
    pairs = {
        name: tuple([s.score for r, s in group if r.label == label] for label, _, _ in LABEL_STYLES)
        for name, group in groups.items()
    }
    return {name: (positive, negative) for name, (positive, negative) in pairs.items() if positive and negative}


def _rivals(results: Sequence[ModelResult], reference: str) -> tuple[str, dict[str, tuple[list[float], list[float]]]]:
    """The panel of detectors: subtitle and curves, from the layout in which most of them scanned most models."""
    best: tuple[tuple[int, int], str, dict[str, tuple[list[float], list[float]]]] = ((0, 0), "", {})
    for layout in LAYOUTS:
        models = _of_layout(results, layout)
        present = [detector for detector in DETECTORS if scans(models, detector, reference)]
        common = shared(models, [(detector, reference) for detector in present])
        curves = _curves({detector: scans(common, detector, reference) for detector in present})
        size = (len(curves), len(common))
        if curves and size > best[0]:
            best = (size, f"same models, {layout}", curves)
    return best[1], best[2]


def _dense(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """`points` with more of them on slanted pieces, where scores are tied: the axis drawn bends such a piece."""
    dense = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        steps = _SLANT_STEPS if x0 < x1 and y0 < y1 else 1
        dense += [(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(1, steps + 1)]
    return dense


def _draw_curves(axis: Axes, curves: Mapping[str, tuple[list[float], list[float]]]) -> None:
    for name, (positive, negative) in curves.items():
        axis.plot(
            *zip(*_dense(roc_points(positive, negative)), strict=True),
            label=f"{name}: AUROC {100 * (auroc(positive, negative) or 0):.1f} %"
            f" ({len(positive)} + {len(negative)} models)",
            linewidth=2,
            clip_on=False,
            zorder=3,
            **STYLES[name],
        )
    axis.plot(*[[i / 500 for i in range(501)]] * 2, color=GREY, linewidth=0.8, label="chance")
    axis.set_xscale("symlog", linthresh=0.01, linscale=0.5)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_xticks(_FPR_TICKS, [f"{100 * tick:.0f} %" for tick in _FPR_TICKS])
    axis.set_xticks([], minor=True)
    axis.set_yticks([i / 5 for i in range(6)], [f"{20 * i} %" for i in range(6)])
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_ylabel("true-positive rate")
    axis.set_xlabel("false-positive rate (logarithmic above 1 %)")
    axis.legend(
        loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=8, frameon=False, borderpad=0
    )  # below: curves may pass anywhere


# ---------------------------------------------------------------- distributions


def _draw_rows(axis: Axes, rows: Sequence[tuple[str, str]], found: Sequence[Reading]) -> None:
    """The dots of one layout, spread a little in their row so that equal scores stay visible, and the thresholds."""
    rng = random.Random(0)
    for label, color, marker in LABEL_STYLES:
        # sorted: the spread must not depend on the order of the results
        dots = sorted((rows.index((label, r.cell)), s.score, s.verdict) for r, s in found if r.label == label)
        places = [
            (score, row + rng.uniform(-0.22, 0.22), verdict == "backdoor-detected") for row, score, verdict in dots
        ]
        for filled, face in ((False, "white"), (True, color)):
            axis.scatter(
                [x for x, _, detected in places if detected is filled],
                [y for _, y, detected in places if detected is filled],
                s=20,
                marker=marker,
                facecolors=face,
                edgecolors=color,
                linewidths=1.0,
                zorder=3,
            )
    for threshold in _thresholds(found):
        axis.axvline(threshold, color="black", linewidth=1, linestyle="--", zorder=2)
    last = sum(label == "backdoored" for label, _ in rows)
    if 0 < last < len(rows):
        axis.axhline(last - 0.5, color=GREY, linewidth=0.8)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)


def _thresholds(found: Sequence[Reading]) -> list[float]:
    return sorted({scan.thresholds[SCORE_THRESHOLD] for _, scan in found if SCORE_THRESHOLD in scan.thresholds})


def _explain_dots(figure: Figure, *, with_threshold: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            marker=marker,
            markerfacecolor=face,
            markeredgecolor=color,
            linestyle="none",
            markersize=5,
            label=f"{label}, {words}",
        )
        for label, color, marker in LABEL_STYLES
        for words, face in (("detected", color), ("not detected", "white"))
    ]
    if with_threshold:
        handles.append(Line2D([], [], color="black", linewidth=1, linestyle="--", label="threshold"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8, frameon=False)


# ---------------------------------------------------------------- both


def _of_layout(results: Sequence[ModelResult], layout: str) -> list[ModelResult]:
    return [result for result in results if result.layout == layout]


@contextmanager
def _canvas(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, in matplotlib's own default style, written to `path` at the end."""
    try:
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "figures", "drawing needs matplotlib, which comes with the extra amdet-hub[bench]"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.style.context(["default", {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}]):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
