"""`diff`, `baseline` and `scan --baseline` as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from amdet_hub.demo import WEIGHTS
from amdet_hub.report import as_json, parse_report
from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run, error_codes
from tests.demo_hub import BACKDOORED, BASE, FAST_TOML, demo_hub
from tests.report import examples


def stored(name: str) -> str:
    Path(f"{name}.json").write_text(as_json(examples.EXAMPLES[name]()))
    return f"{name}.json"


def test_diff_exit_codes(cli: Run) -> None:
    clean, backdoored = stored("clean"), stored("backdoored")
    assert cli("diff", clean, clean).exit_code == 0
    worse = cli("diff", clean, backdoored)
    assert worse.exit_code == 1
    assert "Worse" in worse.stdout
    better = cli("diff", backdoored, clean, "--json")
    assert better.exit_code == 3
    assert json.loads(better.stdout)["worse"] is False
    assert cli("diff", clean, "none.json").exit_code == 2


def test_a_changed_setting_alone_is_shown_and_exits_0(cli: Run) -> None:
    clean = stored("clean")
    data = json.loads(Path(clean).read_text())
    data["environment"]["torch"] = "9.9"
    Path("other.json").write_text(json.dumps(data))
    result = cli("diff", clean, "other.json")
    assert result.exit_code == 0
    assert '+ "9.9"' in result.stdout


def test_baseline_add_list_check(cli: Run) -> None:
    report = stored("backdoored")
    added = cli("baseline", "add", "b.json", "--from", report, "--reason", "red team", "--expires", "2999-12-31")
    assert added.exit_code == 0, added.stderr
    assert added.stdout == ""
    assert "until 2999-12-31" in cli("baseline", "list", "b.json").stdout
    assert json.loads(cli("baseline", "list", "b.json", "--json").stdout)[0]["holds"] is True
    assert cli("baseline", "check", "b.json").exit_code == 0
    Path("b.json").write_text(Path("b.json").read_text().replace("2999-12-31", "2020-12-31"))
    expired = cli("baseline", "check", "b.json")
    assert expired.exit_code == 3
    assert "EXPIRED 2020-12-31" in expired.stdout


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--reason", "x", "--expires", "2020-01-01"), "config-error"),
        (("--reason", "x", "--expires", "soon"), "report-error"),
        (("--reason", " ", "--expires", "2999-01-01"), "report-error"),
        (("--expires", "2999-01-01"), "usage-error"),
    ],
)
def test_baseline_add_refuses(cli: Run, args: tuple[str, ...], expected: str) -> None:
    result = cli("baseline", "add", "b.json", "--from", stored("backdoored"), *args)
    assert (result.exit_code, error_codes(result)) == (2, [expected])
    assert not Path("b.json").exists()


def test_a_broken_baseline_is_not_overwritten_and_stops_a_scan_before_it_starts(cli: Run) -> None:
    Path("b.json").write_text("{}")
    args = ("baseline", "add", "b.json", "--from", stored("backdoored"), "--reason", "x", "--expires", "2999-01-01")
    assert cli(*args).exit_code == 2
    assert Path("b.json").read_text() == "{}"
    result = cli("scan", "org/m", "--baseline", "b.json")  # the Hub's address is a dead one here
    assert result.exit_code == 2
    assert "b.json" in result.stderr


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with demo_hub() as hub:
        yield hub


def test_an_accepted_finding_is_shown_and_does_not_fail(cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    Path("fast.toml").write_text(FAST_TOML)

    def scan(target: str, *more: str) -> Result:
        args = (
            "--reference",
            BASE,
            "--config",
            "fast.toml",
            "--endpoint",
            hub.endpoint,
            "--cache-dir",
            str(tmp_path / "cache"),
        )
        return cli("scan", target, *args, *more)

    first = scan(BACKDOORED, "-o", "json=report.json")
    assert first.exit_code == 1, first.stderr
    cli(
        "baseline",
        "add",
        "b.json",
        "--from",
        "report.json",
        "--reason",
        "our own demonstration",
        "--expires",
        "2999-12-31",
    )
    again = scan(BACKDOORED, "--baseline", "b.json", "-f", "json")
    assert again.exit_code == 0, again.stderr
    assert parse_report(again.stdout).verdict.label == "backdoor-detected", "still reported"
    assert "accepted until 2999-12-31" in again.stderr
    assert "our own demonstration" in again.stderr
    Path("b.json").write_text(Path("b.json").read_text().replace("2999-12-31", "2020-12-31"))
    late = scan(BACKDOORED, "--baseline", "b.json")
    assert late.exit_code == 1
    assert "expired on 2020-12-31" in late.stderr


@pytest.mark.parametrize(
    "words",
    [("diff", "clean.json", "clean.json"), ("baseline", "list", "b.json"), ("staged", "--", "none.safetensors")],
)
def test_the_light_verbs_import_no_torch(words: tuple[str, ...]) -> None:
    stored("clean")
    Path("b.json").write_text('{"schema_version": "1.0", "accepted": []}')
    code = (
        "import sys; from amdet_hub.__main__ import main; code = main(sys.argv[1:]); print('torch' in sys.modules,"
        " file=sys.stderr); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False")


def test_a_baseline_and_a_state_file_do_not_go_together(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{WEIGHTS / 'base'}\n")
    result = cli("scan", "--from-file", tmp_path / "list", "--state", tmp_path / "s", "--baseline", tmp_path / "b")
    assert result.exit_code == 2
    assert "--baseline and --state do not go together" in result.stderr
