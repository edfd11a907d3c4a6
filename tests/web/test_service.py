"""The parts behind the page: what is accepted, who waits, what is kept, what is shown."""

from __future__ import annotations

import ast
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from amdet_hub.demo import WEIGHTS
from amdet_hub.demo.run import BACKDOORED, FINETUNED
from amdet_hub.errors import ConfigError, Interrupted, RepoNotFound, TargetError
from amdet_hub.hub import HubSettings
from amdet_hub.records import Monitor, ScanReport, TriggerFinding
from amdet_hub.report.error_rates import MEASURED
from amdet_hub.testing import LocalHub
from amdet_hub.web import panels
from amdet_hub.web.board import Board
from amdet_hub.web.demo import copy_examples
from amdet_hub.web.downloads import workflow, write_files
from amdet_hub.web.error_messages import error_message
from amdet_hub.web.job_queue import Job, JobQueue, QueueRefused
from amdet_hub.web.report_plots import landscape_figure, readable_piece, sweep_figure
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import SpaceSettings
from amdet_hub.web.visitor import parse_visitor_target

PATIENCE_S = 120.0
ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>\u202e[x](javascript:1)"


def stored(service: ScanService, name: str, preset: str = "standard") -> ScanReport:
    """The report of a demonstration model that is shipped with the page."""
    copy_examples(service.settings)
    found = service.look_up(name, preset).earlier
    assert found is not None, "the shipped examples are old: run python -m amdet_hub.web.make_examples"
    return found


# ---------------------------------------------------------------- what is accepted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "./model",
        "/etc/passwd",
        "~/x",
        "C:\\x",
        "..",
        "a/b?c=<b>",
        "a" * 400,
        "<b>",
        "https://evil.example/a/b",
        "file:///etc",
    ],
)
def test_only_hub_models_are_accepted(text: str) -> None:
    with pytest.raises(TargetError):
        parse_visitor_target(text)


def test_a_name_that_is_a_folder_of_the_server_is_still_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert (parse_visitor_target("org/model").kind, parse_visitor_target("org/model").repo_id) == ("hub", "org/model")


def test_a_preset_that_is_not_offered_is_refused(service: ScanService) -> None:
    with pytest.raises(ConfigError):
        service.look_up(FINETUNED, "paper")


def test_errors_are_sentences_without_the_servers_secrets() -> None:
    assert error_message(RepoNotFound("a/b", token_sent=False)).endswith(" [repo-not-found]")
    assert "/secret/path" not in error_message(RuntimeError("/secret/path"))
    assert error_message(RuntimeError("/secret/path")).endswith(" [unexpected-error]")


def test_settings_come_from_the_environment() -> None:
    settings = SpaceSettings.from_environment({"AMDET_SPACE_QUEUE_SIZE": "3", "AMDET_SPACE_EXAMPLES": "a/b, c/d"})
    assert (settings.queue_size, settings.examples) == (3, ("a/b", "c/d"))
    with pytest.raises(ConfigError):
        SpaceSettings.from_environment({"AMDET_SPACE_QUEUE_SIZE": "many"})
    assert "hunter2" not in repr(replace(settings, webhook_secret="hunter2", board_token="hunter2"))


# ---------------------------------------------------------------- the queue


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def blocked(gate: threading.Event, report: Any = None) -> Any:
    def work(monitor: Monitor) -> Any:
        while not gate.wait(0.01):
            monitor.progress("sweep", 1, 2)
        return report

    return work


def failing_work(monitor: Monitor) -> ScanReport:
    raise ZeroDivisionError


def test_the_line_is_bounded_and_everybody_knows_their_place(gate: threading.Event) -> None:
    jobs = JobQueue(size=20, per_owner=1, per_owner_hour=5)
    asked = [jobs.submit(Job("owner 0", blocked(gate, 0)))]
    while asked[0].state != "running":
        jobs.wait(asked[0], 0.01)
    asked += [jobs.submit(Job(f"owner {n}", blocked(gate, n))) for n in range(1, 21)]
    assert [jobs.place(job) for job in asked] == [0, *range(1, 21)]
    with pytest.raises(QueueRefused, match="full"):
        jobs.submit(Job("owner 21", blocked(gate)))
    with pytest.raises(QueueRefused, match="under way"):
        jobs.submit(Job("owner 3", blocked(gate)))
    jobs.cancel(asked[5])
    assert (asked[5].state, jobs.place(asked[6])) == ("cancelled", 5)
    gate.set()
    assert all(jobs.wait(job, PATIENCE_S) for job in asked)
    assert [job.result for job in asked] == [*range(5), None, *range(6, 21)], "nothing is mixed up, nothing is lost"
    jobs.close()


