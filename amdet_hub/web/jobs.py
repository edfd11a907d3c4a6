"""The queue: one piece of work at a time, a bounded number waiting, each with its place, its progress, what it has measured so far, and a way out.

Knows: order, limits, threads. Refuses to know: what a scan or a try is; the work is a callable that is given a
progress callback.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from amdet_hub.errors import AmdetError, Interrupted
from amdet_hub.records import ProgressCallback, ScanReport
from amdet_hub.web.live import Trace

R = TypeVar("R")
Work = Callable[[ProgressCallback], ScanReport]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

_HOUR_S = 3600.0
_KEPT_JOBS = 200  # finished jobs that can still be asked about


class QueueRefused(AmdetError):
    """The queue takes no further scan of this visitor now; the message says why and what to do."""


@dataclass
class Task(Generic[R]):
    """One piece of work that was asked for. Read it freely; only `JobQueue` writes it.

    `result` is what the work returned, None until then. `share` is what it takes of its owner's hour, in scans.
    """

    owner: str
    work: Callable[[ProgressCallback], R] = field(repr=False)
    estimate_s: float = 0.0
    share: float = 1.0
    trace: Trace = field(default_factory=Trace, repr=False)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: JobState = "queued"
    stage: str = ""
    done: int = 0
    total: int = 0
    started: float | None = None
    ended: float | None = None
    result: R | None = None
    error: BaseException | None = None
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began to run; 0 while it waits."""
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started

    def tick(self, stage: str, done: int, total: int) -> None:
        """The work's progress; also where a cancelled scan ends.

        The scan takes it for Ctrl-C and tidies up after itself.
        """
        self.stage, self.done, self.total = stage, done, total
        if self.cancelled.is_set():
            raise KeyboardInterrupt


@dataclass
class Job(Task[ScanReport]):
    """One scan that was asked for."""

    @property
    def report(self) -> ScanReport | None:
        """What it found, None until it has."""
        return self.result


T = TypeVar("T", bound=Task[Any])


class JobQueue:
    """Runs jobs one after the other on a thread of its own.

    Args:
        size: jobs that may wait.
        per_owner: jobs that one owner may have waiting or running.
        per_owner_hour: scans that one owner may start within an hour; other work counts by its `share`.
    """

    def __init__(self, *, size: int, per_owner: int, per_owner_hour: int) -> None:
        self._size, self._per_owner, self._per_owner_hour = size, per_owner, per_owner_hour
        self._changed = threading.Condition()
        self._waiting: deque[Task[Any]] = deque()
        self._running: Task[Any] | None = None
        self._jobs: dict[str, Task[Any]] = {}
        self._asked: dict[str, deque[tuple[float, float]]] = {}  # when, and how much
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="amdet-space-scans", daemon=True)
        self._thread.start()

    def submit(self, job: T) -> T:
        """Put a job at the end of the line.

        Raises:
            QueueRefused: the line is full, or this owner has asked for enough.
        """
        with self._changed:
            mine = [one for one in (*self._waiting, self._running) if one is not None and one.owner == job.owner]
            if len(mine) >= self._per_owner:
                raise QueueRefused(f"you have {len(mine)} scans under way already; wait for one of them, or cancel it")
            if len(self._waiting) >= self._size:
                raise QueueRefused(
                    f"the queue is full with {self._size} scans; come back in some minutes, or use the command line"
                )
            self._count(job.owner, job.share)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget()
            self._changed.notify_all()
        return job

    def _count(self, owner: str, share: float) -> None:
        now = time.monotonic()
        asked = self._asked.setdefault(owner, deque())
        while asked and now - asked[0][0] > _HOUR_S:
            asked.popleft()
        if sum(one for _, one in asked) + share > self._per_owner_hour + 1e-6:
            minutes = max(1, round((_HOUR_S - (now - (asked[0][0] if asked else now))) / 60))
            scans = f"{self._per_owner_hour} scans, or what takes as long,"
            raise QueueRefused(f"you have started {scans} within an hour; the next one can start in {minutes} minutes")
        asked.append((now, share))

    def _forget(self) -> None:
        """Let old finished jobs, and visitors that asked for nothing lately, go."""
        for job_id in [key for key, job in self._jobs.items() if job.finished][: max(0, len(self._jobs) - _KEPT_JOBS)]:
            del self._jobs[job_id]
        now = time.monotonic()
        for owner in [key for key, asked in self._asked.items() if not asked or now - asked[-1][0] > _HOUR_S]:
            del self._asked[owner]

    def get(self, job_id: str) -> Task[Any] | None:
        """The job with this id, None when it is unknown or long gone."""
        with self._changed:
            return self._jobs.get(job_id)

    def __len__(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + (self._running is not None)

    def place(self, job: Task[Any]) -> int:
        """How many scans come before this one; 0 when it runs or is finished."""
        with self._changed:
            before = list(self._waiting).index(job) if job in self._waiting else -1
            return 0 if before < 0 else before + (self._running is not None)

    def cancel(self, job: Task[Any]) -> None:
        """Take a job out of the line, or stop it at its next step."""
        with self._changed:
            job.cancelled.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state, job.error = "cancelled", Interrupted()
            self._changed.notify_all()

    def wait(self, job: Task[Any], timeout_s: float) -> bool:
        """Wait until the job is finished, at most `timeout_s` seconds. Returns whether it is."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not job.finished and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return job.finished

    def close(self, timeout_s: float = 30.0) -> None:
        """Cancel everything and wait for the worker. Closing twice does nothing."""
        with self._changed:
            self._closed = True
            everything = [*self._waiting, *([self._running] if self._running else [])]
        for job in everything:
            self.cancel(job)
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.state, job.started = "running", time.monotonic()
                self._changed.notify_all()
            state, result, error = _outcome(job)
            with self._changed:
                job.result, job.error, job.state, job.ended = result, error, state, time.monotonic()
                self._running = None
                self._changed.notify_all()


def _outcome(job: Task[Any]) -> tuple[JobState, Any, BaseException | None]:
    """Run the work; a failure belongs to this job and must not end the worker."""
    try:
        return "done", job.work(job.tick), None
    except (KeyboardInterrupt, Interrupted):
        return "cancelled", None, Interrupted()
    except Exception as error:  # noqa: BLE001 the visitor is told, the next visitor is served
        return "failed", None, error
