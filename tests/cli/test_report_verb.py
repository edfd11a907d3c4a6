from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amdet_hub.report import as_json, as_markdown, as_text
from tests.cli.conftest import Run, error_codes
from tests.report import examples


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "old.json"
    path.write_text(as_json(examples.backdoored()), encoding="utf-8")
    return path


def test_each_format_is_the_renderers_text(cli: Run, stored: Path) -> None:
    for form, render in (("text", as_text), ("json", as_json), ("markdown", as_markdown)):
        result = cli("report", stored, "-f", form)
        assert result.exit_code == 0, "rendering a detected backdoor again is no new detection"
        assert result.stdout.rstrip("\n") == render(examples.backdoored()).rstrip("\n")
        assert result.stderr == ""


def test_files_are_written_beside_stdout(cli: Run, stored: Path) -> None:
    result = cli("report", stored, "-f", "markdown", "-o", "json=copy.json", "-o", "text=copy.txt")
    assert result.exit_code == 0
    assert json.loads(Path("copy.json").read_text()) == json.loads(stored.read_text())
    assert Path("copy.txt").read_text() == as_text(examples.backdoored())
    assert sorted(os.listdir()) == ["copy.json", "copy.txt", "old.json"]


def test_stdin(cli: Run, stored: Path) -> None:
    assert cli("report", "-", input=stored.read_text()).stdout == cli("report", stored).stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json", "Error:"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"schema_version": "9.0"}', "schema_version"),
        (b"[]", "Error:"),
    ],
)
def test_a_file_that_is_no_report(cli: Run, content: bytes, said: str) -> None:
    Path("bad.json").write_bytes(content)
    result = cli("report", "bad.json", "-o", "text=out.txt")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not Path("out.txt").exists()


def test_a_missing_report(cli: Run) -> None:
    result = cli("report", "none.json")
    assert result.exit_code == 2
    assert error_codes(result) == ["report-error"]
    assert "'none.json'" in result.stderr


def test_outputs_are_checked_before_anything_is_read(cli: Run) -> None:
    Path("file").write_text("")
    result = cli("report", "none.json", "-o", "json=file/a.json")
    assert result.exit_code == 2
    assert "[output-error]" in result.stderr


def test_needs_no_torch_and_no_hub_client(stored: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'huggingface_hub', 'accelerate'): sys.modules[name] = None\n"
        "from amdet_hub.__main__ import main\n"
        "sys.exit(main(['report', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(stored)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "org/dreamy-xl" in done.stdout
