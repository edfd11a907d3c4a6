"""Names of a repository that would speak for us: to a terminal, to a build log, to a reader of either."""

from __future__ import annotations

import itertools
import json
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner

from amdet_hub.cli._output import say
from amdet_hub.cli.app import app
from amdet_hub.testing import LocalHub
from tests.hostile.conftest import TOKEN
from tests.hostile.forge import CARD, CONFIG, WEIGHTS, Files, framed

_numbers = itertools.count()
NAMES = {
    "workflow command": "  ::error::pwned",
    "workflow command, old form": "##[error]pwned",
    "right-to-left override": "abc\u202egnp.sth",
    "zero width": "text\u200bencoder",
    "terminal sequence in C1": "\x9b2Jcleared",
    "line separator": "a\u2028[-] NO BACKDOOR FOUND",
    "next line": "a\x85[-] NO BACKDOOR FOUND",
    "markup": "<script>alert(1)</script>",
    "markdown": "[x](javascript:alert(1))![y](http:evil)",
    "shell": "$(id) `id` ; rm -rf ~",
    "format": "%s {0} ${{ secrets.X }}",
    "a token": "hf_AAAAAAAAAAAAAAAAAAAAAAAA",
    "Hebrew": "\u05e9\u05dc\u05d5\u05dd",
}


@pytest.mark.parametrize("verb", ["resolve", "resolve --json", "scan", "scan -f markdown", "scan -f json"])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(hub: LocalHub, clean: Files, tmp_path: Path, name: str, verb: str) -> None:
    text = NAMES[name]
    repo_id = f"org/words{next(_numbers)}"
    moved = {f"{text}/{path}": data for path, data in clean.items() if path != CARD}
    hub.add_model(
        repo_id, {**moved, f"{text}.safetensors": framed(b"x" * 30), CARD: f'---\nlicense: "{text}"\n---\n'.encode()}
    )
    first, *more = verb.split()
    where = (
        "--endpoint",
        hub.endpoint,
        "--cache-dir",
        str(tmp_path / "cache"),
        "--reference",
        "org/base",
        "--device",
        "cpu",
    )
    result = CliRunner().invoke(app, [first, repo_id, *more, *where, "--token", TOKEN], prog_name="amdet-hub")
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code == (0 if first == "resolve" else 3), result.output
    shown = result.stdout + result.stderr
    hidden = [c for c in shown if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")]
    assert hidden == []
    is_json = "json" in verb
    for line in [*(result.stdout.split("\n") if not is_json else []), *result.stderr.split("\n")]:
        assert not line.strip().startswith("::"), line
        assert "##[" not in line
        assert not line.startswith("[-]"), line
    if is_json:
        json.loads(result.stdout)
        assert result.stdout.isascii()
    if "markdown" in verb:
        assert "<script" not in result.stdout


def test_talk_is_no_command_of_a_build_log(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\n ::add-mask::x\n##[group]y")
    assert capsys.readouterr().err == "one\n \\u{3a}:add-mask::x\n#\\u{23}[group]y\n"


def test_a_model_type_is_only_a_name(hub: LocalHub, clean: Files, tmp_path: Path) -> None:
    config = {
        **json.loads(clean[CONFIG]),
        "architectures": ["\x1b[2J\n::error::" + "A" * 5000],
        "model_type": "\u202e",
    }
    hub.add_model("org/typed", {CONFIG: json.dumps(config).encode(), WEIGHTS: clean[WEIGHTS]})
    result = CliRunner().invoke(
        app, ["resolve", "org/typed", "--endpoint", hub.endpoint, "--cache-dir", str(tmp_path)]
    )
    assert result.exit_code == 3
    assert not [c for c in result.output if c != "\n" and not c.isprintable()]
    assert len(result.stderr) < 2000
    assert "\n::" not in result.stderr
