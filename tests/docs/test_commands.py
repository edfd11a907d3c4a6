"""Runs every command and Python example of `docs/`, README.md and SKILL.md, against a LocalHub with the pages' models.

A `bash` block holds commands. A `console` block holds commands after `$ ` and below each the lines of its output that
must appear, in this order; `...` stands for anything, and a space for any white space. A command ends with
`# exit code N` where that is not 0. Commands that cannot be run here stand in `MAPPED`, with a check in their place;
nothing is skipped. A `sh` block of README.md is parsed by `tests/test_readme.py` and not run.

The commands are those of the page, unchanged. The reference and a file with reduced settings are named by the
environment.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from amdet_hub.cli.app import app
from amdet_hub.testing import LocalHub
from tests.demo_hub import FAST_TOML, TOKEN, files_of

ROOT = Path(__file__).parent.parent.parent
PAGES = (*sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")), "README.md", "SKILL.md")
GENERATED = "docs/reference/cli.md"
"""The help texts, whose examples are those of the program."""

SHELLS = ("bash", "console")
OTHER_LANGUAGES = ("python", "text", "json", "yaml", "toml", "")
"""Everything else a fence may be; a new language must be thought about here."""

PROGRAMS = ("amdet-hub", "hf-amdet")
_EXIT = re.compile(r"\s+# exit code (\d+)$")


@dataclass(frozen=True)
class Command:
    """One command of a page: where it stands, its words, its exit code, and lines of its output."""

    line: int
    text: str
    exit_code: int
    output: tuple[str, ...] = ()


def fences(page: str) -> list[tuple[int, str, str]]:
    """(line, language, content) of every fenced block of a page."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    return [
        (token.map[0] + 2, token.info.strip(), token.content)
        for token in tokens
        if token.type == "fence" and token.map
    ]


def commands(page: str) -> list[Command]:
    """Every command of a page, in order."""
    found = []
    for start, language, content in fences(page):
        if language == "bash":
            for number, line in enumerate(content.replace("\\\n", " ").splitlines()):
                if line.strip() and not line.startswith("#"):
                    found.append(_command(start + number, line, ()))
        elif language == "console":
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                line, *output = part.splitlines()
                found.append(_command(start, line, tuple(text for text in output if text.strip())))
    return found


def _command(number: int, line: str, output: tuple[str, ...]) -> Command:
    code = _EXIT.search(line)
    return Command(number, _EXIT.sub("", line).strip(), int(code[1]) if code else 0, output)


# ---------------------------------------------------------------- what cannot be run here


