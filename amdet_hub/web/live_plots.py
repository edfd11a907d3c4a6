"""The measurements of a running scan: a bounded, thread-safe record, and plots of it that move while a visitor waits.

Knows the stages of `amdet_hub.detect.detector` and what each measures. Refuses to know Gradio, and threads other than
by a lock.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amdet_hub.web.markup import text
from amdet_hub.web.svg import Scale, drawing, figure, shape, words

# Points of one stage that are stored; a longer stage keeps the most remarkable of each few.
MAX_POINTS = 240

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _FLOOR, _TOP = 720, 170, 52, 708, 144, 14
_MARGINS = (0.04, 0.06)


@dataclass(frozen=True)
class Point:
    """One measurement: how far the stage was, the value, and what it belongs to (token ids, or nothing)."""

    step: int
    value: float
    label: str


@dataclass
class _Series:
    """Points of one stage; `width` steps share a point: the highest or, of a loss, the last."""

    highest: bool
    width: int = 1
    points: dict[int, Point] = field(default_factory=dict)

    def add(self, point: Point) -> None:
        before = self.points.get(point.step // self.width)
        if before is None or not self.highest or point.value >= before.value:
            self.points[point.step // self.width] = point
        if len(self.points) > MAX_POINTS:
            points, self.points, self.width = self.points, {}, 2 * self.width
            for one in points.values():
                self.add(one)


class Trace:
    """The measurements of one scan, stage by stage. One thread adds, others read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, _Series] = {}

    def add(self, stage: str, step: int, value: float, label: str) -> None:
        """Take a measurement in; anything that is no finite number is left out. Never raises."""
        if math.isfinite(value):
            with self._lock:
                series = self._stages.setdefault(stage, _Series(highest=stage in _CAPTIONS))
                series.add(Point(step, value, label))

    def stages(self) -> Mapping[str, tuple[Point, ...]]:
        """The points of every stage so far, in the order of the scan."""
        with self._lock:
            return {stage: tuple(series.points.values()) for stage, series in self._stages.items()}


def live_figure(stages: Mapping[str, Sequence[Point]], stage: str) -> str:
    """The plot of the stage at work: sweep, candidates on held-out prompts, or the loss of the inversion.

    `""` when there is none yet.
    """
    if stage.startswith("inversion") or (stage == "landscape" and "inversion" in stages):
        return _losses(stages)
    shown = "confirm" if stages.get("confirm") else "sweep"
    return _candidates(stages.get(shown, ()), shown)


_CAPTIONS = {
    "sweep": "The best token of each batch: how much more alike it makes prompts (log ratio). Line: the best so far.",
    "confirm": (
        "Candidates on held-out prompts: the share that each takes over, less the share in an encoder without a"
        " backdoor."
    ),
}


def _candidates(points: Sequence[Point], stage: str) -> str:
    if not points:
        return ""
    x = Scale.over([point.step for point in points], _LEFT, _RIGHT)
    y = _heights([*(point.value for point in points), 0.0, *([1.0] if stage == "confirm" else [])])
    best, path = points[0], []
    for point in points:
        path.append((x(point.step), y(best.value)))
        best = max(best, point, key=lambda one: one.value)
        path.append((x(point.step), y(best.value)))
    summary = f"The best so far is token {best.label} with {best.value:.2f}."
    return _plot(
        [
            *_axes(y),
            *(shape("circle", "tried", cx=x(point.step), cy=y(point.value), r=3) for point in points),
            _path("best", path),
            shape("circle", "dot", cx=x(best.step), cy=y(best.value), r=5),
        ],
        summary,
        f"{_CAPTIONS[stage]} {summary}",
    )


def _losses(stages: Mapping[str, Sequence[Point]]) -> str:
    lines = {
        kind: stages[name]
        for name, kind in (("inversion", "here"), ("inversion, roles swapped", "swapped"))
        if stages.get(name)
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    x, y = Scale.over([point.step for point in points], _LEFT, _RIGHT), _heights([point.value for point in points])
    paths = [_path(kind, [(x(one.step), y(one.value)) for one in line]) for kind, line in lines.items()]
    summary = f"The loss is {points[-1].value:.3f} after {points[-1].step} steps."
    caption = (
        "Loss of the search for a vector that makes prompts alike. A rise: the next search starts. Dashed: the same"
        " search with the encoders swapped."
    )
    return _plot([*_axes(y), *paths], summary, f"{caption} {summary}")


def _heights(values: Sequence[float]) -> Scale:
    return Scale.over(values, _FLOOR, _TOP, _MARGINS)


def _axes(y: Scale) -> list[str]:
    values = [y.low + share * (y.high - y.low) for share in (0.06, 0.5, 0.94)]
    return [
        shape("line", "axis", x1=_LEFT, y1=_FLOOR, x2=_RIGHT, y2=_FLOOR),
        *(
            words("tick", f"{value:.2g}", _LEFT - 8, y(value), text_anchor="end", dominant_baseline="middle")
            for value in values
        ),
    ]


def _path(kind: str, places: Sequence[tuple[float, float]]) -> str:
    return shape("polyline", f"run {kind}", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))


def _plot(parts: Sequence[str], summary: str, caption: str) -> str:
    return figure("plot live", drawing(_WIDTH, _HEIGHT, summary, parts), text(caption))
