"""The made parts of `docs/` are what `python docs/generate.py` makes, and every link leads somewhere.

`AMDET_HUB_REGENERATE_GOLDENS=1 pytest tests/docs/test_generated.py` writes them anew.
"""

from __future__ import annotations

import importlib.util
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from markdown_it import MarkdownIt

import amdet_hub
from amdet_hub import errors

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_made_files_are_those_of_their_source() -> None:
    generate = load("generate")
    made = generate.made()
    if os.environ.get("AMDET_HUB_REGENERATE_GOLDENS") == "1":
        generate.write(made, lambda text: None)
    stale = [name for name, content in made.items() if (DOCS / name).read_text(encoding="utf-8") != content]
    assert stale == [], "run `python docs/generate.py`"
    assert set(made) == {
        "api.md",
        "error-rates.md",
        *(f"figures/{path.name}" for path in (DOCS / "figures").iterdir()),
    }


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
    generate = load("generate")
    models = generate.scanned()
    found = (DOCS / "figures/found.svg").read_text(encoding="utf-8")
    shown = [tuple(map(int, pair)) for pair in re.findall(r">(\d+) of (\d+)<", found)]
    assert sum(n for _, n in shown) == len(models)
    assert sum(k for k, _ in shown) == sum(scan.verdict == "backdoor-detected" for _, scan in models)
    assert (DOCS / "figures/scores.svg").read_text(encoding="utf-8").count("<circle") == len(models)


def test_every_percentage_of_the_page_of_rates_is_in_the_benchmarks() -> None:
    page, benchmarks = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/error-rates.md", "BENCHMARKS.md"))
    rows = [line for line in page.splitlines() if line.startswith("| ") and any(c.isdigit() for c in line)]
    assert len(rows) >= 5
    assert [row for row in rows if row not in benchmarks] == []
    prose = "\n".join(line for line in page.splitlines() if not line.startswith("|"))
    assert [figure for figure in re.findall(r"\d+(?:\.\d+)? ?%", prose) if figure not in benchmarks] == []


def test_the_api_page_names_every_public_name_and_error() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    documented = {*re.findall(r"^### (\w+)$", page, re.MULTILINE), *re.findall(r"^- `(\w+)\(", page, re.MULTILINE)}
    assert set(amdet_hub.__all__) <= documented
    assert {
        name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, Exception)
    } <= documented


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*(f"docs/{name}" for name in PAGES), "SKILL.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    children = [child for token in tokens for child in token.children or ()]
    links = [str(c.attrGet("href")) for c in children if c.type == "link_open"] + [
        str(c.attrGet("src")) for c in children if c.type == "image"
    ]
    for link in links:
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_page_is_in_the_index_and_the_index_in_the_readme() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if name != "README.md" and f"({name})" not in index] == []
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_exit_codes_are_those_of_the_readme() -> None:
    def rows(page: str) -> dict[str, str]:
        return dict(re.findall(r"^\| (\d+) \| (.*?) \|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))

    shown, known = rows("docs/exit-codes.md"), rows("README.md")
    assert set(shown) == set(known)
    assert all(shown[code].startswith(known[code].split(";")[0]) for code in known)


def test_the_page_of_the_action_names_inputs_and_outputs_that_exist() -> None:
    path = ROOT / "action.yml"
    if not path.is_file():
        pytest.skip("action.yml is not part of this checkout")
    action = yaml.safe_load(path.read_text(encoding="utf-8"))
    page = (DOCS / "action.md").read_text(encoding="utf-8")
    inputs = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        jobs = yaml.safe_load(block)["jobs"].values()
        inputs |= {
            name for job in jobs for step in job["steps"] if "amdet-hub@" in step["uses"] for name in step["with"]
        }
    assert inputs <= set(action["inputs"])
    listed = page.split("## Outputs")[1].split("are set")[0]
    assert set(re.findall(r"`([a-z-]+)`", listed)) == set(action["outputs"])
