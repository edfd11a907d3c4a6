"""`scan` and `resolve` as a person runs them: a real Hub protocol, real tiny encoders, nothing replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors.torch import save

from amdet_hub.report import parse_report
from amdet_hub.testing import LocalHub
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from tests.cli.conftest import Run, error_codes

TOKEN = "hf_alicealicealice"
OTHER_WEIGHTS = save({"encoder.layer.0.output.dense.weight": torch.zeros(4, 4)})
"""A safetensors file without a text tower of ours."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clip` (a plain text encoder) and `sd3` (a pipeline with two CLIP towers and a T5)."""
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "clip")
    tiny_pipeline(folder / "sd3", kind="sd3")
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_user("alice", token=TOKEN, can_write=("org",))
        hub.add_model("org/base", models / "clip")
        hub.add_model("org/copy", models / "clip")
        hub.add_model("org/pipe", models / "sd3")
        hub.add_model(
            "org/text",
            {"README.md": b"# Words\n", "config.json": b'{"model_type": "bert"}', "model.safetensors": OTHER_WEIGHTS},
        )
        hub.add_model(
            "org/pickle", {"config.json": b'{"model_type": "clip_text_model"}', "pytorch_model.bin": b"x" * 64}
        )
        hub.add_model("org/gated", models / "clip", gated=True)
        hub.add_model("org/private", models / "clip", private=True)
        hub.forget_requests()
        yield hub


@pytest.fixture
def ask(cli: Run, hub: LocalHub, tmp_path: Path) -> Run:
    """The command line, pointed at the local Hub. Without a token."""

    def run(*args: object, **extra: object) -> Result:
        return cli(*args, "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", **extra)

    return run


def identical(*more: object) -> tuple[object, ...]:
    """Arguments of the quickest scan there is: the suspect is the reference."""
    return ("scan", "org/copy", "--reference", "org/base", "--device", "cpu", *more)


# ---------------------------------------------------------------- a scan from end to end


def test_scan_writes_every_report_and_exits_0(ask: Run, hub: LocalHub) -> None:
    result = ask(
        *identical("-f", "json", "-o", "markdown=report.md", "-o", "json=report.json", "-o", "text=report.txt")
    )
    assert result.exit_code == 0, result.stderr
    report = parse_report(result.stdout)
    assert report.verdict.label == "no-backdoor-found"
    assert report.snapshot.commit_sha == hub.head("org/copy", "main")
    assert report.complete
    assert json.loads(Path("report.json").read_text()) == json.loads(result.stdout)
    assert "org/copy" in Path("report.md").read_text()
    assert "org/copy" in Path("report.txt").read_text()
    assert hub.writes == []


def test_stdout_is_the_report_and_stderr_the_talk(ask: Run) -> None:
    loud = ask(*identical())
    assert loud.exit_code == 0, loud.stderr
    assert "org/copy" in loud.stdout
    assert "..." in loud.stderr, "plain progress lines, as there is no terminal"
    assert "\r" not in loud.stderr
    quiet = ask(*identical("-q"))
    assert quiet.stderr == ""
    assert "org/copy" in quiet.stdout


