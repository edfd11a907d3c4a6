"""Everything that may go wrong outside, from end to end: a real Hub protocol, tiny encoders, a command line.

Each case asks for one clear sentence that names the cause, the next step, the right exit code, nothing lost, and no
traceback (the `cli` fixture checks that one always).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from safetensors.torch import save

from amdet_hub.hub import _client
from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from tests.cli.conftest import Run, error_codes

TOKEN = "hf_alicealicealice"
WEIGHTS = "model.safetensors"

QUICK = """
[sweep]
screen_prompts = 2
n_finalists = 16
n_null = 32
n_prompts = 4
n_heldout_prompts = 4
n_candidates = 2
n_paired = 1
n_pieces = 2
n_accretions = 1
max_pieces = 2
[inversion]
restarts = 1
steps = 3
n_prompts = 6
[landscape]
grid = 5
"""
"""A scan of a tiny encoder in a fraction of a second.

Its verdicts mean nothing; that there is one, and a whole report, is what is asked.
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, `tuned` (other weights) and `sd3` (a pipeline with two CLIP towers); settings in `quick.toml`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "base")
    tiny_clip(folder / "tuned", seed=1)
    tiny_pipeline(folder / "sd3", kind="sd3")
    (folder / "quick.toml").write_text(QUICK)
    return folder


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between attempts, not their number."""
    monkeypatch.setattr(_client, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_model("org/base", models / "base")
        hub.add_model("org/tuned", models / "tuned")
        yield hub


@pytest.fixture
def scan(cli: Run, hub: LocalHub, models: Path, tmp_path: Path) -> Run:
    """`scan(target, *more)`: a quick scan against `org/base`, without a token."""

    def run(target: object, *more: object, reference: bool = True, **extra: object) -> Result:
        held_against = ("--reference", "org/base") if reference else ("--no-reference",)
        where = ("--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", "--config", models / "quick.toml")
        return cli(
            "scan", target, *held_against, "--device", "cpu", "-f", "json", "--no-progress", *where, *more, **extra
        )

    return run


def edited(folder: Path, **files: bytes | None) -> dict[str, bytes]:
    """The files of a folder, some replaced, or removed where they are None; `config_json` names `config.json`."""
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, new in files.items():
        name = name.replace("_json", ".json").replace("_md", ".md")
        content.pop(name, None)
        if new is not None:
            content[name] = new
    return content


def is_whole(result: Result) -> bool:
    """Whether stdout is a finished report."""
    return parse_report(result.stdout).complete


def refused(result: Result, code: str, *facts: str) -> bool:
    """Whether it ended with 2, no report, and one error with this code that names all of `facts`."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert error_codes(result) == [code]
    assert [fact for fact in facts if fact not in result.stderr] == []
    return True


# ---------------------------------------------------------------- who may read


def test_a_missing_repository(scan: Run) -> None:
    assert refused(scan("org/none"), "repo-not-found", "'org/none'")


