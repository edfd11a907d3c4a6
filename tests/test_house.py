"""The house rules that a machine can hold: sizes, parameters, circles of imports, words."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "amdet_hub").rglob("*.py"), *(ROOT / "space").rglob("*.py")])
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

MOST_PARAMETERS, MOST_FUNCTION_LINES, MOST_FILE_LINES, MOST_STATEMENTS = 6, 50, 300, 20_700
"""The first three are the house's. Statements may only become fewer: lower the figure with every change that can."""
WORDS = ("amdet_hub/bench/zoo_words.py", "amdet_hub/bench/zoo_names.py")
DATA_FILES = {*WORDS, "amdet_hub/families.py"}
"""Tables of words and numbers, as long as they have to be."""

COURT = re.compile(r"\b(?:convict|accus|acquit|innocen)|\b(?:nobody|whoever)\b", re.IGNORECASE)
"""A scanner detects, flags and clears; it is no court. And its prose names who does something."""
WORDED = (".py", ".md", ".toml", ".yml", ".yaml", ".json", ".txt", ".html", ".css", ".svg", ".sh", ".sarif")
UNREAD = ("tests/report/schemas/", "amdet_hub/demo/weights/", "tests/cards/", "LICENSE", "tests/test_house.py", *WORDS)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.lineno} {node.name}", node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of the parameters, the instance or class aside."""
    arguments = function.args
    named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return named[1:] if named[:1] in (["self"], ["cls"]) else named


def test_no_function_has_too_many_parameters() -> None:
    assert [where for where, function in functions() if len(parameters(function)) > MOST_PARAMETERS] == []


def test_no_function_is_too_long() -> None:
    long = {where: (f.end_lineno or f.lineno) - f.lineno + 1 for where, f in functions()}
    assert {where: lines for where, lines in long.items() if lines > MOST_FUNCTION_LINES} == {}


def test_no_file_is_too_long() -> None:
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in TREES}
    assert {name: n for name, n in lines.items() if n > MOST_FILE_LINES and name not in DATA_FILES} == {}
    assert set(lines) >= DATA_FILES


def test_the_house_does_not_grow() -> None:
    assert sum(isinstance(node, ast.stmt) for tree in TREES.values() for node in ast.walk(tree)) <= MOST_STATEMENTS


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(name): tree for name, tree in TREES.items() if name.startswith("amdet_hub/")}


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """The nodes below `if TYPE_CHECKING:`, which no interpreter runs."""
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {below for node in guarded for child in node.body for below in ast.walk(child)}


def imports(name: str) -> set[str]:
    """Our modules that a module imports, those inside functions included and those for types only excepted."""
    tree, found = MODULES[name], set()
    unread = for_types_only(tree)
    for node in ast.walk(tree):
        if node in unread:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & set(MODULES) or {node.module}
    return (found & set(MODULES)) - {name}


def test_no_circle_of_imports() -> None:
    graph = {name: imports(name) for name in MODULES}
    while leaves := {name for name, needed in graph.items() if not needed & set(graph)}:
        graph = {name: needed for name, needed in graph.items() if name not in leaves}
    circles = {name for name in graph if name in reachable(name, graph)}
    assert circles == set()


def reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = set(graph[start])
    while waiting:
        found |= waiting
        waiting = {after for name in waiting for after in graph.get(name, ())} - found
    return found


def texts() -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout of git")
    for name in listed.stdout.split("\0"):
        if name.endswith(WORDED) and not name.startswith(UNREAD) and (ROOT / name).is_file():
            yield name


def test_the_words_are_the_fields() -> None:
    found = {}
    for name in texts():
        lines = (ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()
        if numbers := [n for n, line in enumerate(lines, start=1) if COURT.search(line)]:
            found[name] = numbers
    assert found == {}
