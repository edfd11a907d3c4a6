"""Scans on a ZeroGPU Space, where a GPU is lent for seconds to a forked process: nothing here is used anywhere else.

What the hardware asks for, and how it is met. Source: the package `spaces` 0.51.3 (`spaces/zero/wrappers.py`),
huggingface.co/docs/hub/spaces-zerogpu.

* Arguments and results travel by pickle, callbacks do not: the scan is a generator, whose progress and measurements
  are values that it yields.
* A GPU is asked for with the seconds it is needed for: from the size of the towers (`seconds_for`). The scan's own
  time budget ends before them.
* Whose quota it costs is read from the visitor's request, so the work runs in the context of that request; a webhook
  has no visitor and uses the CPU.
* Of an error only the name of its type would travel: errors are values too. Closing the generator is how a scan is
  cancelled.

Never run on such hardware by us. The tests use a stand-in that keeps the rules above and knows nothing else of
ZeroGPU.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal

from amdet_hub.config import ScanConfig
from amdet_hub.errors import AmdetError, ResourceError
from amdet_hub.hub import HubSettings
from amdet_hub.records import ProgressCallback, RepoRef, ScanReport
from amdet_hub.scanner import ScanOptions, TargetPlan, scan_target

LEAST_S, MOST_S = 30, 120
"""A short scan waits for less; 120 s is all that a visitor who has not signed in may use in a day."""
MARGIN_S = 10.0
"""Between the end of the scan's own budget and the moment the GPU is taken away: to stop, and to send the partial report."""

_A_SECOND_EACH_BYTES = {"quick": 16 << 20, "standard": 6 << 20}  # generous, and not measured on this hardware
_POLL_S = 0.25

Event = tuple[Literal["progress", "measure", "report", "error"], Any]


class GpuRefused(AmdetError):
    """No GPU was lent: the visitor's quota is spent, or none is free. The message is the lender's own."""


@dataclass(frozen=True)
class GpuScan:
    """One scan, as plain data that can be pickled; `seconds` are those the GPU is asked for."""

    ref: RepoRef
    config: ScanConfig
    settings: HubSettings
    reference: RepoRef | None
    seconds: int


Steps = Callable[[GpuScan], Iterator[list[Event]]]


def on_zerogpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def seconds_for(plan: TargetPlan, preset: str) -> int:
    """How long to ask for a GPU: by the float32 bytes of all towers that are run, suspects and references."""
    work = sum(2 * one.encoder.tower_bytes for one in plan.encoders)
    return min(MOST_S, LEAST_S + work // _A_SECOND_EACH_BYTES.get(preset, 6 << 20))


def seconds_of(scan: GpuScan) -> int:
    """What `spaces.GPU(duration=...)` calls with the arguments of the scan."""
    return scan.seconds


def lent(spaces: Any) -> Steps:
    """`scan_in_steps`, run where the package `spaces` lends a GPU."""
    decorated: Steps = spaces.GPU(duration=seconds_of)(scan_in_steps)
    return decorated


def scan_in_steps(scan: GpuScan) -> Iterator[list[Event]]:
    """Scan, and yield what happens in short order, empty lists included, so that a cancelled scan is noticed."""
    told: SimpleQueue[Event] = SimpleQueue()
    stop = threading.Event()

    def tick(stage: str, done: int, total: int) -> None:
        told.put(("progress", (stage, done, total)))
        if stop.is_set():
            raise KeyboardInterrupt

    def work() -> None:
        options = ScanOptions(
            timeout_s=scan.seconds - MARGIN_S, on_measure=lambda *point: told.put(("measure", point))
        )
        try:
            report = scan_target(
                scan.ref,
                config=scan.config,
                settings=scan.settings,
                reference=scan.reference,
                options=options,
                progress=tick,
            )
            told.put(("report", report))
        except AmdetError as error:
            told.put(("error", error))
        except BaseException as error:  # noqa: BLE001 it need not survive a pickle
            told.put(("error", RuntimeError(type(error).__name__)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            events = _waiting(told)
            yield events
            if any(kind in ("report", "error") for kind, _ in events):
                return
    finally:
        stop.set()
        worker.join()


def _waiting(told: SimpleQueue[Event]) -> list[Event]:
    """What has been told, after a short wait for it."""
    found: list[Event] = []
    try:
        found.append(told.get(timeout=_POLL_S))
        while True:
            found.append(told.get_nowait())
    except Empty:
        return found


def scan_on_gpu(
    steps: Steps, scan: GpuScan, progress: ProgressCallback, measure: Callable[[str, int, float, str], None]
) -> ScanReport:
    """The report of a scan in the forked process.

    Raises:
        AmdetError: what the scan raised; `GpuRefused` when there was none.
        ResourceError: the GPU was taken away before the end.
        KeyboardInterrupt: `progress` raised it; the scan is told to stop.
    """
    from gradio.exceptions import Error

    said: tuple[str, int, int] = ("", 0, 0)
    ended: ScanReport | BaseException | None = None
    running = steps(scan)
    try:
        for events in running:
            for kind, value in events:
                if kind == "progress":
                    said = value
                elif kind == "measure":
                    measure(*value)
                else:
                    ended = value
            progress(*said)
    except Error as error:  # how `spaces` refuses
        raise GpuRefused(str(error.message)) from error
    finally:
        close = getattr(running, "close", None)
        if close is not None:
            close()
    if isinstance(ended, ScanReport):
        return ended
    raise ended or ResourceError("time", "the GPU was taken away before the scan ended")