def test_a_running_job_can_be_cancelled_and_a_failing_one_harms_nobody(gate: threading.Event) -> None:
    jobs = JobQueue(size=5, per_owner=5, per_owner_hour=3)
    running = jobs.submit(Job("a", blocked(gate)))
    failing = jobs.submit(Job("a", failing_work))
    jobs.cancel(running)
    assert jobs.wait(failing, PATIENCE_S)
    assert running.state == "cancelled"
    assert isinstance(running.error, Interrupted)
    assert (failing.state, type(failing.error)) == ("failed", ZeroDivisionError)
    gate.set()
    after = jobs.submit(Job("a", blocked(gate, "fine")))
    assert jobs.wait(after, PATIENCE_S)
    assert str(after.result) == "fine"
    with pytest.raises(QueueRefused, match="within an hour"):
        jobs.submit(Job("a", blocked(gate)))
    jobs.close()


def test_twenty_visitors_get_their_own_model(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    """Real scans: each answers by identity, so that twenty of them take seconds."""
    _, hub = hub_and_settings
    names = [f"crowd/model-{n}" for n in range(20)]
    base = {p.name: p.read_bytes() for p in (WEIGHTS / "base").iterdir() if p.name != "provenance.json"}
    for name in names:
        hub.add_model(name, base)
    found = [service.look_up(name, "quick") for name in names]
    jobs = [service.start(one, f"visitor {n}") for n, one in enumerate(found)]
    assert all(service.jobs.wait(job, PATIENCE_S) for job in jobs)
    assert [job.result and job.result.snapshot.repo_id for job in jobs] == names
    assert {job.result.verdict.label for job in jobs if job.result} == {"no-backdoor-found"}
    again = service.look_up(names[0], "quick").earlier
    assert again is not None, "the same towers under another name have the same result"
    assert len(service.board.rows()) == 20


# ---------------------------------------------------------------- what is kept


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_results_of_models_that_not_everybody_may_read_reach_no_other_visitor(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub], kind: str
) -> None:
    """A copy of the same weights, in public, is not answered from them."""
    hub, owner = hub_and_settings[1], f"{kind}-owner"
    hub.add_user(owner, token=f"hf_{kind}")
    base = {p.name: p.read_bytes() for p in (WEIGHTS / "base").iterdir() if p.name != "provenance.json"}
    hub.add_model(f"{owner}/hidden", base, private=kind == "private", gated=kind == "gated")
    hub.add_model(f"{owner}/public", base)
    for _ in range(2):
        lookup = service.look_up(f"{owner}/hidden", "quick", token=f"hf_{kind}")
        assert lookup.earlier is None
        job = service.start(lookup, "visitor")
        assert service.jobs.wait(job, PATIENCE_S)
        assert job.error is None
    assert service.look_up(f"{owner}/public", "quick").earlier is None
    assert service.board.rows() == []


def test_unfinished_results_are_not_listed(service: ScanService) -> None:
    report = stored(service, FINETUNED)
    board = Board()
    assert not board.add(replace(report, complete=False))
    assert board.rows() == []
    assert board.add(report)


def test_what_holds_nothing_to_scan_gets_a_report_like_any_other(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub]
) -> None:
    hub, config = hub_and_settings[1], b'{"model_type": "clip", "architectures": ["CLIPModel"]}'
    hub.add_model("nothing/at-all", {"README.md": b"# nothing"})
    hub.add_model("nothing/but-pickles", {"config.json": config, "pytorch_model.bin": b"pickle"})
    for name, label, code in (
        ("nothing/at-all", "nothing-to-scan", "no-model-files"),
        ("nothing/but-pickles", "inconclusive", "refused-pickle"),
    ):
        report = service.look_up(name, "quick").earlier
        assert report is not None
        assert (report.verdict.label, report.verdict.code) == (label, code)
        assert f"data-code='{code}'" in panels.verdict(report)


