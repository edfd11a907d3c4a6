"""`scan --on jobs` against the local Hub's stand-in of Jobs, which runs the command it is given in a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from amdet_hub import __version__
from amdet_hub.report import parse_report
from amdet_hub.report.log_lines import as_log_lines
from amdet_hub.testing import LocalHub
from amdet_hub.testing.local_hub import LocalJob
from amdet_hub.testing.models import tiny_clip
from tests.cli.conftest import Run
from tests.report.examples import clean

TOKEN = "hf_alicealicealice"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "full", hidden_size=16, layers=1)
    tiny_clip(folder / "half", hidden_size=16, layers=1, dtype="float16")
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN)
        hub.add_model("org/base", models / "full")
        hub.add_model("org/half", models / "half")
        hub.add_model("alice/secret", models / "half", private=True)
        hub.add_model("org/words", {"README.md": b"# Words\n"})
        yield hub


@pytest.fixture
def ask(cli: Run, hub: LocalHub, tmp_path: Path) -> Run:
    def run(*args: object, **extra: object) -> Result:
        fixed = ("--on", "jobs", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", "--token", "-")
        return cli("scan", *args, *fixed, input=f"{TOKEN}\n", **extra)

    return run


def in_a_child(hub: LocalHub) -> Callable[[LocalJob, Callable[[str], None]], int]:
    """Runs `uv run --with PACKAGE amdet-hub ...` as the package that is here."""

    def run(job: LocalJob, say: Callable[[str], None]) -> int:
        assert job.command[:2] == ["uv", "run"]
        arguments = job.command[job.command.index("amdet-hub") + 1 :]
        environment = os.environ | hub.environment() | job.environment | job.secrets
        command = [sys.executable, "-m", "amdet_hub", *arguments]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child:
            for line in child.stdout or ():
                say(line.rstrip("\n"))
        return child.returncode

    return run


def saying(*lines: str, code: int = 0) -> Callable[[LocalJob, Callable[[str], None]], int]:
    def run(job: LocalJob, say: Callable[[str], None]) -> int:
        for line in lines:
            say(line)
        return code

    return run


def until_stopped(job: LocalJob, say: Callable[[str], None]) -> int:
    deadline = time.monotonic() + 60
    while job.stage == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.02)
    return 137


def key_of(job: LocalJob) -> str:
    return next(a.partition("=")[2] for a in job.command if a.startswith("--result-to-log="))


def test_a_scan_on_a_job_is_the_scan_and_the_token_its_secret(
    ask: Run, cli: Run, hub: LocalHub, tmp_path: Path
) -> None:
    hub.run_jobs(in_a_child(hub))
    flags = ("alice/secret", "--reference", "org/base", "-f", "json", "-o", "text=r.txt", "--seed", "3")
    result = ask(*flags, "--flavor", "t4-small", "--timeout", "10m")
    assert result.exit_code == 0, result.stderr
    there = parse_report(result.stdout)
    assert (there.target, there.snapshot.commit_sha) == ("alice/secret", hub.head("alice/secret"))
    local = ("--endpoint", hub.endpoint, "--cache-dir", tmp_path / "c", "--device", "cpu", "--token", "-")
    here = parse_report(cli("scan", *flags, *local, input=f"{TOKEN}\n").stdout)
    assert there.verdict == here.verdict
    assert there.config_fingerprint == here.config_fingerprint
    assert there.results[0].evidence == here.results[0].evidence
    assert "no backdoor found" in Path("r.txt").read_text().lower()
    (job,) = hub.jobs
    assert (job.stage, job.owner, job.flavor, job.timeout_s) == ("COMPLETED", "alice", "t4-small", 1500)
    assert job.command[2:5] == ["--with", f"amdet-hub=={__version__}", "amdet-hub"]
    assert f"hf://alice/secret@{hub.head('alice/secret')}" in job.command
    assert job.secrets == {"HF_TOKEN": TOKEN}
    assert TOKEN not in json.dumps([job.command, job.environment, job.lines])
    assert TOKEN not in result.stdout + result.stderr


def test_a_public_repository_sends_no_token_and_the_log_is_talk(ask: Run, hub: LocalHub) -> None:
    hub.run_jobs(saying("Installed 40 packages", "\x1b[2Jgone", f"a token: {TOKEN}"))
    result = ask("org/half", "--reference", "org/base", "--job-package", "amdet-hub @ git+https://example.org/a.git")
    assert result.exit_code == 2
    assert "job: Installed 40 packages\n" in result.stderr
    assert "job: \\u{1b}[2Jgone\n" in result.stderr
    assert TOKEN not in result.stderr
    (job,) = hub.jobs
    assert job.secrets == {}
    assert "amdet-hub @ git+https://example.org/a.git" in job.command
    assert "job: " not in ask("org/half", "--reference", "org/base", "-q").stderr


def test_nothing_to_scan_costs_nothing(ask: Run, hub: LocalHub) -> None:
    hub.run_jobs(saying())
    result = ask("org/words", "-f", "json")
    assert (result.exit_code, parse_report(result.stdout).verdict.label) == (0, "nothing-to-scan")
    assert hub.jobs == []


@pytest.mark.parametrize(
    ("runner", "words"),
    [
        (saying("no luck", code=1), "error: Job failed with exit code: 1"),
        (saying("nothing at all"), "ended without a result (completed)"),
        (saying("amdet-hub-result 0123456789abcdef0123456789abcdef 0/1 AAAA"), "ended without a result"),
    ],
)
def test_a_job_without_a_result_is_an_error(ask: Run, hub: LocalHub, runner: Callable[..., int], words: str) -> None:
    hub.run_jobs(runner)
    result = ask("org/half", "--reference", "org/base")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "/jobs/alice/" in result.stderr
    assert result.stdout == ""


def test_a_result_of_something_else_is_not_believed(ask: Run, hub: LocalHub) -> None:
    def other(job: LocalJob, say: Callable[[str], None]) -> int:
        for line in as_log_lines(clean(), key_of(job)):
            say(line)
        return 0

    hub.run_jobs(other)
    result = ask("org/half", "--reference", "org/base")
    assert result.exit_code == 2
    assert "of another repository, commit or setting" in result.stderr
    assert "amdet-hub-result" not in result.stderr


def test_a_log_that_cannot_be_read_stops_the_job(ask: Run, hub: LocalHub) -> None:
    hub.run_jobs(until_stopped)
    hub.fail("/logs", status=403, times=None)
    result = ask("org/half", "--reference", "org/base")
    assert result.exit_code == 2
    assert "The job was stopped." in result.stderr
    assert hub.jobs[0].stage == "CANCELED"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("./here",), "a job cannot read folders of this machine"),
        (("org/half", "--reference", "./here"), "a job cannot read folders of this machine"),
        (("org/half", "--config", "own.toml"), "preset and seed"),
        (("org/half", "--offline"), "offline"),
        (("org/half", "--result-to-log", "x"), "32 hex digits"),
    ],
)
def test_what_a_job_cannot_do_is_said_first(
    ask: Run, hub: LocalHub, models: Path, args: tuple[str, ...], words: str
) -> None:
    Path("here").symlink_to(models / "full")
    Path("own.toml").write_text("[sweep]\nn_prompts = 4\n")
    hub.run_jobs(saying())
    result = ask(*args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert hub.jobs == []


def test_a_file_that_is_called_like_an_argument_is_not_sent_along(ask: Run, hub: LocalHub) -> None:
    hub.run_jobs(saying())
    Path("scan").write_text("private notes")
    result = ask("org/half")
    assert result.exit_code == 2
    assert "'scan' is the name of a file here" in result.stderr
    assert hub.writes == []


def test_no_credit_is_said(ask: Run, hub: LocalHub) -> None:
    result = ask("org/half", "--reference", "org/base")
    assert result.exit_code == 2
    assert "402" in result.stderr