def test_a_local_folder(cli: Run, models: Path) -> None:
    result = cli("scan", models / "clip", "--reference", models / "clip", "--device", "cpu", "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert parse_report(result.stdout).snapshot.kind == "local"


def test_several_targets_give_json_lines_and_the_worst_exit_code(ask: Run) -> None:
    Path("out").mkdir()
    targets = ("org/copy", "org/none", "org/base")
    result = ask(
        "scan", *targets, "--reference", "org/base", "--device", "cpu", "-f", "json", "-o", "json=out/{target}.json"
    )
    assert result.exit_code == 2
    assert [parse_report(line).target for line in result.stdout.splitlines()] == ["org/copy", "org/base"]
    assert "org/none: Error: " in result.stderr
    assert sorted(os.listdir("out")) == ["org--base.json", "org--copy.json"]


def test_a_spent_time_budget_is_inconclusive(ask: Run) -> None:
    result = ask(
        "scan",
        "org/base",
        "--no-reference",
        "--device",
        "cpu",
        "--timeout",
        "0.001",
        "-f",
        "json",
        "-o",
        "json=r.json",
    )
    assert result.exit_code == 3, result.stderr
    assert parse_report(result.stdout).verdict.label == "inconclusive"
    assert not parse_report(Path("r.json").read_text()).complete
    assert "--timeout" in result.stderr


def test_fail_on_never_still_says_so(ask: Run) -> None:
    args = ("scan", "org/base", "--no-reference", "--device", "cpu", "--timeout", "0.001", "-f", "json")
    assert ask(*args, "--fail-on", "detected").exit_code == 0
    assert ask("scan", "org/text", "--fail-on", "never").exit_code == 0
    assert ask("scan", "org/none", "--fail-on", "never").exit_code == 2, "an error is no verdict"


def test_interrupted_exits_130_and_keeps_what_there_is(ask: Run, hub: LocalHub) -> None:
    def stop(request: object) -> None:
        path = str(getattr(request, "path", ""))
        if "text_encoder_2/" in path and path.endswith(".safetensors") and getattr(request, "range", None) is None:
            os.kill(os.getpid(), signal.SIGINT)

    hub.on_request(stop)
    result = ask("scan", "org/pipe", "--no-reference", "--device", "cpu", "-f", "json", "-o", "json=partial.json")
    assert result.exit_code == 130, result.stderr
    assert "Interrupted" in result.stderr
    if Path("partial.json").exists():
        partial = parse_report(Path("partial.json").read_text())
        assert not partial.complete
        assert partial.verdict.label != "no-backdoor-found"
        assert parse_report(result.stdout) == partial
        assert "partial.json" in result.stderr
    else:
        assert "nothing was written" in result.stderr


# ---------------------------------------------------------------- before anything starts


def test_outputs_are_checked_before_the_hub_is_asked(ask: Run, hub: LocalHub) -> None:
    Path("folder").mkdir()
    for outputs in (
        ("json=folder",),
        ("json=/proc/a.json",),
        ("json=a", "text=./a"),
    ):
        result = ask(*identical(*(word for output in outputs for word in ("-o", output))))
        assert (result.exit_code, error_codes(result)) == (2, ["output-error"])
    assert hub.requests == []


def test_the_folder_of_an_output_is_made(ask: Run) -> None:
    result = ask(*identical("-o", "markdown=reports/2030/{target}.md"))
    assert result.exit_code == 0, result.stderr
    assert "org/copy" in Path("reports/2030/org--copy.md").read_text()


def test_a_bad_target_stops_all_before_any_is_scanned(ask: Run, hub: LocalHub) -> None:
    result = ask("scan", "org/copy", "not a target")
    assert (result.exit_code, error_codes(result)) == (2, ["target-error"])
    assert hub.requests == []


def test_one_revision_for_several_targets_is_refused(ask: Run) -> None:
    result = ask("scan", "org/copy", "org/base", "--revision", "main")
    assert (result.exit_code, error_codes(result)) == (2, ["config-error"])


def test_contradicting_reference_flags(ask: Run) -> None:
    assert error_codes(ask(*identical("--no-reference"))) == ["config-error"]


def test_settings_of_a_scanned_folder_are_refused(
    cli: Run, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny_clip(tmp_path / "hostile")
    monkeypatch.chdir(tmp_path / "hostile")
    Path("pyproject.toml").write_text('[tool.amdet-hub]\nfail-on = "never"\n')
    result = cli("scan", ".")
    assert (result.exit_code, error_codes(result)) == (2, ["config-error"])


def test_settings_nobody_named_are_announced(ask: Run) -> None:
    Path("pyproject.toml").write_text('[tool.amdet-hub]\ndevice = "cpu"\nformat = "json"\n')
    result = ask("scan", "org/copy", "--reference", "org/base")
    assert result.exit_code == 0, result.stderr
    assert "Settings from pyproject.toml: device, format." in result.stderr
    assert parse_report(result.stdout).environment.device == "cpu"


# ---------------------------------------------------------------- what goes wrong, in words


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("org/none", "repo-not-found"),
        ("org/private", "repo-not-found"),
        ("org/gated", "repo-gated"),
        ("org/base@v9", "revision-not-found"),
    ],
)
@pytest.mark.parametrize("verb", ["scan", "resolve"])
def test_a_target_that_cannot_be_read(ask: Run, verb: str, target: str, code: str) -> None:
    result = ask(verb, target)
    assert (result.exit_code, error_codes(result), result.stdout) == (2, [code], "")


