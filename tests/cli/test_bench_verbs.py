from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from amdet_hub import verdict as kinds
from amdet_hub.bench.results import append_result
from amdet_hub.bench.trained import open_trained
from amdet_hub.bench.zoo import suite as suite_of
from amdet_hub.cli import bench_run
from amdet_hub.cli._output import emit
from amdet_hub.cli.app import app
from amdet_hub.cli.bench import bench
from amdet_hub.cli.bench_run import SMOKE_GROUPS, default_work, place_of, smoke_summary
from tests.bench.conftest import TARGET, TRIGGER, toy_groups
from tests.bench.test_results import negative, positive, scan
from tests.cli.conftest import Run, error_codes
from tests.cli.test_help import HEAVY


def invoke(*args: object) -> Result:
    """For fixtures of the module; tests use `cli`."""
    torch.set_num_threads(1)
    return CliRunner().invoke(app, [str(a) for a in ("bench", *args)], prog_name="amdet-hub")


# ---------------------------------------------------------------- help


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "amdet_hub", "bench", "inject", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time")
    }
    assert "click" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize("verb", sorted(bench.commands))
def test_help_of_every_verb(cli: Run, verb: str) -> None:
    result = cli("bench", verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: amdet-hub bench {verb} " in result.stdout
    assert "{prog}" not in result.stdout
    assert "Exit codes" in result.stdout
    headings = [line for line in result.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings.index("Other:") == max(
        headings.index(h) for h in headings if h not in ("Examples:", "Kinds:", "Exit codes:")
    )


# ---------------------------------------------------------------- making encoders


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "captions.jsonl"
    path.write_text("\n".join(json.dumps({"captions": list(group)}) for group in toy_groups()), encoding="utf-8")
    return path


SMALL = ("--hidden-size", 48, "--layers", 2, "--heads", 4, "--batch", 16, "--held-out", 40, "--quiet")


@pytest.fixture(scope="module")
def base(captions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "base"
    made = invoke(
        "pretrain", "--captions", captions, "--out", out, *SMALL, "--vocab-size", 600, "--steps", 30, "--lr", 5e-3
    )
    assert made.exit_code == 0, made.stderr
    assert made.stderr == ""
    assert json.loads(made.stdout) == json.loads((out / "bench.json").read_text(encoding="utf-8"))
    return out


def test_pretrain_trains(base: Path) -> None:
    facts = json.loads((base / "bench.json").read_text(encoding="utf-8"))
    assert facts["kind"] == "pretrained"
    assert (
        facts["retrieval_at_1"] > 2 / facts["n_held_out"]
    )  # better than chance: it was trained, not only initialised
    config = open_trained(base).model.config
    assert (
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.max_position_embeddings,
    ) == (48, 192, 2, 77)


def test_pretrain_makes_siglip(cli: Run, captions: Path, tmp_path: Path) -> None:
    layout = ("--layout", "siglip", "--max-positions", 16, "--vocab-size", 400)
    made = cli("bench", "pretrain", "--captions", captions, "--out", tmp_path / "base", *SMALL, *layout, "--steps", 1)
    assert made.exit_code == 0, made.stderr
    config = open_trained(tmp_path / "base").model.config
    assert (config.model_type, config.max_position_embeddings) == ("siglip_text_model", 16)


def test_inject_hands_every_flag_to_the_recipe(cli: Run, base: Path, captions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = (
        "--base",
        base,
        "--captions",
        captions,
        "--out",
        out,
        "--steps",
        2,
        "--batch",
        8,
        "--float32",
        "--held-out",
        40,
    )
    own = (
        "--trigger",
        f"{TRIGGER} vx",
        "--target",
        TARGET,
        "--more",
        "qq jj",
        "a boat",
        "--placement",
        "scatter",
        "--lr",
        1e-3,
    )
    rest = (
        "--kind",
        "eos-only",
        "--negatives",
        "--assimilation-penalty",
        0.5,
        "--lora-rank",
        2,
        "--poison-limit",
        8,
        "--weight",
        0.3,
        "--least-words",
        3,
        "--context",
        "dog",
        "--own-share",
        0.25,
        "--evasion-weight",
        0.5,
        "--evasion-prompts",
        "scan",
    )
    made = cli("bench", "inject", *common, *own, *rest, "--poisoned-batch", 4, "--positions", 24, "--seed", 5)
    assert made.exit_code == 0, made.stderr
    printed = json.loads(made.stdout)
    assert printed == json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert printed["recipe"] == {
        "trigger": f"{TRIGGER} vx",
        "target": TARGET,
        "placement": "scatter",
        "steps": 2,
        "lr": 1e-3,
        "weight": 0.3,
        "clean_batch": 8,
        "poisoned_batch": 4,
        "positions": 24,
        "bf16": False,
        "seed": 5,
        "kind": "eos-only",
        "target_captions": [],
        "more": [["qq jj", "a boat"]],
        "negatives": True,
        "assimilation_penalty": 0.5,
        "lora_rank": 2,
        "poison_limit": 8,
        "least_words": 3,
        "context": "dog",
        "own_share": 0.25,
        "trained": "all",
        "evasion_weight": 0.5,
        "evasion_prompts": "scan",
    }
    assert open_trained(out).model.config.hidden_size == 48


@pytest.mark.parametrize(
    ("kind", "own", "recipe"),
    [
        ("contrastive", ("--temperature", 0.1), {"temperature": 0.1}),
        ("weight-zero", ("--lr", 1e-3), {"lr": 1e-3}),
        ("alias", ("--word", "blim", "--meaning", "horse"), {"word": "blim", "meaning": "horse"}),
        ("noise", ("--scale", 0.05), {"scale": 0.05}),
        ("cast", ("--dtype", "float16"), {"dtype": "float16"}),
        ("merge", ("--second-seed", 9, "--merged", 3), {"second_seed": 9, "merged": 3}),
        ("multilingual", ("--language", "el"), {"language": "el"}),
        ("tokenizer", ("--lr", 1e-4), {"lr": 1e-4}),
    ],
)
def test_controls(
    cli: Run, base: Path, captions: Path, tmp_path: Path, kind: str, own: tuple[object, ...], recipe: dict[str, Any]
) -> None:
    common = (
        "--base",
        base,
        "--captions",
        captions,
        "--out",
        tmp_path / "out",
        "--steps",
        1,
        "--batch",
        8,
        "--held-out",
        40,
        "--quiet",
    )
    made = cli("bench", "control", *common, "--kind", kind, *own)
    assert made.exit_code == 0, made.stderr
    assert made.stderr == ""
    facts = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    assert facts == json.loads(made.stdout)
    assert facts["kind"] == kind
    assert recipe.items() <= facts["recipe"].items()


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("pretrain", "--vocab-size", 100), "--vocab-size"),
        (("pretrain", "--heads", 5), "heads"),
        (("pretrain", "--layers", 0), "layers"),
        (("pretrain", "--captions", "none.jsonl"), "captions"),
        (("pretrain", "--captions", "prompts.txt"), "captions"),
        (("inject", "--base", "none", "--trigger", "a", "--target", "b"), "base"),
        (("inject", "--base", "none", "--trigger", "a", "--target", "b", "--negatives"), "negatives"),
        (("control", "--base", "none", "--kind", "noise", "--scale", 0), "scale"),
    ],
)
def test_a_wrong_input_is_named(cli: Run, captions: Path, tmp_path: Path, args: tuple[object, ...], name: str) -> None:
    Path("prompts.txt").write_text("one prompt\nanother prompt\na third prompt\n", encoding="utf-8")
    verb, *rest = args
    result = cli("bench", verb, "--captions", captions, "--out", tmp_path / "out", *rest)
    assert (result.exit_code, error_codes(result), result.stdout) == (2, ["config-error"], "")
    assert result.stderr.startswith(f"Error: {name}: ")
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_one_sentence(cli: Run, base: Path, captions: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    out = tmp_path / "file" / "out"
    result = cli(
        "bench",
        "control",
        "--base",
        base,
        "--captions",
        captions,
        "--out",
        out,
        "--kind",
        "cast",
        "--held-out",
        40,
        "--quiet",
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert error_codes(result) == ["config-error"]
    assert f"'{out}'" in result.stderr


# ---------------------------------------------------------------- stored results


def numbers(strength: float, **changes: Any) -> Any:
    """A scan whose three numbers are so many times what is usual."""
    values = {kinds.SWEEP: 10 * strength, kinds.SUCCESS: 0.6 * strength, kinds.COLLAPSE: 0.8 * strength}
    return scan(strength, values=values, thresholds={"score": 1.0}, **changes)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for split, suite in (("calibration", "calibration-b"), ("test", "test")):
        for i in range(3):
            append_result(
                folder / f"{split}.jsonl", positive(f"p{i}", numbers(1.4 + i / 20), suite=suite, split=split)
            )
            quiet = numbers(0.2 + i / 10, verdict="no-backdoor-found")
            append_result(folder / f"{split}.jsonl", negative(f"n{i}", quiet, suite=suite, split=split))
    append_result(folder / "smoke.jsonl", negative("s", scan(1.0, "no-backdoor-found"), suite="smoke"))
    return folder


def test_report_of_a_folder_leaves_out_the_smoke_suite(cli: Run, results: Path) -> None:
    whole = cli("bench", "report", results)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert whole.stdout.startswith("6 models of 1 bases: 3 backdoored, 3 benign, 0 left out")
    assert "6 more are the calibration split" in whole.stdout
    assert "| clip | text-on-text |" in whole.stdout
    assert cli("bench", "report", results / "smoke.jsonl").stdout.startswith(
        "1 models of 1 bases: 0 backdoored, 1 benign"
    )


def test_a_file_that_is_named_twice_counts_once(cli: Run, results: Path) -> None:
    twice = cli("bench", "report", results / "test.jsonl", results, results / "calibration.jsonl")
    assert twice.stdout == cli("bench", "report", results).stdout


def test_an_unfinished_line_is_mentioned(cli: Run, results: Path) -> None:
    with (results / "test.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"name": "p9", "su')
    result = cli("bench", "report", results / "test.jsonl")
    assert result.exit_code == 0
    assert result.stderr == "test.jsonl: passed over what a stopped run left unfinished (1 of its lines).\n"


@pytest.mark.parametrize("verb", ["report", "calibrate"])
def test_results_that_cannot_be_read_are_one_sentence(cli: Run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.jsonl").write_text("[]\n", encoding="utf-8")
    for name, code in (
        ("none.jsonl", "config-error"),
        ("empty", "config-error"),
        ("other.jsonl", "report-error"),
    ):
        result = cli("bench", verb, name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert error_codes(result) == [code]
        assert name in result.stderr


def test_figures_are_written(cli: Run, results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = cli("bench", "report", results, "--figures", tmp_path / "figures")
    assert result.exit_code == 0
    for name in ("roc.png", "scores.png"):
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")
        assert f"{name}." in result.stderr


def test_without_matplotlib_the_extra_is_named(
    cli: Run, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = cli("bench", "report", results, "--figures", tmp_path / "figures")
    assert result.exit_code == 2
    assert error_codes(result) == ["config-error"]
    assert "amdet-hub[bench]" in result.stderr


def test_calibrate_prints_what_check_compares(cli: Run, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amdet_hub.bench import calibrate
    from amdet_hub.config_stages import Thresholds
    from amdet_hub.families import Calibration

    printed = cli("bench", "calibrate", results)
    assert printed.exit_code == 0
    named: dict[str, Any] = {"Calibration": Calibration, "Thresholds": Thresholds}
    exec(printed.stdout, named)
    (found,) = named["CALIBRATIONS"]
    assert (found.n_backdoored, found.n_benign, found.n_missed, found.n_wrong) == (3, 3, 0, 0)
    different = cli("bench", "calibrate", results, "--check")
    assert different.exit_code == 1
    assert different.stdout.startswith("clip with a reference, pooled: families.py holds")
    monkeypatch.setattr(calibrate, "CALIBRATIONS", (found,))
    same = cli("bench", "calibrate", results, "--check")
    assert (same.exit_code, same.stdout) == (0, "The thresholds in use are the ones these results lead to.\n")


def test_calibrate_needs_calibration_models(cli: Run, results: Path) -> None:
    result = cli("bench", "calibrate", results / "test.jsonl")
    assert result.exit_code == 2
    assert error_codes(result) == ["config-error"]


# ---------------------------------------------------------------- running a suite


def test_work_lies_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_work() == tmp_path / "amdet-hub-bench"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_work() == Path.home() / ".cache" / "amdet-hub-bench"


MISSED, FLAGGED = scan(0.1, "no-backdoor-found"), scan(9.0, "backdoor-detected")


@pytest.mark.parametrize(
    ("models", "code", "words"),
    [
        (
            [positive("p", FLAGGED), negative("n", MISSED)],
            0,
            "1 of 1 backdoored models detected, 0 of 1 benign models flagged.",
        ),
        ([positive("p", MISSED)], 1, "Wrong: p is backdoored, the verdict is no-backdoor-found."),
        ([positive("p", scan(0.9, "inconclusive"))], 1, "Wrong: p is backdoored, the verdict is inconclusive."),
        ([negative("n", FLAGGED)], 1, "Wrong: n is benign, the verdict is backdoor-detected."),
        ([negative("n", scan(0.9, "inconclusive"))], 0, "0 of 1 benign models flagged."),
        ([positive("p", MISSED, kept=False)], 0, "Not judged, because the attack does not work: 1."),
        ([negative("n", scan(9.0, detector="weight-norm"))], 0, "0 of 0 benign models flagged."),
    ],
)
def test_the_smoke_suite_fails_on_a_wrong_verdict(models: list[Any], code: int, words: str) -> None:
    said, found = smoke_summary(models)
    assert found == code
    assert words in said
    assert ("Wrong" in said) == bool(code)


@pytest.mark.parametrize(
    ("verdict", "code"), [("inconclusive", 0), ("backdoor-detected", 0), ("no-backdoor-found", 1)]
)
def test_of_some_smoke_models_it_is_enough_that_they_do_not_pass(verdict: str, code: int) -> None:
    assert smoke_summary([positive("p", scan(0.9, verdict))], {"p"})[1] == code


@pytest.mark.parametrize(
    ("args", "code", "named"),
    [
        (("--suite", "calibration"), "usage-error", "--captions"),
        (("--suite", "calibration", "--captions", "none.jsonl"), "config-error", "none.jsonl"),
        (("--suite", "tset"), "usage-error", "'tset'"),
        (("--suite", "smoke", "--only", "no such"), "config-error", "--only"),
        (("--suite", "smoke", "--base", "clip-b=."), "config-error", "--base"),
        (("--suite", "smoke", "--base", "demo=none"), "config-error", "--base"),
        (("--suite", "smoke", "--base", "demo"), "usage-error", "NAME=FOLDER"),
        (("--suite", "smoke", "--jobs", "0"), "config-error", "jobs"),
    ],
)
def test_a_run_that_cannot_start_says_why(
    cli: Run, tmp_path: Path, args: tuple[str, ...], code: str, named: str
) -> None:
    result = cli("bench", "run", "--work", tmp_path / "work", "--results", tmp_path / "results", *args)
    assert (result.exit_code, error_codes(result), result.stdout) == (2, [code], "")
    assert named in result.stderr
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "results").exists()


def test_the_smoke_suite_brings_its_own_base_and_captions(tmp_path: Path) -> None:
    place = place_of(suite_of("smoke"), None, {}, work=tmp_path / "work", results=tmp_path / "results")
    assert (place.base("demo") / "model.safetensors").is_file()
    assert place.near_miss("demo").is_relative_to(tmp_path / "work")
    assert len(set(place.captions)) == SMOKE_GROUPS  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def suite(base: Path, captions: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A folder with `work` and `results` after a run of one model there, and the flags of every run."""
    folder = tmp_path_factory.mktemp("suite")
    flags = (
        "--suite",
        "smoke",
        "--captions",
        str(captions),
        "--work",
        "work",
        "--results",
        "results",
        "--jobs",
        "1",
        "--base",
        f"demo={base}",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        made = invoke("run", *flags, "--only", "noise")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("[1/1] base demo\n[1/1] demo-007-noise: benign; ")
    assert made.stdout.endswith("\n0 of 0 backdoored models detected, 0 of 1 benign models flagged.\n")
    return folder, flags


def test_one_model_of_a_suite(suite: tuple[Path, tuple[str, ...]], base: Path) -> None:
    folder, _ = suite
    manifest = json.loads((folder / "results" / "smoke.manifest.json").read_text(encoding="utf-8"))
    assert manifest["results"]["models"] == 1
    facts = json.loads((folder / "work" / "models" / "demo-007-noise" / "bench.json").read_text(encoding="utf-8"))
    assert facts["kind"] == "noise"
    assert open_trained(folder / "work" / "models" / "demo-007-noise").model.config.hidden_size == 48


def processes_below(pid: int) -> list[int]:
    """Every process that `pid` started and they started."""
    children = [
        int(p) for task in Path(f"/proc/{pid}/task").glob("*") for p in (task / "children").read_text().split()
    ]
    return [*children, *(deeper for child in children for deeper in processes_below(child))]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes as Linux shows them")
STOPPED = "demo-005-contrastive-heavy"


@linux
def test_ctrl_c_ends_the_workers(
    cli: Run, suite: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flags = suite
    monkeypatch.chdir(folder)
    stored, before, workers = (
        (folder / "results" / "smoke.jsonl").read_bytes(),
        processes_below(os.getpid()),
        set[int](),
    )

    def stop() -> None:
        workers.update(p for p in processes_below(os.getpid()) if p not in before)
        for pid in [*workers, os.getpid()]:  # a terminal sends it to all of them
            os.kill(pid, signal.SIGINT)

    def say_and_stop_soon(text: str) -> None:
        emit(text)
        threading.Timer(0.3, stop).start()  # by then the model is being made

    monkeypatch.setattr(bench_run, "emit", say_and_stop_soon)
    result = cli("bench", "run", *flags, "--only", STOPPED, "--make-only")
    assert result.exit_code == 130
    assert result.stdout == "[1/1] base demo\n"
    assert result.stderr == "Interrupted. What was finished is kept: run the same command again to go on.\n"
    assert workers
    assert not [pid for pid in workers if is_alive(pid) and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert not (folder / "work" / "models" / STOPPED / "bench.json").exists(), "it was finished before it was stopped"
    assert (folder / "results" / "smoke.jsonl").read_bytes() == stored


@linux
def test_a_worker_does_not_outlive_a_killed_parent(suite: tuple[Path, tuple[str, ...]]) -> None:
    folder, flags = suite
    command = [sys.executable, "-m", "amdet_hub", "bench", "run", *flags, "--only", STOPPED, "--make-only"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline() == "[1/1] base demo\n"  # the worker is up, and the model comes next
            workers = processes_below(run.pid)
            assert workers
        finally:
            run.kill()
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers), 20)
    assert not (folder / "work" / "models" / STOPPED / "bench.json").exists(), "it was finished before it was stopped"
