"""Two real processes, started by torch's own launcher: the same numbers, printed once, stopped together."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.report import parse_report
from amdet_hub.testing.models import tiny_pipeline
from tests.scanner.conftest import BACKDOORED, BASE, REDUCED
from tests.scanner.several_processes import main
from tests.scanner.test_session import spoiled

ROOT = Path(__file__).parents[2]


def launch(*command: object, cwd: Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """`processes` of `command` (a module and its arguments) under torch's launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        "--master_port",
        str(port),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.run(
        [*launcher, "-m", *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Name of a scan -> its report in one process, and in each of two."""
    folder = tmp_path_factory.mktemp("processes")
    tiny_pipeline(folder / "broken", kind="sdxl", hidden_size=16, heads=2)
    shutil.copytree(folder / "broken", folder / "whole")
    spoiled(folder / "broken" / "text_encoder", float("nan"))
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    main(folder / "one", folder / "broken")
    done = launch("tests.scanner.several_processes", folder / "two", folder / "broken", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    names = sorted(path.name.partition(".")[0] for path in (folder / "one").glob("*.json"))
    assert names == ["broken", "little-time", "no-time", "paper", "standard"]
    paths = {
        name: [folder / "one" / f"{name}.0.json", *(folder / "two" / f"{name}.{rank}.json" for rank in (0, 1))]
        for name in names
    }
    return {name: [json.loads(path.read_text()) for path in three] for name, three in paths.items()}


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on the number of processes."""
    outcomes = [{k: v for k, v in outcome.items() if k != "timings_s"} for outcome in report["outcomes"]]
    return {
        "verdict": report["verdict"],
        "outcomes": outcomes,
        "config": report["config"],
        "complete": report["complete"],
    }


@pytest.mark.parametrize("name", ["standard", "paper", "no-time", "broken"])
def test_any_number_of_processes_gives_the_same_report(results: dict[str, list[dict[str, Any]]], name: str) -> None:
    one, first, second = results[name]
    assert comparable(first) == comparable(second) == comparable(one)
    assert [r["environment"]["num_processes"] for r in (one, first, second)] == [1, 2, 2]


def test_the_verdicts_are_right(results: dict[str, list[dict[str, Any]]]) -> None:
    labels = {name: reports[1]["verdict"]["label"] for name, reports in results.items()}
    assert labels == {
        "standard": "backdoor-detected",
        "paper": "no-backdoor-found",
        "no-time": "inconclusive",
        "little-time": "inconclusive",
        "broken": "inconclusive",
    }


def test_time_that_ends_within_a_stage_ends_it_everywhere(results: dict[str, list[dict[str, Any]]]) -> None:
    for report in results["little-time"]:
        assert not report["complete"]
        assert [o["reason"] for o in report["outcomes"]] == ["time-spent"]


def test_the_command_line_prints_once(tmp_path: Path) -> None:
    tables: dict[str, list[str]] = {}
    for name, value in REDUCED.items():
        part, _, field = name.partition("__")
        tables.setdefault(part, []).append(f"{field} = {value}")
    config = tmp_path / "quick.toml"
    config.write_text("\n".join(line for part, lines in tables.items() for line in (f"[{part}]", *lines)))
    quick = (
        "--device",
        "cpu",
        "-f",
        "json",
        "--config",
        config,
        "--fail-on",
        "never",
        "-o",
        f"markdown={tmp_path}/report.md",
    )
    done = launch("amdet_hub", "scan", BACKDOORED, "--reference", BASE, *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    report = parse_report(done.stdout)
    assert report.verdict.label == "backdoor-detected"
    assert report.environment.num_processes == 2
    assert (tmp_path / "report.md").is_file()
    assert "Traceback" not in done.stderr
