"""The callbacks of a running scan."""

from collections.abc import Callable
from dataclasses import dataclass

from amdet_hub.records.words import ProgressCallback


@dataclass(frozen=True)
class Monitor:
    """What a running scan calls. Each of them must return at once; only `progress` may raise, which ends the scan.

    Attributes:
        progress: called with (stage, done, total); `done` counts up to `total` in units of the stage's own work.
        measure: called with (stage, step, value, label) while the standard detector works, for a plot that moves
            (`detect.context.DetectionContext` says with what); None without a plot.
        stage: called with a stage's name when it begins and with "" when it ends; `bench speed` measures there.
    """

    progress: ProgressCallback = lambda stage, done, total: None
    measure: Callable[[str, int, float, str], None] | None = None
    stage: Callable[[str], None] = lambda stage: None


SILENT = Monitor()