def test_the_board_survives_a_restart_in_a_dataset_and_a_silent_hub(
    service: ScanService, hub_and_settings: tuple[SpaceSettings, LocalHub], tmp_path: Path
) -> None:
    _, hub = hub_and_settings
    hub.add_user("keeper", token="hf_keeper")
    settings = HubSettings(endpoint=hub.endpoint, token="hf_keeper", cache_dir=tmp_path)
    report = stored(service, BACKDOORED)
    board = Board("keeper/board", settings)
    assert board.add(report)
    assert board.add(report), "the same scan replaces its row"
    (row,) = Board("keeper/board", settings).rows()
    assert (row.model, row.verdict) == (BACKDOORED, "backdoor-detected")
    assert panels.board([row])[0][1] == "Backdoor detected"
    silent = HubSettings(endpoint="http://127.0.0.1:9", token="hf_keeper", cache_dir=tmp_path / "none", max_retries=0)
    assert Board("keeper/board", silent).add(report), "a scan is not lost for it"


# ---------------------------------------------------------------- what is shown


def test_hostile_text_is_shown_and_never_obeyed(service: ScanService) -> None:
    report = stored(service, BACKDOORED)
    (result,) = report.results
    trigger = TriggerFinding((1,), EVIL, 1.0, 1.0, 1.0, 4, (EVIL,))
    evidence = tuple(
        replace(e, summary=EVIL, details={"top_tokens": [{"piece": EVIL, "score": 3.0}]}) for e in result.evidence
    )
    evil = replace(
        report,
        outcomes=(
            replace(result, triggers=(trigger,), evidence=evidence, encoder=replace(result.encoder, component=EVIL)),
        ),
        snapshot=replace(report.snapshot, repo_id=EVIL, license=EVIL),
        verdict=replace(report.verdict, reasons=(EVIL,)),
    )
    shown = panels.verdict(evil)
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "&lt;script&gt;" in shown


def test_the_figures_are_read_from_the_report(service: ScanService) -> None:
    report = stored(service, BACKDOORED)
    (result,) = report.results
    svg = sweep_figure(result)
    assert ">о</text>" in svg, "the outlier is named as people read it"
    surface: Any = landscape_figure(report)
    assert len(surface.data[0].z) == 21
    broken = replace(
        result,
        evidence=tuple(replace(e, details={"null_histogram": {"low": "x"}, "losses": [1]}) for e in result.evidence),
    )
    assert sweep_figure(broken) == ""
    assert landscape_figure(replace(report, outcomes=(broken,))) is None
    assert tuple(map(readable_piece, ("pping</w>", "Ð", "犬"))) == ("pping", "bytes d0", "犬")


def test_measured_error_rates_stand_under_the_evidence(service: ScanService) -> None:
    report = stored(service, BACKDOORED)
    rates = MEASURED["clip", True]
    shown = panels.verdict(report)
    for figure in (rates.n_benign, rates.n_backdoored):
        assert f"of {figure} " in shown
    other = panels.verdict(replace(report, config={**report.config, "preset": "paper"}))
    assert f"of {rates.n_benign} " not in other


def test_files_are_named_plainly(service: ScanService, tmp_path: Path) -> None:
    report = stored(service, BACKDOORED)
    evil = replace(report, snapshot=replace(report.snapshot, repo_id="../../x/" + EVIL))
    for path in write_files(evil, tmp_path):
        assert tmp_path in Path(path).parents
        assert Path(path).name.startswith("amdet-hub-")


def test_the_page_knows_no_room_below_scanner_and_report() -> None:
    """Besides them only what says what to scan, and how a card is written."""
    allowed = set("errors records config hub scanner report model_card verdict demo testing web".split())
    for path in (ROOT / "amdet_hub" / "web").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("amdet_hub."):
                assert (node.module or "").split(".")[1] in allowed, f"{path.name} imports {node.module}"


def test_the_workflow_to_take_away_is_one_of_the_action(service: ScanService) -> None:
    """Every input it sets is one of action.yml, and a name that is YAML of its own stays a name."""
    report = stored(service, BACKDOORED)
    odd = replace(report, snapshot=replace(report.snapshot, repo_id='org/a: "b" # c'))
    for given, name in ((report, BACKDOORED), (odd, 'org/a: "b" # c')):
        made = yaml.safe_load(workflow(given))
        (step,) = made["jobs"]["scan"]["steps"]
        assert step["uses"].startswith("OWNER/amdet-hub@")
        assert set(step["with"]) <= set(yaml.safe_load((ROOT / "action.yml").read_text())["inputs"])
        assert step["with"] == {"model": name, "preset": "standard"}
        assert made["permissions"] == {}
