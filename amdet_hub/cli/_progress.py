"""How long it will take, on stderr: one bar per stage on a terminal, a few plain lines elsewhere.

Knows: tqdm and time. Refuses to know: what the stages are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from amdet_hub.cli._output import escape, say
from amdet_hub.report.quantities import format_duration

if TYPE_CHECKING:
    from tqdm import tqdm

Mode = Literal["bar", "lines", "off"]

# Without a bar, a long stage says where it is this often: a log stays readable, and a job does not look dead.
LINE_EVERY_S = 30.0


def choose_mode(*, asked: bool | None, quiet: bool) -> Mode:
    """The mode for this terminal.

    Args:
        asked: True for `--progress`, False for `--no-progress`, None when neither was given.
        quiet: whether `-q` was given.

    Returns:
        "bar" when asked for, or on a terminal without NO_COLOR; else "lines"; "off" for `--no-progress` and `-q`.
    """
    if asked:
        return "bar"
    if asked is False or quiet:
        return "off"
    return "bar" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else "lines"


class Progress:
    """A `ProgressCallback` that shows what it hears. Use as a context manager: leaving it closes the bar.

    Args:
        mode: what to show.
        clock: seconds that only go forward.
    """

    def __init__(self, mode: Mode, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode, self._clock = mode, clock
        self._stage: str | None = None
        self._bar: tqdm[Any] | None = None
        self._done = 0
        self._started = self._spoken = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of `stage` are finished."""
        if self._mode == "off":
            return
        if stage != self._stage or done < self._done:  # a count that falls is the same stage of the next encoder
            self._begin(stage, total)
        self._done = done
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif done < total and self._clock() - self._spoken >= LINE_EVERY_S:
            self._say_line(done, total)

    def close(self) -> None:
        """End the present stage."""
        if self._bar is not None:
            self._bar.close()
        self._bar = self._stage = None

    def _begin(self, stage: str, total: int) -> None:
        self.close()
        self._stage = stage
        self._started = self._spoken = self._clock()
        if self._mode == "lines":
            say(f"{escape(stage)} ...")
            return
        from tqdm import tqdm  # here, so that `--help` does not wait for it

        is_bytes = stage.startswith("download")
        self._bar = tqdm(
            total=total,
            desc=escape(stage),
            unit="B" if is_bytes else "it",
            unit_scale=is_bytes,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format="{desc:<28.28} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}",
        )

    def _say_line(self, done: int, total: int) -> None:
        self._spoken = self._clock()
        eta = f", about {format_duration((self._spoken - self._started) * (total - done) / done)} left" if done else ""
        say(f"{escape(self._stage or '')}: {100 * done // max(total, 1)}%{eta}")
