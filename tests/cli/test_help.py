from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from amdet_hub.cli._help import SECTIONS
from amdet_hub.cli._output import FORMATS
from amdet_hub.cli.app import app
from amdet_hub.report import RENDERERS
from tests.cli.conftest import Run, error_codes

HEAVY = ("torch", "transformers", "huggingface_hub", "accelerate", "safetensors", "tokenizers", "numpy", "yaml")
VERBS = (
    "scan",
    "meaning",
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
    places = [shown.index(f"\n{section}:\n") for section in SECTIONS if section != "Other"]
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


@pytest.mark.parametrize("group", [(), ("card",), ("cache",), ("baseline",), ("webhook",), ("bench",)])
def test_a_bare_group_shows_its_help(cli: Run, group: tuple[str, ...]) -> None:
    result = cli(*group)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.rstrip("\n") == cli(*group, "--help").stdout.rstrip("\n")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("scan", "org/m", "--sed", "1"), "--seed"),
        (("scan", "org/m", "--max-downlod", "1GB"), "--max-download"),
        (("scna",), "'scan'"),
        (("scan",), "TARGET"),
        (("scan", "org/m", "--format", "xml"), "'markdown'"),
        (("scan", "org/m", "--max-download", "lots"), "'lots'"),
        (("scan", "org/m", "--timeout", "soon"), "'soon'"),
        (("scan", "org/m", "-o", "json"), "FORMAT=PATH"),
        (("scan", "org/m", "-o", "pdf=x"), "'pdf'"),
        (("scan", "org/m", "-o", "json=-"), "--format json"),
        (("scan", "org/m", "--seed", "-1"), "-1"),
    ],
)
def test_usage_errors_exit_2_and_name_the_fault(cli: Run, args: tuple[str, ...], named: str) -> None:
    result = cli(*args)
    assert (result.exit_code, error_codes(result), result.stdout) == (2, ["usage-error"], "")
    assert named in result.stderr


def test_a_device_that_torch_does_not_know(cli: Run) -> None:
    result = cli("scan", "org/m", "--device", "tpu")
    assert (result.exit_code, error_codes(result), result.stdout) == (2, ["config-error"], "")
    assert "'tpu'" in result.stderr


DATA_VERBS = (
    ("resolve",),
    ("verify",),
    ("diff",),
    ("baseline", "list"),
    ("baseline", "check"),
    ("watch",),
    ("cache", "list"),
    ("doctor",),
)


@pytest.mark.parametrize("verb", DATA_VERBS, ids=" ".join)
def test_verbs_that_print_data_print_json(cli: Run, verb: tuple[str, ...]) -> None:
    shown = cli(*verb, "--help").stdout
    assert "-f, --format [text|json]" in shown
    assert "--json" in shown


@pytest.mark.parametrize("flags", [("-f", "json"), ("--format=json",), ("--json",)], ids=" ".join)
def test_json_is_asked_for_in_two_ways(cli: Run, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE", "own")
    data = json.loads(cli("cache", "list", *flags).stdout)
    assert data["kinds"]["results"] == {"files": 0, "size_bytes": 0}


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
