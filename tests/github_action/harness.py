"""A runner for composite actions: reads `action.yml` and runs every `run:` step in bash, in GitHub's environment.

Knows the expressions that our action uses (`inputs.x`, `github.x`, `runner.temp`, `steps.x.outputs.y`, literals, `==`,
`!=`, `&&`, `||`), output files with delimiters, and `actions/cache/restore` and `save`, which it does with a folder.
Any other expression or action is an error.

Source: GitHub's documentation, "Metadata syntax", "Contexts", "Expressions" and "Workflow commands for GitHub
Actions".
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ACTION = Path(__file__).parent.parent.parent
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<operator>==|!=|&&|\|\|)|(?P<name>[A-Za-z_][\w.-]*))")
_HEREDOC = re.compile(r"([A-Za-z0-9_-]+)<<(.+)")


@dataclass
class Job:
    """What came out of one use of the action."""

    outputs: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    log: str = ""
    summary: str = ""
    failed_at: str | None = None
    exit_code: int = 0


@dataclass
class Runner:
    """One runner with its temporary folder and its cache; `environ` is what a job's own `env:` would add."""

    workspace: Path
    temp: Path
    cache: Path
    event_name: str
    payload: Mapping[str, Any]
    environ: Mapping[str, str] = field(default_factory=dict)
    github: Mapping[str, str] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, str]) -> Job:
        """Run the action once. Raises: AssertionError when it uses what a runner would not know."""
        action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
        unknown = set(inputs) - set(action["inputs"])
        assert not unknown, f"no such input: {unknown}"
        self.temp.mkdir(parents=True, exist_ok=True)
        contexts: dict[str, Any] = {
            "inputs": {},
            "github": {"token": "ghs_test", "run_id": "7", "run_attempt": "1", **self.github},
            "runner": {"temp": str(self.temp), "os": "Linux"},
            "steps": {},
        }
        for name, row in action["inputs"].items():
            contexts["inputs"][name] = inputs.get(name, fill(str(row.get("default", "")), contexts))
        job = Job()
        for number, step in enumerate(action["runs"]["steps"]):
            self._step(number, step, contexts, job)
        job.outputs = {name: fill(row["value"], contexts) for name, row in action["outputs"].items()}
        return job

    def _step(self, number: int, step: Mapping[str, Any], contexts: dict[str, Any], job: Job) -> None:
        condition = str(step.get("if", "true"))
        if job.failed_at is not None or (condition != "true" and not truth(evaluate(condition, contexts))):
            return
        job.ran.append(step["name"])
        if "uses" in step:
            self._cached(step, contexts)
            return
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an expression inside a script"
        files = {name: self.temp / f"{number}-{name}" for name in ("output", "summary", "script")}
        for path in files.values():
            path.write_text("", encoding="utf-8")
        files["script"].write_text(step["run"], encoding="utf-8")
        environ = self._environ(files) | {
            name: fill(str(value), contexts) for name, value in step.get("env", {}).items()
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(files["script"])],
            cwd=self.workspace,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=280,
            check=False,
        )
        job.log += done.stdout.decode("utf-8", "backslashreplace") + done.stderr.decode("utf-8", "backslashreplace")
        job.summary += files["summary"].read_text(encoding="utf-8")
        if "id" in step:
            contexts["steps"][step["id"]] = {"outputs": read_outputs(files["output"])}
        if done.returncode:
            job.failed_at, job.exit_code = step["name"], done.returncode

    def _environ(self, files: Mapping[str, Path]) -> dict[str, str]:
        kept = {
            n: v
            for n, v in os.environ.items()
            if n in ("PATH", "HOME", "LANG", "PYTHONPATH", "OMP_NUM_THREADS", "AMDET_HUB_SEED") or n.startswith("HF_")
        }
        event = self.temp / "event.json"
        event.write_text(json.dumps(self.payload), encoding="utf-8")
        runner = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_EVENT_NAME": self.event_name,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_OUTPUT": str(files["output"]),
            "GITHUB_STEP_SUMMARY": str(files["summary"]),
            "GITHUB_REPOSITORY": "owner/repo",
            "GITHUB_SHA": "c" * 40,
            "GITHUB_REF_PROTECTED": "false" if "pull_request" in self.payload else "true",
            "GITHUB_WORKFLOW_REF": "owner/repo/.github/workflows/scan.yml@refs/heads/main",
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
        }
        return {**kept, **runner, **self.environ}

    def _cached(self, step: Mapping[str, Any], contexts: dict[str, Any]) -> None:
        assert re.fullmatch(r"actions/cache/(restore|save)@[0-9a-f]{40}", step["uses"]), step["uses"]
        for path in map(Path, fill(step["with"]["path"], contexts).split()):
            kept = self.cache / path.name
            source, target = (kept, path) if "/restore@" in step["uses"] else (path, kept)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


def read_outputs(path: Path) -> dict[str, str]:
    """The outputs in a step's file. Raises: AssertionError when a runner would refuse the file."""
    outputs: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        if heredoc := _HEREDOC.fullmatch(line):
            value = []
            for inner in lines:
                if inner == heredoc[2]:
                    break
                value.append(inner)
            else:
                raise AssertionError("an output without its delimiter")
            outputs[heredoc[1]] = "\n".join(value)
        elif line:
            name, equals, rest = line.partition("=")
            assert equals, f"no output: {line}"
            outputs[name] = rest
    return outputs


def fill(text: str, contexts: Mapping[str, Any]) -> str:
    """`text` with every `${{ expression }}` replaced by its value."""
    return _EXPRESSION.sub(lambda found: str(evaluate(found[1], contexts)), text)


def truth(value: str | bool) -> bool:
    """Whether a value counts as true: any text but the empty one does, `'false'` too."""
    return value not in ("", False)


def evaluate(expression: str, contexts: Mapping[str, Any]) -> str | bool:
    """The value of an expression of the subset. Raises: AssertionError for anything else."""
    tokens: list[tuple[str, str]] = []
    rest = expression.strip()
    while rest:
        found = _TOKEN.match(rest)
        assert found, f"not an expression of the subset: {expression}"
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        rest = rest[found.end() :].strip()
    return _any(tokens, contexts)


def _any(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> str | bool:
    value: str | bool = ""
    for part in _split(tokens, "||"):
        value = _all(part, contexts)
        if truth(value):
            return value
    return value


def _all(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> str | bool:
    value: str | bool = ""
    for part in _split(tokens, "&&"):
        value = _comparison(part, contexts)
        if not truth(value):
            return value
    return value


def _comparison(tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> str | bool:
    if len(tokens) == 1:
        return _atom(tokens[0], contexts)
    left, (kind, operator), right = tokens
    assert kind == "operator"
    equal = _atom(left, contexts).casefold() == _atom(right, contexts).casefold()
    return equal == (operator == "==")


def _atom(token: tuple[str, str], contexts: Mapping[str, Any]) -> str:
    kind, text = token
    if kind == "text":
        return text[1:-1].replace("''", "'")
    value: Any = contexts
    head, *names = text.split(".")
    assert head in contexts, f"unknown context: {text}"
    value = contexts[head]
    for name in names:
        value = value.get(name, {}) if isinstance(value, Mapping) else {}
    return "" if value == {} else str(value)


def _split(tokens: list[tuple[str, str]], operator: str) -> list[list[tuple[str, str]]]:
    parts: list[list[tuple[str, str]]] = [[]]
    for token in tokens:
        if token == ("operator", operator):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
