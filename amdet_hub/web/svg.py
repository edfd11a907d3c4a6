"""SVG without scripts: shapes whose looks the page's style sheet gives, scales, and the figure around them.

Every text that goes in comes out escaped.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from amdet_hub.web.markup import text


@dataclass(frozen=True)
class Scale:
    """A linear map from `low`..`high` to `start`..`end`, the places in a picture."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Collection[float], start: float, end: float, margins: tuple[float, float] = (0, 0)) -> Scale:
        """The scale of these values, with room below and above them as shares of their span."""
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        return cls(low - margins[0] * span, high + margins[1] * span, start, end)

    def __call__(self, value: float) -> float:
        """Where `value` lies."""
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        """Round numbers along the scale, at most ten or so."""
        span = self.high - self.low
        step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if span / s <= 10), span / 5)
        return (number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))


def shape(tag: str, kind: str, content: str = "", **attributes: float | str) -> str:
    """An element of a style class; `text_anchor` becomes `text-anchor`, and a `float` gets one digit."""
    given = (
        f" {name.replace('_', '-')}='{f'{value:.1f}' if isinstance(value, float) else value}'"
        for name, value in attributes.items()
    )
    return f"<{tag} class='{kind}'{''.join(given)}>{content}</{tag}>"


def words(kind: str, content: str, x: float, y: float, **attributes: float | str) -> str:
    """A text, centred at (x, y) unless `text_anchor` says otherwise."""
    return shape("text", kind, text(content), x=x, y=y, **{"text_anchor": "middle", **attributes})


def drawing(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """The picture; `label` is its description for those who cannot see it."""
    start = f"<svg viewBox='0 0 {width:.0f} {height:.0f}' role='img' aria-label='{text(label)}'>"
    return f"{start}{''.join(parts)}</svg>"


def figure(kind: str, picture: str, caption: str) -> str:
    """A picture with a caption, which is HTML already."""
    return f"<figure class='{kind}'>{picture}<figcaption>{caption}</figcaption></figure>"
