"""`action.yml` and workflows: pinned, least privilege, no expression in a script, promised inputs and outputs."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = [ROOT / "action.yml", *WORKFLOWS]
USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", re.MULTILINE)


def steps(path: Path) -> Iterator[dict[str, Any]]:
    data = yaml.safe_load(path.read_text())
    if "runs" in data:
        yield from data["runs"]["steps"]
    for job in data.get("jobs", {}).values():
        yield from job.get("steps", [])


def test_there_are_the_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == [
        "action-selftest",
        "ci",
        "docs",
        "release",
        "scan-checkpoints",
        "space",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_other_peoples_actions_are_pinned(path: Path) -> None:
    found = USES.findall(path.read_text())
    assert len(found) == sum("uses" in step for step in steps(path))
    for name, rest in found:
        if not name.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name), name
            assert re.fullmatch(r"\s+# v\d+\.\d+\.\d+", rest), rest


def test_one_commit_for_each_version_and_all_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    pins: dict[str, str] = {}
    for path in FILES:
        for name, rest in USES.findall(path.read_text()):
            if not name.startswith("./"):
                repository, _, commit = name.partition("@")
                key = "/".join(repository.split("/")[:2])
                assert pins.setdefault(key, commit) == commit
                assert f"| {key} | {rest.strip(' #')} | `{commit}` |" in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_expression_in_a_script_and_no_credentials_left(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_least_privilege(path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    assert data["permissions"] == {}
    assert "pull_request_target" not in path.read_text()
    for job in data["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"] <= 60
        assert job["permissions"].get("contents") != "write" or path.stem == "release"


def test_the_promised_inputs_and_outputs() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    inputs = (
        "model path revision subfolder hf-token endpoint preset fail-on formats output-dir config baseline comment"
        " push-card version"
    ).split()
    assert set(inputs) <= set(action["inputs"])
    assert set(action["outputs"]) == set(
        "verdict reason-code score exit-code sarif json markdown html commit-sha tower-digest scanned".split()
    )
    assert all(row["description"] for row in (*action["inputs"].values(), *action["outputs"].values()))
    used = (ROOT / "action.yml").read_text()
    assert [name for name in action["inputs"] if f"inputs.{name}" not in used] == []


def test_the_oldest_dependencies() -> None:
    floors = runpy.run_path(str(ROOT / ".ci" / "floor.py"))["floors"]
    found = floors((ROOT / "pyproject.toml").read_text())
    assert "torch==2.8.*" in found
    assert len(found) >= 9
    with pytest.raises(ValueError, match="no oldest"):
        floors('[project]\ndependencies = ["x"]')


def test_the_page_of_the_action_shows_the_same_pins() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(
        r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)", (ROOT / "docs/how-to/github-action.md").read_text()
    )
    assert len(found) >= 3
    for name, commit, version in found:
        assert f"| {'/'.join(name.split('/')[:2])} | {version} | `{commit}` |" in contributing