def _extra_exists(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, extra = re.findall(r"'([a-z-]+)\[([a-z-]+)\]'", text)[0]
    assert name == project["name"]
    assert extra in project["optional-dependencies"]


def _installs_from_here(text: str) -> None:
    words = shlex.split(text)
    known = subprocess.run(
        [sys.executable, "-m", "pip", words[1], "--help"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"{re.escape(word)}[ ,<\n]", known), f"pip {words[1]} has no {word}"
    assert "constraints.txt" not in words or (ROOT / "constraints.txt").is_file()
    assert {words[-1]} <= {".", "amdet-hub"}


def _make_target_exists(text: str) -> None:
    assert re.search(rf"^{text.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


MAPPED: dict[str, Callable[[str], None]] = {
    "make demo": _make_target_exists,  # installs, and takes a minute; tests/demo runs what it runs
    "pip install -c constraints.txt .": _installs_from_here,
    "pip install 'amdet-hub[mcp]'": _extra_exists,
    "pip download -c constraints.txt -d wheels .": _installs_from_here,
    "pip install --no-index --find-links wheels amdet-hub": _installs_from_here,
}
"""Commands that need an index of packages, or minutes."""


def test_every_mapped_command_is_on_some_page() -> None:
    shown = {command.text for page in PAGES for command in commands(page)}
    assert set(MAPPED) <= shown


# ---------------------------------------------------------------- the world of the pages


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        for repo_id, name in (("org/model", "backdoored"), ("org/clean", "finetuned"), ("org/base", "base")):
            hub.add_model(repo_id, files_of(name))
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        yield hub


@pytest.fixture
def world(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """A working directory with what the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("AMDET_HUB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "fast.toml").write_text(FAST_TOML)
    for folder in ("checkpoint", "base"):
        (tmp_path / folder).mkdir()
        for path, data in files_of("base").items():
            (tmp_path / folder / path).write_bytes(data)
    for name, value in {
        "AMDET_HUB_ENDPOINT": hub.endpoint,
        "AMDET_HUB_CACHE_DIR": str(tmp_path / "cache"),
        "AMDET_HUB_REFERENCE": "org/base",
        "AMDET_HUB_CONFIG": str(tmp_path / "fast.toml"),
        "HF_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    return hub


def run(command: Command) -> str:
    """Run one command of ours, in this process. Returns what it wrote to stdout."""
    words = shlex.split(command.text)
    assert words[0] in PROGRAMS, f"'{command.text}' is neither ours nor in MAPPED"
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, words[1:], prog_name=words[0])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == command.exit_code, (
        f"line {command.line}: {command.text}\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout


def check_output(command: Command, printed: str) -> None:
    """Every shown line is printed, in this order."""
    rest = printed
    for line in command.output:
        parts = (re.escape(part).replace("\\ ", " ") for part in line.strip().split("..."))
        pattern = re.sub(" +", r"\\s+", ".*".join(parts))
        match = re.search(pattern, rest)
        assert match, (
            f"line {command.line}: {command.text}\ndoes not print, after what comes before it: {line}\n{printed}"
        )
        rest = rest[match.end() :]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_of_the_page(page: str, world: LocalHub) -> None:
    for command in commands(page):
        if command.text in MAPPED:
            MAPPED[command.text](command.text)
        else:
            check_output(command, run(command))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(language == "python" for _, language, _ in fences(page))]
)
def test_every_python_example_of_the_page(page: str, world: LocalHub, tmp_path: Path) -> None:
    """In a process of its own, as readers run it: the Hub's client and transformers read the environment at import."""
    source = "\n".join(content for _, language, content in fences(page) if language == "python")
    if page == "SKILL.md":  # an excerpt of somebody's program
        source = "from transformers import CLIPTextModelWithProjection as CLIPTextModel\n" + source.replace(
            'guard("org/model")', 'guard("org/clean", reference="org/base")'
        ).replace('"org/model"', '"org/clean"')
    fast = (
        "import amdet_hub.config as c\nfrom tests.demo_hub import REDUCED\nwhole ="
        " c.ScanConfig.for_preset\nc.ScanConfig.for_preset = classmethod(lambda cls, preset, **more: whole('quick',"
        " **more).replace(**REDUCED))\n"
    )
    environment = {
        **os.environ,
        **world.environment("alice"),
        "PYTHONPATH": str(ROOT),
        "AMDET_HUB_CACHE": str(tmp_path / "own"),
    }
    done = subprocess.run(
        [sys.executable, "-c", fast + source], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


def test_the_pages_hold_commands_and_no_unknown_language() -> None:
    count = {page: len(commands(page)) for page in PAGES}
    assert sum(count.values()) >= 40
    for page in set(PAGES) - {GENERATED}:
        parsed = ("sh",) if page == "README.md" else ()
        assert {language for _, language, _ in fences(page)} <= {*SHELLS, *OTHER_LANGUAGES, *parsed}, page
        for number, language, content in fences(page):
            hidden = [line for line in content.splitlines() if line.lstrip("$ ").startswith(PROGRAMS)]
            assert language in (*SHELLS, *parsed) or not hidden or "args" in content, (
                f"{page}:{number}: commands in a '{language}' block are not run"
            )


def test_a_wrong_command_would_be_noticed(world: LocalHub) -> None:
    with pytest.raises(AssertionError):
        run(Command(1, "amdet-hub resolve org/none", 0))
    with pytest.raises(AssertionError):
        check_output(Command(1, "x", 0, ("never printed",)), run(Command(1, "amdet-hub --version", 0)))
    with pytest.raises(AssertionError):
        run(Command(1, "curl https://example.org", 0))
