"""The documents at the root are tests: their commands parse, their links lead somewhere, their pins are true."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from amdet_hub.bench.calibrate import differences
from amdet_hub.bench.results import read_results
from amdet_hub.bench.scoring import grouped, scans
from amdet_hub.cli import _exit_codes
from amdet_hub.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "CHANGELOG.md", "SECURITY.md")
RESULT_PAGES = tuple(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "bench/results").glob("*.md")))
PAGES = tuple(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))
PROGRAMS = ("amdet-hub", "amdet_hub")
MAX_BYTES = 12_288


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tokens(name: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(read(name))


def blocks(name: str, language: str) -> list[str]:
    return [token.content for token in tokens(name) if token.type == "fence" and token.info == language]


def exit_codes(name: str) -> dict[int, str]:
    return {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.*?) \|$", read(name), re.MULTILINE)}


@pytest.mark.parametrize("name", ["README.md", "BENCHMARKS.md"])
def test_the_front_pages_are_short(name: str) -> None:
    assert len(read(name).encode()) <= MAX_BYTES


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize("name", ["README.md", "docs/reference/exit-codes.md"])
def test_exit_codes_are_the_programs(name: str) -> None:
    assert set(exit_codes(name)) == {value for key, value in vars(_exit_codes).items() if key.startswith("EXIT_")}


def commands(name: str) -> Iterator[list[str]]:
    """Every shell command of the document's `sh` blocks, as words; continued lines joined, comments left out."""
    for block in blocks(name, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if word in ("&&", ";", "|", "&", ">"):
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


def in_documents(start: str) -> list[tuple[str, str]]:
    """`(document, arguments)` of every command that runs `start`, in `sh` blocks and between backticks."""
    found = []
    for name in (*DOCUMENTS, *RESULT_PAGES, *PAGES, "SKILL.md"):
        quoted = [shlex.split(text) for text in re.findall(rf"`({start} [^`\n]*)`", read(name))]
        for words in (*commands(name), *quoted):
            places = [
                place for place, word in enumerate(words[:8]) if word == start
            ]  # after `accelerate launch ... -m`
            found += [(name, shlex.join(words[place + 1 :])) for place in places[:1]]
    return sorted({case for case in found if "VERB" not in case[1]})


@pytest.mark.parametrize(("name", "arguments"), [case for program in PROGRAMS for case in in_documents(program)])
def test_every_command_line_parses(name: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("report.json", "scan.toml", "list.txt"):
        (tmp_path / file).write_text("", encoding="utf-8")
    words, command = shlex.split(arguments), app
    root = click.Context(app, **app.context_settings)  # a command keeps the names of its help option from first use
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(root, words[0])
        assert found is not None, f"{name}: there is no verb '{words[0]}'"
        command, words = found, words[1:]  # type: ignore[assignment]
    needs_arguments = bool(words)
    lenient = not needs_arguments or "--help" in words
    context = command.make_context(command.name, words, parent=root, resilient_parsing=lenient)
    assert context.command is command


def test_the_documents_show_commands_at_all() -> None:
    assert len([case for case in in_documents("amdet-hub") if case[0] == "README.md"]) >= 4
    assert len([case for case in in_documents("amdet-hub") if case[1].startswith("bench ")]) >= 4


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = {words[1] for words in commands(name) if words[:1] == ["make"] and len(words) > 1}
    named |= set(re.findall(r"`make ([a-z]+)`", read(name)))
    assert named <= targets


# ---------------------------------------------------------------- the benchmark


def test_the_cards_call_missed_what_the_test_missed() -> None:
    """Every kind of attack is found more often than not, but for the target attribute."""
    models = read_results(ROOT / "bench/results/test.jsonl").results
    attacked = (model for model in models if model.label == "backdoored")
    outcomes = {
        cell: [scan.verdict == "backdoor-detected" for _, scan in scans(models, "standard", "right")]
        for cell, models in grouped(attacked, lambda model: model.cell).items()
    }
    assert len(outcomes) >= 8
    assert {cell for cell, found in outcomes.items() if 2 * sum(found) <= len(found)} == {"target-attribute"}


def test_the_thresholds_are_those_of_the_calibration() -> None:
    files = (ROOT / "bench/results").glob("calibration*.jsonl")
    assert differences([result for file in files for result in read_results(file).results]) == []


@pytest.mark.parametrize("file", sorted((ROOT / "bench/results").glob("*.jsonl")), ids=lambda file: file.stem)
def test_manifests_belong_to_their_results(file: Path) -> None:
    manifest = json.loads(file.with_suffix(".manifest.json").read_text(encoding="utf-8"))
    assert manifest["results"]["name"] == file.name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest["results"]["sha256"]
    assert len(read_results(file).results) == manifest["results"]["models"]


# ---------------------------------------------------------------- links and versions


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the forge and the site make them."""
    outside_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.*?) *$", outside_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*DOCUMENTS, *RESULT_PAGES, *PAGES, "SKILL.md"])
def test_relative_links_lead_somewhere(name: str) -> None:
    children = [child for token in tokens(name) for child in token.children or ()]
    links = [str(c.attrGet("href")) for c in children if c.type == "link_open"]
    links += [str(c.attrGet("src")) for c in children if c.type == "image"]
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.is_file(), link
        assert target.is_relative_to(ROOT / "docs") or not name.startswith("docs/"), f"{link} leaves the site"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_version_is_one() -> None:
    from amdet_hub import __version__

    assert f"\nversion: {__version__}\n" in read("CITATION.cff")
    assert f"\n## [{__version__}]" in read("CHANGELOG.md")


def test_constraints_pin_every_dependency_exactly_and_name_no_index() -> None:
    import tomllib

    project = tomllib.loads(read("pyproject.toml"))
    pins = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)$", read("constraints.txt"), re.MULTILINE))
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert len(pins) == len(lines), "every line is name==version"
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *extras["dev"],
        *extras["docs"],
        *project["build-system"]["requires"],
    ]
    names = {re.split(r"[<>=~!; ]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= {name.lower().replace("_", "-") for name in pins}
