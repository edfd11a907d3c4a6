"""What a running scan has measured so far: a bounded, thread-safe record, and plots of it that move while the visitor waits.

Knows the stages of `amdet_hub.detect.standard.run_standard` and what it tells of each. Refuses to know Gradio and
threads other than by a lock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amdet_hub.web.markup import text

MOST = 240
"""Points of one stage that are kept; a stage that tells more keeps the most remarkable of each few."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 170, 52, 12, 14, 26


@dataclass(frozen=True)
class Point:
    """One measurement: how far the stage was, what was measured, and of what (token ids, or nothing)."""

    step: int
    value: float
    label: str


@dataclass
class _Series:
    """Points of one stage. `width` steps of telling share a point: the highest or, of a loss, the last."""

    highest: bool
    width: int = 1
    told: int = 0
    points: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> None:
        fresh = self.told % self.width == 0
        self.told += 1
        if fresh:
            self.points.append(point)
        elif not self.highest or point.value >= self.points[-1].value:
            self.points[-1] = point
        if len(self.points) > MOST:
            self._thin()

    def _thin(self) -> None:
        pairs = [self.points[i : i + 2] for i in range(0, len(self.points), 2)]
        self.points = [max(pair, key=lambda one: one.value) if self.highest else pair[-1] for pair in pairs]
        self.width *= 2
        self.told = (
            len(self.points) * self.width
        )  # a pair that was cut short counts as whole, so that the next point is a new one


class Trace:
    """What one scan measured, stage by stage. One thread tells, others look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, _Series] = {}

    def add(self, stage: str, step: int, value: float, label: str) -> None:
        """Take a measurement in; anything that is no finite number is left out. Never raises."""
        if not math.isfinite(value):
            return
        with self._lock:
            series = self._stages.setdefault(stage, _Series(highest=stage in ("sweep", "confirm")))
            series.add(Point(step, value, label))

    def stages(self) -> Mapping[str, tuple[Point, ...]]:
        """The points of every stage so far, in the order of the scan."""
        with self._lock:
            return {stage: tuple(series.points) for stage, series in self._stages.items()}


def live_figures(stages: Mapping[str, Sequence[Point]], stage: str) -> str:
    """The plot of the stage at work: tokens of the sweep, candidates on unseen prompts, or the loss of the search.

    `""` when there is none yet.
    """
    if stage.startswith("inversion") or (stage == "landscape" and "inversion" in stages):
        return _losses(stages)
    shown = "confirm" if stages.get("confirm") else "sweep"
    return _tried(stages.get(shown, ()), shown)


_CAPTIONS = {
    "sweep": (
        "The best token of each batch: how much more alike it makes prompts (log ratio). Line: the best so far.",
        "token",
    ),
    "confirm": (
        (
            "Candidates on prompts they were not found with: the share that each takes over, less what an innocent"
            " encoder shows."
        ),
        "tokens",
    ),
}


def _tried(points: Sequence[Point], stage: str) -> str:
    if not points:
        return ""
    caption, noun = _CAPTIONS[stage]
    scale = _Scale.over(points, (1.0, 0.0) if stage == "confirm" else (0.0,))
    best, line, dots = points[0], [], []
    for point in points:
        if point.value > best.value:
            line.append(scale.at(point.step, best.value))
            best = point
        line.append(scale.at(point.step, best.value))
        dots.append(
            "<circle class='tried' cx='{}' cy='{}' r='3'/>".format(*scale.at(point.step, point.value).split(","))
        )
    x, y = scale.at(best.step, best.value).split(",")
    mark = f"<circle class='dot' cx='{x}' cy='{y}' r='5'/>"
    said = f"The best so far is {noun} {best.label} with {best.value:.2f}."
    return _figure([*scale.axes(), *dots, _path("best", line), mark], said, f"{caption} {said}")


def _losses(stages: Mapping[str, Sequence[Point]]) -> str:
    lines = [
        (name, kind, points)
        for name, kind in (("inversion", "here"), ("inversion, roles swapped", "swapped"))
        if (points := stages.get(name))
    ]
    if not lines:
        return ""
    scale = _Scale.over([point for _, _, points in lines for point in points], ())
    paths = [_path(kind, [scale.at(point.step, point.value) for point in points]) for _, kind, points in lines]
    said = f"The loss is {lines[-1][2][-1].value:.3f} after {lines[-1][2][-1].step} steps."
    caption = (
        "Loss of the search for a vector that makes prompts alike; A rise: the next starts. Dashed: the same search"
        " with the encoders swapped."
    )
    return _figure([*scale.axes(), *paths], said, f"{caption} {said}")


@dataclass(frozen=True)
class _Scale:
    """From steps and values to places in the picture."""

    first: int
    last: int
    low: float
    high: float

    @classmethod
    def over(cls, points: Sequence[Point], always: Sequence[float]) -> _Scale:
        values = [*(point.value for point in points), *always]
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        return cls(min(p.step for p in points), max(p.step for p in points), low - 0.04 * span, high + 0.06 * span)

    def at(self, step: int, value: float) -> str:
        """`"x,y"`."""
        across = (step - self.first) / ((self.last - self.first) or 1)
        up = (value - self.low) / (self.high - self.low)
        return f"{_LEFT + across * (_WIDTH - _LEFT - _RIGHT):.1f},{_HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - _TOP):.1f}"

    def axes(self) -> list[str]:
        """The floor, and the values at a few heights."""
        floor = _HEIGHT - _BOTTOM
        parts = [f"<line class='axis' x1='{_LEFT}' y1='{floor}' x2='{_WIDTH - _RIGHT}' y2='{floor}'/>"]
        for share in (0.06, 0.5, 0.94):
            value = self.low + share * (self.high - self.low)
            y = self.at(self.first, value).split(",")[1]
            parts.append(
                f"<text class='tick' x='{_LEFT - 8}' y='{y}' text-anchor='end'"
                f" dominant-baseline='middle'>{value:.2g}</text>"
            )
        return parts


def _path(kind: str, places: Sequence[str]) -> str:
    return f"<polyline class='run {kind}' points='{' '.join(places)}'/>"


def _figure(parts: Sequence[str], said: str, caption: str) -> str:
    svg = f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{text(said)}'>{''.join(parts)}</svg>"
    return f"<figure class='plot live'>{svg}<figcaption>{text(caption)}</figcaption></figure>"
