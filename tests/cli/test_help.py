from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from amdet_hub.cli._options import SECTIONS
from amdet_hub.cli._output import FORMATS
from amdet_hub.cli.app import app
from amdet_hub.report import RENDERERS
from tests.cli.conftest import Run

HEAVY = ("torch", "transformers", "huggingface_hub", "accelerate", "safetensors", "tokenizers", "numpy", "yaml")
VERBS = (
    "scan",
    "resolve",
    "card",
    "verify",
    "report",
    "diff",
    "baseline",
    "watch",
    "webhook",
    "staged",
    "mcp",
    "demo",
    "space",
    "doctor",
    "cache",
    "bench",
)


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "amdet_hub", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: amdet-hub")
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time")
    }
    assert "click" in imported
    assert not imported & set(HEAVY)


def test_help_is_quick() -> None:
    def cpu_seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    costs = []
    for _ in range(3):
        before = cpu_seconds()
        subprocess.run([sys.executable, "-m", "amdet_hub", "--help"], capture_output=True, check=True, timeout=60)
        costs.append(cpu_seconds() - before)
    assert min(costs) < 0.3, "processor time, not wall time: other tests may hold the cores"


def test_every_verb_is_listed(cli: Run) -> None:
    shown = cli("--help").stdout
    assert {name for name, verb in app.commands.items() if not verb.hidden} == set(VERBS)
    for verb in VERBS:
        assert f"\n  {verb} " in shown
    for line in (
        "0    no backdoor found",
        "1    backdoor detected",
        "2    usage or error",
        "3    inconclusive",
        "130  interrupted",
    ):
        assert line in shown


@pytest.mark.parametrize(
    "verb",
    [
        *((v,) for v in VERBS),
        ("card", "preview"),
        ("card", "push"),
        ("baseline", "add"),
        ("baseline", "check"),
        ("cache", "list"),
        ("cache", "clear"),
    ],
)
def test_verb_help(cli: Run, verb: tuple[str, ...]) -> None:
    result = cli(*verb, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert f"Usage: amdet-hub {' '.join(verb)} " in result.stdout
    assert "{prog}" not in result.stdout
    if verb not in (("card",), ("doctor",), ("demo",)):
        assert "Exit codes" in result.stdout


def test_scan_help_has_sections_in_order(cli: Run) -> None:
    shown = cli("scan", "--help").stdout
    places = [shown.index(f"\n{section}:\n") for section in SECTIONS]
    assert places == sorted(places)
    assert "HF_TOKEN" in shown


def test_every_flag_of_the_surface_is_there(cli: Run) -> None:
    shown = cli("scan", "--help").stdout
    flags = (
        "--revision --subfolder --token --cache-dir --endpoint --offline --device --dtype --seed --preset --reference"
        " --no-reference --timeout --max-download --max-memory --dry-run -f --format -o --output --fail-on -q -v"
        " --no-progress --config"
    )
    assert [flag for flag in flags.split() if flag not in shown] == []


def test_formats_are_the_renderers() -> None:
    assert tuple(RENDERERS) == FORMATS


def test_version(cli: Run) -> None:
    from amdet_hub import __version__

    assert cli("--version").stdout == f"amdet-hub {__version__}\n"


def test_no_arguments_show_help_and_exit_2(cli: Run) -> None:
    result = cli()
    assert result.exit_code == 2
    assert "Usage: amdet-hub" in result.stderr


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("scan", "org/m", "--sed", "1"), "--seed"),
        (("scan", "org/m", "--max-downlod", "1GB"), "Did you mean '--max-download'?"),
        (("scna",), "Did you mean 'scan'?"),
        (("scan",), "Missing argument"),
        (("scan", "org/m", "--format", "xml"), "'xml' is not one of 'text', 'json', 'markdown'"),
        (("scan", "org/m", "--max-download", "lots"), "'lots' is not a size"),
        (("scan", "org/m", "--timeout", "soon"), "'soon' is not a duration"),
        (("scan", "org/m", "--device", "tpu"), "'tpu' is not a device"),
        (("scan", "org/m", "-o", "json"), "is not FORMAT=PATH"),
        (("scan", "org/m", "-o", "pdf=x"), "'pdf' is none of the formats"),
        (("scan", "org/m", "-o", "json=-"), "use --format json"),
        (("scan", "org/m", "--seed", "-1"), "-1 is not in the range"),
    ],
)
def test_usage_errors_exit_2_and_say_what_is_meant(cli: Run, args: tuple[str, ...], expected: str) -> None:
    result = cli(*args)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""


def test_a_token_in_the_wrong_place_is_not_echoed(cli: Run) -> None:
    result = cli("report", "a.json", "hf_" + "Abcdefgh12345678")
    assert result.exit_code == 2
    assert "Abcdefgh" not in result.stderr
    assert "hf_***" in result.stderr


@pytest.mark.parametrize("program", ["amdet-hub", "hf-amdet"])
def test_both_console_scripts(program: str) -> None:
    code = (
        f"import sys; sys.argv = ['/usr/bin/{program}', '--help']; from amdet_hub.__main__ import main;"
        " sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"Usage: {program} ")
    assert f"{program} scan org/model " in done.stdout
