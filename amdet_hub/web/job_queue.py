"""The queue: one job at a time, a bounded number waiting, each with its place, progress, measurements and a way out.

Knows: order, limits, threads. Refuses to know: what a scan or a prompt is; the work is a callable that is given a
`Monitor`.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from amdet_hub.errors import AmdetError, Interrupted
from amdet_hub.records import Monitor, ScanReport
from amdet_hub.web.live_plots import Trace

R = TypeVar("R")
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

_HOUR_S = 3600.0


class QueueRefused(AmdetError):
    """The queue takes no further job of this visitor now; the message says why and what to do."""


@dataclass(eq=False)
class Job(Generic[R]):
    """One piece of work that was asked for. Read it freely; only `JobQueue` writes it.

    `share` is what it takes of its owner's hour, in scans.
    """

    owner: str
    work: Callable[[Monitor], R] = field(repr=False)
    estimate_s: float = 0.0
    share: float = 1.0
    trace: Trace = field(default_factory=Trace, repr=False)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    stage: str = ""
    done: int = 0
    total: int = 0
    started: float | None = None
    stopping: bool = False
    future: Future[R] = field(default_factory=Future, repr=False)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.future.done()

    @property
    def state(self) -> JobState:
        """Where it stands."""
        if not self.finished:
            return "queued" if self.started is None else "running"
        return "done" if self.error is None else "cancelled" if isinstance(self.error, Interrupted) else "failed"

    @property
    def result(self) -> R | None:
        """What the work returned, None until it has."""
        return self.future.result() if self.finished and self.error is None else None

    @property
    def error(self) -> BaseException | None:
        """Why there is no result; `Interrupted` when it was cancelled."""
        return Interrupted() if self.future.cancelled() else self.future.exception() if self.finished else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began to run; 0 while it waits."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def progress(self, stage: str, done: int, total: int) -> None:
        """Note the work's progress; end the work when the job is cancelled, as Ctrl-C would."""
        self.stage, self.done, self.total = stage, done, total
        if self.stopping:
            raise KeyboardInterrupt

    def run(self) -> R:
        """Do the work, on the queue's thread."""
        self.started = time.monotonic()
        try:
            return self.work(Monitor(self.progress, self.trace.add))
        except KeyboardInterrupt as error:
            raise Interrupted from error


ScanJob = Job[ScanReport]


class JobQueue:
    """Runs jobs one after the other on a thread of its own.

    Args:
        size: jobs that may wait.
        per_owner: jobs that one owner may have waiting or running.
        per_owner_hour: scans that one owner may start within an hour; other work counts by its `share`.
    """

    def __init__(self, *, size: int, per_owner: int, per_owner_hour: int) -> None:
        self._size, self._per_owner, self._per_owner_hour = size, per_owner, per_owner_hour
        self._lock = threading.Lock()
        self._jobs: list[
            Job[Any]
        ] = []  # in the order they came; those that were finished at the last `submit` are gone
        self._starts: list[tuple[str, float, float]] = []  # of the last hour: owner, when, share
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="amdet-space-scans")

    def submit(self, job: Job[R]) -> Job[R]:
        """Put a job at the end of the line.

        Raises:
            QueueRefused: the line is full, or this owner has asked for enough.
        """
        with self._lock:
            self._jobs = self._unfinished()
            mine = sum(one.owner == job.owner for one in self._jobs)
            if mine >= self._per_owner:
                raise QueueRefused(f"you have {mine} scans under way already; wait for one of them, or cancel it")
            if sum(one.state == "queued" for one in self._jobs) >= self._size:
                raise QueueRefused(
                    f"the queue is full with {self._size} scans; come back in some minutes, or use the command line"
                )
            self._count(job)
            job.future = self._worker.submit(job.run)
            self._jobs.append(job)
        return job

    def _unfinished(self) -> list[Job[Any]]:
        return [job for job in self._jobs if not job.finished]

    def _count(self, job: Job[Any]) -> None:
        now = time.monotonic()
        self._starts = [start for start in self._starts if now - start[1] < _HOUR_S]
        mine = [(when, share) for owner, when, share in self._starts if owner == job.owner]
        if sum(share for _, share in mine) + job.share > self._per_owner_hour + 1e-6:
            minutes = max(1, round((_HOUR_S - (now - mine[0][0] if mine else 0)) / 60))
            raise QueueRefused(
                f"you have started {self._per_owner_hour} scans, or what takes as long, within an hour; the next one"
                f" can start in {minutes} minutes"
            )
        self._starts.append((job.owner, now, job.share))

    def get(self, job_id: str) -> Job[Any] | None:
        """The job with this id, None when it is unknown or long gone."""
        return next((job for job in self._jobs if job.id == job_id), None)

    def __len__(self) -> int:
        """Jobs that wait or run."""
        return len(self._unfinished())

    def place(self, job: Job[Any]) -> int:
        """How many jobs come before this one; 0 when it runs or is finished."""
        unfinished = self._unfinished()
        return unfinished.index(job) if job in unfinished else 0

    def cancel(self, job: Job[Any]) -> None:
        """Take a job out of the line, or stop it at its next step."""
        job.stopping = True
        job.future.cancel()

    def wait(self, job: Job[Any], timeout_s: float) -> bool:
        """Wait until the job is finished, at most `timeout_s` seconds. Returns whether it is."""
        wait([job.future], timeout_s)
        return job.finished

    def follow(self, job: Job[Any], poll_s: float = 0.4) -> Iterator[int]:
        """Yield the job's place every `poll_s` seconds until it is finished.

        Closing the iterator cancels the job: its visitor has left.
        """
        try:
            while not self.wait(job, poll_s):
                yield self.place(job)
        finally:
            if not job.finished:
                self.cancel(job)

    def close(self, timeout_s: float = 30.0) -> None:
        """Cancel everything and wait for the worker. Closing twice does nothing."""
        unfinished = self._unfinished()
        for job in unfinished:
            self.cancel(job)
        self._worker.shutdown(wait=False, cancel_futures=True)
        wait([job.future for job in unfinished], timeout_s)