@pytest.mark.parametrize(
    ("target", "verdict", "exit_code"),
    [
        ("org/text", ("nothing-to-scan", "not-clip-family"), 0),
        ("org/pickle", ("inconclusive", "refused-pickle"), 3),
    ],
)
def test_a_target_without_an_encoder_that_can_be_scanned(
    ask: Run, target: str, verdict: tuple[str, str], exit_code: int
) -> None:
    scanned = ask("scan", target, "-f", "json", "-o", "json=out.json")
    report = parse_report(scanned.stdout)
    assert (report.verdict.label, report.verdict.code, scanned.exit_code) == (*verdict, exit_code)
    assert parse_report(Path("out.json").read_text()) == report
    resolved = ask("resolve", target, "--json")
    found = json.loads(resolved.stdout)["verdict"]
    assert (found["label"], found["code"], resolved.exit_code) == (*verdict, exit_code)
    assert f"[{verdict[1]}]" in ask("resolve", target).stdout


def test_a_wrong_token_is_suspected(ask: Run) -> None:
    result = ask("resolve", "org/private", "--token", "-", input="hf_wrongwrongwrong")
    assert result.exit_code == 2
    assert error_codes(result) in (["repo-not-found"], ["access-denied"])
    assert "wrongwrong" not in result.output


def test_the_right_token_opens_it(ask: Run) -> None:
    assert ask("resolve", "org/private", "--token", "-", input=TOKEN).exit_code == 0


def test_rate_limit_names_the_seconds(ask: Run, hub: LocalHub) -> None:
    hub.rate_limit("/api/models", retry_after_s=77)
    result = ask("scan", "org/copy")
    assert (result.exit_code, error_codes(result)) == (2, ["rate-limited"])
    assert " 77 " in result.stderr


def test_no_network(cli: Run, tmp_path: Path) -> None:
    result = cli("scan", "org/copy", "--endpoint", "http://127.0.0.1:9", "--cache-dir", tmp_path / "cache")
    assert (result.exit_code, error_codes(result)) == (2, ["hub-unavailable"])


def test_offline_without_a_cache(ask: Run, hub: LocalHub) -> None:
    result = ask("scan", "org/copy", "--offline")
    assert (result.exit_code, error_codes(result)) == (2, ["offline-miss"])
    assert hub.requests == []


def test_too_large_a_download(ask: Run) -> None:
    result = ask("scan", "org/base", "--no-reference", "--max-download", "1kB")
    assert (result.exit_code, error_codes(result)) == (2, ["resource-error"])


# ---------------------------------------------------------------- resolve


def test_resolve_text(ask: Run, hub: LocalHub) -> None:
    result = ask("resolve", "org/pipe")
    assert result.exit_code == 0, result.stderr
    shown = result.stdout
    for word in (
        hub.head("org/pipe", "main")[:12],
        "text_encoder\n",
        "text_encoder_2",
        "CLIPTextModelWithProjection",
        "family clip",
        "T5EncoderModel",
        "loaded by     transformers (subfolder=text_encoder); diffusers (text_encoder); ComfyUI\n",
        "about",
    ):
        assert word in shown
    assert f"amdet-hub scan org/pipe@{hub.head('org/pipe', 'main')}\n" in shown


def test_the_command_that_resolve_suggests_is_the_one_that_was_asked_about(ask: Run, hub: LocalHub) -> None:
    asked = ("--reference", "org/base", "--preset", "quick", "--seed", "7")
    shown = ask("resolve", "hf://org/pipe/text_encoder", *asked).stdout
    assert f"amdet-hub scan hf://org/pipe@{hub.head('org/pipe')}/text_encoder {' '.join(asked)}\n" in shown
    assert " --no-reference\n" in ask("resolve", "org/pipe", "--no-reference").stdout


