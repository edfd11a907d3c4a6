"""`card preview`, `card push` and `verify`, against a local Hub."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amdet_hub.report import as_json
from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run
from tests.cli.scanned import MODEL, README, TOKEN, WEIGHTS, report_of
from tests.report import examples


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_model("org/m", MODEL)
        yield hub


@pytest.fixture
def stored(hub: LocalHub, tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(as_json(report_of(hub, tmp_path / "cache")))
    hub.forget_requests()
    return path


def reach(hub: LocalHub, tmp_path: Path) -> tuple[str, ...]:
    return ("--endpoint", hub.endpoint, "--cache-dir", str(tmp_path / "cache"), "--token", "-")


def test_preview_from_a_report(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    result = cli("card", "preview", "--from", stored, *reach(hub, tmp_path), input=TOKEN)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("--- a/README.md")
    assert result.stderr == ""
    assert hub.writes == []


def test_push_is_a_dry_run_until_yes(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    dry = cli("card", "push", "org/m", "--from", stored, *reach(hub, tmp_path), input=TOKEN)
    assert (dry.exit_code, hub.writes) == (0, [])
    assert "+++ b/README.md" in dry.stdout
    assert "add --yes" in dry.stderr
    wet = cli("card", "push", "org/m", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert wet.exit_code == 0, wet.stderr
    assert wet.stdout == dry.stdout, "what was shown is what was pushed"
    assert "Opened pull request #1: " in wet.stderr
    assert [r.number for r in hub.pull_requests("org/m")] == [1]
    assert TOKEN not in wet.output


def test_commit_needs_yes_too(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    assert (
        "commit this to the main branch, add --yes"
        in cli("card", "push", "org/m", "--from", stored, "--commit", *reach(hub, tmp_path), input=TOKEN).stderr
    )
    assert hub.read("org/m", "README.md") == README
    done = cli("card", "push", "org/m", "--from", stored, "--commit", "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert done.exit_code == 0, done.stderr
    assert hub.read("org/m", "README.md").startswith(README)
    again = cli("card", "push", "org/m", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "Nothing was written: the card says this already." in again.stderr


def test_push_to_another_repository_is_refused(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    result = cli("card", "push", "org/other", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert result.exit_code == 2
    assert "the report is about 'org/m'" in result.stderr
    assert hub.requests == []


def test_push_without_a_report_says_how_to_make_one(cli: Run) -> None:
    result = cli("card", "push", "org/m")
    assert result.exit_code == 2
    assert "amdet-hub scan org/m -o json=report.json" in result.stderr


def test_push_of_an_unfinished_report_is_refused_before_the_hub_is_asked(
    cli: Run, hub: LocalHub, tmp_path: Path
) -> None:
    Path("half.json").write_text(as_json(examples.interrupted()))
    result = cli("card", "push", "org/dreamy-xl", "--from", "half.json", "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert result.exit_code == 2
    assert "was not finished" in result.stderr
    assert hub.requests == []


def test_preview_needs_something(cli: Run) -> None:
    result = cli("card", "preview")
    assert result.exit_code == 2
    assert "needs a TARGET to scan, or --from" in result.stderr


def test_closed_pull_request(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    cli("card", "push", "org/m", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    hub.close_pull_request("org/m", 1)
    result = cli("card", "push", "org/m", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert result.exit_code == 2
    assert "pull request #1" in result.stderr
    assert "The owner said no" in result.stderr


def test_an_empty_stdin_is_no_token(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    result = cli("card", "preview", "--from", stored, *reach(hub, tmp_path), input="")
    assert result.exit_code == 2
    assert "stdin held no token" in result.stderr


def test_verify_answers(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    def verify(*more: str) -> tuple[int, str]:
        result = cli("verify", "org/m", *reach(hub, tmp_path), *more, input=TOKEN)
        return result.exit_code, result.stdout

    assert verify()[0] == 3
    assert verify()[1].startswith("org/m: missing\n")
    cli("card", "push", "org/m", "--from", stored, "--commit", "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert verify()[0] == 0
    assert verify()[1].startswith("org/m: fresh\n")
    code, text = verify("--json")
    assert (code, json.loads(text)["state"]) == (0, "fresh")
    hub.commit("org/m", {"model.safetensors": WEIGHTS + b"!"}, message="retrained")
    assert verify()[0] == 3
    assert "org/m: stale" in verify()[1]
    card = hub.read("org/m", "README.md").replace(b"No backdoor found", b"All is well")
    hub.commit("org/m", {"README.md": card}, message="improve")
    assert verify()[0] == 1
    assert "org/m: forged" in verify()[1]


def test_verify_needs_no_torch(hub: LocalHub, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate', 'safetensors'): sys.modules[name] = None\n"
        "from amdet_hub.__main__ import main\n"
        "sys.exit(main(['verify', 'org/m', '--cache-dir', sys.argv[1]]))\n"
    )
    env = {**os.environ, **hub.environment("alice")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("org/m: missing")


def test_a_report_that_was_edited_is_not_pushed(cli: Run, hub: LocalHub, stored: Path, tmp_path: Path) -> None:
    forged = dataclasses.replace(report_of(hub, tmp_path / "cache"), target="org/m")
    data = json.loads(as_json(forged))
    data["outcomes"][0]["encoder"]["weight_files"][0]["sha256"] = "0" * 64
    stored.write_text(json.dumps(data))
    result = cli("card", "push", "org/m", "--from", stored, "--yes", *reach(hub, tmp_path), input=TOKEN)
    assert result.exit_code == 2
    assert "does not describe 'org/m' as it is now" in result.stderr
    assert hub.writes == []
