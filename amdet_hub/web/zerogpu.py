"""Scans on a ZeroGPU Space, where a GPU is lent for seconds to a forked process. Nothing here is used anywhere else.

The rules of that hardware, and how they are met. Source: the package `spaces` 0.51.3 (`spaces/zero/wrappers.py`),
huggingface.co/docs/hub/spaces-zerogpu.

* Arguments and results travel by pickle, callbacks do not: the scan is a generator that yields its progress and
  measurements as values.
* A GPU is asked for with the seconds it is needed for: from the size of the towers (`seconds_for`). The scan's own
  time budget ends before them.
* The quota it costs is that of the visitor's request, so the work runs in the context of that request; a webhook has
  no visitor and uses the CPU.
* Of an error only the name of its type would travel: errors are values too. Closing the generator cancels a scan.

Never run on such hardware by us. The tests use a stand-in that keeps the rules above and knows nothing else of
ZeroGPU.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Literal, cast

from amdet_hub.errors import AmdetError, ResourceError
from amdet_hub.records import Monitor, RepoRef, ScanReport
from amdet_hub.scanner import ResolvedTarget, Scanner

# A short scan waits for less; 120 s is all that a visitor who has not signed in may use in a day.
LEAST_S, MOST_S = 30, 120
# From the end of the scan's own budget until the GPU is taken away: to stop and send the partial report.
MARGIN_S = 10.0

_BYTES_PER_S = {"quick": 16 << 20, "standard": 6 << 20}  # generous, and not measured on this hardware
_POLL_S = 0.25

Event = tuple[Literal["progress", "measure", "report", "error"], Any]


class GpuRefused(AmdetError):
    """No GPU was lent: the visitor's quota is spent, or none is free. The message is the lender's own."""


@dataclass(frozen=True)
class GpuScan:
    """One scan, as plain data that can be pickled; `seconds` are those the GPU is asked for."""

    scanner: Scanner
    ref: RepoRef
    seconds: int

    @classmethod
    def of(cls, scanner: Scanner, target: ResolvedTarget) -> GpuScan:
        """The request for a target, with the device and the time budget of the borrowed GPU."""
        seconds = seconds_for(target, scanner.config.preset)
        options = replace(scanner.options, device="auto", timeout_s=seconds - MARGIN_S)
        return cls(replace(scanner, options=options), target.ref, seconds)


ScanStream = Callable[[GpuScan], Iterator[list[Event]]]


def on_zerogpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def seconds_for(target: ResolvedTarget, preset: str) -> int:
    """How long to ask for a GPU: by the float32 bytes of all towers that are run, suspects and references."""
    work = sum(2 * pair.suspect.tower_bytes for pair in target.pairs)
    return min(MOST_S, LEAST_S + work // _BYTES_PER_S.get(preset, 6 << 20))


def borrow_gpu(spaces: Any) -> ScanStream:
    """`stream_scan`, run where the package `spaces` lends a GPU."""
    return cast(ScanStream, spaces.GPU(duration=lambda scan: scan.seconds)(stream_scan))


def stream_scan(scan: GpuScan) -> Iterator[list[Event]]:
    """Scan, and yield the events in short order, empty lists included, so that a cancelled scan is noticed."""
    events: SimpleQueue[Event] = SimpleQueue()
    stop = threading.Event()

    def progress(*step: Any) -> None:
        events.put(("progress", step))
        if stop.is_set():
            raise KeyboardInterrupt

    def work() -> None:
        try:
            monitor = Monitor(progress, lambda *point: events.put(("measure", point)))
            events.put(("report", scan.scanner.scan(scan.scanner.resolve(scan.ref), monitor)))
        except AmdetError as error:
            events.put(("error", error))
        except BaseException as error:  # noqa: BLE001 it need not survive a pickle
            events.put(("error", RuntimeError(type(error).__name__)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        batch: list[Event] = []
        while not any(kind in ("report", "error") for kind, _ in batch):
            yield (batch := _next_events(events))
    finally:
        stop.set()
        worker.join()


def _next_events(events: SimpleQueue[Event]) -> list[Event]:
    """The events that are there after a short wait."""
    found: list[Event] = []
    try:
        found.append(events.get(timeout=_POLL_S))
        while True:
            found.append(events.get_nowait())
    except Empty:
        return found


def collect_scan(stream: ScanStream, scan: GpuScan, monitor: Monitor) -> ScanReport:
    """The report of a scan in the forked process.

    Raises:
        AmdetError: what the scan raised; `GpuRefused` when there was none.
        ResourceError: the GPU was taken away before the end.
        KeyboardInterrupt: `monitor.progress` raised it; the scan is told to stop.
    """
    from gradio.exceptions import Error

    step: tuple[str, int, int] = ("", 0, 0)
    ended: ScanReport | BaseException | None = None
    running = stream(scan)
    try:
        for events in running:
            for kind, value in events:
                if kind == "progress":
                    step = value
                elif kind == "measure" and monitor.measure is not None:
                    monitor.measure(*value)
                elif kind != "measure":
                    ended = value
            monitor.progress(*step)
    except Error as error:  # how `spaces` refuses
        raise GpuRefused(str(error.message)) from error
    finally:
        getattr(running, "close", lambda: None)()
    if isinstance(ended, ScanReport):
        return ended
    raise ended or ResourceError("time", "the GPU was taken away before the scan ended")
