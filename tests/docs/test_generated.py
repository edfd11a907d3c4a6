"""The generated parts of the documentation are those of their sources, and the pages are complete.

`AMDET_HUB_REGENERATE_GOLDENS=1 pytest tests/docs/test_generated.py` writes them anew.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import amdet_hub
from amdet_hub import errors
from amdet_hub.cli.app import app
from amdet_hub.records.reason_codes import REASONS

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(name: str) -> set[str]:
    return set(re.findall(r"^#+ ([a-z-]+)$", page(name), re.MULTILINE))


def test_generated_files_are_those_of_their_source() -> None:
    generate = load("generate")
    made = generate.generated()
    if os.environ.get("AMDET_HUB_REGENERATE_GOLDENS") == "1":
        generate.write(made, lambda text: None)
    stale = [name for name, content in made.items() if (ROOT / name).read_text(encoding="utf-8") != content]
    assert stale == [], "run `python docs/generate.py`"
    assert {f"docs/figures/{path.name}" for path in (DOCS / "figures").iterdir()} <= set(made)


def test_a_page_of_results_is_what_the_command_prints() -> None:
    """The smaller suite stands for both: the pages are made by one function."""
    printed = CliRunner().invoke(app, ["bench", "report", str(ROOT / "bench/results/names.jsonl")])
    assert printed.exit_code == 0
    shown = (ROOT / "bench/results/names.md").read_text(encoding="utf-8")
    assert shown.endswith(f"\n\n{printed.stdout.strip()}\n")


@pytest.mark.parametrize("path", sorted((DOCS / "figures").iterdir()), ids=lambda path: path.name)
def test_figures_are_whole_small_and_for_everybody(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert len(text) < 60_000
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"(?:href|src|url\()", text) == [], "nothing from elsewhere"
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for element in root.iter():
        assert 0 <= float(element.attrib.get("x", 0)) <= width
        assert 0 <= float(element.attrib.get("y", 0)) <= height


def test_the_figures_count_what_the_benchmark_counts() -> None:
    models = load("generate").scanned()
    shown = [tuple(map(int, pair)) for pair in re.findall(r">(\d+) of (\d+)<", page("figures/found.svg"))]
    assert sum(n for _, n in shown) == len(models)
    assert sum(k for k, _ in shown) == sum(scan.verdict == "backdoor-detected" for _, scan in models)
    assert page("figures/scores.svg").count("<circle") == len(models)


def test_the_rates_are_rows_of_the_results() -> None:
    results = (ROOT / "bench/results/test.md").read_text(encoding="utf-8")
    shown = page("explanation/error-rates.md").splitlines()
    rows = [line for line in shown if line.startswith("| ") and any(c.isdigit() for c in line)]
    assert len(rows) >= 5
    assert [row for row in rows if row not in results] == []


def test_every_public_name_and_error_is_on_a_page() -> None:
    api = page("reference/api.md")
    documented = {*re.findall(r"^### (\w+)$", api, re.MULTILINE), *re.findall(r"^- `(\w+)\(", api, re.MULTILINE)}
    assert set(amdet_hub.__all__) <= documented
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.AmdetError)]
    assert {cls.__name__ for cls in classes} <= documented
    assert {cls.code for cls in classes} <= sections("reference/errors.md")


def test_every_reason_code_and_finding_has_a_section() -> None:
    from amdet_hub import verdict

    kinds = {value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)}
    assert len(kinds) >= 8
    assert {*REASONS, *kinds} <= sections("reference/reasons.md")


def nav_pages(items: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for item in items:
        for value in item.values():
            found += [value] if isinstance(value, str) else nav_pages(value)
    return found


def test_every_page_is_in_the_navigation_the_index_and_the_list_for_language_models() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(nav_pages(site["nav"])) == sorted(PAGES)
    others = PAGES - {"README.md"}
    assert {name for name in others if f"({name})" in page("README.md")} == others
    assert set(re.findall(r"\]\(([^)]+)\)", page("llms.txt"))) == {
        name.removesuffix("md")[:-1] + "/" for name in others
    }
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_the_action_names_inputs_and_outputs_that_exist() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    text = page("how-to/github-action.md")
    inputs = set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        jobs = yaml.safe_load(block)["jobs"].values()
        inputs |= {n for job in jobs for step in job["steps"] if "amdet-hub@" in step["uses"] for n in step["with"]}
    assert inputs <= set(action["inputs"])
    listed = text.split("## Outputs")[1].split("are set")[0]
    assert set(re.findall(r"`([a-z-]+)`", listed)) == set(action["outputs"])