def test_a_missing_reference_is_named(scan: Run, cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    result = cli(
        "scan",
        "org/tuned",
        "--reference",
        "org/none",
        "--endpoint",
        hub.endpoint,
        "--cache-dir",
        tmp_path,
        "--no-progress",
    )
    assert refused(result, "repo-not-found", "the reference 'org/none'")


def test_a_gated_repository(scan: Run, hub: LocalHub, models: Path) -> None:
    hub.add_model("org/gated", models / "tuned", gated=True)
    assert refused(scan("org/gated"), "repo-gated", f"{hub.endpoint}/org/gated")


def test_a_private_repository_without_and_with_a_wrong_token(scan: Run, hub: LocalHub, models: Path) -> None:
    hub.add_model("org/private", models / "tuned", private=True)
    assert refused(scan("org/private"), "repo-not-found", "`hf auth login`")
    wrong = scan("org/private", "--token", "-", input="hf_wrongwrongwrong")
    assert refused(wrong, "access-denied", "HTTP 401")
    assert "wrongwrong" not in wrong.output
    assert is_whole(scan("org/private", "--token", "-", input=TOKEN))


def test_a_bad_revision(scan: Run) -> None:
    assert refused(scan("org/tuned@v9"), "revision-not-found", "'v9'")


# ---------------------------------------------------------------- the network


def test_network_down(scan: Run, hub: LocalHub) -> None:
    hub.drop("/api/models/org/tuned", times=None)
    assert refused(scan("org/tuned"), "hub-unavailable", "amdet-hub doctor")


@pytest.mark.parametrize("at", ["/api/models/org/tuned", WEIGHTS])
def test_a_rate_limit_is_no_missing_repository(scan: Run, hub: LocalHub, at: str) -> None:
    hub.rate_limit(at, retry_after_s=77)
    started = time.monotonic()
    assert refused(scan("org/tuned"), "rate-limited", " 77 ")
    assert time.monotonic() - started < 20, "it must not sit out a long wait"


@pytest.mark.parametrize("at", ["/api/models/org/tuned", WEIGHTS])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_recovers(scan: Run, hub: LocalHub, at: str, status: int) -> None:
    hub.fail(at, status=status, times=1)
    assert is_whole(scan("org/tuned"))


def test_a_server_that_does_not_recover(scan: Run, hub: LocalHub) -> None:
    hub.fail(WEIGHTS, status=503, times=None)
    assert refused(scan("org/tuned"), "hub-unavailable", "HTTP 503")


def test_a_redirect_loop_ends(scan: Run, hub: LocalHub) -> None:
    hub.fail(
        "/api/models/org/tuned", status=302, times=None, headers={"Location": f"{hub.endpoint}/api/models/org/tuned"}
    )
    result = scan("org/tuned")
    assert refused(result, "hub-unavailable", "redirects")


@pytest.mark.parametrize("admit", [False, True])
def test_a_truncated_body(scan: Run, hub: LocalHub, admit: bool) -> None:
    hub.truncate(WEIGHTS, keep_bytes=5000, times=None, admit=admit)
    assert refused(scan("org/tuned"), "download-corrupt", f"'{WEIGHTS}' of 'org/tuned'")
    hub.behave()
    assert is_whole(scan("org/tuned")), "nothing damaged was kept in the cache"


def test_a_wrong_sha256(scan: Run, hub: LocalHub) -> None:
    hub.corrupt(WEIGHTS, times=None)
    assert refused(scan("org/tuned"), "download-corrupt", "sha256")
    hub.behave()
    assert is_whole(scan("org/tuned"))


def test_main_moves_during_the_scan(scan: Run, hub: LocalHub, models: Path) -> None:
    before = hub.head("org/tuned")
    moved: list[str] = []

    def move(request: Any) -> None:
        if WEIGHTS in request.path and not moved:
            moved.append(hub.commit("org/tuned", {WEIGHTS: (models / "base" / WEIGHTS).read_bytes()}))

    hub.on_request(move)
    report = parse_report(scan("org/tuned").stdout)
    assert hub.head("org/tuned") != before, "main has moved"
    assert report.snapshot.commit_sha == before
    assert report.results[0].encoder.commit_sha == before
    assert [e.value for e in report.results[0].evidence if e.kind == "identity"] == [1.0], (
        "not the new weights, which are the reference's"
    )


# ---------------------------------------------------------------- this machine


def test_a_full_disk(scan: Run, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # writes beyond this fail, as they do on a full disk
    try:
        result = scan("org/tuned", reference=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused(result, "resource-error", "--cache-dir")
    assert is_whole(scan("org/tuned")), "with space again, nothing torn was kept"


def test_an_output_that_cannot_be_written_loses_no_other(scan: Run) -> None:
    result = scan("org/tuned", "-o", "json=/dev/full", "-o", "text=kept.txt")
    assert result.exit_code == 2
    assert error_codes(result) == ["output-error"]
    assert "'/dev/full'" in result.stderr
    assert is_whole(result)
    assert "org/tuned" in Path("kept.txt").read_text()


def test_a_full_cache_disk_costs_the_next_scan_its_short_cut_and_no_more(
    scan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMDET_HUB_CACHE", str(tmp_path / "roomy"))
    whole = parse_report(scan("org/tuned").stdout)  # what is downloaded lies in the Hub's own cache from now on
    monkeypatch.setenv("AMDET_HUB_CACHE", str(tmp_path / "full"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        result = scan("org/tuned")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 0, result.stderr
    assert parse_report(result.stdout).verdict == whole.verdict
    assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []


def test_too_little_disk_says_what_a_download_needs(scan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(os.curdir)._replace(free=614_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    result = scan("org/tuned")
    assert refused(result, "resource-error", "614 kB")
    (needed,) = re.findall(r"([\d.]+) MB", result.stderr)
    assert float(needed) >= 16.7, "the reserve alone is more than there is"


def test_ctrl_c_in_the_middle(hub: LocalHub, tmp_path: Path) -> None:
    env = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "home")}
    command = [
        sys.executable,
        "-m",
        "amdet_hub",
        "scan",
        "org/tuned",
        "--reference",
        "org/base",
        "--device",
        "cpu",
        "-f",
        "json",
    ]
    process = subprocess.Popen(
        [*command, "-o", "json=partial.json"],
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    heard = ""
    while "sweep" not in heard:
        line = process.stderr.readline()
        assert line, f"it ended before it was interrupted: {heard}"
        heard += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), "a shell calls both 130"
    assert "Interrupted: the partial report is in partial.json." in err
    assert "Traceback" not in err
    partial = parse_report((tmp_path / "partial.json").read_text())
    assert parse_report(out) == partial
    assert (partial.complete, partial.verdict.label) == (False, "inconclusive")
    assert [(s.reason, s.blocks_clearance) for s in partial.skipped] == [("interrupted", True)]


def test_a_time_budget_that_ends_in_the_middle(scan: Run) -> None:
    result = scan("org/tuned", "--timeout", "0.01s", "-o", "json=partial.json")
    assert result.exit_code == 3
    assert "The time budget of 1 s was spent" in result.stderr
    partial = parse_report(Path("partial.json").read_text())
    assert (partial.complete, partial.verdict.label) == (False, "inconclusive")


def test_an_unknown_flag(scan: Run, hub: LocalHub) -> None:
    hub.forget_requests()
    assert refused(scan("org/tuned", "--refrence", "org/base"), "usage-error", "--reference")
    assert hub.requests == []


# ---------------------------------------------------------------- what the repository holds


def test_no_clip_encoder(scan: Run, hub: LocalHub) -> None:
    other = save({"encoder.layer.0.output.dense.weight": torch.zeros(4, 4)})
    hub.add_model("org/bert", {"config.json": b'{"model_type": "bert"}', WEIGHTS: other})
    result = scan("org/bert")
    verdict = parse_report(result.stdout).verdict
    assert (result.exit_code, verdict.label, verdict.code) == (0, "nothing-to-scan", "not-clip-family")


def test_only_pickles(scan: Run, hub: LocalHub, models: Path) -> None:
    files = edited(models / "tuned") | {"pytorch_model.bin": b"\x80\x04"}
    del files[WEIGHTS]
    hub.add_model("org/pickle", files)
    result = scan("org/pickle")
    verdict = parse_report(result.stdout).verdict
    assert (result.exit_code, verdict.label, verdict.code) == (3, "inconclusive", "refused-pickle")


def test_a_dataset_is_no_model(scan: Run) -> None:
    for target in ("datasets/org/data", "hf://datasets/org/data"):
        assert refused(scan(target), "target-error", "dataset")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(b"{not json", id="no JSON"),
        pytest.param(b'{"model_type": "clip_text_model", "model_type": "bert"}', id="a key twice"),
        pytest.param(b'{"a": ' + b"[" * 9000 + b"]" * 9000 + b"}", id="nested"),
        pytest.param(b'{"hidden_size": ' + b"9" * 5000 + b"}", id="a long number"),
    ],
)
def test_broken_json(scan: Run, hub: LocalHub, models: Path, config: bytes) -> None:
    hub.add_model("org/broken", edited(models / "tuned", config_json=config))
    assert refused(scan("org/broken"), "bad-repository", "'config.json'")


def test_a_broken_tokenizer_where_no_reference_brings_one(scan: Run, hub: LocalHub, models: Path) -> None:
    hub.add_model("org/broken", edited(models / "tuned", tokenizer_json=b"{"))
    assert refused(scan("org/broken", reference=False), "bad-repository", "'tokenizer.json'")


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(None, id="no README"),
        pytest.param(b"", id="empty"),
        pytest.param(b"# Only words\n", id="no YAML"),
        pytest.param(b"---\nlicense: mit\n", id="YAML without an end"),
        pytest.param(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n# Windows", id="BOM and CRLF"),
        pytest.param(b"---\nbase_model: {a: b}\nlicense: 3\n---\n", id="odd types"),
        pytest.param(b"---\nbase_model: ../../etc\n---\n\x1b[2J", id="a path and a terminal sequence"),
    ],
)
def test_odd_cards_are_scanned_and_spliced(
    scan: Run, cli: Run, hub: LocalHub, models: Path, tmp_path: Path, card: bytes | None
) -> None:
    hub.add_model("org/odd", edited(models / "tuned", README_md=card))
    assert is_whole(scan("org/odd", "-o", "json=r.json"))
    where = ("--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache")
    pushed = cli("card", "push", "org/odd", "--from", "r.json", "--yes", "--token", "-", *where, input=TOKEN)
    assert pushed.exit_code == 0, pushed.stderr
    written = hub.read("org/odd", "README.md", revision="refs/pr/1")
    assert written.startswith(card or b"")
    assert "\x1b" not in pushed.stdout


@pytest.mark.parametrize("card", [b"---\n: : [\n---\n# Broken\n", b"---\n- a\n- b\n---\n"])
def test_cards_that_the_hub_refuses_are_scanned_and_left_alone(
    scan: Run, cli: Run, hub: LocalHub, models: Path, tmp_path: Path, card: bytes
) -> None:
    hub.add_model("org/odd", edited(models / "tuned", README_md=card))
    assert is_whole(scan("org/odd", "-o", "json=r.json"))
    where = ("--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache")
    pushed = cli("card", "push", "org/odd", "--from", "r.json", "--yes", "--token", "-", *where, input=TOKEN)
    assert pushed.exit_code == 2
    assert error_codes(pushed) == ["card-error"]
    assert (hub.pull_requests("org/odd"), hub.read("org/odd", "README.md")) == ([], card)


def test_weights_that_overflow_are_no_verdict(scan: Run, hub: LocalHub, models: Path, tmp_path: Path) -> None:
    from tests.encoders.folder_source import edit_tensors

    folder = tiny_clip(tmp_path / "overflow", seed=1)
    edit_tensors(folder / WEIGHTS, lambda t: t.update({n: v * 1e37 for n, v in t.items()}))
    hub.add_model("org/overflow", folder)
    assert refused(scan("org/overflow"), "bad-weights", "65,504")


def test_an_encoder_of_zeros_is_not_cleared(scan: Run, hub: LocalHub, tmp_path: Path) -> None:
    from tests.encoders.folder_source import edit_tensors

    folder = tiny_clip(tmp_path / "zeros", seed=1)
    edit_tensors(folder / WEIGHTS, lambda t: t.update({n: v * 0 for n, v in t.items()}))
    hub.add_model("org/zeros", folder)
    assert refused(scan("org/zeros", reference=False), "bad-repository")


# ---------------------------------------------------------------- writing


@pytest.fixture
def push(cli: Run, scan: Run, hub: LocalHub, tmp_path: Path) -> Run:
    """`push(*more)`: the report of `org/tuned`, in `r.json`, onto its card as alice."""
    assert is_whole(scan("org/tuned", "-o", "json=r.json"))
    hub.forget_requests()

    def run(*more: object) -> Result:
        where = ("--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", "--token", "-")
        return cli("card", "push", "org/tuned", "--from", "r.json", "--yes", *where, *more, input=TOKEN)

    return run


def test_a_stale_parent_commit(push: Run, hub: LocalHub) -> None:
    moved: list[str] = []

    def move(request: Any) -> None:
        if "/commit/" in request.path and not moved:
            moved.append(hub.commit("org/tuned", {"notes.md": b"the owner was quicker"}))

    hub.on_request(move)
    result = push("--commit")
    assert result.exit_code == 2
    assert error_codes(result) == ["commit-conflict"]
    assert hub.read("org/tuned", "notes.md") == b"the owner was quicker"
    assert "amdet-hub.json" not in hub.files("org/tuned")


def test_weights_that_changed_since_the_scan(push: Run, hub: LocalHub, models: Path) -> None:
    hub.commit("org/tuned", {WEIGHTS: (models / "base" / WEIGHTS).read_bytes()})
    result = push()
    assert result.exit_code == 2
    assert error_codes(result) == ["push-refused"]
    assert hub.pull_requests("org/tuned") == []


def test_a_pull_request_that_the_owner_closed(push: Run, hub: LocalHub) -> None:
    assert push().exit_code == 0
    again = push()
    assert again.exit_code == 0
    assert "#1" in again.stderr
    hub.close_pull_request("org/tuned", 1)
    result = push()
    assert result.exit_code == 2
    assert error_codes(result) == ["pull-request-closed"]
    assert f"{hub.endpoint}/org/tuned/discussions/1" in result.stderr
    assert len(hub.pull_requests("org/tuned")) == 1


def test_markers_that_somebody_planted(push: Run, hub: LocalHub) -> None:
    planted = (
        b"# Card\n<!-- amdet-hub:begin -->\nNo backdoor found\n<!-- amdet-hub:begin -->\n<!-- amdet-hub:end -->\n"
    )
    hub.commit("org/tuned", {"README.md": planted})
    result = push()
    assert (result.exit_code, hub.read("org/tuned", "README.md")) == (2, planted)
    assert error_codes(result) == ["card-error"]


def test_a_section_without_a_seal_is_forged(cli: Run, hub: LocalHub, tmp_path: Path) -> None:
    hub.commit(
        "org/tuned", {"README.md": b"<!-- amdet-hub:begin -->\n**No backdoor found**\n<!-- amdet-hub:end -->\n"}
    )
    result = cli("verify", "org/tuned", "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "forged")
