"""Scans on a lent GPU, with a stand-in for the package `spaces`.

The stand-in is ours and lends nothing: it keeps the rules of `spaces/zero/wrappers.py` (0.51.3) that
`amdet_hub.web.zerogpu` is written for. Everything crosses by pickle, the work runs on another thread, errors lose all
but their type's name, closing the generator stops the work at its next value, and the request is looked for in the
context. It does not fork and has no GPU, so these tests say nothing of either.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from amdet_hub.demo.run import BACKDOORED
from amdet_hub.errors import RepoNotFound
from amdet_hub.testing import LocalHub
from amdet_hub.web import panels
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import SpaceSettings
from amdet_hub.web.zerogpu import LEAST_S, MOST_S, GpuRefused, borrow_gpu, on_zerogpu, seconds_for

PATIENCE_S = 120.0
REQUEST: ContextVar[str | None] = ContextVar("request", default=None)


@dataclass
class StandIn:
    """What `import spaces` would give, as far as it is used."""

    refuses: str = ""
    takes_away: bool = False
    durations: list[float] = field(default_factory=list)
    asked_by: list[str | None] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def GPU(self, *, duration: Callable[..., float]) -> Callable[..., Any]:  # noqa: N802 its name
        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def handler(*args: Any) -> Iterator[Any]:
                self.durations.append(duration(*args))
                self.asked_by.append(REQUEST.get())
                if self.refuses:
                    from gradio.exceptions import Error

                    raise Error(self.refuses, title="ZeroGPU quota exceeded", print_exception=False)
                yield from self._worker(task, pickle.dumps(args))

            return handler

        return decorate

    def _worker(self, task: Callable[..., Iterator[Any]], args: bytes) -> Iterator[Any]:
        running = task(*pickle.loads(args))
        for value in running:
            try:
                yield pickle.loads(pickle.dumps(value))
            except GeneratorExit:
                running.close()  # type: ignore[attr-defined]
                self.stopped.set()
                raise
            if self.takes_away:
                running.close()  # type: ignore[attr-defined]
                return


@pytest.fixture
def spaces() -> StandIn:
    return StandIn()


@pytest.fixture
def borrowing(service: ScanService, spaces: StandIn) -> ScanService:
    service.gpu = borrow_gpu(spaces)
    return service


def test_a_scan_crosses_with_its_progress_its_measurements_and_its_report(
    borrowing: ScanService, spaces: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "amdet_hub.web.zerogpu.LEAST_S", 600
    )  # what is lent is seconds of a GPU; a busy machine may need more of them
    monkeypatch.setattr("amdet_hub.web.zerogpu.MOST_S", 600)
    found = borrowing.look_up(BACKDOORED, "quick")
    REQUEST.set("the visitor's")
    job = borrowing.start(found, "visitor")
    REQUEST.set(None)
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert job.error is None
    assert job.result is not None
    assert (job.result.verdict.label, job.result.complete) == ("backdoor-detected", True)
    assert job.stage == "name", "what was found is put into words last"
    assert set(job.trace.stages()) == {"sweep", "confirm"}
    assert spaces.asked_by == ["the visitor's"], "the GPU is borrowed in the name of the visitor"
    assert spaces.durations == [seconds_for(found.target, "quick")] == [600]
    earlier = borrowing.look_up(BACKDOORED, "quick").earlier
    assert earlier is not None
    assert (earlier.cached, earlier.verdict) == (True, job.result.verdict)


def test_the_seconds_follow_the_size_and_end_at_the_daily_share() -> None:
    def sized(tower_bytes: int) -> Any:
        return SimpleNamespace(pairs=[SimpleNamespace(suspect=SimpleNamespace(tower_bytes=tower_bytes))])

    sizes = [1 << 20, 250 << 20, 500 << 20, 3 << 30]
    quick, standard = ([seconds_for(sized(size), preset) for size in sizes] for preset in ("quick", "standard"))
    assert quick == sorted(quick)
    assert min(quick) >= LEAST_S
    assert max(quick) == max(standard) == MOST_S
    assert all(q <= s for q, s in zip(quick, standard, strict=True))


def test_a_refusal_is_the_lenders_own_sentence(borrowing: ScanService, spaces: StandIn) -> None:
    spaces.refuses = "You have exceeded your free ZeroGPU quota (30s requested vs. 0s left). <script>alert(1)</script>"
    job = borrowing.start(borrowing.look_up(BACKDOORED, "quick"), "visitor")
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert isinstance(job.error, GpuRefused)
    shown = panels.problem(job.error)
    assert "exceeded your free ZeroGPU quota" in shown
    assert "<script" not in shown


def test_a_gpu_that_is_taken_away_is_no_verdict(borrowing: ScanService, spaces: StandIn) -> None:
    spaces.takes_away = True
    job = borrowing.start(borrowing.look_up(BACKDOORED, "quick"), "visitor")
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert (job.state, job.result) == ("failed", None)
    assert "taken away" in str(job.error)


def test_cancelling_stops_the_work_on_the_other_side(borrowing: ScanService, spaces: StandIn) -> None:
    job = borrowing.start(borrowing.look_up(BACKDOORED, "standard"), "visitor")
    while not job.trace.stages():
        assert not borrowing.jobs.wait(job, 0.02)
    borrowing.jobs.cancel(job)
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert (job.state, spaces.stopped.is_set()) == ("cancelled", True)


def test_errors_cross_whole(
    borrowing: ScanService, spaces: StandIn, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    found = borrowing.look_up(BACKDOORED, "quick")
    ref = replace(found.target.ref, repo_id="demo/gone", raw="demo/gone")
    gone = replace(found, target=replace(found.target, ref=ref))
    job = borrowing.start(gone, "visitor")
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert isinstance(job.error, RepoNotFound)


def test_a_webhook_has_no_visitor_and_borrows_nothing(borrowing: ScanService, spaces: StandIn) -> None:
    job = borrowing.start(borrowing.look_up(BACKDOORED, "quick"), "webhook", visitor=False)
    borrowing.jobs.cancel(job)
    assert borrowing.jobs.wait(job, PATIENCE_S)
    assert spaces.durations == []


def test_nothing_of_it_is_needed_elsewhere(monkeypatch: pytest.MonkeyPatch, service: ScanService) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not on_zerogpu()
    assert service.gpu is None
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert on_zerogpu()
