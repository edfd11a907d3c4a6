"""`scan` of an organisation, a collection, a list: one line a model, a summary, a state to go on from; a real Hub protocol throughout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from amdet_hub.hub import _client
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from amdet_hub.testing.tiny import tiny_clip
from tests.cli.conftest import Run

MODELS = ("acme/a", "acme/b", "acme/c")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`full`, and its cast `half`: every scan of one against the other is answered at once."""
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "full", hidden_size=16, layers=1)
    tiny_clip(folder / "half", hidden_size=16, layers=1, dtype="float16")
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    half = {path.name: path.read_bytes() for path in (models / "half").iterdir()}
    with LocalHub() as hub:
        hub.add_model("org/base", models / "full")
        for name in MODELS:
            tags = "library_name: diffusers\ntags: [clip]" if name != "acme/b" else "library_name: transformers"
            hub.add_model(name, half | {"README.md": f"---\n{tags}\n---\n# {name}\n".encode()})
        hub.add_model(
            "acme/words",
            {"README.md": b"# Words\n", "config.json": b'{"model_type": "bert"}', "model.safetensors": b"x" * 64},
        )
        hub.add_model("other/d", half)
        hub.forget_requests()
        yield hub


@pytest.fixture
def ask(cli: Run, hub: LocalHub, tmp_path: Path) -> Run:
    def run(*args: object, **extra: object) -> Result:
        fixed = (
            "--endpoint",
            hub.endpoint,
            "--cache-dir",
            tmp_path / "cache",
            "--reference",
            "org/base",
            "--device",
            "cpu",
        )
        return cli("scan", *args, *fixed, **extra)

    return run


def weight_requests(hub: LocalHub) -> set[str]:
    """The models of which anything was asked beyond their commit, since the log was emptied."""
    return {"/".join(r.path.split("/")[1:3]) for r in hub.requests if "/resolve/" in r.path} - {"org/base"}


# ---------------------------------------------------------------- which models, and what is said


def test_an_organisation_is_a_line_a_model_and_a_summary(ask: Run, hub: LocalHub) -> None:
    result = ask("--org", "acme")
    assert result.exit_code == 3, "one model holds nothing to scan, as with several targets"
    lines = result.stdout.splitlines()
    for line, name in zip(lines, MODELS, strict=False):
        assert line == f"[-] {name}@{hub.head(name)[:12]}: no backdoor found"
    assert lines[3].startswith("[ ] acme/words: nothing to scan")
    assert lines[5].startswith("4 of 4 models in ")
    assert [line.split() for line in lines[6:]] == [["3", "no", "backdoor", "found"], ["1", "nothing", "to", "scan"]]
    assert ask("--org", "acme", "--fail-on", "detected").exit_code == 0
    assert hub.writes == []


