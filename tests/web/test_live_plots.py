"""The plots that move: bounded, in order, escaped, fed by a real scan, and drawn for every stage that measures."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from amdet_hub.demo.run import BACKDOORED
from amdet_hub.web import panels
from amdet_hub.web.job_queue import Job
from amdet_hub.web.live_plots import MAX_POINTS, Point, Trace, live_figure
from amdet_hub.web.service import ScanService

PATIENCE_S = 120.0


def test_a_real_scan_fills_the_trace_in_the_order_of_its_stages(service: ScanService) -> None:
    job = service.start(service.look_up(BACKDOORED, "quick"), "visitor")
    assert service.jobs.wait(job, PATIENCE_S)
    assert job.result is not None
    stages = job.trace.stages()
    assert list(stages) == ["sweep", "confirm"]
    for points in stages.values():
        assert [point.step for point in points] == sorted(point.step for point in points)
    (trigger,) = job.result.results[0].triggers
    assert max(stages["sweep"], key=lambda point: point.value).label == str(trigger.token_ids[0])
    assert f"token {trigger.token_ids[0]} with" in live_figure({"sweep": stages["sweep"]}, "sweep")


@pytest.mark.parametrize("stage", ["sweep", "inversion"])
def test_a_long_stage_stays_small_and_keeps_what_matters(stage: str) -> None:
    trace = Trace()
    for step in range(100_000):
        trace.add(stage, step, 50.0 if step == 31_415 else step / 100_000, "988" if step == 31_415 else "1")
    points = trace.stages()[stage]
    assert MAX_POINTS / 2 <= len(points) <= MAX_POINTS
    assert [point.step for point in points] == sorted({point.step for point in points})
    if stage == "sweep":
        assert Point(31_415, 50.0, "988") in points, "the best is never thinned out"
    else:
        assert points[-1].value > 0.99, "a loss is shown as it is now"
    assert len(live_figure(trace.stages(), stage)) < 40_000


def test_what_is_no_number_is_left_out() -> None:
    trace = Trace()
    for value in (float("nan"), float("inf"), -float("inf")):
        trace.add("sweep", 1, value, "1")
    assert trace.stages() == {}
    assert live_figure({}, "sweep") == live_figure({}, "inversion") == live_figure({}, "") == ""


def test_one_thread_tells_while_others_look() -> None:
    trace, done = Trace(), threading.Event()

    def look() -> None:
        while not done.is_set():
            live_figure(trace.stages(), "sweep")

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for step in range(5000):
        trace.add("sweep", step, float(step % 97), str(step))
    done.set()
    for looker in lookers:
        looker.join()
    assert max(point.value for point in trace.stages()["sweep"]) == 96


def test_every_stage_has_its_own_plot_and_it_is_well_formed() -> None:
    trace = Trace()
    job: Job[Any] = Job("visitor", lambda monitor: None, trace=trace, started=0.0)
    seen = []
    evil = "<script>alert(1)</script>"
    for stage, label in (("sweep", "7"), ("confirm", evil), ("inversion", ""), ("inversion, roles swapped", "")):
        trace.add(stage, 1, 0.5, label)
        trace.add(stage, 2, 0.25, label)
        job.progress(stage, 1, 2)
        shown = panels.waiting(job, 0)
        assert "<script" not in shown
        seen.append(live_figure(trace.stages(), stage))
        ET.fromstring(seen[-1])
    assert len(set(seen)) == 4
    assert "class='run swapped'" in seen[-1]
    job.progress("landscape", 1, 2)
    assert "class='run swapped'" in panels.waiting(job, 0), "the last curve stays while the landscape is made"
