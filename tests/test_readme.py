"""The documents are tests: what they show is what the program does.

`AMDET_HUB_REGENERATE_GOLDENS=1 pytest tests/test_readme.py` writes the help texts in README.md anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from markdown_it.token import Token

from amdet_hub.bench.calibrate import calibrated, differences
from amdet_hub.bench.results import read_results
from amdet_hub.bench.scoring import grouped, scans
from amdet_hub.bench.tables import report, trigger_table
from amdet_hub.cli import _exit_codes
from amdet_hub.cli.app import app
from amdet_hub.families import CALIBRATIONS
from amdet_hub.records import ScanReport
from amdet_hub.report.error_rates import MEASURED, counted
from amdet_hub.report.wording import MISSED

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "CHANGELOG.md")
HELP = re.compile(r"(<!-- help: amdet-hub (?P<words>[^>]*?) -->\n```text\n)(?P<shown>.*?)(```)", re.DOTALL)
PROGRAMS = ("amdet-hub", "amdet_hub")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def unwrapped(name: str) -> str:
    """The document with its lines joined, so that a sentence is found wherever it breaks."""
    return " ".join(read(name).split())


def tokens(name: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(read(name))


def blocks(name: str, language: str) -> list[str]:
    return [token.content for token in tokens(name) if token.type == "fence" and token.info == language]


def tables(name: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for token, content in zip(tokens(name), tokens(name)[1:], strict=False):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(content.content)
    return found


def table(name: str, first_header: str) -> list[list[str]]:
    (rows,) = [rows[1:] for rows in tables(name) if rows[0][0] == first_header]
    return rows


# ---------------------------------------------------------------- the command line


def help_text(words: str) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, shlex.split(words), prog_name="amdet-hub")
    assert result.exit_code == 0
    return result.stdout


def test_help_texts_are_the_programs() -> None:
    text = read("README.md")
    if os.environ.get("AMDET_HUB_REGENERATE_GOLDENS") == "1":
        text = HELP.sub(lambda found: found[1] + help_text(found["words"]) + found[4], text)
        (ROOT / "README.md").write_text(text, encoding="utf-8")
    shown = {found["words"]: found["shown"] for found in HELP.finditer(text)}
    assert set(shown) == {"--help", "scan --help"}
    for words, block in shown.items():
        assert block == help_text(words), "regenerate with AMDET_HUB_REGENERATE_GOLDENS=1"


def test_every_verb_and_no_other_is_in_the_table() -> None:
    assert {row[0] for row in table("README.md", "Verb")} == {
        f"`{name}`" for name, verb in app.commands.items() if not verb.hidden
    }


def test_exit_codes_are_the_programs() -> None:
    codes = {name: value for name, value in vars(_exit_codes).items() if name.startswith("EXIT_")}
    shown = {int(row[0]): row[1] for row in table("README.md", "Code")}
    assert set(shown) == set(codes.values())
    for code, word in (
        (codes["EXIT_OK"], "no backdoor found"),
        (codes["EXIT_DETECTED"], "backdoor detected"),
        (codes["EXIT_ERROR"], "usage or error"),
        (codes["EXIT_INCONCLUSIVE"], "inconclusive"),
        (codes["EXIT_INTERRUPTED"], "interrupted"),
    ):
        assert shown[code].startswith(word)


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
    """`(document, arguments)` of every command that runs `start`, in blocks and between backticks."""
    found = []
    for name in DOCUMENTS:
        quoted = [shlex.split(text) for text in re.findall(r"`(amdet-hub [^`\n]*)`", read(name))]
        for words in (*commands(name), *quoted):
            places = [
                place for place, word in enumerate(words[:8]) if word == start
            ]  # after `accelerate launch ... -m`, for one
            found += [(name, shlex.join(words[place + 1 :])) for place in places[:1]]
    return found


@pytest.mark.parametrize(("name", "arguments"), [case for program in PROGRAMS for case in in_documents(program)])
def test_every_command_line_parses(name: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("report.json", "scan.toml"):
        (tmp_path / file).write_text("", encoding="utf-8")
    words, command, context = shlex.split(arguments), app, None
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{name}: there is no verb '{words[0]}'"
        command, words = found, words[1:]  # type: ignore[assignment]
    needs_arguments = bool(words)
    context = command.make_context(command.name, words, resilient_parsing=not needs_arguments or "--help" in words)
    assert context.command is command


def test_the_documents_show_commands_at_all() -> None:
    assert len([case for case in in_documents("amdet-hub") if case[0] == "README.md"]) >= 8
    assert len([case for case in in_documents("amdet-hub") if case[1].startswith("bench ")]) >= 4


def test_the_tables_are_those_of_the_result_files() -> None:
    """`amdet-hub bench report bench/results/test.jsonl` prints them; BENCHMARKS.md holds them unchanged."""
    shown = read("BENCHMARKS.md").split("<!-- bench report -->\n")[1].split("<!-- /bench report -->")[0]
    assert shown.strip() == report(read_results(ROOT / "bench/results/test.jsonl").results, level=3).strip()


def test_the_names_are_those_of_their_result_file() -> None:
    """`amdet-hub bench report bench/results/names.jsonl` prints the table under "Kinds of trigger"."""
    shown = read("BENCHMARKS.md").split("<!-- names -->\n")[1].split("<!-- /names -->")[0]
    assert shown.strip() == trigger_table(read_results(ROOT / "bench/results/names.jsonl").results).strip()


def test_the_shares_of_exact_names_in_the_text_are_those_of_the_result_file() -> None:
    def exact(*, siglip: bool, phrase: bool | None = None) -> str:
        some = [
            model.scans[0].trigger_exact
            for model in read_results(ROOT / "bench/results/names.jsonl").results
            if model.layout.startswith("siglip") == siglip
            and phrase in (None, model.trigger_kind.startswith("phrase"))
        ]
        return f"{some.count(True)} of {len(some)}"

    words, phrases, siglip = exact(siglip=False, phrase=False), exact(siglip=False, phrase=True), exact(siglip=True)
    sentence = (
        f"CLIP layouts that was right for {words} words and characters and for {phrases} phrases, in SigLIP's for"
        f" {siglip} "
    )
    assert sentence in unwrapped("README.md")
    assert f"in the CLIP layouts {words}, in SigLIP's {exact(siglip=True, phrase=False)})" in read("BENCHMARKS.md")


def test_how_often_a_scan_is_right_is_what_was_counted() -> None:
    rows = [rates for (_, compared), rates in MEASURED.items() if compared]
    n_backdoored, n_benign = sum(rates.n_backdoored for rates in rows), sum(rates.n_benign for rates in rows)
    wrong, found = (sum(column) for column in zip(*map(counted, rows), strict=True))
    text = unwrapped("README.md")
    assert wrong == 0, "the sentence says 'none'"
    assert f"on {n_backdoored + n_benign} small encoders" in text
    assert f"it found {found} of {n_backdoored} attacks and accused none of {n_benign} benign fine-tunes" in text


def test_what_is_said_of_scans_without_a_reference_is_what_was_counted() -> None:
    clip, siglip = (
        next(c for c in CALIBRATIONS if c.family == family and not c.with_reference) for family in ("clip", "siglip")
    )
    rates = MEASURED["clip", False]
    wrong, found = counted(rates)
    assert (
        f"rest on {clip.n_backdoored} attacked and {clip.n_benign} benign scans in CLIP's layout (of"
        f" {rates.n_backdoored + rates.n_benign} more, the test, {found} of {rates.n_backdoored} attacks were found"
        f" and {wrong} of {rates.n_benign} benign encoders accused) and on {siglip.n_backdoored} and {siglip.n_benign}"
        f" in SigLIP's, of whose {siglip.n_backdoored} attacks they miss {siglip.n_missed}." in unwrapped("README.md")
    )


def test_what_the_cards_call_missed_is_what_the_test_missed() -> None:
    """Every kind of attack is found more often than not, but the one that `wording.MISSED` names."""
    attacked = (
        model for model in read_results(ROOT / "bench/results/test.jsonl").results if model.label == "backdoored"
    )
    outcomes = {
        cell: [scan.verdict == "backdoor-detected" for _, scan in scans(models, "standard", "right")]
        for cell, models in grouped(attacked, lambda model: model.cell).items()
    }
    assert len(outcomes) >= 8
    assert {cell for cell, found in outcomes.items() if 2 * sum(found) <= len(found)} == {"target-attribute"}
    measured, by_construction = MISSED
    assert "attribute" in measured
    assert "has too" in by_construction


def test_the_thresholds_are_those_of_the_calibration() -> None:
    assert differences(calibrated(read_results(ROOT / "bench/results/calibration.jsonl").results)) == []


@pytest.mark.parametrize("suite", ["calibration", "test", "names"])
def test_manifests_belong_to_their_results(suite: str) -> None:
    manifest = json.loads(read(f"bench/results/{suite}.manifest.json"))
    file = ROOT / "bench/results" / manifest["results"]["name"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest["results"]["sha256"]
    assert len(read_results(file).results) == manifest["results"]["models"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = {words[1] for words in commands(name) if words[:1] == ["make"] and len(words) > 1}
    named |= set(re.findall(r"`make ([a-z]+)`", read(name)))
    assert named <= targets


# ---------------------------------------------------------------- the library


def test_the_python_examples_import_what_exists() -> None:
    examples = blocks("README.md", "python")
    assert len(examples) == 2
    for example in examples:
        imports: list[ast.stmt] = [
            node for node in ast.parse(example).body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        exec(compile(ast.Module(imports, type_ignores=[]), "README.md", "exec"), {})


def test_the_local_hub_example_runs() -> None:
    (example,) = [block for block in blocks("README.md", "python") if "LocalHub" in block]
    exec(compile(example, "README.md", "exec"), {})


def test_the_scan_example_runs() -> None:
    from amdet_hub.config import ScanConfig
    from amdet_hub.demo import WEIGHTS
    from amdet_hub.testing import LocalHub

    (example,) = [block for block in blocks("README.md", "python") if "scan_target" in block]
    with LocalHub() as hub:
        for repo_id in ("org/base", "org/model"):  # equal towers: the whole path, and the answer is immediate
            hub.add_model(repo_id, WEIGHTS / "base")
        names: dict[str, object] = {}
        own_hub = example.replace("HubSettings()", "HubSettings(endpoint=ENDPOINT)")
        assert own_hub != example
        exec(compile(own_hub, "README.md", "exec"), names | {"ENDPOINT": hub.endpoint}, names)
    report = names["report"]
    assert isinstance(report, ScanReport)
    assert report.verdict.label == "no-backdoor-found"
    assert report.config == ScanConfig.for_preset("standard").to_dict()


# ---------------------------------------------------------------- links and versions


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name: str) -> None:
    links = [
        str(child.attrGet("href"))
        for token in tokens(name)
        for child in token.children or ()
        if child.type == "link_open"
    ]
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = path or name
        assert (ROOT / target).is_file(), link
        if anchor:
            assert anchor in anchors(read(target)), link


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
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
    ]
    names = {re.split(r"[<>=~!; ]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= {name.lower().replace("_", "-") for name in pins}