def test_json_is_json_lines_and_the_summary_goes_to_stderr(ask: Run) -> None:
    Path("out").mkdir()
    result = ask("--org", "acme", "-f", "json", "-o", "text=out/{target}.txt")
    assert [parse_report(line).target for line in result.stdout.splitlines()] == list(MODELS)
    assert "4 of 4 models in " in result.stderr
    assert sorted(os.listdir("out")) == [f"acme--{name[-1]}.txt" for name in MODELS]
    assert "4 of 4" not in ask("--org", "acme", "-f", "json", "-q").stderr


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--org", "acme", "--filter", "diffusers"), ("acme/a", "acme/c")),
        (("--org", "acme", "--filter", "diffusers", "--filter", "clip", "--limit", "1"), ("acme/a",)),
        (("--filter", "transformers", "--limit", "5"), ("acme/b",)),
        (("--org", "acme", "--limit", "2"), ("acme/a", "acme/b")),
        (("--collection", "acme/fine-0123456789abcdef01234567"), ("other/d", "acme/c")),
        (("acme/c", "acme/c", "--org", "other"), ("acme/c", "other/d")),
        (("acme/c", "acme/a", "--limit", "1"), ("acme/c",)),
    ],
)
def test_which_models(ask: Run, hub: LocalHub, flags: tuple[str, ...], expected: tuple[str, ...]) -> None:
    hub.add_collection(
        "acme/fine-0123456789abcdef01234567", ["other/d", "dataset:acme/pictures", "acme/c", "space:acme/show"]
    )
    result = ask(*flags, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert tuple(parse_report(line).target for line in result.stdout.splitlines()) == expected


def test_a_long_list_is_read_page_by_page(ask: Run, models: Path, cli: Run) -> None:
    with LocalHub(tree_page_size=2) as hub:
        for i in range(5):
            hub.add_model(f"many/m{i}", {"README.md": b"# Nothing\n"})
        result = cli("scan", "--org", "many", "--endpoint", hub.endpoint, "--cache-dir", "cache", "--device", "cpu")
        assert result.stdout.count("nothing to scan, ") == 5
        assert len([r for r in hub.requests if r.path == "/api/models"]) == 3


def test_a_file_of_targets(ask: Run, models: Path) -> None:
    text = f"\ufeff# ours\n\nacme/a\n  acme/b@main  \nacme/a\n{models / 'half'}\r\nhf://other/d\n"
    Path("list.txt").write_text(text)
    expected = ["acme/a", "acme/b@main", str(models / "half"), "hf://other/d"]
    for flags, extra in ((("--from-file", "list.txt"), {}), (("--from-file", "-"), {"input": text})):
        result = ask(*flags, "-f", "json", **extra)
        assert result.exit_code == 0, result.stderr
        assert [parse_report(line).target for line in result.stdout.splitlines()] == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--org", "nosuch"), "'nosuch' was not found"),
        (("--filter", "clip"), "goes with --org, or with --limit"),
        (("--org", "acme", "--subfolder", "x"), "one target only"),
        (("--collection", "acme/none-0123456789abcdef01234567"), "acme/none-0123456789abcdef01234567"),
        (("--from-file", "missing.txt"), "cannot be read"),
        (("--from-file", "binary.txt"), "is not UTF-8"),
        (("--from-file", "empty.txt"), "the list of models is empty"),
        (("--from-file", "bad.txt"), "not a usable target"),
        (("--org", "acme", "-o", "json=r.json"), "{target}"),
        (("--org", "acme", "--state", "cache"), "'cache' is a directory"),
        (("--org", "acme", "--offline"), "offline"),
    ],
)
def test_what_cannot_be_listed_is_said(ask: Run, hub: LocalHub, flags: tuple[str, ...], words: str) -> None:
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("empty.txt").write_bytes(b"# nothing\n")
    Path("bad.txt").write_bytes(b"acme/a\n../../etc/passwd\n")
    Path("cache").mkdir(exist_ok=True)
    result = ask(*flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert weight_requests(hub) == set()


def test_a_dry_run_of_many_adds_up(ask: Run, hub: LocalHub) -> None:
    result = ask("--org", "acme", "--dry-run")
    size, base = (len(hub.read(name, "model.safetensors")) for name in ("acme/a", "org/base"))
    assert result.exit_code == 3
    assert f"3 of 4 models can be scanned, {3 * size + base:,} bytes to download" in result.stdout
    assert "acme/words: Error:" in result.stderr


def test_an_error_ends_one_model_and_not_the_others(ask: Run, hub: LocalHub) -> None:
    hub.corrupt("acme/b", times=None)
    result = ask("--org", "acme")
    assert result.exit_code == 2
    assert "[x] acme/b: not scanned, DownloadCorrupt" in result.stdout
    assert "acme/b: Error: " in result.stderr
    assert result.stdout.count("no backdoor found") == 3  # two lines and the summary


def test_a_rate_limit_is_waited_for(ask: Run, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "MAX_RATE_LIMIT_WAIT_S", 0.0)  # the client's own short patience is another test's
    hub.rate_limit("/api/models", retry_after_s=1, times=1)
    began = time.monotonic()
    result = ask("acme/a", "--limit", "1", "--org", "acme")
    assert result.exit_code == 0, result.stderr
    assert time.monotonic() - began >= 1
    assert "waiting 1 s" in result.stderr
    hub.rate_limit("/api/models/acme/a", retry_after_s=100_000)
    assert "[x] acme/a: not scanned, RateLimited" in ask("acme/a", "--limit", "1").stdout


# ---------------------------------------------------------------- going on


def test_a_finished_model_is_not_scanned_again(ask: Run, hub: LocalHub) -> None:
    first = ask("--org", "acme", "--state", "state/acme.jsonl")
    assert first.exit_code == 3
    assert {json.loads(line)["repo_id"] for line in Path("state/acme.jsonl").read_text().splitlines()} == {
        *MODELS,
        "acme/words",
    }
    hub.forget_requests()
    second = ask("--org", "acme", "--state", "state/acme.jsonl")
    assert second.exit_code == 3
    assert weight_requests(hub) == set()
    assert "acme/a: finished before, no backdoor found." in second.stderr
    assert "4 of 4 models" in second.stdout
    assert "4 of them before" in second.stdout
    hub.commit("acme/b", {"README.md": b"# Changed\n"})
    hub.forget_requests()
    ask("--org", "acme", "--state", "state/acme.jsonl")
    assert weight_requests(hub) == {"acme/b"}
    assert ask("--org", "acme", "--state", "state/acme.jsonl", "--seed", "7").stdout.count("[-] acme/") == 3, (
        "other settings"
    )


def test_what_did_not_finish_is_not_remembered(ask: Run, cli: Run, hub: LocalHub) -> None:
    hub.corrupt("acme/b", times=None)
    ask("--org", "acme", "--state", "s", "--timeout", "30s")
    hub.behave()
    hub.forget_requests()
    assert ask("--org", "acme", "--state", "s").stdout.count("[-] acme/") == 1
    late = (
        "--no-reference",
        "--state",
        "t",
        "--timeout",
        "0.001",
        "--endpoint",
        hub.endpoint,
        "--cache-dir",
        "c",
        "--device",
        "cpu",
    )
    assert "not finished" in cli("scan", "acme/c", *late).stdout
    assert Path("t").read_text() == ""


def test_a_state_file_that_was_damaged_costs_a_scan_and_no_more(ask: Run) -> None:
    ask("--org", "acme", "--state", "s")
    lines = Path("s").read_bytes().splitlines(keepends=True)
    odd = [b"[]\n", b'{"verdict": "safe"}\n', b"\xff\n", b'{"repo_id": 3}\n']
    Path("s").write_bytes(b"".join([*odd, *lines[1:], lines[0][:30]]))  # the kill came in the middle of a line
    result = ask("--org", "acme", "--state", "s")
    assert "5 lines of the state file cannot be read" in result.stderr
    assert result.stdout.count("[-] acme/") == 1
    assert ask("--org", "acme", "--state", "s").stdout.count("[-] acme/") == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on(ask: Run, hub: LocalHub, tmp_path: Path, how: signal.Signals) -> None:
    hub.slow("acme/b", bytes_per_s=200)  # the file is asked for while the first model is scanned
    state = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "amdet_hub",
        "scan",
        "--org",
        "acme",
        "--state",
        str(state),
        "--reference",
        "org/base",
    ]
    command += ["--device", "cpu", "--cache-dir", str(tmp_path / "cache")]
    with subprocess.Popen(
        command, env=os.environ | hub.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        deadline = time.monotonic() + 120
        while not (state.is_file() and "acme/a" in state.read_text()):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(how)
        out, err = child.communicate(timeout=120)
    if how is signal.SIGINT:
        assert child.returncode == 130, err
        assert "Run the same command again to go on." in err
        assert "1 of 4 models" in out
    hub.behave()
    again = ask("--org", "acme", "--state", state)
    assert "acme/a: finished before" in again.stderr
    assert again.stdout.count("[-] acme/") == 2
    assert "4 of 4 models" in again.stdout


@pytest.mark.parametrize(("where", "finished"), [("os.fsync", 1), ("amdet_hub.scanner.prefetch.Prefetcher.start", 0)])
def test_ctrl_c_outside_a_scan_is_no_less_of_an_interruption(
    ask: Run, monkeypatch: pytest.MonkeyPatch, where: str, finished: int
) -> None:
    """While the first model is being remembered, and before it is begun."""
    with monkeypatch.context() as patch:
        patch.setattr(where, lambda *_: signal.raise_signal(signal.SIGINT))
        result = ask("--org", "acme", "--state", "s")
    assert result.exit_code == 130
    assert "Interrupted." in result.stderr
    assert "nothing was written" not in result.stderr, "the first model's line was"
    assert "Run the same command again to go on." in result.stderr
    assert f"{finished} of 4 models" in result.stdout
    again = ask("--org", "acme", "--state", "s")
    assert again.stderr.count("finished before") == finished
    assert "4 of 4 models" in again.stdout
