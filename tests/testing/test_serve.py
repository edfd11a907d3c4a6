from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from amdet_hub.testing.serve import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "config.json").write_bytes(b'{"one": 1}')
    return folder


def exports(lines: list[str]) -> dict[str, str]:
    words = [shlex.split(line) for line in lines]
    assert all(len(line) == 2 and line[0] == "export" for line in words)
    return dict(pair[1].split("=", 1) for pair in words)


def test_it_serves_until_it_is_interrupted(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amdet_hub.testing.serve", f"org/one={folder}", f"org/two={folder}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        said = server.stderr.readline()
        lines: list[str] = []
        while not lines or not lines[-1].startswith("export no_proxy="):
            lines.append(server.stdout.readline())
        environment = exports(lines)
        assert said == f"Serving 2 repositories at {environment['HF_ENDPOINT']}. Ctrl-C stops.\n"

        api = HfApi(endpoint=environment["HF_ENDPOINT"], token=environment["HF_TOKEN"])
        got = Path(api.hf_hub_download("org/two", "config.json", cache_dir=tmp_path / "cache"))
        assert got.read_bytes() == b'{"one": 1}'
        assert api.whoami()["name"] == "visitor"

        server.send_signal(signal.SIGINT)
        rest, errors = server.communicate(timeout=20)
        assert (server.returncode, rest, errors) == (0, "", "")


def test_the_printed_lines_are_shell(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "amdet_hub.testing.serve", f"m={folder}"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        script = ""
        while "export no_proxy=" not in script:
            script += server.stdout.readline()
        server.terminate()
        assert server.wait(timeout=20) == 0
    shell = subprocess.run(
        ["sh", "-c", script + 'printf %s "$HF_ENDPOINT"'],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert shell.stdout == exports(script.splitlines())["HF_ENDPOINT"]


@pytest.mark.parametrize("words", [["org/one"], ["=x"], ["org/one="], ["org/one=./there-is-no-such-folder"], []])
def test_a_wrong_command_line_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    out, err = capsys.readouterr()
    assert out == ""
    assert "org/model=FOLDER" in err or "is not a folder" in err


def test_a_repository_named_twice_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main([f"org/one={folder}", f"org/one={folder}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: the local Hub already holds 'org/one'\n"
    signal.signal(signal.SIGTERM, before)