def test_a_second_scan_is_answered_from_the_cache_and_says_so(ask: Run) -> None:
    args = ("scan", "org/copy", "--reference", "org/base", "--device", "cpu", "-f", "json")
    first, again = (parse_report(ask(*args).stdout) for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert again.results[0].cached_at == again.created == first.created
    assert again.verdict == first.verdict
    assert not parse_report(ask(*args, "--rescan").stdout).cached


def test_a_cached_verdict_that_was_edited_does_not_answer(
    ask: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    args = ("scan", "org/copy", "--reference", "org/base", "--device", "cpu", "-f", "json")
    first = parse_report(ask(*args).stdout)
    (path,) = (p for p in tmp_path.rglob("*.json") if '"cached"' in p.read_text(errors="replace"))
    path.write_text(path.read_text().replace("identical", "detected?"))
    again = parse_report(ask(*args).stdout)
    assert (again.cached, again.verdict) == (False, first.verdict)
    assert caplog.text.count("A cached entry was ignored") == 1
    assert parse_report(ask(*args).stdout).cached


def test_a_table_is_one_line_a_target(ask: Run) -> None:
    result = ask("scan", "org/copy", "org/text", "--reference", "org/base", "--device", "cpu", "-f", "table")
    assert result.exit_code == 0, result.stderr
    rows = [line.split()[:2] for line in result.stdout.splitlines()]
    assert rows == [["no-backdoor-found", "identical-to-reference"], ["nothing-to-scan", "not-clip-family"]]


def test_resolve_json(ask: Run, hub: LocalHub) -> None:
    plan = json.loads(ask("resolve", "org/pipe", "--json").stdout)
    assert plan["schema_version"] == "1.2"
    assert plan["verdict"] is None
    assert plan["encoders"][0]["loaded_by"] == [
        {"loader": loader, "how": how, "files": ["text_encoder/model.safetensors"]}
        for loader, how in (
            ("transformers", "subfolder=text_encoder"),
            ("diffusers", "text_encoder"),
            ("ComfyUI", ""),
        )
    ]
    assert plan["snapshot"]["commit_sha"] == hub.head("org/pipe", "main")
    assert [e["encoder"]["component"] for e in plan["encoders"]] == ["text_encoder", "text_encoder_2"]
    assert all(e["estimate_s"] > 0 for e in plan["encoders"])
    assert plan["download_bytes"] == sum(
        f["size_bytes"] for e in plan["encoders"] for f in e["encoder"]["weight_files"]
    )
    assert [s["component"] for s in plan["skipped"]] == ["text_encoder_3"]


def test_resolve_says_exactly_what_would_travel(ask: Run, hub: LocalHub) -> None:
    size = len(hub.read("org/copy", "model.safetensors"))
    assert (
        ask("resolve", "org/copy", "--no-reference").stdout.count(f"{size:,} bytes to download") == 2
    )  # of the encoder, and in all
    both = ask("resolve", "org/base", "--reference", "org/base@main", "--json")
    assert (json.loads(both.stdout)["download_bytes"], json.loads(both.stdout)["reference_download_bytes"]) == (
        size,
        0,
    )
    assert ask(*identical()).exit_code == 0
    after = ask("resolve", "org/copy", "--no-reference").stdout
    assert "nothing: in the cache" in after
    assert "nothing to download" in after


def test_dry_run_is_resolve(ask: Run) -> None:
    assert ask("scan", "org/pipe", "--dry-run").stdout == ask("resolve", "org/pipe").stdout
    assert json.loads(ask("scan", "org/pipe", "--dry-run", "-f", "json").stdout)["target"] == "org/pipe"


def test_resolve_fetches_no_weights_and_imports_no_torch(hub: LocalHub, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate', 'safetensors'): sys.modules[name] = None\n"
        "from amdet_hub.__main__ import main\n"
        "sys.exit(main(['resolve', 'org/pipe', '--cache-dir', sys.argv[1]]))\n"
    )
    env = {**os.environ, **hub.environment()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")
    whole = [r.path for r in hub.requests if r.path.endswith(".safetensors") and r.method == "GET" and r.range is None]
    assert whole == []
