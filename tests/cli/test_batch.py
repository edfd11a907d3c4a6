"""`scan` of an organisation, a collection, a list: a row a model, a summary, a state to go on from."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save

from amdet_hub.cli._scan_state import Ledger
from amdet_hub.hub import _client
from amdet_hub.report import parse_report
from amdet_hub.scanner.prefetch import Prefetcher
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip
from tests.cli.conftest import Run, error_codes

MODELS = ("acme/a", "acme/b", "acme/c")
OTHER = save({"encoder.layer.0.output.dense.weight": torch.zeros(4, 4)})
"""A safetensors file without a text tower of ours."""


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
            {"README.md": b"# Words\n", "config.json": b'{"model_type": "bert"}', "model.safetensors": OTHER},
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


def rows(result: Result) -> list[tuple[str, str, str]]:
    """Verdict, code and target of every row of the table on stdout."""
    table, _, _ = result.stdout.partition("\n\n")
    return [(cells[0], cells[1], cells[-1]) for cells in map(str.split, table.splitlines())]


def counts(text: str) -> dict[str, int]:
    """The verdicts of the summary."""
    found = re.findall(r"^ {2,}([\d,]+)  ([a-z ]+)$", text, re.MULTILINE)
    return {verdict.replace(" ", "-"): int(count.replace(",", "")) for count, verdict in found}


def weight_requests(hub: LocalHub) -> set[str]:
    """The models of which anything was asked beyond their commit, since the log was emptied."""
    return {"/".join(r.path.split("/")[1:3]) for r in hub.requests if "/resolve/" in r.path} - {"org/base"}


# ---------------------------------------------------------------- which models, and what is said


def test_an_organisation_is_a_row_a_model_and_a_summary(ask: Run, hub: LocalHub) -> None:
    result = ask("--org", "acme")
    assert result.exit_code == 0, "one model holds nothing of this kind, which passes"
    clean = [("no-backdoor-found", "identical-to-reference", f"{name}@{hub.head(name)[:12]}") for name in MODELS]
    words = ("nothing-to-scan", "not-clip-family", f"acme/words@{hub.head('acme/words')[:12]}")
    assert rows(result) == [*clean, words]
    assert counts(result.stdout) == {"no-backdoor-found": 3, "nothing-to-scan": 1}
    assert ask("--org", "acme", "-f", "table").stdout.splitlines()[:4] == ask("--org", "acme").stdout.splitlines()[:4]
    assert hub.writes == []


def test_json_is_json_lines_and_the_summary_goes_to_stderr(ask: Run) -> None:
    result = ask("--org", "acme", "-f", "json", "-o", "text=out/{target}.txt")
    names = (*MODELS, "acme/words")
    assert [parse_report(line).target for line in result.stdout.splitlines()] == list(names)
    assert counts(result.stderr) == {"no-backdoor-found": 3, "nothing-to-scan": 1}
    assert sorted(os.listdir("out")) == [f"{name.replace('/', '--')}.txt" for name in names]
    assert counts(ask("--org", "acme", "-f", "json", "-q").stderr) == {}


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
        assert [verdict for verdict, _, _ in rows(result)] == ["nothing-to-scan"] * 5
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
    ("flags", "code", "named"),
    [
        (("--org", "nosuch"), "repo-not-found", "'nosuch'"),
        (("--filter", "clip"), "config-error", "--filter"),
        (("--filter", "nosuch", "--limit", "3"), "config-error", "scan"),
        (("--org", "acme", "--subfolder", "x"), "config-error", "--subfolder"),
        (("--collection", "acme/none-0123456789abcdef01234567"), "repo-not-found", "acme/none-0123"),
        (("--from-file", "missing.txt"), "report-error", "'missing.txt'"),
        (("--from-file", "binary.txt"), "report-error", "'binary.txt'"),
        (("--from-file", "empty.txt"), "config-error", "scan"),
        (("--from-file", "bad.txt"), "target-error", "../../etc/passwd"),
        (("--org", "acme", "-o", "json=r.json"), "config-error", "{target}"),
        (("--org", "acme", "--state", "cache"), "usage-error", "'cache'"),
        (("--org", "acme", "--offline"), "offline-miss", "acme"),
    ],
)
def test_what_cannot_be_listed_is_said(ask: Run, hub: LocalHub, flags: tuple[str, ...], code: str, named: str) -> None:
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    Path("empty.txt").write_bytes(b"# nothing\n")
    Path("bad.txt").write_bytes(b"acme/a\n../../etc/passwd\n")
    Path("cache").mkdir(exist_ok=True)
    result = ask(*flags)
    assert (result.exit_code, error_codes(result)) == (2, [code]), result.stderr
    assert named in result.stderr.splitlines()[0]
    assert weight_requests(hub) == set()


def test_a_dry_run_of_many_adds_up(ask: Run, hub: LocalHub) -> None:
    result = ask("--org", "acme", "--dry-run")
    size, base = (len(hub.read(name, "model.safetensors")) for name in ("acme/a", "org/base"))
    assert result.exit_code == 0
    assert f"3 of 4 models can be scanned, {3 * size + base:,} bytes to download" in result.stdout
    assert "[not-clip-family]" in result.stdout


def test_an_error_ends_one_model_and_not_the_others(ask: Run, hub: LocalHub) -> None:
    hub.corrupt("acme/b", times=None)
    result = ask("--org", "acme", "--rescan")
    assert result.exit_code == 2
    assert ("error", "download-corrupt", "acme/b") in rows(result)
    assert error_codes(result) == ["download-corrupt"]
    assert counts(result.stdout) == {"no-backdoor-found": 2, "nothing-to-scan": 1, "error": 1}


def test_a_rate_limit_is_waited_for(ask: Run, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "MAX_RATE_LIMIT_WAIT_S", 0.0)  # the client's own short patience is another test's
    hub.rate_limit("/api/models", retry_after_s=1, times=1)
    began = time.monotonic()
    result = ask("acme/a", "--limit", "1", "--org", "acme")
    assert result.exit_code == 0, result.stderr
    assert time.monotonic() - began >= 1
    assert "waiting 1 s" in result.stderr
    hub.rate_limit("/api/models/acme/a", retry_after_s=100_000)
    assert rows(ask("acme/a", "--limit", "1")) == [("error", "rate-limited", "acme/a")]


# ---------------------------------------------------------------- going on


def test_a_finished_model_is_not_scanned_again(ask: Run, hub: LocalHub) -> None:
    first = ask("--org", "acme", "--state", "state/acme.jsonl")
    assert first.exit_code == 0
    lines = Path("state/acme.jsonl").read_text().splitlines()
    assert {json.loads(line)["repo_id"] for line in lines} == {*MODELS, "acme/words"}
    hub.forget_requests()
    second = ask("--org", "acme", "--state", "state/acme.jsonl")
    assert second.exit_code == 0
    assert weight_requests(hub) == set()
    assert second.stderr.count("finished before") == 4
    assert counts(second.stdout) == counts(first.stdout)
    hub.commit("acme/b", {"README.md": b"# Changed\n"})
    hub.forget_requests()
    ask("--org", "acme", "--state", "state/acme.jsonl")
    assert weight_requests(hub) == {"acme/b"}
    assert len(rows(ask("--org", "acme", "--state", "state/acme.jsonl", "--seed", "7"))) == 4, "other settings"


def test_what_did_not_finish_is_not_remembered(ask: Run, cli: Run, hub: LocalHub) -> None:
    hub.corrupt("acme/b", times=None)
    ask("--org", "acme", "--state", "s", "--timeout", "30s", "--rescan")
    hub.behave()
    assert [row[:2] for row in rows(ask("--org", "acme", "--state", "s"))] == [
        ("no-backdoor-found", "identical-to-reference")
    ]
    where = ("--endpoint", hub.endpoint, "--cache-dir", "c", "--device", "cpu")
    late = cli("scan", "acme/c", "--no-reference", "--state", "t", "--timeout", "0.001", *where)
    assert rows(late)[0][0] == "inconclusive"
    assert Path("t").read_text() == ""


def test_a_state_file_that_was_damaged_costs_a_scan_and_no_more(ask: Run) -> None:
    ask("--org", "acme", "--state", "s")
    lines = Path("s").read_bytes().splitlines(keepends=True)
    odd = [b"[]\n", b'{"verdict": "safe"}\n', b"\xff\n", b'{"repo_id": 3}\n']
    Path("s").write_bytes(b"".join([*odd, *lines[1:], lines[0][:30]]))  # the kill came in the middle of a line
    result = ask("--org", "acme", "--state", "s")
    assert ": 5. " in result.stderr
    assert len(rows(result)) == 1
    assert ask("--org", "acme", "--state", "s").stderr.count("finished before") == 4


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
        "--rescan",
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
    assert len(rows(again)) == 3
    assert counts(again.stdout) == {"no-backdoor-found": 3, "nothing-to-scan": 1}


@pytest.mark.parametrize(("owner", "name", "finished"), [(Ledger, "finish", 1), (Prefetcher, "start", 0)])
def test_ctrl_c_outside_a_scan_is_no_less_of_an_interruption(
    ask: Run, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, finished: int
) -> None:
    """When the first model was remembered, and before it is begun."""
    original = getattr(owner, name)

    def interrupted(*args: object) -> None:
        original(*args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        result = ask("--org", "acme", "--state", "s")
    assert result.exit_code == 130
    assert "Interrupted." in result.stderr
    assert "nothing was written" not in result.stderr, "the first model's line was"
    assert "Run the same command again to go on." in result.stderr
    assert f"{finished} of 4 models" in result.stdout
    again = ask("--org", "acme", "--state", "s")
    assert again.stderr.count("finished before") == finished
    assert "4 of 4 models" in again.stdout
